//! Follows all streams: what their leaders repeat comes by itself, and what is missing is
//! asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Message;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::StreamExt;

use super::super::opening::Opening;
use super::super::positions::{Position, Positions};
use super::fetch::{Batch, End, Raw, fetch, nothing_from, raw};
use super::link::Link;
use super::loss::{Loss, LossWatch};
use super::ordering::{Ordering, Step};
use super::shared::Shared;
use crate::metrics::LOG_HOLES;
use crate::model::Timestamp;

const TICK: Duration = Duration::from_millis(20);
/// A message that is known to exist and has not come by itself for so long is asked for.
const GRACE: Duration = Duration::from_millis(30);
/// Pause after a node that had nothing, or no answer.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const SUBSCRIBE_PATIENCE: Duration = Duration::from_millis(500);

/// One stream.
struct Followed {
    order: Ordering<Raw>,
    /// Whether it is to be read although nothing is known to be missing.
    must_read: bool,
    is_reading: bool,
    /// Since when the message of this number is missing.
    missing: Option<(u64, Instant)>,
    not_before: Instant,
    /// Looks whether the stream still has what was delivered.
    loss: LossWatch,
    /// Reads in a row that have brought nothing.
    failures: usize,
}

struct Follower {
    shared: Arc<Shared>,
    streams: Vec<Followed>,
    out: Sender<Vec<Raw>>,
    read: UnboundedSender<(u8, Batch)>,
    link: Arc<Link>,
    /// Whether the control stream was read to its end once: erasures that are known when
    /// actions come cost nothing.
    knows_erasures: bool,
}

/// Whoever takes what is delivered is gone.
struct Ended;

/// Sends to `out` what follows `after`, without end.
pub(super) async fn follow(shared: Arc<Shared>, after: Positions, out: Sender<Vec<Raw>>) {
    let mut opening = shared.opening.subscribe();
    let is_open = |opening: &Opening| matches!(opening, Opening::Open(_));
    if opening.wait_for(is_open).await.is_err() {
        return;
    }
    let (read, mut batches) = unbounded_channel();
    let followed = |stream| Followed {
        order: Ordering::new(after.of(stream)),
        must_read: true,
        is_reading: false,
        missing: None,
        loss: LossWatch::default(),
        not_before: Instant::now(),
        failures: 0,
    };
    let mut follower = Follower {
        streams: shared.names.all().map(followed).collect(),
        link: shared.links.pick(shared.links.turn()).clone(),
        shared,
        out,
        read,
        knows_erasures: false,
    };
    while follower.subscribed(&mut batches).await.is_ok() {}
}

impl Follower {
    /// Follows through one link until another is better.
    async fn subscribed(
        &mut self,
        batches: &mut UnboundedReceiver<(u8, Batch)>,
    ) -> Result<(), Ended> {
        let subject = self.shared.names.tail();
        let subscribed = timeout(SUBSCRIBE_PATIENCE, self.link.client.subscribe(subject)).await;
        let Ok(Ok(mut live)) = subscribed else {
            self.link = self.shared.links.pick(self.shared.links.turn()).clone();
            return Ok(());
        };
        for followed in &mut self.streams {
            followed.must_read = true;
            followed.failures = 0;
        }
        let mut is_connected = true;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = live.next() => match message {
                    Some(message) => self.take_live(message).await?,
                    None => return Ok(()),
                },
                Some((stream, batch)) = batches.recv() => self.take_read(stream, batch).await?,
                _ = ticks.tick() => {
                    if !matches!(*self.shared.opening.borrow(), Opening::Open(_)) {
                        // The streams are those of another log by now.
                        return Err(Ended);
                    }
                    if self.has_moved() {
                        return Ok(());
                    }
                    // What came between is missing at the end, where nothing shows it.
                    let was_connected = std::mem::replace(&mut is_connected, self.link.is_connected());
                    let is_back = is_connected && !was_connected;
                    for stream in self.shared.names.all() {
                        self.streams[usize::from(stream)].must_read |= is_back;
                        self.look(stream);
                    }
                }
            }
            if self.out.is_closed() {
                return Err(Ended);
            }
        }
    }

    /// Takes another link where the node of this one does not answer, and another one does.
    fn has_moved(&mut self) -> bool {
        if self.link.is_healthy() {
            return false;
        }
        let other = self.shared.links.pick(self.shared.links.turn());
        let is_better = other.is_healthy();
        if is_better {
            self.link = other.clone();
        }
        is_better
    }

    async fn take_live(&mut self, message: Message) -> Result<(), Ended> {
        let subject = message.subject.clone();
        let Some(raw) = raw(&self.shared, message) else {
            tracing::warn!(%subject, "a message that no stream has repeated is dropped");
            return Ok(());
        };
        let Position { stream, sequence } = raw.position;
        let mut steps = Vec::new();
        let order = &mut self.streams[usize::from(stream)].order;
        order.live(sequence, raw, &mut steps);
        self.send(stream, steps).await
    }

    async fn take_read(&mut self, stream: u8, batch: Batch) -> Result<(), Ended> {
        let followed = &mut self.streams[usize::from(stream)];
        followed.is_reading = false;
        let before = followed.order.next();
        let mut steps = Vec::new();
        let messages = batch.messages.into_iter();
        let messages = messages.map(|raw| (raw.position.sequence, raw)).collect();
        followed.order.fetched(batch.begin, messages, &mut steps);
        if let End::Nothing { through } = batch.end {
            followed
                .order
                .nothing_left(batch.begin, through, &mut steps);
        }
        let has_moved = followed.order.next() > before;
        match batch.end {
            End::More => {}
            End::Last | End::Nothing { .. } => {
                followed.must_read = false;
                self.knows_erasures |= stream == self.shared.names.control();
            }
            End::Broken => followed.must_read |= !followed.order.is_missing(),
        }
        match has_moved {
            true => followed.failures = 0,
            false => {
                followed.failures += 1;
                followed.not_before = Instant::now() + RETRY_PAUSE;
            }
        }
        if has_moved && batch.end == End::More {
            followed.must_read = true;
        }
        self.send(stream, steps).await?;
        self.look(stream);
        Ok(())
    }

    /// Reads a stream if something is missing.
    fn look(&mut self, stream: u8) {
        if !self.knows_erasures && stream != self.shared.names.control() {
            return;
        }
        let known = self.shared.state.known(stream);
        self.look_for_loss(stream);
        let followed = &mut self.streams[usize::from(stream)];
        followed.order.know(known);
        let now = Instant::now();
        let next = followed.order.next();
        let since = match followed.missing {
            Some((missing, since)) if missing == next => since,
            _ => now,
        };
        followed.missing = followed.order.is_missing().then_some((next, since));
        let is_due = followed.missing.is_some() && since + GRACE <= now;
        if followed.is_reading || followed.not_before > now || !(followed.must_read || is_due) {
            return;
        }
        if !followed.must_read && followed.failures == 0 {
            metrics::counter!(LOG_HOLES).increment(1);
        }
        followed.is_reading = true;
        // The link of the subscription comes first: it has subscribed before it reads.
        let link = match followed.failures {
            0 => self.link.clone(),
            turn => self.shared.links.pick(turn).clone(),
        };
        let (shared, read) = (self.shared.clone(), self.read.clone());
        tokio::spawn(async move {
            let mut batch = fetch(&shared, &link, stream, next).await;
            let is_at_end = batch.messages.is_empty() && batch.end == End::Last;
            if is_at_end && known >= next {
                let nothing = nothing_from(&shared, stream, next).await;
                if let Some(through) = nothing {
                    batch.end = End::Nothing { through };
                }
            }
            // The tail may have ended meanwhile.
            let _ = read.send((stream, batch));
        });
    }

    /// Says so where a stream has lost what was delivered: its numbers begin again below, and
    /// what has them now would be taken for what is known.
    fn look_for_loss(&mut self, stream: u8) {
        let told = self.shared.state.last_told(stream);
        let followed = &mut self.streams[usize::from(stream)];
        let last = followed.order.next() - 1;
        if let Some(Loss { had, told }) = followed.loss.look(last, told, Instant::now()) {
            let name = self.shared.names.stream(stream);
            let reason = format!("the stream {name} ends at {told}, and {had} was read before");
            self.shared.state.stop_lost(&reason);
        }
    }

    async fn send(&self, stream: u8, steps: Vec<Step<Raw>>) -> Result<(), Ended> {
        if steps.is_empty() {
            return Ok(());
        }
        let raws = steps.into_iter().map(|step| match step {
            Step::Message(_, raw) => raw,
            Step::Gone(sequence) => Raw {
                position: Position { stream, sequence },
                stored_at: Timestamp::from_micros(0),
                payload: None,
            },
        });
        self.out.send(raws.collect()).await.map_err(|_| Ended)
    }
}
