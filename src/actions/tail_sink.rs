//! What comes by the tail of a shared log: kept in the checkpoint, and then made visible.

use std::collections::HashMap;
use std::fmt;
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
        for Delivered {
            position, message, ..
        } in group
        {
            match message {
                Message::Actions(frame) => {
                    let mut outcomes = Vec::with_capacity(frame.actions.len());
                    for (at, action) in (0u16..).zip(&frame.actions) {
                        let place = place_of(frame, *position, at);
                        let outcome = self.outcome(action, place, &mut new, &mut read.copies)?;
                        outcomes.push(outcome);
                        if outcome == ActionOutcome::Accepted {
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

    /// What becomes of `action`, which stands at `place`; `new` has the places of those of the
    /// same group. Adds it to `copies` if it is another copy of one that counts.
    fn outcome(
        &self,
        action: &Action,
        place: Place,
        new: &mut HashMap<ActionId, Place>,
        copies: &mut Vec<(ActionId, Place)>,
    ) -> Result<ActionOutcome, LogError> {
        let is_erased = self.shared.is_erased(action, place.recorded_at);
        let known = match new.get(&action.id) {
            Some(&known) => Some(known),
            None => self.checkpoint.place_of(action.id)?,
        };
        Ok(match known {
            Some(known) => {
                // One that an erasure has written anew may have been read before.
                if known.sequence != place.sequence && !is_erased {
                    copies.push((action.id, place));
                }
                ActionOutcome::Duplicate
            }
            None if is_erased => ActionOutcome::Erased,
            None => {
                new.insert(action.id, place);
                ActionOutcome::Accepted
            }
        })
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

    use crate::actions::{
        ActionLimits, ActionOutcome, ActionParams, Actions, FreshnessToken, RecordError,
        RecordedActions, SharedParts, UserState,
    };
    use crate::durable::memory_log::MemoryLog;
    use crate::durable::{ActionLog, CHECKPOINT, Log, PinRecord};
    use crate::model::{Action, ActionId, ActionWeights, PinId, Timestamp, UserId};
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

    fn open(log: &MemoryLog, data: &Path) -> Actions {
        let checkpoint = Log::open_checkpoint(data, || Ok(log.id())).expect("a checkpoint");
        let weights = [("save", 1.0), ("hide", -1.0), ("impression", 0.0)];
        let weights = weights.map(|(name, weight)| (name.to_owned(), weight));
        let params = ActionParams {
            weights: ActionWeights::new(weights.into()),
            limits: ActionLimits::SAMPLE,
        };
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
        let placed = actions.actions_from(0, usize::MAX).expect("a checkpoint");
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
        assert_eq!(b.finish_erasures().expect("a checkpoint"), 1);
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
}
