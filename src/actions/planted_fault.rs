//! A fault for scenarios: an action now and then that this replica takes for read, and does
//! not have.

use std::env;
use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable of the environment that says of how many actions one is dropped.
const VARIABLE: &str = "PINNERSAGE_PLANTED_DROP_ONE_IN";

/// Of how many actions one is dropped where the variable says nothing.
const DROP_ONE_IN: u64 = 10_000;

/// Whether the action that was just read is to be dropped.
pub(super) fn drops_next() -> bool {
    static ONE_IN: LazyLock<u64> = LazyLock::new(|| {
        let told = env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
        let one_in = told.map_or(DROP_ONE_IN, NonZeroU64::get);
        tracing::warn!(
            one_in,
            "this build is for scenarios: it drops one of so many actions"
        );
        one_in
    });
    static READ: AtomicU64 = AtomicU64::new(0);
    let read = 1 + READ.fetch_add(1, Ordering::Relaxed);
    read.is_multiple_of(*ONE_IN)
}
