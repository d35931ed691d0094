//! Loads a running server and prints what its callers see.
//!
//! ```text
//! cargo run --release --example load -- [--server http://127.0.0.1:50051]
//!     [--users 300] [--callers 8] [--seconds 10] [--limit 400] [--medoids 3]
//!     [--columns] [--rate 0] [--writers 0] [--actions 100] [--pins 100000]
//! ```
//!
//! With `--rate` the callers together make that many calls a second, each at its
//! moment; a call that is late counts from the moment when it was due.
//!
//! Every caller has a connection of its own and asks for one user after the other, with
//! ids drawn evenly below `--users`. Every writer records `--actions` actions a call, of
//! those users on pins drawn evenly below `--pins`, and waits for the acknowledgement.
//! Beside them a prober calls the health service each millisecond: its latency shows how
//! long the server's async workers are kept from other work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use clap::Parser;
use pinnersage::wire::v1::action_service_client::ActionServiceClient;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;
use pinnersage::wire::v1::{Action, RecommendRequest, RecordActionsRequest, ResponseFormat};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[derive(Clone, Parser)]
struct Args {
    #[arg(long, default_value = "http://127.0.0.1:50051")]
    server: String,
    #[arg(long, default_value_t = 300)]
    users: u64,
    #[arg(long, default_value_t = 8)]
    callers: u64,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long, default_value_t = 400)]
    limit: u32,
    #[arg(long, default_value_t = 3)]
    medoids: u32,
    /// Ask for candidates as lists in place of a message each.
    #[arg(long)]
    columns: bool,
    #[arg(long, default_value_t = 0)]
    rate: u64,
    #[arg(long, default_value_t = 0)]
    writers: u64,
    #[arg(long, default_value_t = 100)]
    actions: usize,
    #[arg(long, default_value_t = 100_000)]
    pins: u64,
}

/// Latencies of the calls of one caller, and their codes.
#[derive(Default)]
struct Calls {
    latencies: Vec<Duration>,
    codes: BTreeMap<String, u64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let callers: Vec<_> = (0..args.callers)
        .map(|seed| tokio::spawn(call(args.clone(), seed, end)))
        .collect();
    let writers: Vec<_> = (0..args.writers)
        .map(|seed| tokio::spawn(write(args.clone(), seed, end)))
        .collect();
    let prober = tokio::spawn(probe(args.server.clone(), end));
    report("Recommend", callers, args.seconds, 1).await?;
    if args.writers > 0 {
        report("RecordActions", writers, args.seconds, args.actions).await?;
    }
    println!("Health: {}", quantiles(prober.await??));
    Ok(())
}

async fn report(
    name: &str,
    tasks: Vec<JoinHandle<Result<Calls>>>,
    seconds: u64,
    of_each: usize,
) -> Result<()> {
    let mut all = Calls::default();
    for task in tasks {
        let Calls { latencies, codes } = task.await??;
        all.latencies.extend(latencies);
        for (code, count) in codes {
            *all.codes.entry(code).or_default() += count;
        }
    }
    let rate = all.latencies.len() as f64 / seconds as f64;
    let each = match of_each {
        1 => String::new(),
        of_each => format!(" of {of_each}, {:.0} in all", rate * of_each as f64),
    };
    let latencies = quantiles(all.latencies);
    println!(
        "{name}: {rate:.0} calls/s{each}, {latencies}, {:?}",
        all.codes
    );
    Ok(())
}

async fn call(args: Args, seed: u64, end: Instant) -> Result<Calls> {
    let mut client = RecommendationServiceClient::connect(args.server).await?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut calls = Calls::default();
    let every = match args.rate {
        0 => Duration::ZERO,
        rate => Duration::from_secs_f64(args.callers as f64 / rate as f64),
    };
    let format = match args.columns {
        true => ResponseFormat::Columns,
        false => ResponseFormat::Unspecified,
    };
    let mut due = Instant::now() + every.mul_f64(rng.random());
    while Instant::now() < end {
        let request = RecommendRequest {
            user_id: Some(rng.random_range(0..args.users)),
            limit: args.limit,
            medoids: args.medoids,
            response_format: format.into(),
            ..Default::default()
        };
        let begun = match args.rate {
            0 => Instant::now(),
            _ if due <= Instant::now() => due,
            _ => {
                // That the timer is late by up to a millisecond is not the server's.
                tokio::time::sleep_until(due.into()).await;
                Instant::now()
            }
        };
        due += every;
        let code = match client.recommend(request).await {
            Ok(_) => "OK".to_owned(),
            Err(status) => format!("{:?}", status.code()),
        };
        calls.latencies.push(begun.elapsed());
        *calls.codes.entry(code).or_default() += 1;
    }
    Ok(calls)
}

async fn write(args: Args, seed: u64, end: Instant) -> Result<Calls> {
    let mut client = ActionServiceClient::connect(args.server).await?;
    let mut rng = ChaCha8Rng::seed_from_u64(u64::MAX - seed);
    let mut calls = Calls::default();
    while Instant::now() < end {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let action = |_| Action {
            action_id: rand::random::<[u8; 16]>().to_vec(),
            user_id: Some(rng.random_range(0..args.users)),
            pin_id: Some(rng.random_range(0..args.pins)),
            action: "save".to_owned(),
            time: Some(prost_types::Timestamp {
                seconds: since.as_secs() as i64,
                nanos: since.subsec_nanos() as i32,
            }),
            medoid_pin_id: None,
            ..Default::default()
        };
        let request = RecordActionsRequest {
            actions: (0..args.actions).map(action).collect(),
        };
        let begun = Instant::now();
        let answer = client.record_actions(request).await;
        calls.latencies.push(begun.elapsed());
        let codes = match answer {
            Ok(answer) => answer
                .get_ref()
                .results()
                .map(|s| format!("{s:?}"))
                .collect(),
            Err(status) => vec![format!("{:?}", status.code())],
        };
        for code in codes {
            *calls.codes.entry(code).or_default() += 1;
        }
    }
    Ok(calls)
}

async fn probe(server: String, end: Instant) -> Result<Vec<Duration>> {
    let channel = Channel::from_shared(server)?.connect().await?;
    let mut client = HealthClient::new(channel);
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        client.check(HealthCheckRequest::default()).await?;
        latencies.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(latencies)
}

fn quantiles(mut latencies: Vec<Duration>) -> String {
    latencies.sort_unstable();
    let at = |share: f64| {
        let place = (latencies.len() as f64 * share) as usize;
        latencies
            .get(place)
            .or(latencies.last())
            .copied()
            .unwrap_or_default()
    };
    format!(
        "p50 {:?}, p99 {:?}, p99.9 {:?}",
        at(0.5),
        at(0.99),
        at(0.999)
    )
}
