//! `pinnersage recommend`.

use clap::Args;

use super::client::ServerArgs;
use super::id_or_key::UserArgs;
use super::runtime::block_on;
use super::{output, recommendation};
use crate::wire::v1;

#[derive(Debug, Args)]
pub(super) struct RecommendArgs {
    #[command(flatten)]
    user: UserArgs,
    /// Number of candidates to show.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
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
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: RecommendArgs) -> anyhow::Result<()> {
    let user = args.user.user();
    let request = v1::RecommendRequest {
        medoids: args.medoids,
        top_medoids: args.top_medoids,
        seed: args.seed,
        exclude_pin_ids: args.exclude,
        exclude_pin_keys: args.exclude_key,
        ..recommendation::request(&user, args.limit)
    };
    block_on(async {
        let recommendation = recommendation::fetch(&user, request, &args.server).await?;
        if args.json {
            return output::print_json(&serde_json::to_string_pretty(&recommendation)?);
        }
        output::print(&recommendation)
    })
}
