//! The action log in topics of Kafka, which all replicas of a fleet share.
//!
//! Actions lie in the partitions of two topics, one whose messages expire and one whose
//! messages never do; any message in any partition, so that one whose leader is gone does
//! not hold up the others. What needs an order lies in a control topic of one partition.
//! Each message of all topics has a key of its own. So compaction, which keeps the last
//! message of each key, deletes what has a tombstone and nothing else.

mod client;
mod control;
mod erase;
mod monitor;
mod names;
mod publish;
mod read;
mod remove;
mod shared;
mod tail;
mod topics;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use self::publish::{messages, publish};
use self::read::read;
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

/// A log in Kafka.
pub struct KafkaLog {
    id: u64,
    shared: Arc<Shared>,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut log = f.debug_struct("KafkaLog");
        log.field("url", &self.shared.params.url)
            .finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Opens the log that `params` name, whose actions stay for `retention`. A replica that
    /// has read of a log names it, and goes on without the brokers until they are there; topics
    /// of another log are refused by [`ActionLog::condition`]. One that has not creates the
    /// topics where there are none. Blocks.
    ///
    /// # Errors
    ///
    /// Where a file of the settings cannot be used. Without `expected_id` also where the
    /// brokers cannot be reached for 10 seconds, or have topics of another kind.
    pub fn open(
        params: &ActionLogParams,
        retention: Duration,
        expected_id: Option<u64>,
    ) -> Result<Self, LogError> {
        let shared = Arc::new(Shared::new(params, retention + RETENTION_MARGIN)?);
        let opener = match expected_id {
            Some(id) => Opener::Knows(id),
            None => Opener::Creates(rand::random()),
        };
        let mut log = Self {
            id: expected_id.unwrap_or_default(),
            shared,
        };
        log.spawn("action-log", move |shared| monitor::monitor(shared, opener))?;
        if expected_id.is_none() {
            log.id = log.shared.opened(OPEN_TIMEOUT)?;
        }
        Ok(log)
    }

    fn spawn(
        &self,
        name: &str,
        work: impl FnOnce(&Shared) + Send + 'static,
    ) -> Result<JoinHandle<()>, LogError> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let started = thread.spawn(move || work(&shared));
        started.map_err(|error| {
            let reason = format!("no thread can be started: {error}");
            self.shared.unreachable(reason)
        })
    }

    /// Waits until messages can be appended.
    fn wait_for_engine(&self) -> Result<(), LogError> {
        self.shared.opened(self.shared.params.append_timeout)?;
        // What is appended after a tail has stopped would never be seen here.
        match self
            .shared
            .state
            .stopped()
            .or_else(|| self.shared.leaderless())
        {
            Some(reason) => Err(self.shared.unreachable(reason)),
            None => Ok(()),
        }
    }

    /// The moment before which actions of `stream` may be missing. What is older than `oldest`
    /// has expired where something has.
    fn begin_of(&self, stream: u8, oldest: Timestamp) -> Result<Option<Timestamp>, LogError> {
        let limit = self.shared.params.append_timeout;
        let (first, newest) = self.shared.ends(stream, limit).map_err(|reason| {
            let name = self.shared.names.stream(stream);
            self.shared.unreachable(format!("{name}: {reason}"))
        })?;
        if first == 0 {
            return Ok(None);
        }
        let mut begin = None;
        // The first one that is left; what an erasure has written anew may look older.
        let range = (first, newest.min(first + 1));
        read(&self.shared, stream, range, &mut |raw| {
            begin = Some(raw.stored_at());
            Ok(())
        })?;
        Ok(begin.max(Some(oldest)))
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
    }
}

impl ActionLog for KafkaLog {
    fn id(&self) -> u64 {
        self.id
    }

    fn append(&self, entry: &Entry<'_>) -> Result<Appended, LogError> {
        let began = Instant::now();
        self.wait_for_engine()?;
        let positions = publish(&self.shared, &messages(&self.shared, entry))?;
        metrics::histogram!(LOG_APPENDS).record(began.elapsed().as_secs_f64());
        Ok(Appended::Sent(positions.into_iter().collect()))
    }

    fn newest(&self) -> Result<Positions, LogError> {
        let shared = &*self.shared;
        let limit = shared.params.append_timeout;
        shared.opened(limit)?;
        let ask = move |stream| {
            let asked = shared.ends(stream, limit).map_err(|reason| {
                let name = shared.names.stream(stream);
                shared.unreachable(format!("{name}: {reason}"))
            });
            let (_, sequence) = asked?;
            shared.state.told(stream, sequence);
            Ok(Position { stream, sequence })
        };
        std::thread::scope(|scope| {
            let asked: Vec<_> = shared
                .names
                .all()
                .map(|stream| scope.spawn(move || ask(stream)))
                .collect();
            let answers = asked.into_iter().map(|asked| {
                let answer = asked.join();
                answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            answers.collect()
        })
    }

    fn condition(&self) -> Condition {
        self.shared.condition()
    }
}

impl SharedLog for KafkaLog {
    fn tail(&self, after: Positions, sink: Box<dyn Sink>) -> Result<Tail, LogError> {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = self.spawn("action-log-tail", move |shared| {
            tail::follow(shared, &after, sink, &over);
        })?;
        Ok(Tail::new(TailThread::new(is_over, thread)))
    }

    fn settle_pins(&self, changes: &[PinChange]) -> Result<(), LogError> {
        self.wait_for_engine()?;
        remove::settle(&self.shared, changes)
    }

    fn claim_archive(&self, claim: &[u8], after: u64) -> Result<bool, LogError> {
        self.wait_for_engine()?;
        remove::claim(&self.shared, claim, after)
    }

    fn erase(
        &self,
        is_erased: &(dyn Fn(&Action, Timestamp) -> bool + Sync),
    ) -> Result<u64, LogError> {
        self.wait_for_engine()?;
        let mut through = Positions::default();
        let mut erased = 0;
        loop {
            let newest = self.newest()?;
            let mut found = 0;
            for stream in 0..self.shared.names.actions() {
                let range = (through.of(stream), newest.of(stream));
                found += erase::erase_in(&self.shared, stream, range, is_erased)?;
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
        self.shared.opened(self.shared.params.append_timeout)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let oldest = now.unwrap_or_default().saturating_sub(self.shared.max_age);
        let oldest = i64::try_from(oldest.as_micros()).unwrap_or(i64::MAX);
        let mut begins = None;
        for stream in 0..self.shared.names.partitions {
            let begin = self.begin_of(stream, Timestamp::from_micros(oldest))?;
            begins = begins.max(begin);
        }
        Ok(begins)
    }
}
