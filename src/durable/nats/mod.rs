//! The action log in streams of NATS JetStream, which all replicas of a fleet share.
//!
//! Actions lie in several streams, any message in any of them, so that one whose leader is
//! gone does not hold up the others; a set does not care. What needs an order lies in one
//! control stream, which keeps the last message of each subject. The leader of a stream
//! repeats what it has stored on a plain subject, which a tail follows; what is lost on that
//! way is seen by its number, or because the leader or a confirmation tells of it, and is
//! asked for.

mod api;
mod append;
mod balance;
mod connect;
mod deliver;
mod erase;
mod fetch;
mod link;
mod loss;
mod monitor;
mod names;
mod ordering;
mod publish;
mod retention;
mod settle;
mod shared;
mod streams;
mod tail;

use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::append::{messages, send_all, send_claim};
use self::connect::{Access, redact};
use self::deliver::{Guard, deliver};
use self::link::Links;
use self::shared::Shared;
use super::action_log::{ActionLog, Appended, Condition, Entry, SharedLog, Sink, Tail};
use super::error::LogError;
use super::opening::{OPEN_TIMEOUT, Opener};
use super::params::ActionLogParams;
use super::positions::{Position, Positions};
use super::records::PinChange;
use super::tail_thread::TailThread;
use crate::metrics::LOG_APPENDS;
use crate::model::{Action, Timestamp};

/// Actions stay for the retention and this, so that none goes that still counts.
const RETENTION_MARGIN: Duration = Duration::from_secs(86_400);
/// Parts of a tail that wait for its sink.
const WAITING_PARTS: usize = 4;

/// A log in NATS JetStream.
pub struct NatsLog {
    id: u64,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl fmt::Debug for NatsLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut log = f.debug_struct("NatsLog");
        log.field("url", &self.shared.url).finish_non_exhaustive()
    }
}

impl NatsLog {
    /// Opens the log that `params` name, whose actions stay for `retention`. A replica that
    /// has read of a log names it, and goes on without the engine until it is there; streams
    /// of another log are refused by [`ActionLog::condition`]. One that has not creates the
    /// streams where there are none. Blocks.
    ///
    /// # Errors
    ///
    /// Where a file of the settings cannot be used. Without `expected_id` also where the engine
    /// cannot be reached for 10 seconds, or has streams of another kind.
    pub fn open(
        params: &ActionLogParams,
        retention: Duration,
        expected_id: Option<u64>,
    ) -> Result<Self, LogError> {
        let access = Access::new(params)?;
        let url = redact(params);
        let max_age = retention + RETENTION_MARGIN;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("action-log")
            .enable_all()
            .build()
            .map_err(|error| LogError::Unreachable {
                url: url.clone(),
                reason: format!("no thread can be started: {error}"),
            })?;
        let links = block_on(runtime.handle(), async move { Links::open(&access).await });
        let links = links.unwrap_or_else(|| Err(ended(&url)))?;
        let shared = Arc::new(Shared::new(params, url, max_age, links));
        let opener = match expected_id {
            Some(id) => Opener::Knows(id),
            None => Opener::Creates(rand::random()),
        };
        runtime.spawn(monitor::monitor(shared.clone(), opener));
        let mut log = Self {
            id: expected_id.unwrap_or_default(),
            shared,
            runtime: Some(runtime),
        };
        if expected_id.is_none() {
            let shared = log.shared.clone();
            log.id = log.run(async move { shared.opened(OPEN_TIMEOUT).await })?;
        }
        Ok(log)
    }

    fn handle(&self) -> &Handle {
        let runtime = self.runtime.as_ref();
        runtime.expect("it is taken by the drop only").handle()
    }

    /// Runs `work` in the runtime of the log, and waits for it.
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, LogError>> + Send + 'static,
    ) -> Result<T, LogError> {
        block_on(self.handle(), work).unwrap_or_else(|| Err(ended(&self.shared.url)))
    }
}

impl NatsLog {
    /// Erases actions in the messages of these numbers, and returns their number.
    fn erase_in(
        &self,
        stream: u8,
        sequences: RangeInclusive<u64>,
        is_erased: &(dyn Fn(&Action, Timestamp) -> bool + Sync),
    ) -> Result<u64, LogError> {
        let (mut begin, last) = sequences.into_inner();
        let mut erased = 0;
        while begin <= last {
            let part = self.run(erase::read(self.shared.clone(), stream, begin))?;
            for raw in part.messages {
                if let Some(affected) = erase::examine(&self.shared, &raw, is_erased)? {
                    erased += affected.erased;
                    self.run(erase::replace(self.shared.clone(), affected))?;
                }
            }
            begin = part.next;
        }
        Ok(erased)
    }
}

impl Drop for NatsLog {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime that waits for its end may not be dropped inside another.
            runtime.shutdown_background();
        }
    }
}

/// Waits for `work` on this thread, which may be one of any runtime; none if it has panicked.
fn block_on<T: Send + 'static>(
    handle: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (done, result) = std::sync::mpsc::sync_channel(1);
    handle.spawn(async move {
        // Who waits does so without an end.
        let _ = done.send(work.await);
    });
    result.recv().ok()
}

fn ended(url: &str) -> LogError {
    LogError::Unreachable {
        url: url.to_owned(),
        reason: "the thread of the log has failed".to_owned(),
    }
}

impl ActionLog for NatsLog {
    fn id(&self) -> u64 {
        self.id
    }

    fn append(&self, entry: &Entry<'_>) -> Result<Appended, LogError> {
        let began = Instant::now();
        let messages = messages(&self.shared, entry);
        let shared = self.shared.clone();
        let appended = self.run(send_all(shared, messages))?;
        metrics::histogram!(LOG_APPENDS).record(began.elapsed().as_secs_f64());
        Ok(appended)
    }

    fn newest(&self) -> Result<Positions, LogError> {
        self.run(newest(self.shared.clone()))
    }

    fn condition(&self) -> Condition {
        self.shared.condition()
    }
}

impl SharedLog for NatsLog {
    fn tail(&self, after: Positions, sink: Box<dyn Sink>) -> Result<Tail, LogError> {
        let (out, raws) = mpsc::channel(WAITING_PARTS);
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over) = (self.shared.clone(), is_over.clone());
        let thread = std::thread::Builder::new().name("action-log-tail".to_owned());
        let thread = thread.spawn(move || deliver(&shared, raws, sink, &over));
        let thread = thread.map_err(|error| {
            let reason = format!("no thread can be started: {error}");
            self.shared.unreachable(reason)
        })?;
        let task = self
            .handle()
            .spawn(tail::follow(self.shared.clone(), after, out));
        let task = task.abort_handle();
        Ok(Tail::new(Guard {
            task,
            thread: TailThread::new(is_over, thread),
        }))
    }

    fn erase(
        &self,
        is_erased: &(dyn Fn(&Action, Timestamp) -> bool + Sync),
    ) -> Result<u64, LogError> {
        let mut through = Positions::default();
        let mut erased = 0;
        loop {
            let newest = self.newest()?;
            let mut found = 0;
            for stream in 0..self.shared.names.actions {
                let begin = through.of(stream) + 1;
                found += self.erase_in(stream, begin..=newest.of(stream), is_erased)?;
            }
            // Another replica that erases as well may have written some of them anew.
            if found == 0 {
                return Ok(erased);
            }
            erased += found;
            through = newest;
        }
    }

    fn begins(&self) -> Result<Option<Timestamp>, LogError> {
        let shared = self.shared.clone();
        self.run(async move { retention::begins(&shared).await })
    }

    fn settle_pins(&self, changes: &[PinChange]) -> Result<(), LogError> {
        self.run(settle::settle(self.shared.clone(), changes.to_vec()))
    }

    fn claim_archive(&self, claim: &[u8], after: u64) -> Result<bool, LogError> {
        let claim = append::claim(&self.shared.names, claim, after);
        self.run(send_claim(self.shared.clone(), claim))
    }
}

async fn newest(shared: Arc<Shared>) -> Result<Positions, LogError> {
    let limit = shared.params.append_timeout;
    shared.opened(limit).await?;
    let mut asking = JoinSet::new();
    for stream in shared.names.all() {
        let shared = shared.clone();
        asking.spawn(async move {
            let name = shared.names.stream(stream);
            let info = api::info_of_leader(&shared.links, &name, limit).await;
            let info = info.map_err(|error| shared.unreachable(format!("{name}: {error}")))?;
            let sequence = info.state.last_seq;
            shared.state.told(stream, sequence);
            Ok::<Position, LogError>(Position { stream, sequence })
        });
    }
    let answers = asking.join_all().await;
    answers.into_iter().collect()
}
