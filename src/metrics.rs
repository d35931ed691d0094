//! The metrics: names, kinds, units, help texts and buckets, each written once. Base units;
//! no id of a user or a pin is ever a label.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Defines a constant with the name of each metric, documented by its help text, and the
/// table of all metrics.
macro_rules! metrics_table {
    ($(pub const $constant:ident: ($kind:ident, $unit:ident) = $name:literal, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: &str = $name;
        )+

        /// All metrics.
        const METRICS: &[Metric] = &[
            $(Metric {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                help: $help,
            },)+
        ];
    };
}

/// Description of a metric, as `/metrics` shows it.
struct Metric {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    help: &'static str,
}

/// Kind of a metric.
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

metrics_table! {
    pub const REQUESTS: (Counter, Count) =
        "pinnersage_grpc_requests_total",
        "Calls by method and gRPC code";
    pub const REQUEST_DURATION: (Histogram, Seconds) =
        "pinnersage_grpc_request_duration_seconds",
        "Duration of calls by method";
    pub const IN_FLIGHT: (Gauge, Count) =
        "pinnersage_requests_in_flight",
        "Calls that are being answered";
    pub const SHED: (Counter, Count) =
        "pinnersage_requests_shed_total",
        "Calls that were refused for load, by reason";
    pub const OVERLOAD_LIMIT: (Gauge, Count) =
        "pinnersage_overload_limit",
        "Searches that may be made at a time";
    pub const OVERLOAD_WAITING: (Gauge, Count) =
        "pinnersage_overload_waiting",
        "Calls that wait for a search";
    pub const OVERLOAD_EFFORT: (Gauge, Count) =
        "pinnersage_overload_effort_ratio",
        "Share of the usual effort that searches make";
    pub const CONNECTIONS: (Gauge, Count) =
        "pinnersage_connections",
        "Connections that are open";
    pub const CONNECTIONS_REFUSED: (Counter, Count) =
        "pinnersage_connections_refused_total",
        "Connections that were closed before their first call, by reason";
    pub const STAGE_DURATION: (Histogram, Seconds) =
        "pinnersage_recommend_stage_duration_seconds",
        "Duration of a stage of a recommendation";
    pub const DEGRADED: (Counter, Count) =
        "pinnersage_recommend_degraded_total",
        "Answers of a lesser quality than asked for, by reason";
    pub const FALLBACK: (Counter, Count) =
        "pinnersage_recommend_fallback_total",
        "Answers without the user's own profile, by reason";
    pub const UNKNOWN_SEEDS: (Counter, Count) =
        "pinnersage_recommend_unknown_seeds_total",
        "Pins that requests named as seeds, as context or to be like, and the catalog lacks";
    pub const SURFACE_ANSWERS: (Counter, Count) =
        "pinnersage_surface_answers_total",
        "Answers to requests that name a surface or an arm, by both";
    pub const SURFACE_CANDIDATES: (Counter, Count) =
        "pinnersage_surface_candidates_total",
        "Candidates in those answers";
    pub const SURFACE_FALLBACKS: (Counter, Count) =
        "pinnersage_surface_fallback_answers_total",
        "Those of them without the user's own profile";
    pub const SURFACE_DEGRADED: (Counter, Count) =
        "pinnersage_surface_degraded_answers_total",
        "Those of them of a lesser quality than asked for";
    pub const SURFACE_SHED: (Counter, Count) =
        "pinnersage_surface_shed_total",
        "Requests that were refused because their surface was asked too often";
    pub const SURFACE_RELOADS: (Counter, Count) =
        "pinnersage_surface_reloads_total",
        "Changes of the surfaces while the server runs, by what became of them";
    pub const CANDIDATES: (Histogram, Count) =
        "pinnersage_recommend_candidates",
        "Candidates in an answer";
    pub const NEIGHBOR_HITS: (Counter, Count) =
        "pinnersage_neighbor_cache_hits_total",
        "Neighbors that a list answered, by where it comes from";
    pub const NEIGHBOR_MISSES: (Counter, Count) =
        "pinnersage_neighbor_cache_misses_total",
        "Neighbors that needed a walk, by reason";
    pub const FILTERED: (Counter, Count) =
        "pinnersage_filtered_retrievals_total",
        "Retrievals among the pins that a filter selects, by how they were found";
    pub const RECALL: (Gauge, Count) =
        "pinnersage_index_recall_ratio",
        "Share of the true neighbors that the index finds, over the latest probes";
    pub const RECALL_PROBES: (Counter, Count) =
        "pinnersage_index_recall_probes_total",
        "Retrievals that were repeated exactly";
    pub const NEIGHBOR_LISTS: (Gauge, Count) =
        "pinnersage_neighbor_lists",
        "Pins with a list made ahead of time";
    pub const NEIGHBOR_BYTES: (Gauge, Bytes) =
        "pinnersage_neighbor_cache_bytes",
        "Bytes of lists, by where they come from";
    pub const ACTIONS: (Counter, Count) =
        "pinnersage_actions_total",
        "Actions that were sent, by what became of them";
    pub const ACTION_FRESHNESS: (Histogram, Seconds) =
        "pinnersage_action_freshness_seconds",
        "Time from an action to the moment when it counts";
    pub const ACTION_USERS: (Gauge, Count) =
        "pinnersage_action_users",
        "Users of whom recorded actions are in memory";
    pub const CLOCK_JUMP: (Gauge, Seconds) =
        "pinnersage_clock_jump_seconds",
        "How far the clock is from the last use of the log where that is more than a day, else 0";
    pub const LOG_WRITABLE: (Gauge, Count) =
        "pinnersage_log_writable",
        "1 while actions and changes of pins are recorded, 0 while the disk is full";
    pub const LOG_LAG: (Gauge, Seconds) =
        "pinnersage_action_log_lag_seconds", "How long the oldest message of the shared action log has waited that this replica has not read.";

    pub const LOG_LAG_MESSAGES: (Gauge, Count) =
        "pinnersage_action_log_lag_messages", "Messages of the shared action log that this replica has not read.";

    pub const LOG_READY: (Gauge, Count) =
        "pinnersage_action_log_ready", "1 while this replica has read enough of the shared action log to serve, else 0.";

    pub const LOG_MISSING: (Gauge, Seconds) =
        "pinnersage_action_log_missing_seconds",
        "Length of the time of which the shared action log has lost actions that the profiles lack";
    pub const LOG_APPENDS: (Histogram, Seconds) =
        "pinnersage_action_log_append_seconds", "Time from an append to the shared action log until a majority has it.";

    pub const LOG_ERASURES: (Gauge, Count) =
        "pinnersage_action_log_waiting_erasures", "Erased users whose actions this replica still has in its checkpoint.";

    pub const LOG_MOVES: (Counter, Count) =
        "pinnersage_action_log_moved_appends_total", "Appends to the shared action log that were tried on another stream.";

    pub const LOG_HOLES: (Counter, Count) =
        "pinnersage_action_log_holes_total", "Times at which messages of the shared action log were missing and were asked for.";

    pub const LOG_READ: (Counter, Count) =
        "pinnersage_action_log_read_actions_total", "Actions read from the shared action log, by what became of them.";

    pub const ARCHIVE_FILES: (Counter, Count) =
        "pinnersage_archive_files_total",
        "Files that were written to the archive";
    pub const ARCHIVED_ACTIONS: (Counter, Count) =
        "pinnersage_archived_actions_total",
        "Actions in those files";
    pub const ARCHIVE_FAILURES: (Counter, Count) =
        "pinnersage_archive_failures_total",
        "Attempts to write to the archive that failed";
    pub const ARCHIVE_WAITING: (Gauge, Count) =
        "pinnersage_archive_waiting",
        "Recorded actions that are not in the archive yet";
    pub const ARCHIVE_OLDEST: (Gauge, Seconds) =
        "pinnersage_archive_oldest_waiting_seconds",
        "Time since the first of them was recorded";
    pub const PIN_CHANGES: (Counter, Count) =
        "pinnersage_pin_changes_total",
        "Pins that were changed on a running server, by kind of change";
    pub const CHANGED_PINS: (Gauge, Count) =
        "pinnersage_changed_pins",
        "Pins that differ from the catalog that is served, by kind of change";
    pub const INDEX_PINS: (Gauge, Count) =
        "pinnersage_index_pins",
        "Pins in the catalog that is served";
    pub const CATALOG_INFO: (Gauge, Count) =
        "pinnersage_catalog_info",
        "1, with the version of the catalog that is served";
    pub const PROFILES: (Gauge, Count) =
        "pinnersage_profiles",
        "Profiles that are served";
    pub const VERSION_CHANGES: (Counter, Count) =
        "pinnersage_version_changes_total",
        "Changes of the versions that are served, by what became of them";
    pub const VERSIONS_PINNED: (Gauge, Count) =
        "pinnersage_versions_pinned",
        "1 while versions that an operator chose stay, whatever is published";
    pub const VERSIONS_WAITING: (Gauge, Count) =
        "pinnersage_versions_waiting",
        "1 while published versions wait because others are pinned";
    pub const SNAPSHOT_AGE: (Gauge, Seconds) =
        "pinnersage_snapshot_age_seconds",
        "Age of catalog, neighbor lists and profiles";
    pub const COMPLETE_THROUGH_AGE: (Gauge, Seconds) =
        "pinnersage_complete_through_age_seconds",
        "Age of the moment up to which the profiles have all actions";
    pub const BUILD_INFO: (Gauge, Count) =
        "pinnersage_build_info",
        "1, with version and commit of this binary";
}

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

/// Installs the recorder of the whole process. Call it once, in main.
///
/// # Errors
///
/// When a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let full_name = |name: &str| Matcher::Full(name.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(full_name(REQUEST_DURATION), &SECONDS)?
        .set_buckets_for_metric(full_name(STAGE_DURATION), &SECONDS)?
        .set_buckets_for_metric(full_name(LOG_APPENDS), &SECONDS)?
        .set_buckets_for_metric(full_name(ACTION_FRESHNESS), &AGES)?
        .set_buckets_for_metric(full_name(CANDIDATES), &COUNTS)?
        .install_recorder()?;
    describe();
    let sha = option_env!("PINNERSAGE_GIT_SHA").unwrap_or("unknown");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("git_sha", sha)];
    metrics::gauge!(BUILD_INFO, &labels).set(1.0);
    Ok(handle)
}

fn describe() {
    for metric in METRICS {
        let (name, unit, help) = (metric.name, metric.unit, metric.help);
        match metric.kind {
            Kind::Counter => describe_counter!(name, unit, help),
            Kind::Gauge => describe_gauge!(name, unit, help),
            Kind::Histogram => describe_histogram!(name, unit, help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_end_as_their_kind_and_unit_ask() {
        let names: HashSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for Metric {
            name, kind, unit, ..
        } in METRICS
        {
            assert!(name.starts_with("pinnersage_"), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                matches!(kind, Kind::Counter),
                "{name}"
            );
            assert_eq!(name.ends_with("_seconds"), *unit == Unit::Seconds, "{name}");
            assert_eq!(name.ends_with("_bytes"), *unit == Unit::Bytes, "{name}");
        }
    }
}
