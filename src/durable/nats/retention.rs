//! Since when nothing was forgotten.

use std::time::Duration;

use super::super::error::LogError;
use super::api::{StreamState, info_of_leader, time};
use super::erase::now;
use super::shared::Shared;
use crate::model::Timestamp;

/// The moment before which actions may be missing, in any stream; none if all that was ever
/// recorded is there.
pub(super) async fn begins(shared: &Shared) -> Result<Option<Timestamp>, LogError> {
    let limit = shared.params.append_timeout;
    shared.opened(limit).await?;
    let oldest = micros(now().saturating_sub(shared.max_age));
    let mut begins = None;
    for stream in 0..shared.names.actions {
        let name = shared.names.stream(stream);
        let info = info_of_leader(&shared.links, &name, limit).await;
        let info = info.map_err(|error| shared.unreachable(format!("{name}: {error}")))?;
        begins = begins.max(begin_of(&info.state, oldest));
    }
    Ok(begins)
}

fn micros(since_1970: Duration) -> Timestamp {
    Timestamp::from_micros(i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX))
}

/// What is older than `oldest` has expired where it may. Messages that never expire may lie
/// before, so the first one proves nothing where it is older.
fn begin_of(state: &StreamState, oldest: Timestamp) -> Option<Timestamp> {
    let first = time(&state.first_ts).filter(|_| state.messages > 0);
    let has_lost_first = state.first_seq > 1;
    match first {
        Some(first) if first > oldest => has_lost_first.then_some(first),
        Some(_) => Some(oldest),
        None => has_lost_first.then_some(oldest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(messages: u64, first_seq: u64, first_ts: &str) -> Option<i64> {
        let state = StreamState {
            messages,
            first_seq,
            first_ts: first_ts.to_owned(),
            last_seq: 9,
            deleted: None,
        };
        let oldest = Timestamp::from_micros(1_000_000);
        begin_of(&state, oldest).map(Timestamp::micros)
    }

    #[test]
    fn a_stream_begins_with_its_first_message_or_where_messages_expire() {
        let (old, young) = ("1970-01-01T00:00:00.5Z", "1970-01-01T00:00:02Z");
        assert_eq!(begin(9, 1, young), None);
        assert_eq!(begin(5, 4, young), Some(2_000_000));
        assert_eq!(begin(9, 1, old), Some(1_000_000));
        assert_eq!(begin(5, 4, old), Some(1_000_000));
        assert_eq!(begin(0, 10, "0001-01-01T00:00:00Z"), Some(1_000_000));
        assert_eq!(begin(0, 0, "0001-01-01T00:00:00Z"), None);
    }
}
