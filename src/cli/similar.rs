//! `pinnersage similar`.

use std::{fmt, mem};

use clap::Args;
use serde::Serialize;

use super::candidate::{Candidate, exhausted_remark, letter, write_candidates};
use super::client::{ServerArgs, status_error};
use super::filter_arg::FilterArg;
use super::id_or_key::{IdOrKey, OptionalUserArgs};
use super::output;
use super::page_of_session::PageOfSession;
use super::rerank_arg::RerankArg;
use super::runtime::block_on;
use super::surface_args::{SurfaceArgs, write_labels};
use crate::wire::reranking::RerankFields;
use crate::wire::v1;

#[derive(Debug, Args)]
pub(super) struct SimilarArgs {
    /// Pins to find others like.
    #[arg(long, value_name = "ID", num_args = 1.., required_unless_present = "pin_key")]
    pin: Vec<u64>,
    /// The same by their keys, where pins are called by strings.
    #[arg(long, value_name = "KEY", num_args = 1..)]
    pin_key: Vec<String>,
    #[command(flatten)]
    user: OptionalUserArgs,
    #[command(flatten)]
    surface: SurfaceArgs,
    /// Leave these pins out.
    #[arg(long, value_name = "PIN", num_args = 1..)]
    exclude: Vec<u64>,
    /// Leave the pins with these keys out, where pins are called by strings.
    #[arg(long, value_name = "KEY", num_args = 1..)]
    exclude_key: Vec<String>,
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

/// Pins like others; its fields are those of the JSON.
#[derive(Debug, Serialize)]
struct SimilarPins {
    #[serde(skip)]
    pins: Vec<IdOrKey>,
    #[serde(skip_serializing_if = "String::is_empty")]
    surface: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    arm: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    page: Option<PageOfSession>,
    degraded_reason: &'static str,
    exhausted_reason: &'static str,
    catalog_version: String,
    popularity_weight: f32,
    unknown_pin_ids: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown_pin_keys: Vec<String>,
    candidates: Vec<Candidate>,
}

pub(super) fn run(args: SimilarArgs) -> anyhow::Result<()> {
    let pins = IdOrKey::all(&args.pin, &args.pin_key);
    let user = args.user.user();
    let (user_id, user_key) = user.map_or((None, None), |user| user.fields());
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
    let request = v1::SimilarPinsRequest {
        surface,
        arm,
        pin_ids: args.pin,
        pin_keys: args.pin_key,
        limit,
        exclude_pin_ids: args.exclude,
        exclude_pin_keys: args.exclude_key,
        user_id,
        user_key,
        include_titles: true,
        filter: args.filter.message(),
        boosts,
        min_score,
        spacing,
        diversity,
        popularity_weight,
        boost_time,
        ..Default::default()
    };
    let server = &args.server;
    block_on(async {
        if let Some(pages) = args.pages {
            let pages = fetch_pages(&pins, request, pages, server).await?;
            return output::print_pages(&pages, args.json);
        }
        let response = server.connect().await?.similar_pins(request).await;
        let response = response.map_err(|status| status_error(&status))?;
        let similar = SimilarPins::new(pins, response.into_inner());
        if args.json {
            return output::print_json(&serde_json::to_string_pretty(&similar)?);
        }
        output::print(&similar)
    })
}

/// Fetches that many pages of pins like others, or all that there are.
async fn fetch_pages(
    pins: &[IdOrKey],
    mut request: v1::SimilarPinsRequest,
    pages: u32,
    server: &ServerArgs,
) -> anyhow::Result<Vec<SimilarPins>> {
    let mut client = server.connect().await?;
    request.paged = true;
    let mut found = Vec::new();
    for number in 1..=pages {
        let response = client.similar_pins(request.clone()).await;
        let mut response = response
            .map_err(|status| status_error(&status))?
            .into_inner();
        request.page_token = mem::take(&mut response.next_page_token);
        let is_last_page = request.page_token.is_empty();
        let page = PageOfSession {
            number,
            is_last_page,
            versions_changed: response.versions_changed,
        };
        found.push(SimilarPins {
            page: Some(page),
            ..SimilarPins::new(pins.to_vec(), response)
        });
        if is_last_page {
            break;
        }
    }
    Ok(found)
}

impl SimilarPins {
    fn new(pins: Vec<IdOrKey>, response: v1::SimilarPinsResponse) -> Self {
        Self {
            pins,
            page: None,
            degraded_reason: response.degraded_reason().as_str_name(),
            exhausted_reason: response.exhausted_reason().as_str_name(),
            candidates: response.candidates.into_iter().map(Into::into).collect(),
            catalog_version: response.catalog_version,
            popularity_weight: response.popularity_weight,
            unknown_pin_ids: response.unknown_pin_ids,
            unknown_pin_keys: response.unknown_pin_keys,
            surface: response.surface,
            arm: response.arm,
        }
    }

    fn is_unknown(&self, pin: &IdOrKey) -> bool {
        match pin {
            IdOrKey::Id(id) => self.unknown_pin_ids.contains(id),
            IdOrKey::Key(key) => self.unknown_pin_keys.contains(key),
        }
    }
}

impl fmt::Display for SimilarPins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(page) = &self.page {
            write!(f, "page {}: ", page.number)?;
        }
        writeln!(f, "{} candidates like", self.candidates.len())?;
        for (index, pin) in self.pins.iter().enumerate() {
            let letter = letter(index);
            let remark = if self.is_unknown(pin) {
                " (not in the catalog)"
            } else {
                ""
            };
            writeln!(f, "  [{letter}] {pin}{remark}")?;
        }
        write_labels(f, &self.surface, &self.arm)?;
        self.page
            .iter()
            .try_for_each(|page| page.write_remarks(f))?;
        if self.degraded_reason != v1::DegradedReason::Unspecified.as_str_name() {
            writeln!(f, "  degraded: {}", self.degraded_reason)?;
        }
        if let Some(remark) = exhausted_remark(self.exhausted_reason) {
            writeln!(f, "  exhausted: {remark}")?;
        }
        if self.popularity_weight > 0.0 {
            let weight = self.popularity_weight;
            writeln!(f, "  ranked by score + {weight} * popularity of the pin")?;
        }
        write_candidates(f, &self.candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_names_the_pin_that_it_is_like_and_unknown_pins_are_marked() {
        let pins = IdOrKey::all(&[7, 8], &["tea".to_owned()]);
        let response = v1::SimilarPinsResponse {
            candidates: vec![v1::Candidate {
                pin_id: 3,
                score: 0.75,
                medoid_index: 1,
                title: "pot".to_owned(),
                ..Default::default()
            }],
            unknown_pin_ids: vec![7],
            unknown_pin_keys: vec!["tea".to_owned()],
            popularity_weight: 0.5,
            surface: "related".to_owned(),
            arm: "b".to_owned(),
            ..Default::default()
        };
        let similar = SimilarPins::new(pins, response);
        let text = similar.to_string();
        let expected = "1 candidates like\n  [a] 7 (not in the catalog)\n  [b] 8\n  \
                        [c] tea (not in the catalog)\n  \
                        surface related, arm b\n  \
                        ranked by score + 0.5 * popularity of the pin\n  \
                        place   score  from  pin\n      1   0.750  [b]   3 pot";
        assert_eq!(text, expected);
        let json = serde_json::to_string(&similar).expect("JSON");
        assert!(
            json.contains(r#""unknown_pin_ids":[7],"unknown_pin_keys":["tea"]"#),
            "{json}"
        );
    }
}
