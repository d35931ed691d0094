//! The metrics: names, meanings, buckets. Base units; no id of a user or a pin is
//! ever a label.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Calls by method and gRPC code.
pub const REQUESTS: &str = "pinnersage_grpc_requests_total";
/// Duration of calls by method, whatever their code.
pub const REQUEST_DURATION: &str = "pinnersage_grpc_request_duration_seconds";
/// Calls that are being answered.
pub const IN_FLIGHT: &str = "pinnersage_requests_in_flight";
/// Calls that were refused for load, by reason.
pub const SHED: &str = "pinnersage_requests_shed_total";
/// Searches that may be made at a time.
pub const OVERLOAD_LIMIT: &str = "pinnersage_overload_limit";
/// Calls that wait for a search.
pub const OVERLOAD_WAITING: &str = "pinnersage_overload_waiting";
/// Share of the usual effort that searches make.
pub const OVERLOAD_EFFORT: &str = "pinnersage_overload_effort_ratio";
/// Connections that are open.
pub const CONNECTIONS: &str = "pinnersage_connections";
/// Connections that were closed before their first call, by reason.
pub const CONNECTIONS_REFUSED: &str = "pinnersage_connections_refused_total";
/// Duration of each stage of a recommendation.
pub const STAGE_DURATION: &str = "pinnersage_recommend_stage_duration_seconds";
/// Answers that are less than what was asked for, by reason.
pub const DEGRADED: &str = "pinnersage_recommend_degraded_total";
/// Answers that do not rest on the user's own profile, by reason.
pub const FALLBACK: &str = "pinnersage_recommend_fallback_total";
/// Candidates in an answer.
pub const CANDIDATES: &str = "pinnersage_recommend_candidates";
/// Neighbors that a list answered, by where it comes from.
pub const NEIGHBOR_HITS: &str = "pinnersage_neighbor_cache_hits_total";
/// Neighbors that needed a walk, by reason.
pub const NEIGHBOR_MISSES: &str = "pinnersage_neighbor_cache_misses_total";
/// Share of the true neighbors that the index finds, over the latest probes.
pub const RECALL: &str = "pinnersage_index_recall_ratio";
/// Retrievals that were repeated exactly.
pub const RECALL_PROBES: &str = "pinnersage_index_recall_probes_total";
/// Pins with a list made ahead of time.
pub const NEIGHBOR_LISTS: &str = "pinnersage_neighbor_lists";
/// Bytes of lists, by where they come from.
pub const NEIGHBOR_BYTES: &str = "pinnersage_neighbor_cache_bytes";
/// Actions that were sent, by what became of them.
pub const ACTIONS: &str = "pinnersage_actions_total";
/// Time from an action to the moment when it counts.
pub const ACTION_FRESHNESS: &str = "pinnersage_action_freshness_seconds";
/// Users of whom recorded actions are in memory.
pub const ACTION_USERS: &str = "pinnersage_action_users";
/// Pins that were changed on a running server, by kind of change.
pub const PIN_CHANGES: &str = "pinnersage_pin_changes_total";
/// Pins that differ from the catalog that is served, by kind of change.
pub const CHANGED_PINS: &str = "pinnersage_changed_pins";
/// Pins in the catalog that is served.
pub const INDEX_PINS: &str = "pinnersage_index_pins";
/// Labelled with the version of a catalog: 1 for the one that is served.
pub const CATALOG_INFO: &str = "pinnersage_catalog_info";
/// Profiles that are served.
pub const PROFILES: &str = "pinnersage_profiles";
/// Changes of the versions that are served, by what became of them.
pub const VERSION_CHANGES: &str = "pinnersage_version_changes_total";
/// Age of the catalog and of its oldest lists (since they were written) and of
/// the profiles (since as_of).
pub const SNAPSHOT_AGE: &str = "pinnersage_snapshot_age_seconds";
/// 1, labeled with version and commit of this binary.
pub const BUILD_INFO: &str = "pinnersage_build_info";

/// Bounds of the buckets of durations, in seconds, from 50 us to 10 s.
const SECONDS: [f64; 17] = [
    50e-6, 100e-6, 200e-6, 350e-6, 500e-6, 750e-6, 1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1,
    0.25, 1.0, 2.5, 10.0,
];
/// Bounds of the buckets of counts of candidates.
const COUNTS: [f64; 9] = [
    0.0, 10.0, 50.0, 100.0, 200.0, 399.0, 400.0, 1_000.0, 2_000.0,
];

/// Bounds of the buckets of the age of actions, in seconds, from 1 ms to a day.
const AGES: [f64; 12] = [
    1e-3, 10e-3, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 3_600.0, 21_600.0, 86_400.0,
];

/// Begins to record, for the whole process. Call once, in main.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let duration = |name: &str| Matcher::Full(name.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(duration(REQUEST_DURATION), &SECONDS)?
        .set_buckets_for_metric(duration(STAGE_DURATION), &SECONDS)?
        .set_buckets_for_metric(duration(ACTION_FRESHNESS), &AGES)?
        .set_buckets_for_metric(Matcher::Full(CANDIDATES.to_owned()), &COUNTS)?
        .install_recorder()?;
    describe();
    let sha = option_env!("PINNERSAGE_GIT_SHA").unwrap_or("unknown");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("git_sha", sha)];
    metrics::gauge!(BUILD_INFO, &labels).set(1.0);
    Ok(handle)
}

fn describe() {
    describe_counter!(REQUESTS, "Calls by method and gRPC code");
    describe_histogram!(
        REQUEST_DURATION,
        Unit::Seconds,
        "Duration of calls by method"
    );
    describe_gauge!(IN_FLIGHT, "Calls that are being answered");
    describe_counter!(SHED, "Calls that were refused for load, by reason");
    describe_gauge!(OVERLOAD_LIMIT, "Searches that may be made at a time");
    describe_gauge!(OVERLOAD_WAITING, "Calls that wait for a search");
    describe_gauge!(
        OVERLOAD_EFFORT,
        "Share of the usual effort that searches make"
    );
    describe_gauge!(CONNECTIONS, "Connections that are open");
    describe_counter!(
        CONNECTIONS_REFUSED,
        "Connections that were closed before their first call, by reason"
    );
    describe_histogram!(
        STAGE_DURATION,
        Unit::Seconds,
        "Duration of a stage of a recommendation"
    );
    describe_counter!(
        DEGRADED,
        "Answers of a lesser quality than asked for, by reason"
    );
    describe_counter!(
        FALLBACK,
        "Answers without the user's own profile, by reason"
    );
    describe_histogram!(CANDIDATES, "Candidates in an answer");
    describe_counter!(
        NEIGHBOR_HITS,
        "Neighbors that a list answered, by where it comes from"
    );
    describe_counter!(NEIGHBOR_MISSES, "Neighbors that needed a walk, by reason");
    describe_gauge!(
        RECALL,
        "Share of the true neighbors that the index finds, over the latest probes"
    );
    describe_counter!(RECALL_PROBES, "Retrievals that were repeated exactly");
    describe_gauge!(NEIGHBOR_LISTS, "Pins with a list made ahead of time");
    describe_gauge!(
        NEIGHBOR_BYTES,
        Unit::Bytes,
        "Bytes of lists, by where they come from"
    );
    describe_counter!(ACTIONS, "Actions that were sent, by what became of them");
    describe_histogram!(
        ACTION_FRESHNESS,
        Unit::Seconds,
        "Time from an action to the moment when it counts"
    );
    describe_gauge!(ACTION_USERS, "Users of whom recorded actions are in memory");
    describe_counter!(
        PIN_CHANGES,
        "Pins that were changed on a running server, by kind of change"
    );
    describe_gauge!(
        CHANGED_PINS,
        "Pins that differ from the catalog that is served, by kind of change"
    );
    describe_gauge!(INDEX_PINS, "Pins in the catalog that is served");
    describe_gauge!(
        CATALOG_INFO,
        "1, with the version of the catalog that is served"
    );
    describe_gauge!(PROFILES, "Profiles that are served");
    describe_counter!(
        VERSION_CHANGES,
        "Changes of the versions that are served, by what became of them"
    );
    describe_gauge!(
        SNAPSHOT_AGE,
        Unit::Seconds,
        "Age of catalog, neighbor lists and profiles"
    );
    describe_gauge!(BUILD_INFO, "1, with version and commit of this binary");
}
