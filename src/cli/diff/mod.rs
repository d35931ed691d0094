//! `pinnersage diff`: sends the same seeded requests to two servers, and reports how
//! their answers differ. Its thresholds decide whether a canary goes on.

mod report;
mod server;
mod thresholds;

use std::path::PathBuf;

use clap::Args;

use self::report::{AnswerPair, Report};
use self::server::Server;
use self::thresholds::Thresholds;
use super::client::TlsArgs;
use super::id_or_key::IdOrKey;
use super::runtime::block_on;
use super::{output, user_requests};
use crate::wire::v1;

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// Server whose answers are right.
    #[arg(long, value_name = "URL")]
    baseline: String,
    /// Server to judge.
    #[arg(long, value_name = "URL")]
    candidate: String,
    /// Users to request: a file of `pinnersage users`, or one id or one JSON
    /// object of such a file a line.
    #[arg(long, value_name = "FILE")]
    users: PathBuf,
    /// Largest number of requests.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    requests: usize,
    /// Candidates of each request; 0 leaves it to the server.
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: u32,
    /// Medoids of each request; 0 leaves it to the server.
    #[arg(long, value_name = "N", default_value_t = 0)]
    medoids: u32,
    #[command(flatten)]
    thresholds: Thresholds,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

pub(super) fn run(args: &DiffArgs) -> anyhow::Result<()> {
    let users = user_requests::read(&args.users)?;
    anyhow::ensure!(!users.is_empty(), "{}: has no user", args.users.display());
    let report = block_on(compare(args, &users))?;
    if args.json {
        output::print_json(&serde_json::to_string_pretty(&report)?)?;
    } else {
        output::print(&report)?;
    }
    anyhow::ensure!(report.broken.is_empty(), "{}", report.broken.join("; "));
    Ok(())
}

async fn compare(args: &DiffArgs, users: &[IdOrKey]) -> anyhow::Result<Report> {
    let mut baseline = Server::connect(&args.baseline, &args.tls).await?;
    let mut candidate = Server::connect(&args.candidate, &args.tls).await?;
    let mut pairs = Vec::new();
    for (index, user) in users.iter().take(args.requests).enumerate() {
        let (user_id, user_key) = user.fields();
        let request = v1::RecommendRequest {
            user_id,
            user_key,
            limit: args.limit,
            medoids: args.medoids,
            seed: Some(index as u64),
            ..Default::default()
        };
        // In turn, so that neither gains from what the other has warmed.
        let (first, second) = if index % 2 == 0 {
            let first = baseline.fetch(&request).await;
            (first, candidate.fetch(&request).await)
        } else {
            let second = candidate.fetch(&request).await;
            (baseline.fetch(&request).await, second)
        };
        let pair = first.zip(second);
        pairs.extend(pair.map(|(baseline, candidate)| AnswerPair {
            baseline,
            candidate,
        }));
    }
    let requests = users.len().min(args.requests);
    let report = Report::new(&pairs, requests, baseline.stats(), candidate.stats());
    Ok(report.judged_by(&args.thresholds))
}
