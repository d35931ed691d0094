//! What the parts of a log in NATS share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::action_log::Condition;
use super::super::error::LogError;
use super::super::params::ActionLogParams;
use super::super::positions::{Position, Positions};
use super::super::rotation::Rotation;
use super::link::Links;
use super::names::Names;

/// Whether the streams are known to be those of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Not yet, for this reason.
    Waiting(String),
    /// They are those of the log of this id.
    Open(u64),
    /// They are others.
    Refused(Refusal),
}

/// Why streams are not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// They are of another log.
    Mismatch {
        what: String,
        found: String,
        expected: String,
    },
    /// They cannot be created so, or some of them are lost.
    Unusable(String),
}

pub(super) struct Shared {
    pub(super) params: ActionLogParams,
    /// The addresses, without what is secret in them.
    pub(super) url: String,
    /// How long actions stay that may be forgotten.
    pub(super) max_age: Duration,
    pub(super) names: Names,
    pub(super) links: Links,
    pub(super) opening: watch::Sender<Opening>,
    began: Instant,
    rotation: Mutex<Rotation>,
    /// What the leader of each stream has told last, and when.
    newest: Mutex<Vec<Option<(u64, Instant)>>>,
    /// The newest message of each stream that was confirmed to this replica.
    confirmed: Vec<AtomicU64>,
    /// Why a tail has stopped.
    stopped: Mutex<Option<String>>,
    /// Why the last append has failed, and when; none after one that was confirmed.
    failed: Mutex<Option<(String, Instant)>>,
    /// Since when there is no connection.
    lost_since: Mutex<Option<Instant>>,
}

/// For how long a log counts as failed after an append that nobody has confirmed: the nodes
/// themselves notice a lost majority much later.
const FAILED_FOR: Duration = Duration::from_secs(10);

/// A log that was just opened has not failed: its nodes are still being asked.
const NEW_FOR: Duration = Duration::from_secs(2);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        params: &ActionLogParams,
        url: String,
        max_age: Duration,
        links: Links,
    ) -> Self {
        let names = Names::new(&params.stream, params.streams);
        let count = names.all().count();
        Self {
            params: params.clone(),
            url,
            max_age,
            links,
            opening: watch::Sender::new(Opening::Waiting("no node was asked yet".to_owned())),
            began: Instant::now(),
            rotation: Mutex::new(Rotation::new(names.actions)),
            newest: Mutex::new(vec![None; count]),
            confirmed: (0..count).map(|_| AtomicU64::new(0)).collect(),
            stopped: Mutex::default(),
            failed: Mutex::default(),
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

    pub(super) fn refused(&self, refusal: Refusal) -> LogError {
        match refusal {
            Refusal::Mismatch {
                what,
                found,
                expected,
            } => LogError::Mismatch {
                url: self.url.clone(),
                what,
                found,
                expected,
            },
            Refusal::Unusable(reason) => self.unreachable(reason),
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
        match now {
            Opening::Open(id) => Ok(id),
            Opening::Refused(refusal) => Err(self.refused(refusal)),
            Opening::Waiting(reason) => Err(self.unreachable(reason)),
        }
    }

    /// Takes what the leader of `stream` has told.
    pub(super) fn told(&self, stream: u8, newest: u64) {
        lock(&self.newest)[usize::from(stream)] = Some((newest, Instant::now()));
    }

    /// Takes that the message at `position` was confirmed.
    pub(super) fn confirm(&self, position: Position) {
        self.confirmed[usize::from(position.stream)].fetch_max(position.sequence, Ordering::AcqRel);
        *lock(&self.failed) = None;
    }

    /// The newest message of `stream` that is known to exist; 0 for none.
    pub(super) fn known(&self, stream: u8) -> u64 {
        let at = usize::from(stream);
        let told = self.last_told(stream).map_or(0, |(newest, _)| newest);
        self.confirmed[at].load(Ordering::Acquire).max(told)
    }

    /// What the leader of `stream` has told last, and when.
    pub(super) fn last_told(&self, stream: u8) -> Option<(u64, Instant)> {
        lock(&self.newest)[usize::from(stream)]
    }

    /// Takes that nobody has confirmed an append.
    pub(super) fn fail(&self, reason: String) {
        *lock(&self.failed) = Some((reason, Instant::now()));
    }

    /// Takes that a tail delivers nothing of a stream any more, and returns whether that is
    /// news.
    pub(super) fn stop(&self, reason: String) -> bool {
        let mut stopped = lock(&self.stopped);
        let is_news = stopped.is_none();
        stopped.get_or_insert(reason);
        is_news
    }

    /// Why a tail delivers nothing of a stream any more; none while all is well.
    pub(super) fn stopped(&self) -> Option<String> {
        lock(&self.stopped).clone()
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

    fn failure(&self, newest: &[Option<(u64, Instant)>]) -> Option<String> {
        if let Some(stopped) = &*lock(&self.stopped) {
            return Some(stopped.clone());
        }
        let is_new = self.began.elapsed() < NEW_FOR;
        match &*self.opening.borrow() {
            Opening::Refused(refusal) => return Some(self.refused(refusal.clone()).to_string()),
            Opening::Open(_) | Opening::Waiting(_) if is_new => return None,
            Opening::Waiting(reason) => return Some(reason.clone()),
            Opening::Open(_) => {}
        }
        if !self.links.is_connected() {
            return Some(self.lost_reason());
        }
        if let Some((reason, at)) = &*lock(&self.failed)
            && at.elapsed() < FAILED_FOR
        {
            return Some(reason.clone());
        }
        // A leader that has stepped down in silence goes on to answer for a while.
        let limit = self.params.append_timeout;
        let is_led =
            |told: &Option<(u64, Instant)>| told.is_some_and(|(_, at)| at.elapsed() < limit);
        let actions = &newest[..usize::from(self.names.actions)];
        let is_any_led = actions.iter().any(is_led);
        (!is_any_led).then(|| format!("no stream has had a leader for {limit:?}"))
    }

    pub(super) fn condition(&self) -> Condition {
        let newest = lock(&self.newest).clone();
        let sequences = newest
            .iter()
            .map(|told| told.map_or(0, |(newest, _)| newest));
        let oldest = newest.iter().map(|told| told.map(|(_, at)| at));
        let told = oldest.reduce(|a, b| Some(a?.min(b?))).flatten();
        Condition {
            failure: self.failure(&newest),
            newest: match newest.iter().any(Option::is_some) {
                true => Positions::new(sequences.collect()).expect("checked with the settings"),
                false => Positions::default(),
            },
            told,
        }
    }
}
