//! Follows all streams, and hands what comes to a sink.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::super::action_log::{Delivered, Message, Sink};
use super::super::error::LogError;
use super::super::frames::{FrameError, decode};
use super::super::positions::{Position, Positions};
use super::super::tail_thread::TellEnd;
use super::client::{Consumer, describe};
use super::control::is_of_log;
use super::names::offset_after;
use super::read::{Raw, read_unless};
use super::shared::Shared;
use crate::metrics::LOG_HOLES;

const POLL: Duration = Duration::from_millis(50);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Messages and bytes from which on no more are handed over at once.
const ENOUGH_MESSAGES: usize = 512;
const ENOUGH_BYTES: usize = 1 << 20;
/// What is known to exist and has not come for so long is looked for.
const GRACE: Duration = Duration::from_secs(1);
const ASK_LIMIT: Duration = Duration::from_secs(1);
/// A new leader may tell less than there is for so long.
const LOSS_PATIENCE: Duration = Duration::from_secs(10);

/// How far one stream was delivered.
struct Followed {
    through: u64,
    has_stopped: bool,
    /// Since when what follows this number is missing.
    missing: Option<(u64, Instant)>,
    /// Since when the leader tells less than was delivered or is known to exist.
    lost_since: Option<Instant>,
}

struct Follower<'a> {
    shared: &'a Shared,
    sink: Box<dyn Sink>,
    is_over: &'a AtomicBool,
    streams: Vec<Followed>,
    /// Whether the control stream was read to its end once: erasures that are known when
    /// actions come cost nothing.
    knows_erasures: bool,
}

/// Delivers to `sink` what follows `after`, until `is_over`.
pub(super) fn follow(
    shared: &Shared,
    after: &Positions,
    sink: Box<dyn Sink>,
    is_over: &AtomicBool,
) {
    // Whatever ends this thread before the tail is over is told.
    let _told = TellEnd {
        state: &shared.state,
        is_over,
    };
    let mut follower = Follower::new(shared, after, sink, is_over);
    while !follower.is_over() && shared.opened(POLL).is_err() {
        if shared.is_refused() {
            return;
        }
    }
    let mut last_reason = String::new();
    while !follower.is_over() {
        // It ends with an error where it has to begin again.
        if let Err(error) = follower.session()
            && !follower.is_over()
        {
            let reason = error.to_string();
            if reason != last_reason {
                tracing::warn!(
                    reason,
                    "the action log is read anew from where it was read to"
                );
                last_reason = reason;
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }
}

impl<'a> Follower<'a> {
    fn new(
        shared: &'a Shared,
        after: &Positions,
        sink: Box<dyn Sink>,
        is_over: &'a AtomicBool,
    ) -> Self {
        let followed = |stream| Followed {
            through: after.of(stream),
            has_stopped: false,
            missing: None,
            lost_since: None,
        };
        Self {
            shared,
            sink,
            is_over,
            streams: shared.names.all().map(followed).collect(),
            knows_erasures: false,
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Reads through one consumer until the tail is over.
    fn session(&mut self) -> Result<(), LogError> {
        for stream in self.shared.names.all() {
            self.look_at_ends(stream)?;
        }
        if !self.knows_erasures {
            let control = self.shared.names.control();
            self.read_to(control, self.shared.state.known(control))?;
            self.knows_erasures = true;
        }
        let failed = |error: KafkaError| self.shared.unreachable(describe(&error));
        let consumer = self.shared.client.consumer(false).map_err(failed)?;
        let mut assigned = TopicPartitionList::new();
        for stream in self.shared.names.all() {
            let followed = &self.streams[usize::from(stream)];
            if followed.has_stopped {
                continue;
            }
            let (topic, partition) = self.shared.names.place(stream);
            let offset = Offset::Offset(offset_after(followed.through));
            let added = assigned.add_partition_offset(&topic, partition, offset);
            added.map_err(failed)?;
        }
        consumer.assign(&assigned).map_err(failed)?;
        while !self.is_over() {
            self.poll(&consumer)?;
            for stream in self.shared.names.all() {
                self.look_for_missing(stream)?;
            }
        }
        Ok(())
    }

    /// Steps over what has expired before it was read, and says so where the stream has lost
    /// what was read, or what is known to exist.
    fn look_at_ends(&mut self, stream: u8) -> Result<(), LogError> {
        let followed = &self.streams[usize::from(stream)];
        if followed.has_stopped || self.is_over() {
            return Ok(());
        }
        let through = followed.through;
        // More may be confirmed while the leader is asked.
        let known = self.shared.state.known(stream);
        // One that nobody leads is read when somebody does.
        let asked = self.shared.ends_unless(self.is_over, stream, ASK_LIMIT);
        let Ok((first, newest)) = asked else {
            return Ok(());
        };
        if first > through {
            self.gone(stream, first);
        }
        let followed = &mut self.streams[usize::from(stream)];
        if newest >= through.max(known) {
            followed.lost_since = None;
            return Ok(());
        }
        let name = self.shared.names.stream(stream);
        let what = match newest < through {
            true => format!("{through} was read before"),
            false => format!("{known} was confirmed and is not there"),
        };
        let reason = format!("the stream {name} ends at {newest}, and {what}");
        let since = *followed.lost_since.get_or_insert_with(Instant::now);
        if since.elapsed() < LOSS_PATIENCE {
            // One whose end was not read yet is read on.
            return match newest < through {
                true => Err(self.shared.unreachable(reason)),
                false => Ok(()),
            };
        }
        followed.has_stopped = true;
        self.shared.state.stop_lost(&reason);
        Ok(())
    }

    /// Takes what has come.
    fn poll(&mut self, consumer: &Consumer) -> Result<(), LogError> {
        let mut raws = Vec::new();
        let mut bytes = 0;
        let mut wait = POLL;
        let mut result = Ok(());
        while raws.len() < ENOUGH_MESSAGES && bytes < ENOUGH_BYTES {
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    let Some(raw) = Raw::new(&self.shared.names, &message) else {
                        continue;
                    };
                    bytes += raw.payload.as_ref().map_or(0, Vec::len);
                    raws.push(raw);
                }
                Some(Err(error)) => {
                    if must_begin_again(&error) {
                        result = Err(self.shared.unreachable(describe(&error)));
                    }
                    self.shared.client.note(&error);
                    break;
                }
                None => break,
            }
            wait = Duration::ZERO;
        }
        self.deliver(raws);
        result
    }

    /// Looks for what is known to exist and does not come. Nothing comes of what was removed at
    /// the end of a stream.
    fn look_for_missing(&mut self, stream: u8) -> Result<(), LogError> {
        let known = self.shared.state.known(stream);
        let followed = &mut self.streams[usize::from(stream)];
        let through = followed.through;
        if followed.has_stopped || known <= through {
            followed.missing = None;
            followed.lost_since = None;
            return Ok(());
        }
        match followed.missing {
            Some((after, since)) if after == through => {
                if since.elapsed() < GRACE {
                    return Ok(());
                }
            }
            _ => {
                followed.missing = Some((through, Instant::now()));
                return Ok(());
            }
        }
        followed.missing = None;
        // Nobody leads it, or a leader that does not know all yet.
        let asked = self.shared.ends_unless(self.is_over, stream, ASK_LIMIT);
        let Ok((_, newest)) = asked else {
            return Ok(());
        };
        if newest < known {
            return self.look_at_ends(stream);
        }
        metrics::counter!(LOG_HOLES).increment(1);
        self.read_to(stream, known)
    }

    /// Reads a stream up to the message of number `through`, which exists or did.
    fn read_to(&mut self, stream: u8, through: u64) -> Result<(), LogError> {
        let followed = &self.streams[usize::from(stream)];
        if followed.has_stopped {
            return Ok(());
        }
        let after = followed.through;
        let (shared, is_over) = (self.shared, self.is_over);
        read_unless(is_over, shared, stream, (after, through), &mut |raw| {
            self.deliver(vec![raw]);
            Ok(())
        })?;
        if self.streams[usize::from(stream)].through < through {
            self.gone(stream, through);
        }
        Ok(())
    }

    /// Tells that nothing is left up to the message of number `sequence`.
    fn gone(&mut self, stream: u8, sequence: u64) {
        let followed = &mut self.streams[usize::from(stream)];
        if followed.has_stopped || self.is_over.load(Ordering::Acquire) {
            return;
        }
        followed.through = sequence;
        self.sink.take(vec![gone(stream, sequence)]);
    }

    /// Hands over what was not before. A stream with a message that cannot be read is not
    /// followed further.
    fn deliver(&mut self, raws: Vec<Raw>) {
        let mut delivered = Vec::with_capacity(raws.len());
        for raw in raws {
            let position = raw.position;
            let followed = &mut self.streams[usize::from(position.stream)];
            if followed.has_stopped || position.sequence <= followed.through {
                continue;
            }
            match message(self.shared, &raw) {
                Ok(message) => {
                    if position.sequence > followed.through + 1 {
                        // What lies between has expired or was removed.
                        let sequence = position.sequence - 1;
                        delivered.push(gone(position.stream, sequence));
                    }
                    followed.through = position.sequence;
                    delivered.push(Delivered { position, message });
                }
                Err(error) => {
                    followed.has_stopped = true;
                    let stream = self.shared.names.stream(position.stream);
                    let state = &self.shared.state;
                    state.stop_unreadable(&stream, position.sequence, &error);
                }
            }
        }
        if !delivered.is_empty() && !self.is_over() {
            self.sink.take(delivered);
        }
    }
}

/// Whether a consumer does not go on after `error`.
fn must_begin_again(error: &KafkaError) -> bool {
    if let KafkaError::MessageConsumption(code) = error {
        return matches!(
            code,
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange
        );
    }
    matches!(error, KafkaError::MessageConsumptionFatal(_))
}

/// That nothing is left up to the message of this number.
fn gone(stream: u8, sequence: u64) -> Delivered {
    Delivered {
        position: Position { stream, sequence },
        message: Message::Gone,
    }
}

fn message(shared: &Shared, raw: &Raw) -> Result<Message, FrameError> {
    let Position { stream, sequence } = raw.position;
    if stream == shared.names.control() {
        let mut control = shared.control();
        control.take(&raw.control_record());
        if !control.counts(sequence, &raw.key) {
            return Ok(Message::Gone);
        }
        if !is_of_log(&raw.key) && raw.payload.is_some() {
            tracing::warn!(
                stream = %shared.names.stream(stream), sequence,
                "a record of the control topic is none of the log: it is passed over"
            );
            return Ok(Message::Gone);
        }
    }
    match &raw.payload {
        None => Ok(Message::Gone),
        Some(payload) => decode(payload),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use rdkafka::mocking::MockCluster;

    use super::super::super::params::{ActionLogKind, ActionLogParams};
    use super::*;

    #[derive(Clone, Default)]
    struct Taken(Arc<Mutex<Vec<Delivered>>>);

    impl Sink for Taken {
        fn take(&mut self, delivered: Vec<Delivered>) {
            self.0.lock().expect("no panic").extend(delivered);
        }
    }

    fn params(url: String) -> ActionLogParams {
        ActionLogParams {
            kind: ActionLogKind::Kafka,
            url,
            streams: 1,
            ..ActionLogParams::sample()
        }
    }

    #[test]
    fn what_was_confirmed_and_is_not_there_stops_its_stream_loudly_and_never_counts_as_gone() {
        let brokers = MockCluster::new(1).expect("a broker");
        for topic in ["test-actions", "test-kept", "test-control"] {
            brokers.create_topic(topic, 1, 1).expect("a topic");
        }
        let params = params(brokers.bootstrap_servers());
        let shared = Shared::new(&params, Duration::from_secs(1)).expect("a log");
        let (taken, is_over) = (Taken::default(), AtomicBool::new(false));
        let sink = Box::new(taken.clone());
        let mut follower = Follower::new(&shared, &Positions::default(), sink, &is_over);
        let position = Position {
            stream: 0,
            sequence: 5,
        };
        shared.state.confirm(position);

        let error = follower.read_to(0, 5).expect_err("it is not there");
        assert!(error.to_string().contains("ends at 0, before 5"), "{error}");
        follower.look_at_ends(0).expect("others are read on");
        assert_eq!(shared.state.stopped(), None);
        let since = &mut follower.streams[0].lost_since;
        assert!(since.is_some());
        *since = Instant::now().checked_sub(LOSS_PATIENCE);
        follower.look_at_ends(0).expect("others are read on");
        let stopped = shared.state.stopped().expect("it is told");
        assert!(
            stopped.contains("test-actions/0 ends at 0, and 5 was confirmed and is not there"),
            "{stopped}"
        );
        follower.read_to(0, 5).expect("nothing of it is read");

        // A leader that knows it in the end has lost nothing.
        follower.streams[1].lost_since = Some(Instant::now());
        follower.look_for_missing(1).expect("all is there");
        assert_eq!(follower.streams[1].lost_since, None);
        assert!(taken.0.lock().expect("no panic").is_empty());
    }
}
