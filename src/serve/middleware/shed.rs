//! Refusals for load: counted, and with a time after which to try again.

use std::time::Duration;

use metrics::counter;

use crate::metrics as names;
use crate::serve::status::{CallError, Shed};

/// Shortest time after which a caller is asked to try again.
const MIN_RETRY_AFTER: Duration = Duration::from_millis(10);
/// Longest time after which a caller is asked to try again.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Counts a call that is refused for load, and creates its error, which asks the caller
/// to try again after about `retry_after`.
pub(crate) fn shed(reason: Shed, retry_after: Duration) -> CallError {
    let label = match reason {
        Shed::QueueFull => "queue_full",
        Shed::Deadline => "deadline",
        Shed::RateLimit => "rate_limit",
        Shed::SurfaceRate => "surface_rate",
    };
    counter!(names::SHED, "reason" => label).increment(1);
    CallError::Shed(reason, retry_after.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER))
}
