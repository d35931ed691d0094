//! What the parts of a log in NATS share.

use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::action_log::Condition;
use super::super::error::LogError;
use super::super::lock::lock;
use super::super::log_state::LogState;
use super::super::opening::Opening;
use super::super::params::ActionLogParams;
use super::super::rotation::Rotation;
use super::link::Links;
use super::names::Names;

pub(super) struct Shared {
    pub(super) params: ActionLogParams,
    /// The addresses, without what is secret in them.
    pub(super) url: String,
    /// How long actions stay that may be forgotten.
    pub(super) max_age: Duration,
    pub(super) names: Names,
    pub(super) links: Links,
    pub(super) opening: watch::Sender<Opening>,
    rotation: Mutex<Rotation>,
    pub(super) state: LogState,
    /// Since when there is no connection.
    lost_since: Mutex<Option<Instant>>,
}

impl Shared {
    pub(super) fn new(
        params: &ActionLogParams,
        url: String,
        max_age: Duration,
        links: Links,
    ) -> Self {
        let names = Names::new(&params.stream, params.streams);
        Self {
            params: params.clone(),
            url,
            max_age,
            links,
            opening: watch::Sender::new(Opening::Waiting("no node was asked yet".to_owned())),
            rotation: Mutex::new(Rotation::new(names.actions)),
            state: LogState::new(names.all().count()),
            lost_since: Mutex::new(Some(Instant::now())),
            names,
        }
    }

    pub(super) fn rotation(&self) -> MutexGuard<'_, Rotation> {
        lock(&self.rotation)
    }

    pub(super) fn unreachable(&self, reason: impl Into<String>) -> LogError {
        LogError::Unreachable {
            url: self.url.clone(),
            reason: reason.into(),
        }
    }

    /// Waits until the streams are known to be those of the log.
    pub(super) async fn opened(&self, limit: Duration) -> Result<u64, LogError> {
        let mut opening = self.opening.subscribe();
        let decided = opening.wait_for(|opening| !matches!(opening, Opening::Waiting(_)));
        let decided = tokio::time::timeout(limit, decided).await;
        let now = match decided {
            Ok(Ok(decided)) => decided.clone(),
            _ => self.opening.borrow().clone(),
        };
        now.id(&self.url)
    }

    /// Looks whether there is a connection.
    pub(super) fn look_at_links(&self) {
        let mut lost = lock(&self.lost_since);
        match self.links.is_connected() {
            true => *lost = None,
            false => _ = lost.get_or_insert_with(Instant::now),
        }
    }

    /// For how long there has been no connection.
    pub(super) fn lost_for(&self) -> Option<Duration> {
        lock(&self.lost_since).map(|since| since.elapsed())
    }

    /// Why there is no connection.
    pub(super) fn lost_reason(&self) -> String {
        let error = self.links.last_error();
        error.unwrap_or_else(|| "no node can be reached".to_owned())
    }

    fn failure(&self) -> Option<String> {
        let opening = self.opening.borrow().clone();
        if let ControlFlow::Break(failure) = self.state.judge(&opening, &self.url) {
            return failure;
        }
        if !self.links.is_connected() {
            return Some(self.lost_reason());
        }
        // A leader that has stepped down in silence goes on to answer for a while.
        self.state.failed_lately().or_else(|| {
            let limit = self.params.append_timeout;
            let is_any_led = self.state.is_any_led(self.names.actions, limit);
            (!is_any_led).then(|| format!("no stream has had a leader for {limit:?}"))
        })
    }

    pub(super) fn condition(&self) -> Condition {
        self.state.condition(self.failure())
    }
}
