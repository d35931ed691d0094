//! `pinnersage recommend`.

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::bar::bar;
use super::client::{ServerArgs, title, told};
use super::out;
use crate::wire::v1;

#[derive(Debug, Args)]
pub(super) struct RecommendArgs {
    /// The user.
    #[arg(long, value_name = "ID")]
    user: u64,
    /// How many candidates to show.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// How many medoids to sample; 0 leaves it to the server.
    #[arg(long, value_name = "N", default_value_t = 0)]
    medoids: u32,
    /// How many of them are the user's most important ones, and not left to chance.
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_medoids: u32,
    /// Repeat the answer of this seed.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Leave these pins out.
    #[arg(long, value_name = "PIN", num_args = 1..)]
    exclude: Vec<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The printed form of the answer.
#[derive(Serialize)]
struct Recommended {
    user_id: u64,
    seed: u64,
    fallback_reason: &'static str,
    degraded_reason: &'static str,
    state_age_seconds: i64,
    catalog_version: String,
    profile_version: String,
    popularity_weight: f32,
    medoids: Vec<Medoid>,
    candidates: Vec<Candidate>,
}

#[derive(Serialize)]
struct Medoid {
    pin_id: u64,
    title: String,
    importance: f64,
    inclusion_probability: f64,
    origin: &'static str,
}

#[derive(Serialize)]
struct Candidate {
    pin_id: u64,
    title: String,
    score: f32,
    medoid_index: u32,
}

pub(super) fn run(args: RecommendArgs) -> anyhow::Result<()> {
    let request = v1::RecommendRequest {
        user_id: Some(args.user),
        limit: args.limit,
        medoids: args.medoids,
        top_medoids: args.top_medoids,
        seed: args.seed,
        exclude_pin_ids: args.exclude,
        include_titles: true,
        ..Default::default()
    };
    super::block_on(async {
        let recommended = ask(args.user, request, &args.server).await?;
        match args.json {
            true => out::print(&serde_json::to_string_pretty(&recommended)?),
            false => out::print(&recommended),
        }
    })
}

/// Asks for `limit` candidates for a user and prints them for a person.
pub(super) async fn show(user: u64, limit: u32, server: &ServerArgs) -> anyhow::Result<()> {
    let request = v1::RecommendRequest {
        user_id: Some(user),
        limit,
        include_titles: true,
        ..Default::default()
    };
    out::print(&ask(user, request, server).await?)
}

async fn ask(
    user: u64,
    request: v1::RecommendRequest,
    server: &ServerArgs,
) -> anyhow::Result<Recommended> {
    let answer = server
        .connect()
        .await?
        .recommend(request)
        .await
        .map_err(|status| told(&status))?
        .into_inner();
    Ok(Recommended {
        user_id: user,
        seed: answer.seed,
        fallback_reason: answer.fallback_reason().as_str_name(),
        degraded_reason: answer.degraded_reason().as_str_name(),
        popularity_weight: answer.popularity_weight,
        state_age_seconds: answer.state_age.map_or(0, |age| age.seconds),
        medoids: answer.medoids.into_iter().map(Medoid::from).collect(),
        candidates: answer.candidates.into_iter().map(Candidate::from).collect(),
        catalog_version: answer.catalog_version,
        profile_version: answer.profile_version,
    })
}

impl From<v1::SampledMedoid> for Medoid {
    fn from(medoid: v1::SampledMedoid) -> Self {
        Self {
            pin_id: medoid.pin_id,
            importance: medoid.importance,
            inclusion_probability: medoid.inclusion_probability,
            origin: medoid.origin().as_str_name(),
            title: medoid.title,
        }
    }
}

impl From<v1::Candidate> for Candidate {
    fn from(candidate: v1::Candidate) -> Self {
        let v1::Candidate {
            pin_id,
            score,
            medoid_index,
            title,
        } = candidate;
        Self {
            pin_id,
            title,
            score,
            medoid_index,
        }
    }
}

impl fmt::Display for Recommended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, count, seed) = (self.user_id, self.candidates.len(), self.seed);
        writeln!(f, "user {user}: {count} candidates (seed {seed})")?;
        match v1::FallbackReason::from_str_name(self.fallback_reason) {
            Some(v1::FallbackReason::UnknownUser) => {
                writeln!(f, "  from popular interests: the user has no profile")?;
            }
            Some(v1::FallbackReason::ProfileNotInCatalog) => {
                writeln!(
                    f,
                    "  from popular interests: the catalog has none of the user's medoids"
                )?;
            }
            Some(v1::FallbackReason::RecentActionsOnly) => {
                writeln!(f, "  from recent actions alone: the user has no profile")?;
            }
            Some(v1::FallbackReason::NothingWanted) => {
                writeln!(
                    f,
                    "  from popular interests: the user has turned against all others"
                )?;
            }
            Some(v1::FallbackReason::Unspecified) | None => {}
        }
        if self.degraded_reason == v1::DegradedReason::MedoidsNotInCatalog.as_str_name() {
            writeln!(
                f,
                "  degraded: the catalog lacks some of the user's medoids"
            )?;
        }
        if self.popularity_weight > 0.0 {
            let weight = self.popularity_weight;
            writeln!(f, "  ranked by score + {weight} * popularity of the pin")?;
        }
        writeln!(
            f,
            "  {:>20}  {:>10} {:>11}  sampled interest",
            "", "importance", "probability"
        )?;
        let greatest = self
            .medoids
            .iter()
            .map(|medoid| medoid.importance)
            .fold(0.0, f64::max);
        for (at, medoid) in self.medoids.iter().enumerate() {
            let Medoid {
                pin_id,
                importance,
                inclusion_probability: probability,
                ..
            } = medoid;
            let (bar, mark, name) = (bar(*importance, greatest), mark(at), title(&medoid.title));
            writeln!(
                f,
                "  {bar}  {importance:>10.3} {probability:>11.3}  [{mark}] {pin_id} {name}"
            )?;
        }
        write!(f, "  {:>5}  {:>6}  from  pin", "place", "score")?;
        for (place, candidate) in self.candidates.iter().enumerate() {
            let Candidate {
                pin_id,
                score,
                medoid_index,
                ..
            } = candidate;
            let (mark, name) = (mark(*medoid_index as usize), title(&candidate.title));
            write!(
                f,
                "\n  {:>5}  {score:>6.3}  [{mark}]   {pin_id} {name}",
                place + 1
            )?;
        }
        Ok(())
    }
}

/// A letter for a sampled medoid: there are at most 20.
fn mark(at: usize) -> char {
    ('a'..='z').nth(at).unwrap_or('?')
}
