//! Settings of a server that shares its action log with other replicas.

use std::time::Duration;

use crate::actions::Lag;

/// How a server treats actions that it has not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaParams {
    /// How long a call with a freshness token waits for what the token stands for.
    pub max_wait: Duration,
    /// Most time that a replica which is ready is behind the log.
    pub max_ready_lag: Duration,
    /// Most messages that a replica which is ready is behind the log.
    pub max_ready_messages: u64,
    /// Whether a replica that is further behind is ready all the same.
    pub serve_stale: bool,
}

impl ReplicaParams {
    /// Whether a replica with this lag is ready; none where the engine never told the end of
    /// its log. One that starts reads all that is there first: a single message may have
    /// thousands of actions.
    pub(crate) fn is_ready(&self, lag: Option<Lag>) -> bool {
        let is_near = |lag: Lag| {
            lag.has_caught_up
                && lag.messages <= self.max_ready_messages
                && lag.time <= self.max_ready_lag
        };
        self.serve_stale || lag.is_some_and(is_near)
    }
}
