//! `pinnersage recommend`.

use clap::Args;

use super::client::ServerArgs;
use super::filter_arg::FilterArg;
use super::id_or_key::IdOrKey;
use super::rerank_arg::RerankArg;
use super::runtime::block_on;
use super::surface_args::SurfaceArgs;
use super::{output, recommendation};
use crate::wire::reranking::RerankFields;
use crate::wire::v1;

#[derive(Debug, Args)]
pub(super) struct RecommendArgs {
    /// The user. Required, or --user-key, unless --only-seeds is there.
    #[arg(
        long,
        value_name = "ID",
        required_unless_present_any = ["user_key", "only_seeds"],
        conflicts_with = "user_key"
    )]
    user: Option<u64>,
    /// The user, by its key, where users are called by strings.
    #[arg(long, value_name = "KEY")]
    user_key: Option<String>,
    #[command(flatten)]
    surface: SurfaceArgs,
    /// Number of medoids to sample; 0 leaves it to the server.
    #[arg(long, value_name = "N", default_value_t = 0)]
    medoids: u32,
    /// Number of them that are the user's most important ones, and not left to chance.
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_medoids: u32,
    /// Repeat the answer of this seed.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Leave these pins out.
    #[arg(long, value_name = "PIN", num_args = 1..)]
    exclude: Vec<u64>,
    /// Leave the pins with these keys out, where pins are called by strings.
    #[arg(long, value_name = "KEY", num_args = 1..)]
    exclude_key: Vec<String>,
    /// Recommend from these pins as well. All sampled medoids together have a weight of 1.
    #[arg(long, value_name = "ID[:WEIGHT]", num_args = 1.., value_parser = parse_seed)]
    seed_pin: Vec<v1::Seed>,
    /// The same by keys, each with a weight of 1, where pins are called by strings.
    #[arg(long, value_name = "KEY", num_args = 1..)]
    seed_pin_key: Vec<String>,
    /// Recommend from these pins in place of the user's interests.
    #[arg(long)]
    only_seeds: bool,
    /// Sample among the interests nearest to this pin.
    #[arg(long, value_name = "ID", conflicts_with = "context_pin_key")]
    context_pin: Option<u64>,
    /// The same by its key, where pins are called by strings.
    #[arg(long, value_name = "KEY")]
    context_pin_key: Option<String>,
    /// Among how many interests to sample near the pin; 0 leaves it to the server.
    #[arg(long, value_name = "N", default_value_t = 0)]
    context_medoids: u32,
    /// What nearness to the pin is worth beside importance, from 0 to 50.
    #[arg(long, value_name = "X")]
    context_strength: Option<f64>,
    #[command(flatten)]
    filter: FilterArg,
    #[command(flatten)]
    rerank: RerankArg,
    /// Show so many pages, one after the other, or all that there are.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pages: Option<u32>,
    /// Print JSON; with --pages a list.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: RecommendArgs) -> anyhow::Result<()> {
    let user = IdOrKey::one_of(args.user, args.user_key.as_deref());
    let by_key = args.seed_pin_key.into_iter().map(|key| v1::Seed {
        pin_key: Some(key),
        ..Default::default()
    });
    let mode = if args.only_seeds {
        v1::SeedMode::Replace
    } else {
        v1::SeedMode::Unspecified
    };
    let limit = args.surface.limit();
    let (surface, arm) = args.surface.labels();
    let RerankFields {
        boosts,
        min_score,
        spacing,
        diversity,
        popularity_weight,
        boost_time,
    } = args.rerank.fields();
    let request = v1::RecommendRequest {
        surface,
        arm,
        seeds: args.seed_pin.into_iter().chain(by_key).collect(),
        seed_mode: mode.into(),
        context_pin_id: args.context_pin,
        context_pin_key: args.context_pin_key,
        context_medoids: args.context_medoids,
        context_strength: args.context_strength,
        medoids: args.medoids,
        top_medoids: args.top_medoids,
        seed: args.seed,
        exclude_pin_ids: args.exclude,
        exclude_pin_keys: args.exclude_key,
        filter: args.filter.message(),
        boosts,
        min_score,
        spacing,
        diversity,
        popularity_weight,
        boost_time,
        ..recommendation::request(user.as_ref(), limit)
    };
    let (user, server) = (user.as_ref(), &args.server);
    block_on(async {
        if let Some(pages) = args.pages {
            let pages = recommendation::fetch_pages(user, request, pages, server).await?;
            return output::print_pages(&pages, args.json);
        }
        let recommendation = recommendation::fetch(user, request, server).await?;
        if args.json {
            return output::print_json(&serde_json::to_string_pretty(&recommendation)?);
        }
        output::print(&recommendation)
    })
}

/// A pin, and its weight behind a colon.
fn parse_seed(text: &str) -> Result<v1::Seed, String> {
    let (id, weight) = text.split_once(':').unwrap_or((text, "1"));
    let id = id.parse().map_err(|e| format!("{id:?} is no pin: {e}"))?;
    let weight = weight.parse();
    if weight == Ok(0.0) {
        return Err("a weight of 0 would leave it out".to_owned());
    }
    Ok(v1::Seed {
        pin_id: Some(id),
        pin_key: None,
        weight: weight.map_err(|e| format!("the weight is no number: {e}"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_pin_with_or_without_a_weight() {
        let seed = |text| parse_seed(text).map(|seed| (seed.pin_id, seed.weight));
        assert_eq!(seed("7"), Ok((Some(7), 1.0)));
        assert_eq!(seed("7:0.5"), Ok((Some(7), 0.5)));
        for bad in ["", "tea", ":1", "7:", "7:much", "-7", "7:1:1"] {
            seed(bad).expect_err(bad);
        }
    }
}
