//! Counters of how neighbor lists were looked up.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where a neighbor list comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum ListSource {
    /// Made ahead of time.
    Ahead,
    /// Computed for an earlier call.
    Cache,
}

/// How the pins that a filter selects were found.
#[derive(Clone, Copy, Debug)]
pub(super) enum FilterPlan {
    /// In a list.
    List,
    /// By a search with the filter inside.
    Search,
    /// By a scan of all selected pins.
    Scan,
}

/// Number of lookups by outcome, up to one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookups {
    /// Answered from a list made ahead of time.
    pub ahead: u64,
    /// Answered from a list that was computed for an earlier call.
    pub cached: u64,
    /// There was no list: it was computed, or its computation waited for.
    pub missing: u64,
    /// The list did not hold enough eligible pins, so a search followed.
    pub too_short: u64,
    /// With a filter: answered from a list.
    pub filtered_lists: u64,
    /// With a filter: answered by a search.
    pub filtered_searches: u64,
    /// With a filter: answered by a scan of what it selects.
    pub filtered_scans: u64,
}

/// Number of lookups by outcome, since the first index was opened.
#[derive(Debug, Default)]
pub(super) struct LookupCounters {
    ahead: AtomicU64,
    cached: AtomicU64,
    missing: AtomicU64,
    too_short: AtomicU64,
    filtered_lists: AtomicU64,
    filtered_searches: AtomicU64,
    filtered_scans: AtomicU64,
}

impl LookupCounters {
    pub(super) fn add_hits(&self, source: ListSource, hits: u64) {
        match source {
            ListSource::Ahead => add(&self.ahead, hits),
            ListSource::Cache => add(&self.cached, hits),
        }
    }

    pub(super) fn add_missing(&self) {
        add(&self.missing, 1);
    }

    pub(super) fn add_filtered(&self, plan: FilterPlan, count: u64) {
        match plan {
            FilterPlan::List => add(&self.filtered_lists, count),
            FilterPlan::Search => add(&self.filtered_searches, count),
            FilterPlan::Scan => add(&self.filtered_scans, count),
        }
    }

    pub(super) fn add_too_short(&self) {
        add(&self.too_short, 1);
    }

    pub(super) fn read(&self) -> Lookups {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Lookups {
            ahead: read(&self.ahead),
            cached: read(&self.cached),
            missing: read(&self.missing),
            too_short: read(&self.too_short),
            filtered_lists: read(&self.filtered_lists),
            filtered_searches: read(&self.filtered_searches),
            filtered_scans: read(&self.filtered_scans),
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    // A request adds both sources. An untouched counter stays in the caches of the
    // other cores.
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
