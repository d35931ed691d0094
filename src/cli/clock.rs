//! The clock of the system.

use std::time::SystemTime;

use crate::model::Timestamp;

/// The present moment, to the microsecond.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
