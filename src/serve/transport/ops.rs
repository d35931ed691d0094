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

use crate::metrics as names;
use crate::serve::overload::limiter::Limiter;
use crate::serve::state::{Live, Loaded};
use crate::serve::transport::drain::{self, Phase};

const UPKEEP: Duration = Duration::from_secs(5);

/// What operators ask about.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) live: Arc<Live>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) phases: watch::Receiver<Phase>,
    /// None answers with an empty page.
    pub(crate) metrics: Option<PrometheusHandle>,
}

/// Serves until the phase is to close.
pub(crate) async fn serve(listener: TcpListener, parts: Parts) -> io::Result<()> {
    let upkeep = keep_up(parts.metrics.clone());
    let stop = drain::reached(parts.phases.clone(), Phase::Closing);
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

/// Folds samples into their buckets, which otherwise only a scrape would do:
/// memory must not grow where nobody scrapes.
async fn keep_up(metrics: Option<PrometheusHandle>) -> Infallible {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        if let Some(metrics) = &metrics {
            metrics.run_upkeep();
        }
    }
}

async fn ready(State(parts): State<Parts>) -> (StatusCode, &'static str) {
    let phase = *parts.phases.borrow();
    match (phase, parts.live.get()) {
        (Phase::Open, Some(_)) => (StatusCode::OK, "ready\n"),
        (Phase::Open, None) => (StatusCode::SERVICE_UNAVAILABLE, "loading\n"),
        (Phase::Draining | Phase::Closing, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

async fn scrape(State(parts): State<Parts>) -> String {
    parts.limiter.describe();
    if let Some(serving) = parts.live.get() {
        describe(&serving.loaded);
        let (upserted, deleted) = serving.delta.counts();
        gauge!(names::CHANGED_PINS, "kind" => "upserted").set(upserted as f64);
        gauge!(names::CHANGED_PINS, "kind" => "deleted").set(deleted as f64);
    }
    if let Some(actions) = parts.live.actions() {
        gauge!(names::ACTION_USERS).set(actions.users() as f64);
    }
    parts
        .metrics
        .map(|metrics| metrics.render())
        .unwrap_or_default()
}

/// What is served, as of this scrape.
fn describe(loaded: &Loaded) {
    let catalog = loaded.catalog().manifest();
    let profiles = &loaded.profiles().manifest().facts;
    let (index, lists) = (loaded.index(), loaded.index().lists());
    let lookups = index.lookups();
    counter!(names::NEIGHBOR_HITS, "source" => "ahead").absolute(lookups.ahead);
    counter!(names::NEIGHBOR_HITS, "source" => "cache").absolute(lookups.cached);
    counter!(names::NEIGHBOR_MISSES, "reason" => "no_list").absolute(lookups.missing);
    counter!(names::NEIGHBOR_MISSES, "reason" => "too_short").absolute(lookups.short);
    gauge!(names::NEIGHBOR_LISTS).set(lists.len() as f64);
    gauge!(names::NEIGHBOR_BYTES, "source" => "ahead").set(lists.bytes() as f64);
    gauge!(names::NEIGHBOR_BYTES, "source" => "cache").set(index.computed_bytes() as f64);
    gauge!(names::INDEX_PINS).set(catalog.facts.pins as f64);
    gauge!(names::PROFILES).set(profiles.users as f64);
    gauge!(names::CATALOG_INFO, "version" => catalog.version.clone()).set(1.0);
    let now = SystemTime::now();
    let age = now
        .duration_since(loaded.catalog().written_at)
        .unwrap_or_default();
    gauge!(names::SNAPSHOT_AGE, "kind" => "catalog").set(age.as_secs_f64());
    if let Some(written_at) = lists.written_at() {
        let age = now.duration_since(written_at).unwrap_or_default();
        gauge!(names::SNAPSHOT_AGE, "kind" => "neighbors").set(age.as_secs_f64());
    }
    let since_1970 = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let as_of = profiles.as_of.micros() as f64 / 1e6;
    gauge!(names::SNAPSHOT_AGE, "kind" => "profiles").set(since_1970.as_secs_f64() - as_of);
}
