//! What an operator is told of the log of actions.

use crate::serve::state::Live;
use crate::wire::v1;

/// The status of the log; none where no actions are taken.
pub(super) fn action_log_status(live: &Live) -> Option<v1::ActionLogStatus> {
    let actions = live.actions()?;
    let failure = actions.failure();
    let lag = actions.lag();
    let kind = match actions.is_shared() {
        true => v1::ActionLogKind::Shared,
        false => v1::ActionLogKind::Embedded,
    };
    Some(v1::ActionLogStatus {
        kind: kind.into(),
        is_writable: failure.is_none(),
        failure: failure.map_or_else(String::new, |failure| failure.to_string()),
        is_ready: !live.is_behind(),
        lag_messages: lag.map(|lag| lag.messages),
        lag_seconds: lag.map(|lag| lag.time.as_secs_f64()),
    })
}
