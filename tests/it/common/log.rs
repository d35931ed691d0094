//! What tests of a shared log append, and what its tail has delivered.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pinnersage::durable::{
    ActionBatch, ActionFrame, Appended, Condition, Delivered, Entry, FrameId, LogError, Message,
    Position, Positions, SharedLog, Sink, Tail,
};
use pinnersage::model::{Action, ActionId, PinId, Timestamp, UserId};

use super::wait::PATIENCE;

/// For how long actions count.
pub(crate) const RETENTION: Duration = Duration::from_secs(30 * 86_400);
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

pub(crate) fn wait_for_condition(
    log: &(impl SharedLog + ?Sized),
    is_wanted: impl Fn(&Condition) -> bool,
) -> Condition {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let condition = log.condition();
        if is_wanted(&condition) {
            return condition;
        }
        assert!(Instant::now() < deadline, "{condition:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The error of what must be refused.
pub(crate) fn refusal(outcome: Result<impl SharedLog, LogError>) -> String {
    match outcome {
        Ok(log) => panic!("{log:?} is open"),
        Err(error) => error.to_string(),
    }
}

/// What a tail has delivered.
#[derive(Clone, Default)]
pub(crate) struct Collected(Arc<(Mutex<Vec<Delivered>>, Condvar)>);

impl Sink for Collected {
    fn take(&mut self, delivered: Vec<Delivered>) {
        let (all, has_more) = &*self.0;
        all.lock().expect("no panic").extend(delivered);
        has_more.notify_all();
    }
}

impl Collected {
    pub(crate) fn follow(log: &(impl SharedLog + ?Sized), after: Positions) -> (Self, Tail) {
        let collected = Self::default();
        let tail = log.tail(after, Box::new(collected.clone()));
        (collected, tail.expect("it starts"))
    }

    /// Whether no tail has it any more.
    pub(crate) fn is_over(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Waits until what was delivered is as wanted.
    pub(crate) fn wait(
        &self,
        what: &str,
        is_wanted: impl Fn(&[Delivered]) -> bool,
    ) -> Vec<Delivered> {
        let (all, has_more) = &*self.0;
        let all = all.lock().expect("no panic");
        let waited = has_more.wait_timeout_while(all, PATIENCE, |all| !is_wanted(all));
        let (all, waited) = waited.expect("no panic");
        let at = visible(&all);
        assert!(!waited.timed_out(), "waited in vain for {what}: at {at:?}");
        all.clone()
    }

    pub(crate) fn wait_for(&self, positions: &Positions) -> Vec<Delivered> {
        self.wait(&format!("{positions:?}"), |all| {
            visible(all).cover(positions)
        })
    }
}

pub(crate) fn visible(all: &[Delivered]) -> Positions {
    all.iter().map(|delivered| delivered.position).collect()
}

/// Adds the positions of `more`.
pub(crate) fn merge(all: &mut Positions, more: &Positions) {
    for (stream, &sequence) in (0..).zip(more.sequences()) {
        all.advance(Position { stream, sequence });
    }
}

pub(crate) fn frames(all: &[Delivered]) -> Vec<&ActionFrame> {
    let frames = all.iter().filter_map(|delivered| match &delivered.message {
        Message::Actions(frame) => Some(frame),
        Message::Pin(_) | Message::Erasure { .. } | Message::ArchiveClaim(_) | Message::Gone => {
            None
        }
    });
    frames.collect()
}

pub(crate) fn ids(all: &[Delivered]) -> Vec<u128> {
    let actions = frames(all).into_iter().flat_map(|frame| &frame.actions);
    actions
        .map(|action| u128::from_be_bytes(action.id.0))
        .collect()
}

/// Each stream in order, each message once, and none left out.
pub(crate) fn assert_ordered(all: &[Delivered], after: &Positions) {
    let mut at = after.clone();
    for delivered in all {
        let position = delivered.position;
        let before = at.of(position.stream);
        match delivered.message {
            Message::Gone => assert!(position.sequence > before, "{position:?} after {before}"),
            Message::Actions(_)
            | Message::Pin(_)
            | Message::Erasure { .. }
            | Message::ArchiveClaim(_) => assert_eq!(position.sequence, before + 1, "{position:?}"),
        }
        at.advance(position);
    }
}

pub(crate) fn action(id: u128, user: u64, name: &str) -> Action {
    Action {
        id: ActionId(id.to_be_bytes()),
        user: UserId(user),
        pin: PinId(7),
        name: name.to_owned(),
        time: NOW,
        medoid: Some(PinId(3)),
        keys: None,
    }
}

pub(crate) fn append(
    log: &(impl SharedLog + ?Sized),
    frame: u64,
    actions: &[Action],
) -> Result<Positions, LogError> {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&frame.to_le_bytes());
    let entry = Entry::Actions(ActionBatch {
        frame: FrameId(id),
        actions: &actions.iter().collect::<Vec<_>>(),
        recorded_at: NOW,
        is_kept: &|action| action.name == "hide",
    });
    sent(log.append(&entry)?)
}

pub(crate) fn sent(appended: Appended) -> Result<Positions, LogError> {
    match appended {
        Appended::Sent(positions) => Ok(positions),
        Appended::Here => panic!("a shared log is not here"),
    }
}

/// Appends actions, of which one append in five is never forgotten, to a new log of so many
/// streams of actions. A tail must deliver them in order, from the begin and from the middle.
/// Returns what it has delivered.
pub(crate) fn delivered_in_order(log: &(impl SharedLog + ?Sized), streams: u8) -> Vec<Delivered> {
    let (collected, _tail) = Collected::follow(log, Positions::default());
    let mut positions = Positions::default();
    let mut actions = Vec::new();
    for frame in 0..50 {
        let name = if frame % 5 == 0 { "hide" } else { "save" };
        let of_frame: Vec<Action> = (0..10)
            .map(|at| action(u128::from(frame * 10 + at), at, name))
            .collect();
        let appended = append(log, frame, &of_frame).expect("it is appended");
        merge(&mut positions, &appended);
        actions.extend(of_frame);
    }
    let all = collected.wait_for(&positions);
    assert_ordered(&all, &Positions::default());
    let frames = frames(&all);
    let mut delivered: Vec<Action> = frames.iter().flat_map(|f| f.actions.clone()).collect();
    delivered.sort_by_key(|action| action.id);
    assert_eq!(delivered, actions);
    let is_as_named = |frame: &&ActionFrame| frame.is_kept == (frame.actions[0].name == "hide");
    assert!(frames.iter().all(is_as_named));
    let newest = log.newest().expect("it tells");
    assert_eq!(newest.of_first(streams), positions.of_first(streams));

    // Of the second stream nothing is left to read.
    let parts = |part: &dyn Fn(u8) -> u64| {
        let sequences = (0..streams).map(part);
        Positions::new(sequences.collect()).expect("few streams")
    };
    let after = parts(&|stream| match stream {
        1 => positions.of(1),
        _ => positions.of(stream) / 2,
    });
    let rest = parts(&|stream| match stream {
        1 => 0,
        _ => positions.of(stream),
    });
    let (from_there, tail) = Collected::follow(log, after.clone());
    let rest = from_there.wait_for(&rest);
    assert_ordered(&rest, &after);
    assert_eq!(visible(&rest).of(1), 0);
    drop(tail);
    assert!(from_there.is_over(), "nobody takes anything any more");
    all
}

/// What stands in the control stream.
pub(crate) fn control(all: &[Delivered], stream: u8) -> Vec<&Message> {
    let of_control = all.iter();
    let of_control = of_control.filter(|delivered| delivered.position.stream == stream);
    let messages = of_control.map(|delivered| &delivered.message);
    messages
        .filter(|message| **message != Message::Gone)
        .collect()
}
