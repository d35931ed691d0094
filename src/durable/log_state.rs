//! What is known of a shared log: how far it reaches, and why nothing can be appended.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::action_log::Condition;
use super::frames::FrameError;
use super::lock::lock;
use super::opening::Opening;
use super::positions::{Position, Positions};

/// For how long a log counts as failed after an append that nobody has confirmed: engines
/// themselves notice a lost majority much later.
const FAILED_FOR: Duration = Duration::from_secs(10);
/// A log that was just opened has not failed: its engine is still being asked.
const NEW_FOR: Duration = Duration::from_secs(2);

pub(super) struct LogState {
    began: Instant,
    /// What the leader of each stream has told last, and when.
    newest: Mutex<Vec<Option<(u64, Instant)>>>,
    /// The newest message of each stream that was confirmed to this replica.
    confirmed: Vec<AtomicU64>,
    /// Why a tail has stopped.
    stopped: Mutex<Option<String>>,
    /// Why the last append has failed, and when; none after one that was confirmed.
    failed: Mutex<Option<(String, Instant)>>,
}

impl LogState {
    /// Of a log of so many streams, the control stream included.
    pub(super) fn new(streams: usize) -> Self {
        Self {
            began: Instant::now(),
            newest: Mutex::new(vec![None; streams]),
            confirmed: (0..streams).map(|_| AtomicU64::new(0)).collect(),
            stopped: Mutex::default(),
            failed: Mutex::default(),
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
        let told = self.last_told(stream).map_or(0, |(newest, _)| newest);
        let confirmed = &self.confirmed[usize::from(stream)];
        confirmed.load(Ordering::Acquire).max(told)
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

    /// Takes that a tail has stopped before a message of `stream`, and says so.
    pub(super) fn stop_unreadable(&self, stream: &str, sequence: u64, error: &FrameError) {
        tracing::error!(
            stream, sequence, %error,
            "a message of the action log cannot be read: nothing of its stream is read from there on"
        );
        self.stop(format!(
            "message {sequence} of the stream {stream} cannot be read: {error}"
        ));
    }

    /// Takes that a tail has stopped because the engine has lost messages, and says so.
    pub(super) fn stop_lost(&self, reason: &str) {
        if self.stop(reason.to_owned()) {
            tracing::error!(reason, "the engine of the action log has lost messages");
        }
    }

    /// Why a tail delivers nothing of a stream any more; none while all is well.
    pub(super) fn stopped(&self) -> Option<String> {
        lock(&self.stopped).clone()
    }

    /// Whether the leader of one of the first `streams` has told something within `limit`.
    pub(super) fn is_any_led(&self, streams: u8, limit: Duration) -> bool {
        let newest = lock(&self.newest);
        let mut told = newest.iter().take(usize::from(streams)).flatten();
        told.any(|(_, at)| at.elapsed() < limit)
    }

    /// Why nothing can be appended, as far as tails and the opening of the log at `url` decide
    /// it; goes on where they do not.
    pub(super) fn judge(&self, opening: &Opening, url: &str) -> ControlFlow<Option<String>> {
        if let Some(stopped) = self.stopped() {
            return ControlFlow::Break(Some(stopped));
        }
        let is_new = self.began.elapsed() < NEW_FOR;
        match opening {
            Opening::Refused(refusal) => ControlFlow::Break(Some(refusal.error(url).to_string())),
            Opening::Open(_) | Opening::Waiting(_) if is_new => ControlFlow::Break(None),
            Opening::Waiting(reason) => ControlFlow::Break(Some(reason.clone())),
            Opening::Open(_) => ControlFlow::Continue(()),
        }
    }

    /// Why an append has failed lately; none after one that was confirmed.
    pub(super) fn failed_lately(&self) -> Option<String> {
        let failed = lock(&self.failed);
        let (reason, at) = failed.as_ref()?;
        (at.elapsed() < FAILED_FOR).then(|| reason.clone())
    }

    /// The condition of a log that cannot be written for the reason `failure`, if there is one.
    pub(super) fn condition(&self, failure: Option<String>) -> Condition {
        let newest = lock(&self.newest);
        let sequences = newest
            .iter()
            .map(|told| told.map_or(0, |(newest, _)| newest));
        let oldest = newest.iter().map(|told| told.map(|(_, at)| at));
        let told = oldest.reduce(|a, b| Some(a?.min(b?))).flatten();
        Condition {
            failure,
            newest: match newest.iter().any(Option::is_some) {
                true => Positions::new(sequences.collect()).expect("checked with the settings"),
                false => Positions::default(),
            },
            told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::opening::Refusal;
    use super::*;

    fn position(stream: u8, sequence: u64) -> Position {
        Position { stream, sequence }
    }

    #[test]
    fn the_newest_message_is_what_was_told_or_confirmed_last() {
        let state = LogState::new(3);
        assert_eq!(state.condition(None), Condition::default());
        state.confirm(position(1, 7));
        state.confirm(position(1, 5));
        assert_eq!((state.known(0), state.known(1)), (0, 7));
        assert!(!state.is_any_led(3, NEW_FOR));
        state.told(1, 6);
        state.told(2, 9);
        assert_eq!((state.known(1), state.known(2)), (7, 9));
        assert!(state.is_any_led(2, NEW_FOR) && !state.is_any_led(1, NEW_FOR));
        let told = state.condition(Some("it has failed".to_owned()));
        assert_eq!(told.newest.sequences(), [0, 6, 9]);
        assert_eq!(told.told, None, "one leader has told nothing");
        assert_eq!(told.failure.as_deref(), Some("it has failed"));
        state.told(0, 1);
        let (_, first) = state.last_told(1).expect("it is told");
        assert_eq!(state.condition(None).told, Some(first));
    }

    #[test]
    fn an_append_that_has_failed_counts_until_one_is_confirmed() {
        let state = LogState::new(1);
        assert_eq!(state.failed_lately(), None);
        state.fail("nobody answers".to_owned());
        assert_eq!(state.failed_lately().as_deref(), Some("nobody answers"));
        state.confirm(position(0, 1));
        assert_eq!(state.failed_lately(), None);
    }

    #[test]
    fn a_tail_that_has_stopped_comes_before_what_the_opening_says() {
        let mut state = LogState::new(1);
        let waiting = Opening::Waiting("no node was asked yet".to_owned());
        let other = Opening::Refused(Refusal::Unusable("it is lost".to_owned()));
        let judge = |state: &LogState, opening: &Opening| state.judge(opening, "url");
        let refused = Some("the action log at url: it is lost".to_owned());
        assert_eq!(judge(&state, &waiting), ControlFlow::Break(None));
        assert_eq!(judge(&state, &other), ControlFlow::Break(refused));
        let began = state.began.checked_sub(NEW_FOR);
        state.began = began.expect("the clock runs longer");
        let reason = Some("no node was asked yet".to_owned());
        assert_eq!(judge(&state, &waiting), ControlFlow::Break(reason));
        assert_eq!(judge(&state, &Opening::Open(1)), ControlFlow::Continue(()));
        assert!(state.stop("first".to_owned()));
        assert!(!state.stop("second".to_owned()));
        let first = ControlFlow::Break(Some("first".to_owned()));
        assert_eq!(judge(&state, &Opening::Open(1)), first);
    }
}
