//! `pinnersage diff`: the same seeded requests to two servers, and how their answers
//! differ. The numbers by which a canary is let in or not.

mod report;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use self::report::{Report, Side};
use super::client::{self, Connection, TlsArgs};
use super::output;
use super::users::UserRequest;
use crate::wire::v1;
use crate::wire::v1::recommendation_service_client::RecommendationServiceClient;

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The server that is right.
    #[arg(long, value_name = "URL")]
    baseline: String,
    /// The server that is to be judged.
    #[arg(long, value_name = "URL")]
    candidate: String,
    /// Users to ask for: what `pinnersage users` writes, or one id a line.
    #[arg(long, value_name = "FILE")]
    users: PathBuf,
    /// Ask for no more than so many of them.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    requests: usize,
    /// Candidates of each; 0 leaves it to the server.
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: u32,
    /// Medoids of each; 0 leaves it to the server.
    #[arg(long, value_name = "N", default_value_t = 0)]
    medoids: u32,
    /// Fail when the mean overlap is less.
    #[arg(long, value_name = "SHARE")]
    min_overlap: Option<f64>,
    /// Fail when the mean rank-biased overlap is less.
    #[arg(long, value_name = "SHARE")]
    min_rbo: Option<f64>,
    /// Fail when a smaller share of answers is identical.
    #[arg(long, value_name = "SHARE")]
    min_identical: Option<f64>,
    /// Fail when the candidate's p99 is so many times that of the baseline.
    #[arg(long, value_name = "RATIO")]
    max_p99_ratio: Option<f64>,
    /// Fail when a greater share of the calls of either fails.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    max_failed: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

/// What one server answered so far.
struct Server {
    client: RecommendationServiceClient<Connection>,
    latencies: Vec<Duration>,
    failed: usize,
    degraded: usize,
    build: String,
    catalog_version: String,
    profile_version: String,
}

pub(super) fn run(args: &DiffArgs) -> anyhow::Result<()> {
    let users = users(&args.users)?;
    let report = super::block_on(async {
        let mut baseline = Server::connect(&args.baseline, &args.tls).await?;
        let mut candidate = Server::connect(&args.candidate, &args.tls).await?;
        let mut pairs = Vec::new();
        for (at, &user) in users.iter().take(args.requests).enumerate() {
            let request = v1::RecommendRequest {
                user_id: Some(user),
                limit: args.limit,
                medoids: args.medoids,
                seed: Some(at as u64),
                ..Default::default()
            };
            // In turn, so that neither gains from what the other has warmed.
            let (first, second) = if at % 2 == 0 {
                let first = baseline.ask(&request).await;
                (first, candidate.ask(&request).await)
            } else {
                let second = candidate.ask(&request).await;
                (baseline.ask(&request).await, second)
            };
            pairs.extend(first.zip(second));
        }
        let asked = users.len().min(args.requests);
        Ok(Report::of(&pairs, asked, (&baseline, &candidate), args))
    })?;
    match args.json {
        true => output::print(&serde_json::to_string_pretty(&report)?)?,
        false => output::print(&report)?,
    }
    anyhow::ensure!(report.broken.is_empty(), "{}", report.broken.join("; "));
    Ok(())
}

/// The users of a file.
fn users(path: &PathBuf) -> anyhow::Result<Vec<u64>> {
    let named = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(named)?;
    let ids: Vec<String> = match text.trim_start().starts_with('[') {
        true => {
            let requests: Vec<UserRequest> = serde_json::from_str(&text).with_context(named)?;
            requests
                .into_iter()
                .map(|request| request.user_id)
                .collect()
        }
        false => text.lines().map(|line| line.trim().to_owned()).collect(),
    };
    let ids = ids.iter().filter(|id| !id.is_empty());
    let parsed = ids.map(|id| id.parse().with_context(|| format!("{}: {id:?}", named())));
    let ids: Vec<u64> = parsed.collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(!ids.is_empty(), "{}: has no user", named());
    Ok(ids)
}

impl Server {
    async fn connect(url: &str, tls: &TlsArgs) -> anyhow::Result<Self> {
        let connection = client::connection(url, tls).await?;
        Ok(Self {
            client: RecommendationServiceClient::new(connection),
            latencies: Vec::new(),
            failed: 0,
            degraded: 0,
            build: String::new(),
            catalog_version: String::new(),
            profile_version: String::new(),
        })
    }

    async fn ask(&mut self, request: &v1::RecommendRequest) -> Option<v1::RecommendResponse> {
        let begun = Instant::now();
        let answer = self.client.recommend(request.clone()).await;
        self.latencies.push(begun.elapsed());
        let Ok(answer) = answer else {
            self.failed += 1;
            return None;
        };
        let build = answer.metadata().get("x-pinnersage-build");
        let build = build.and_then(|build| build.to_str().ok());
        self.build = build.unwrap_or("unknown").to_owned();
        let answer = answer.into_inner();
        self.degraded += usize::from(answer.degraded);
        self.catalog_version.clone_from(&answer.catalog_version);
        self.profile_version.clone_from(&answer.profile_version);
        Some(answer)
    }

    fn side(&self) -> Side {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let ms = |share: f64| {
            let place = (sorted.len() as f64 * share) as usize;
            let latency = sorted.get(place).or(sorted.last());
            latency.map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        let share = |count: usize| count as f64 / self.latencies.len().max(1) as f64;
        Side {
            build: self.build.clone(),
            catalog_version: self.catalog_version.clone(),
            profile_version: self.profile_version.clone(),
            failed: share(self.failed),
            degraded: share(self.degraded),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
        }
    }
}
