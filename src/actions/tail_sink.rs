//! What comes by the tail of a shared log: kept in the checkpoint, and then made visible.

use std::collections::HashMap;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::counter;
use tokio::sync::Notify;

use super::outcomes::ActionOutcome;
use super::own_frame::OwnFrame;
use super::shared_state::SharedState;
use crate::durable::{
    ActionFrame, Delivered, Log, LogError, Message, PinChange, Place, PlacedAction, Position,
    Positions, ReadAction, ReadEntries, Sink, UserDigest,
};
use crate::metrics as names;
use crate::model::{Action, ActionId, Timestamp};

/// Interval at which a checkpoint that cannot be used is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Fewest actions that are worth a thread of their own.
const MIN_SPLIT: usize = 1_000;

/// Called with changes of pins, in their order.
pub(super) type TakePins = Box<dyn Fn(Vec<PinChange>) + Send + Sync>;

/// What the sink shares with those who wait for it.
#[derive(Debug, Default)]
pub(super) struct TailSignals {
    /// What this process has appended.
    pub(super) own: OwnFrame,
    /// There are erasures whose actions are still to be removed from the checkpoint.
    pub(super) erasures: Notify,
    /// Nothing is to be taken any more.
    pub(super) is_over: AtomicBool,
}

/// Takes what the tail delivers.
pub(super) struct TailSink {
    pub(super) checkpoint: Arc<Log>,
    pub(super) shared: Arc<SharedState>,
    pub(super) signals: Arc<TailSignals>,
    pub(super) take_pins: TakePins,
}

/// What becomes of the actions of one message.
struct JudgedFrame<'a> {
    frame: &'a ActionFrame,
    /// One for each action, in their order.
    outcomes: Vec<ActionOutcome>,
}

impl fmt::Debug for TailSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailSink").finish_non_exhaustive()
    }
}

impl Sink for TailSink {
    fn take(&mut self, delivered: Vec<Delivered>) {
        // What was recorded of a user after an erasure may follow it.
        let is_erasure = |d: &Delivered| matches!(d.message, Message::Erasure { .. });
        for group in delivered.split_inclusive(is_erasure) {
            self.take_group(group);
        }
    }
}

impl TailSink {
    /// Takes messages of which only the last may be an erasure.
    fn take_group(&self, group: &[Delivered]) {
        let mut positions = self.shared.visible();
        group.iter().for_each(|d| positions.advance(d.position));
        let Some((read, judged)) = self.retry(|sink| sink.judge(group)) else {
            return;
        };
        // Nobody is told of them before both is done.
        let (kept, ()) = std::thread::scope(|scope| {
            // A thread is worth it where a replica catches up.
            let (now, beside) = match read.actions.len() {
                0..MIN_SPLIT => (&read.actions[..], None),
                _ => (&[][..], Some(scope.spawn(|| self.apply(&read.actions)))),
            };
            self.apply(now);
            let kept = self.retry(|sink| sink.checkpoint.take(&read, &positions));
            // A panic is passed on when the scope ends.
            (kept, drop(beside))
        });
        if kept.is_none() {
            return;
        }
        let pins: Vec<PinChange> = read.pins.iter().map(|&change| change.clone()).collect();
        if !pins.is_empty() {
            (self.take_pins)(pins);
        }
        for &(user, erased_at) in &read.erasures {
            self.erase(user, erased_at);
        }
        self.tell(&judged, &positions);
    }

    /// Makes these actions visible to readers.
    fn apply(&self, actions: &[ReadAction<'_>]) {
        for read in actions {
            self.shared.apply(read.action);
        }
    }

    /// Forgets the user of this digest in memory, but for what was recorded after the erasure:
    /// another stream may have brought it before.
    fn erase(&self, user: UserDigest, erased_at: Timestamp) {
        self.shared.erase_digest(user, erased_at);
        let later = self.retry(|sink| {
            let mut later = Vec::new();
            let log = &sink.checkpoint;
            log.move_to_later_copies(user, erased_at)?;
            log.for_each_since(erased_at, |PlacedAction { place, action }| {
                let is_erased = sink.shared.is_erased(&action, place.recorded_at);
                if !is_erased && log.digest(action.user) == user {
                    later.push(action);
                }
            })?;
            Ok(later)
        });
        for action in later.iter().flatten() {
            self.shared.apply(action);
        }
        self.signals.erasures.notify_one();
    }

    /// Declares that the messages up to `positions` are visible.
    fn tell(&self, judged: &[JudgedFrame<'_>], positions: &Positions) {
        count(judged);
        for JudgedFrame { frame, outcomes } in judged {
            let ids = frame.actions.iter().map(|action| action.id);
            let outcomes = outcomes.iter().copied();
            self.signals.own.note(frame.frame, ids.zip(outcomes));
        }
        self.shared.set_visible(positions);
        self.signals.own.wake();
    }

    /// What of `group` is new.
    fn judge<'g>(
        &self,
        group: &'g [Delivered],
    ) -> Result<(ReadEntries<'g>, Vec<JudgedFrame<'g>>), LogError> {
        let mut read = ReadEntries::default();
        let mut judged = Vec::new();
        let mut new = HashMap::new();
        let mut places = self.places_of(group)?.into_iter();
        for Delivered {
            position, message, ..
        } in group
        {
            match message {
                Message::Actions(frame) => {
                    let mut outcomes = Vec::with_capacity(frame.actions.len());
                    for ((at, action), before) in (0u16..).zip(&frame.actions).zip(&mut places) {
                        let place = place_of(frame, *position, at);
                        let known = match new.get(&action.id) {
                            Some(&known) => Some(known),
                            None => self.that_counts(action, before)?,
                        };
                        let outcome = self.outcome(action, place, known, &mut read.copies);
                        outcomes.push(outcome);
                        if outcome == ActionOutcome::Accepted {
                            new.insert(action.id, place);
                            #[cfg(feature = "planted-faults")]
                            if super::planted_fault::drops_next() {
                                continue;
                            }
                            read.actions.push(ReadAction {
                                action,
                                is_kept: frame.is_kept,
                                place,
                            });
                        }
                    }
                    judged.push(JudgedFrame { frame, outcomes });
                }
                Message::Pin(change) => read.pins.push(change),
                Message::Erasure { user, erased_at } => {
                    // Later than all before, on all replicas alike.
                    let erased_at = self.checkpoint.next_erasure(*erased_at)?;
                    read.erasures.push((*user, erased_at));
                }
                Message::ArchiveClaim(claim) => read.claim = Some((claim, position.sequence)),
                Message::Gone => {}
            }
        }
        Ok((read, judged))
    }

    /// Where each action of `group` stands in the checkpoint, in their order.
    fn places_of(&self, group: &[Delivered]) -> Result<Vec<Option<Place>>, LogError> {
        let mut ids = Vec::new();
        for delivered in group {
            if let Message::Actions(frame) = &delivered.message {
                ids.extend(frame.actions.iter().map(|action| action.id));
            }
        }
        if ids.len() < MIN_SPLIT {
            return self.checkpoint.places_of(&ids);
        }
        let (first, rest) = ids.split_at(ids.len() / 2);
        std::thread::scope(|scope| {
            let rest = scope.spawn(|| self.checkpoint.places_of(rest));
            let mut places = self.checkpoint.places_of(first)?;
            let rest = rest.join();
            places.extend(rest.unwrap_or_else(|panic| resume_unwind(panic))?);
            Ok(places)
        })
    }

    /// What becomes of `action`, which stands at `place`, and is `known` at another one. Adds it
    /// to `copies` if it is another copy of one that counts.
    fn outcome(
        &self,
        action: &Action,
        place: Place,
        known: Option<Place>,
        copies: &mut Vec<(ActionId, Place)>,
    ) -> ActionOutcome {
        let is_erased = self.shared.is_erased(action, place.recorded_at);
        match known {
            Some(known) => {
                // One that an erasure has written anew may have been read before.
                if known.sequence != place.sequence && !is_erased {
                    copies.push((action.id, place));
                }
                ActionOutcome::Duplicate
            }
            None if is_erased => ActionOutcome::Erased,
            None => ActionOutcome::Accepted,
        }
    }

    /// The place of `action` in the checkpoint, unless an erasure erases it there, and it is
    /// still to be removed: then it is.
    fn that_counts(
        &self,
        action: &Action,
        place: Option<Place>,
    ) -> Result<Option<Place>, LogError> {
        if place.is_some_and(|place| self.shared.is_erased(action, place.recorded_at)) {
            self.checkpoint.remove_erased_action(action.id)?;
            return Ok(None);
        }
        Ok(place)
    }

    /// Tries `work` until the checkpoint can be used; none when the tail is over before.
    fn retry<T>(&self, work: impl Fn(&Self) -> Result<T, LogError>) -> Option<T> {
        let mut said = false;
        loop {
            match work(self) {
                Ok(done) => return Some(done),
                Err(_) if self.signals.is_over.load(Ordering::Acquire) => return None,
                Err(error) if !said => {
                    said = true;
                    tracing::warn!(%error, "the checkpoint cannot be used: nothing is read meanwhile");
                }
                Err(_) => {}
            }
            std::thread::sleep(RETRY);
            // Does nothing where it is only closed for a moment.
            let _ = self.checkpoint.reopen();
        }
    }
}

/// Counts what became of all these actions.
fn count(judged: &[JudgedFrame<'_>]) {
    use ActionOutcome::{Accepted, Duplicate, Erased};
    let all = judged.iter().flat_map(|judged| &judged.outcomes);
    let mut counts = [(Accepted, 0), (Duplicate, 0), (Erased, 0)];
    for outcome in all {
        let of = counts.iter_mut().find(|(of, _)| of == outcome);
        of.expect("all outcomes are listed").1 += 1;
    }
    for (outcome, count) in counts.into_iter().filter(|&(_, count)| count > 0) {
        counter!(names::LOG_READ, "outcome" => label(outcome)).increment(count);
    }
}

/// The place of action number `at` of `frame`, which was read at `position`.
fn place_of(frame: &ActionFrame, position: Position, at: u16) -> Place {
    let (position, at) = match &frame.origin {
        Some(origin) => (origin.position, origin.places[usize::from(at)]),
        None => (position, at),
    };
    Place::in_message(position, at, frame.recorded_at)
}

fn label(outcome: ActionOutcome) -> &'static str {
    match outcome {
        ActionOutcome::Accepted => "new",
        ActionOutcome::Duplicate => "duplicate",
        ActionOutcome::Erased => "erased",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::shared_state::SharedState;
    use super::TailSink;
    use crate::actions::{
        ActionLimits, ActionOutcome, ActionParams, Actions, FreshnessToken, RecordError,
        RecordedActions, SharedParts, UserState,
    };
    use crate::durable::memory_log::MemoryLog;
    use crate::durable::{
        ActionFrame, ActionLog, ArchiveClaim, CHECKPOINT, Delivered, FrameId, Log, LogError,
        Message, PinRecord, Place, Position, Positions, Sink, UserDigest,
    };
    use crate::model::{Action, ActionId, ActionWeights, PinAttributes, PinId, Timestamp, UserId};
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp::from_micros(20_000 * 86_400_000_000);
    const USER: UserId = UserId(1);

    fn action(id: u8, user: UserId, name: &str) -> Action {
        Action {
            id: ActionId([id; 16]),
            user,
            pin: PinId(u64::from(id)),
            name: name.to_owned(),
            time: NOW,
            medoid: Some(PinId(5)),
            keys: None,
        }
    }

    fn params() -> ActionParams {
        let weights = [("save", 1.0), ("hide", -1.0), ("impression", 0.0)];
        let weights = weights.map(|(name, weight)| (name.to_owned(), weight));
        ActionParams {
            weights: ActionWeights::new(weights.into()),
            limits: ActionLimits::SAMPLE,
        }
    }

    fn open(log: &MemoryLog, data: &Path) -> Actions {
        let checkpoint = Log::open_checkpoint(data, || Ok(log.id())).expect("a checkpoint");
        let params = params();
        let parts = SharedParts {
            log: Arc::new(log.clone()),
            take_pins: Box::new(|_| {}),
        };
        let opened = Actions::open_shared(Arc::new(checkpoint), parts, params, NOW);
        opened.expect("recorded actions").0
    }

    fn record(actions: &Actions, new: Vec<Action>) -> Result<RecordedActions, RecordError> {
        let (give, taken) = channel();
        let now = new.iter().map(|action| action.time).max().expect("actions");
        actions.submit(new, now, move |recorded| {
            give.send(recorded).expect("a test")
        });
        taken.recv().expect("an answer")
    }

    fn outcomes(actions: &Actions, new: Vec<Action>) -> Vec<ActionOutcome> {
        record(actions, new).expect("a log").outcomes
    }

    fn state(actions: &Actions, user: UserId) -> UserState {
        actions
            .state(user)
            .map_or_else(UserState::default, |state| (*state).clone())
    }

    fn all(actions: &Actions) -> Vec<Action> {
        let last = actions.last_sequence().expect("a checkpoint");
        let placed = actions.actions_from(0, usize::MAX).expect("a checkpoint");
        assert!(placed.iter().all(|placed| placed.place.sequence <= last));
        let mut actions: Vec<Action> = placed.into_iter().map(|placed| placed.action).collect();
        // Copies of a message may come in another order elsewhere.
        actions.sort_unstable_by_key(|action| action.id);
        actions
    }

    #[test]
    fn what_one_replica_records_all_replicas_know_and_count_once() {
        use ActionOutcome::{Accepted, Duplicate};
        let directory = tempfile::tempdir().expect("a directory");
        let log = MemoryLog::default();
        let [a, b] = ["a", "b"].map(|name| open(&log, &directory.path().join(name)));
        log.double();
        let names = ["save", "hide", "impression"];
        let many = |from: u8| -> Vec<Action> {
            (from..from + 40)
                .map(|id| action(id, UserId(u64::from(id % 4)), names[usize::from(id % 3)]))
                .collect()
        };
        assert_eq!(outcomes(&a, many(0)), [Accepted; 40]);
        let again = outcomes(&b, many(20));
        assert_eq!(again, [[Duplicate; 20], [Accepted; 20]].concat());
        assert_eq!(all(&a).len(), 60);
        assert_eq!(all(&a), all(&b));
        for user in (0..4).map(UserId) {
            assert_eq!(state(&a, user), state(&b, user));
        }
        // One that starts late, and one that goes on where it ended.
        let late = open(&log, &directory.path().join("late"));
        drop(b);
        assert_eq!(outcomes(&a, many(80)), [Accepted; 40]);
        let b = open(&log, &directory.path().join("b"));
        for user in (0..4).map(UserId) {
            assert_eq!(state(&a, user), state(&late, user));
            assert_eq!(state(&a, user), state(&b, user));
        }
        assert_eq!((all(&b), all(&late)), (all(&a), all(&a)));
        assert_eq!(a.engagement(), late.engagement());
    }

    #[tokio::test]
    async fn a_token_of_one_replica_is_honored_by_another_once_its_tail_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = MemoryLog::default();
        let [a, b] = ["a", "b"].map(|name| open(&log, &directory.path().join(name)));
        log.hold();
        let recorded = record(&a, vec![action(1, USER, "hide")]).expect("a log");
        let token = FreshnessToken::from_bytes(&recorded.token.to_bytes()).expect("a token");
        assert_eq!(recorded.outcomes, [ActionOutcome::Accepted]);
        assert!(!a.reflects(&token) && !b.reflects(&token));
        let soon = std::time::Instant::now() + Duration::from_millis(5);
        b.wait_for(&token, soon).await;
        assert!(!b.reflects(&token) && b.lag().expect("a replica").messages == 1);
        let later = std::time::Instant::now() + Duration::from_secs(60);
        let released = async { log.release() };
        tokio::join!(b.wait_for(&token, later), released);
        assert!(a.reflects(&token) && b.reflects(&token));
        assert!(state(&b, USER).is_hidden(PinId(1)));
        assert_eq!(b.lag().expect("a replica").messages, 0);
    }

    #[test]
    fn a_log_that_takes_nothing_refuses_and_is_taken_up_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = MemoryLog::default();
        let a = open(&log, directory.path());
        log.fail(Some("no node answers"));
        let refused = record(&a, vec![action(1, USER, "save")]);
        let reason = "the action log: no node answers".to_owned();
        assert_eq!(refused, Err(RecordError::Failed(reason)));
        assert!(a.check().is_some() && a.reopen().is_err());
        log.fail(None);
        assert!(a.check().is_none() && a.reopen().is_ok());
        assert_eq!(
            outcomes(&a, vec![action(1, USER, "save")]),
            [ActionOutcome::Accepted]
        );
        assert_eq!(all(&a).len(), 1);
    }

    #[test]
    fn an_erasure_at_one_replica_is_one_at_all_and_what_comes_later_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = MemoryLog::default();
        let [a, b] = ["a", "b"].map(|name| open(&log, &directory.path().join(name)));
        let other = UserId(2);
        outcomes(&a, vec![action(1, USER, "hide"), action(2, other, "hide")]);
        let erased = a.erase(USER, Timestamp::from_micros(NOW.micros() + 1));
        let erased_at = erased.expect("an erasure").erased_at;
        assert_eq!(state(&b, USER), UserState::default());
        assert!(state(&b, other).is_hidden(PinId(2)));
        assert_eq!(
            b.erasure(USER).map(|erasure| erasure.erased_at),
            Some(erased_at)
        );
        let left = b.actions_from(0, usize::MAX).expect("a checkpoint");
        let left = left.into_iter().filter(|placed| !b.is_erased(placed));
        let left: Vec<Action> = left.map(|placed| placed.action).collect();
        assert_eq!(left, [action(2, other, "hide")]);
        assert_eq!(b.waiting_erasures().expect("a checkpoint"), 1);
        assert_eq!(b.finish_erasures().expect("a checkpoint"), 1);
        assert_eq!(b.waiting_erasures().expect("a checkpoint"), 0);
        assert_eq!(
            (all(&a), all(&b)),
            (vec![action(2, other, "hide")], all(&a))
        );
        // Of before the erasure, and of afterwards.
        let old = action(3, USER, "save");
        let new = Action {
            time: Timestamp::from_micros(erased_at.micros() + 1),
            ..action(4, USER, "save")
        };
        let found = outcomes(&b, vec![old, new]);
        assert_eq!(found, [ActionOutcome::Erased, ActionOutcome::Accepted]);
        // Another, by a clock that is behind.
        let next = b.erase(other, NOW).expect("an erasure").erased_at;
        assert!(next > erased_at);
        assert_eq!(
            a.erasure(other).map(|erasure| erasure.erased_at),
            Some(next)
        );
        let late = open(&log, &directory.path().join("late"));
        assert_eq!(late.erasure(other), a.erasure(other));
        assert_eq!(state(&late, USER), state(&a, USER));
    }

    #[test]
    fn an_export_waits_while_an_erasure_has_the_checkpoint_closed() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = MemoryLog::default();
        let a = open(&log, directory.path());
        outcomes(&a, vec![action(1, USER, "hide")]);
        a.last_sequence().expect("a checkpoint");
        std::thread::scope(|scope| {
            let deadline = std::time::Instant::now() + Duration::from_secs(60);
            let checkpoint = &a.store;
            // Whoever closes the checkpoint waits for its readers.
            let (reads, reading) = channel();
            let (end, ended) = channel::<()>();
            scope.spawn(move || {
                let read = checkpoint.for_each(|_| {
                    reads.send(()).expect("a test");
                    // It ends with the test at the latest.
                    let _ = ended.recv();
                });
                read.expect("a checkpoint");
            });
            reading.recv().expect("a reader");
            scope.spawn(move || checkpoint.empty_journals().expect("a checkpoint"));
            let closed = loop {
                match checkpoint.actions_from(0, 1) {
                    Ok(_) => assert!(std::time::Instant::now() < deadline, "it is not closed"),
                    Err(error) => break error,
                }
                std::thread::yield_now();
            };
            assert!(matches!(closed, LogError::Closed { .. }), "{closed}");
            assert!(!closed.is_damage());
            let (begins, begun) = channel();
            let (exports, exported) = channel();
            let of_export = &a;
            scope.spawn(move || {
                begins.send(()).expect("a test");
                let exported = of_export.actions_from(0, 10);
                exports.send(exported).expect("a test");
            });
            begun.recv().expect("an export");
            drop(end);
            let exported = exported.recv().expect("an export");
            assert_eq!(exported.expect("a checkpoint").len(), 1);
        });
    }

    #[test]
    fn an_erasure_that_was_killed_before_the_log_was_written_anew_goes_on_at_the_next_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = MemoryLog::default();
        let a = open(&log, directory.path());
        let other = UserId(2);
        outcomes(&a, vec![action(1, USER, "hide"), action(2, other, "hide")]);
        log.keep_erased(true);
        let now = Timestamp::from_micros(NOW.micros() + 1);
        a.erase(USER, now).expect_err("it is killed");
        drop(a);
        assert!(log.has(USER));
        let a = open(&log, directory.path());
        a.resume_rewriting().expect_err("it is killed again");
        log.keep_erased(false);
        assert_eq!(a.resume_rewriting().expect("a log"), Some(1));
        assert!(!log.has(USER) && log.has(other));
        assert_eq!(a.resume_rewriting().expect("a log"), None);
        drop(a);
        let a = open(&log, directory.path());
        assert_eq!(a.resume_rewriting().expect("a log"), None);
        // One that failed is ended by the next one, too, and each counts its own.
        outcomes(&a, vec![action(3, UserId(3), "hide")]);
        log.keep_erased(true);
        a.erase(other, now).expect_err("it is killed");
        log.keep_erased(false);
        let erased = a.erase(UserId(3), now).expect("an erasure");
        assert_eq!(erased.actions, 1);
        assert!(!log.has(other) && !log.has(UserId(3)));
    }

    #[test]
    fn a_damaged_checkpoint_is_put_aside_and_all_is_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = MemoryLog::default();
        let a = open(&log, directory.path());
        outcomes(&a, vec![action(1, USER, "hide")]);
        drop(a);
        let store = directory.path().join(CHECKPOINT).join("log");
        for entry in std::fs::read_dir(&store).expect("a store") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                std::fs::write(&path, "no store").expect("a file");
            }
        }
        let a = open(&log, directory.path());
        assert!(state(&a, USER).is_hidden(PinId(1)));
        assert!(directory.path().join("checkpoint-damaged").exists());
    }

    #[test]
    fn changed_pins_come_in_their_order_and_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = MemoryLog::default();
        let a = open(&log, directory.path());
        let change = |title: &str| {
            let record = PinRecord::Upserted {
                embedding_version: "model-1".to_owned(),
                vector: vec![1.0],
                title: title.to_owned(),
                key: String::new(),
                attributes: PinAttributes::default(),
            };
            (PinId(3), record)
        };
        for title in ["a", "b"] {
            assert!(a.append_pins(&[change(title)]).expect("a log"));
        }
        drop(a);
        let kept = Log::open_checkpoint(directory.path(), || Ok(log.id())).expect("a checkpoint");
        assert_eq!(kept.pin_changes().expect("pins"), [change("b")]);
    }

    const STREAMS: u8 = 2;
    const LOG: u64 = 7;

    /// What comes to a replica, one after the other.
    #[derive(Clone, Debug)]
    enum Event {
        /// A copy of the action of this id, and when it was recorded.
        Copy { stream: u8, id: u8, recorded: i64 },
        /// That a user was erased at this time.
        Erasure { user: u64, at: i64 },
        /// The erasures so far end.
        Finish,
        /// What was read is written to the files.
        Write,
    }

    fn event() -> impl Strategy<Value = Event> {
        // Some come minutes after they were recorded.
        let recorded = prop_oneof![4 => 0..20_i64, 1 => Just(-600_000_000)];
        prop_oneof![
            6 => (0..STREAMS, 0..5_u8, recorded)
                .prop_map(|(stream, id, recorded)| Event::Copy { stream, id, recorded }),
            2 => (0..2_u64, 0..20_i64).prop_map(|(user, at)| Event::Erasure { user, at }),
            2 => Just(Event::Write),
            1 => Just(Event::Finish),
        ]
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(NOW.micros() + micros)
    }

    /// The action of this id: three of the five happened after all erasures.
    fn copied(id: u8) -> Action {
        Action {
            time: at(if id < 3 { 1_000 } else { 10 }),
            ..action(id, UserId(u64::from(id % 2)), "hide")
        }
    }

    /// All that was recorded and erased, without an order but that of the erasures.
    #[derive(Debug, Default)]
    struct Twin {
        copies: Vec<(u8, Place)>,
        erased: [Option<i64>; 2],
    }

    impl Twin {
        fn erase(&mut self, user: u64, at: i64) {
            let last = self.erased.iter().flatten().max();
            let at = last.map_or(at, |last| at.max(last + 1));
            self.erased[user as usize] = Some(at);
        }

        /// The actions that are left, and the first place of each.
        fn left(&self) -> Vec<(Action, u64)> {
            let of = |id: u8| {
                let action = copied(id);
                let erased = self.erased[action.user.0 as usize].map(at);
                let is_left = |(of, place): &&(u8, Place)| {
                    let is_erased = |erased| action.time < erased || place.recorded_at <= erased;
                    *of == id && !erased.is_some_and(is_erased)
                };
                let places = self.copies.iter().filter(is_left);
                let first = places.map(|(_, place)| place.sequence).min()?;
                Some((action, first))
            };
            (0..5).filter_map(of).collect()
        }

        /// The state of a user of whom there are these actions.
        fn state(left: &[(Action, u64)], user: UserId) -> UserState {
            let shared = SharedState::new(params(), LOG, Positions::default());
            let of_user = left.iter().filter(|(action, _)| action.user == user);
            of_user.for_each(|(action, _)| shared.apply(action));
            shared
                .user(user)
                .map(|state| (*state).clone())
                .unwrap_or_default()
        }
    }

    /// A replica that reads what a test delivers.
    struct Reader {
        sink: TailSink,
        read: Positions,
        twin: Twin,
    }

    impl Reader {
        fn new(data: &Path) -> Self {
            let checkpoint = Log::open_checkpoint(data, || Ok(LOG)).expect("a checkpoint");
            let sink = TailSink {
                checkpoint: Arc::new(checkpoint),
                shared: Arc::new(SharedState::new(params(), LOG, Positions::default())),
                signals: Arc::default(),
                take_pins: Box::new(|_| {}),
            };
            let (read, twin) = (Positions::default(), Twin::default());
            Self { sink, read, twin }
        }

        fn deliver(&mut self, stream: u8, message: Message) -> Position {
            let sequence = self.read.of(stream) + 1;
            let position = Position { stream, sequence };
            self.read.advance(position);
            self.sink.take(vec![Delivered { position, message }]);
            position
        }

        fn take(&mut self, event: &Event) {
            match *event {
                Event::Copy {
                    stream,
                    id,
                    recorded,
                } => {
                    let recorded_at = at(recorded);
                    let frame = ActionFrame {
                        frame: FrameId::default(),
                        recorded_at,
                        is_kept: true,
                        origin: None,
                        actions: vec![copied(id)],
                    };
                    let position = self.deliver(stream, Message::Actions(frame));
                    let place = Place::in_message(position, 0, recorded_at);
                    self.twin.copies.push((id, place));
                }
                Event::Erasure { user, at: erased } => {
                    let user_digest = UserDigest::new(LOG, UserId(user));
                    let erased_at = at(erased);
                    let message = Message::Erasure {
                        user: user_digest,
                        erased_at,
                    };
                    self.deliver(STREAMS, message);
                    self.twin.erase(user, erased);
                }
                Event::Write => {
                    let written = self.sink.checkpoint.write_out();
                    written.expect("a checkpoint");
                }
                Event::Finish => {
                    let log = &self.sink.checkpoint;
                    let begun = log.unfinished_erasures().expect("a checkpoint");
                    log.remove_erased(&begun).expect("a checkpoint");
                    log.finish_erasures(&begun).expect("a checkpoint");
                }
            }
        }

        /// The actions that the archive would have, and their places.
        fn claimed(&self) -> Vec<(Action, u64)> {
            let claim = ArchiveClaim {
                holder: 1,
                lease_until: NOW,
                from: Positions::default(),
                through: self.read.of_first(STREAMS),
            };
            let claimed = self.sink.checkpoint.claimed_actions(&claim);
            let claimed = claimed.expect("a checkpoint").actions.into_iter();
            let mut claimed: Vec<_> = claimed
                .map(|placed| (placed.action, placed.place.sequence))
                .collect();
            claimed.sort_unstable_by_key(|(action, _)| action.id);
            claimed
        }

        fn kept(&self) -> Vec<Action> {
            let mut kept = Vec::new();
            let all = self.sink.checkpoint.for_each(|action| kept.push(action));
            all.expect("a checkpoint");
            kept
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_known_is_told_by_the_copies_and_erasures_and_not_by_their_order(
            events in prop::collection::vec(event(), 1..24),
        ) {
            let directory = tempfile::tempdir().expect("a directory");
            let mut reader = Reader::new(directory.path());
            for event in events.iter().chain([&Event::Finish, &Event::Write]) {
                reader.take(event);
                let left = reader.twin.left();
                if matches!(event, Event::Write) {
                    prop_assert_eq!(&reader.claimed(), &left);
                }
                for user in (0..2).map(UserId) {
                    let state = reader.sink.shared.user(user);
                    let state = state.map(|state| (*state).clone()).unwrap_or_default();
                    prop_assert_eq!(state, Twin::state(&left, user));
                }
            }
            let left: Vec<Action> = reader.twin.left().into_iter().map(|(a, _)| a).collect();
            prop_assert_eq!(reader.kept(), left);
        }
    }
}
