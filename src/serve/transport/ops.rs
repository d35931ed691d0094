//! The port for operators: `/metrics`, `/livez`, `/readyz`.

use std::convert::Infallible;
use std::future::IntoFuture;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::drain::{Phase, wait_for_phase};
use crate::archive::{Backlog, LogArchiver};
use crate::index::DeltaCounts;
use crate::metrics as names;
use crate::model::Timestamp;
use crate::serve::overload::Limiter;
use crate::serve::state::{Live, Loaded};

/// Time between two upkeeps of the recorder of metrics.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// State that the port for operators shows.
#[derive(Clone)]
pub(crate) struct OpsParts {
    pub(crate) live: Arc<Live>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) phases: watch::Receiver<Phase>,
    /// Tells the time of a scrape.
    pub(crate) clock: fn() -> Timestamp,
    /// Source of `/metrics`; none answers with an empty page.
    pub(crate) metrics: Option<PrometheusHandle>,
}

/// Serves operators until the phase is [`Phase::Closing`].
pub(crate) async fn serve_ops(listener: TcpListener, parts: OpsParts) -> io::Result<()> {
    let upkeep = run_upkeep(parts.metrics.clone());
    let stop = wait_for_phase(parts.phases.clone(), Phase::Closing);
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .with_state(parts);
    tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(stop).into_future() => served,
        never = upkeep => match never {},
    }
}

/// Folds samples into their buckets, which otherwise only a scrape would do: memory must
/// not grow where nobody scrapes. Never ends.
async fn run_upkeep(metrics: Option<PrometheusHandle>) -> Infallible {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        if let Some(metrics) = &metrics {
            metrics.run_upkeep();
        }
    }
}

async fn ready(State(parts): State<OpsParts>) -> (StatusCode, &'static str) {
    let phase = *parts.phases.borrow();
    match (phase, parts.live.get()) {
        (Phase::Open, Some(_)) if parts.live.is_behind() => {
            (StatusCode::SERVICE_UNAVAILABLE, "behind the action log\n")
        }
        // It answers readers still, so it stays ready.
        (Phase::Open, Some(_)) if records_nothing(&parts.live) => {
            (StatusCode::OK, "ready, but nothing is recorded\n")
        }
        (Phase::Open, Some(_)) => (StatusCode::OK, "ready\n"),
        (Phase::Open, None) => (StatusCode::SERVICE_UNAVAILABLE, "loading\n"),
        (Phase::Draining | Phase::Closing, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

/// Whether writes have failed, and the log is not open again.
fn records_nothing(live: &Live) -> bool {
    let actions = live.actions();
    actions.is_some_and(|actions| actions.failure().is_some())
}

async fn scrape(State(parts): State<OpsParts>) -> String {
    parts.limiter.describe();
    if let Some(serving) = parts.live.get() {
        describe(&serving.loaded);
        let DeltaCounts { upserted, deleted } = serving.delta.counts();
        gauge!(names::CHANGED_PINS, "kind" => "upserted").set(upserted as f64);
        gauge!(names::CHANGED_PINS, "kind" => "deleted").set(deleted as f64);
    }
    if let Some(actions) = parts.live.actions() {
        gauge!(names::ACTION_USERS).set(actions.users() as f64);
    }
    if let Some(archiver) = parts.live.archiver() {
        describe_backlog(archiver, (parts.clock)());
    }
    parts
        .metrics
        .map(|metrics| metrics.render())
        .unwrap_or_default()
}

/// Sets the gauges of what waits to be archived.
fn describe_backlog(archiver: &LogArchiver, now: Timestamp) {
    // While the log cannot be read, they stay what they were.
    if let Ok(Backlog { actions, oldest }) = archiver.backlog() {
        let age = oldest.map_or(0.0, |oldest| now.days_since(oldest).max(0.0) * 86_400.0);
        gauge!(names::ARCHIVE_WAITING).set(actions as f64);
        gauge!(names::ARCHIVE_OLDEST).set(age);
    }
}

/// Sets the gauges and counters of the served versions, as of this scrape.
fn describe(loaded: &Loaded) {
    let catalog = loaded.catalog().manifest();
    gauge!(names::INDEX_PINS).set(catalog.facts.pins as f64);
    gauge!(names::PROFILES).set(loaded.profiles().manifest().facts.users as f64);
    gauge!(names::CATALOG_INFO, "version" => catalog.version.clone()).set(1.0);
    describe_neighbor_lists(loaded);
    describe_ages(loaded, SystemTime::now());
}

fn describe_neighbor_lists(loaded: &Loaded) {
    let (index, lists) = (loaded.index(), loaded.index().lists());
    let lookups = index.lookups();
    counter!(names::NEIGHBOR_HITS, "source" => "ahead").absolute(lookups.ahead);
    counter!(names::NEIGHBOR_HITS, "source" => "cache").absolute(lookups.cached);
    counter!(names::NEIGHBOR_MISSES, "reason" => "no_list").absolute(lookups.missing);
    counter!(names::NEIGHBOR_MISSES, "reason" => "too_short").absolute(lookups.too_short);
    counter!(names::FILTERED, "plan" => "list").absolute(lookups.filtered_lists);
    counter!(names::FILTERED, "plan" => "search").absolute(lookups.filtered_searches);
    counter!(names::FILTERED, "plan" => "scan").absolute(lookups.filtered_scans);
    gauge!(names::NEIGHBOR_LISTS).set(lists.len() as f64);
    gauge!(names::NEIGHBOR_BYTES, "source" => "ahead").set(lists.bytes() as f64);
    gauge!(names::NEIGHBOR_BYTES, "source" => "cache").set(index.cached_bytes() as f64);
}

fn describe_ages(loaded: &Loaded, now: SystemTime) {
    let since = |moment| now.duration_since(moment).unwrap_or_default().as_secs_f64();
    let catalog_age = since(loaded.catalog().written_at);
    gauge!(names::SNAPSHOT_AGE, "kind" => "catalog").set(catalog_age);
    if let Some(written_at) = loaded.index().lists().written_at() {
        gauge!(names::SNAPSHOT_AGE, "kind" => "neighbors").set(since(written_at));
    }
    // Unlike the age of a file, these are below 0 for a moment that is yet to come.
    let age = |time: Timestamp| since(SystemTime::UNIX_EPOCH) - time.micros() as f64 / 1e6;
    let profiles = &loaded.profiles().manifest().facts;
    gauge!(names::SNAPSHOT_AGE, "kind" => "profiles").set(age(profiles.as_of));
    gauge!(names::COMPLETE_THROUGH_AGE).set(age(profiles.complete_through));
}
