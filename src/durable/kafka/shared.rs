//! What the parts of a log in Kafka share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::producer::Producer as _;

use super::super::action_log::Condition;
use super::super::error::LogError;
use super::super::params::ActionLogParams;
use super::super::positions::{Position, Positions};
use super::super::rotation::Rotation;
use super::client::{Client, Consumer, Producer, describe};
use super::control::Control;
use super::names::{Names, Topic};

/// Whether the topics are known to be those of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Not yet, for this reason.
    Waiting(String),
    /// They are those of the log of this id.
    Open(u64),
    /// They are others.
    Refused(Refusal),
}

/// Why topics are not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// They are of another log.
    Mismatch {
        what: String,
        found: String,
        expected: String,
    },
    /// Some of them are lost.
    Lost(String),
}

pub(super) struct Shared {
    pub(super) params: ActionLogParams,
    /// How long actions stay that may be forgotten.
    pub(super) max_age: Duration,
    pub(super) names: Names,
    pub(super) client: Client,
    /// Asks for metadata and how far partitions reach, and reads nothing.
    pub(super) asker: Consumer,
    producer: Mutex<Arc<Producer>>,
    opening: Mutex<Opening>,
    has_decided: Condvar,
    began: Instant,
    forgotten: Mutex<Rotation>,
    kept: Mutex<Rotation>,
    /// What the leader of each stream has told last, and when.
    newest: Mutex<Vec<Option<(u64, Instant)>>>,
    /// The newest message of each stream that was confirmed to this replica.
    confirmed: Vec<AtomicU64>,
    /// Why a tail has stopped.
    stopped: Mutex<Option<String>>,
    /// Why the last append has failed, and when; none after one that was confirmed.
    failed: Mutex<Option<(String, Instant)>>,
    control: Mutex<Control>,
    /// The log is closed.
    pub(super) is_over: AtomicBool,
}

/// For how long a log counts as failed after an append that nobody has confirmed.
const FAILED_FOR: Duration = Duration::from_secs(10);

/// A broker that has not told so long is asked again.
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// Pause after a broker that does not lead a partition, or not yet.
const ASK_PAUSE: Duration = Duration::from_millis(25);

/// A log that was just opened has not failed: its brokers are still being asked.
const NEW_FOR: Duration = Duration::from_secs(2);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(params: &ActionLogParams, max_age: Duration) -> Result<Self, LogError> {
        let client = Client::new(params)?;
        let names = Names::new(&params.stream, params.streams);
        let count = names.all().count();
        let refused = |error: rdkafka::error::KafkaError| LogError::Unreachable {
            url: params.url.clone(),
            reason: describe(&error),
        };
        Ok(Self {
            params: params.clone(),
            max_age,
            asker: client.consumer(false).map_err(refused)?,
            producer: Mutex::new(Arc::new(client.producer().map_err(refused)?)),
            client,
            opening: Mutex::new(Opening::Waiting("no broker was asked yet".to_owned())),
            has_decided: Condvar::new(),
            began: Instant::now(),
            forgotten: Mutex::new(Rotation::new(names.partitions)),
            kept: Mutex::new(Rotation::new(names.partitions)),
            newest: Mutex::new(vec![None; count]),
            confirmed: (0..count).map(|_| AtomicU64::new(0)).collect(),
            stopped: Mutex::default(),
            failed: Mutex::default(),
            control: Mutex::default(),
            is_over: AtomicBool::new(false),
            names,
        })
    }

    /// What of the control topic counts, as far as it was read.
    pub(super) fn control(&self) -> MutexGuard<'_, Control> {
        lock(&self.control)
    }

    /// Which partition of a topic of actions an append goes to.
    pub(super) fn rotation(&self, topic: Topic) -> MutexGuard<'_, Rotation> {
        match topic {
            Topic::Kept => lock(&self.kept),
            Topic::Actions | Topic::Control => lock(&self.forgotten),
        }
    }

    /// The producer; another one where librdkafka has given up the last.
    pub(super) fn producer(&self) -> Result<Arc<Producer>, LogError> {
        let mut producer = lock(&self.producer);
        if let Some((code, reason)) = producer.client().fatal_error() {
            tracing::error!(%code, reason, "the producer of the action log has failed for good: another one is made");
            let new = self.client.producer();
            *producer = Arc::new(new.map_err(|error| self.unreachable(describe(&error)))?);
        }
        Ok(producer.clone())
    }

    pub(super) fn unreachable(&self, reason: impl Into<String>) -> LogError {
        LogError::Unreachable {
            url: self.params.url.clone(),
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
                url: self.params.url.clone(),
                what,
                found,
                expected,
            },
            Refusal::Lost(reason) => self.unreachable(reason),
        }
    }

    /// Takes what is known of the topics, and returns whether it is news.
    pub(super) fn decide(&self, opening: Opening) -> bool {
        let mut now = lock(&self.opening);
        let is_news = *now != opening;
        *now = opening;
        self.has_decided.notify_all();
        is_news
    }

    /// Waits until the topics are known to be those of the log.
    pub(super) fn opened(&self, limit: Duration) -> Result<u64, LogError> {
        let now = lock(&self.opening);
        let is_waiting = |opening: &mut Opening| matches!(opening, Opening::Waiting(_));
        let waited = self.has_decided.wait_timeout_while(now, limit, is_waiting);
        let (now, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &*now {
            Opening::Open(id) => Ok(*id),
            Opening::Refused(refusal) => Err(self.refused(refusal.clone())),
            Opening::Waiting(reason) => Err(self.unreachable(reason.clone())),
        }
    }

    /// Whether the topics are those of another log.
    pub(super) fn is_refused(&self) -> bool {
        matches!(*lock(&self.opening), Opening::Refused(_))
    }

    /// The first and the last number of what a stream has, by its leader: what follows `first`
    /// is there, up to the last. Asks until `limit` has passed.
    pub(super) fn ends(&self, stream: u8, limit: Duration) -> Result<(u64, u64), String> {
        self.ends_unless(&self.is_over, stream, limit)
    }

    /// As [`Self::ends`], and gives up soon where `is_over` comes true.
    pub(super) fn ends_unless(
        &self,
        is_over: &AtomicBool,
        stream: u8,
        limit: Duration,
    ) -> Result<(u64, u64), String> {
        let (topic, partition) = self.names.place(stream);
        let deadline = Instant::now() + limit;
        let count = |offset: i64| u64::try_from(offset).unwrap_or(0);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self
                .asker
                .fetch_watermarks(&topic, partition, left.min(ASK_LIMIT))
            {
                Ok((low, high)) => return Ok((count(low), count(high))),
                Err(error)
                    if Instant::now() + ASK_PAUSE >= deadline
                        || is_over.load(Ordering::Acquire) =>
                {
                    return Err(describe(&error));
                }
                // A new leader is not known everywhere at once.
                Err(_) => std::thread::sleep(ASK_PAUSE),
            }
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
        let told = lock(&self.newest)[at].map_or(0, |(newest, _)| newest);
        self.confirmed[at].load(Ordering::Acquire).max(told)
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

    /// Why no stream of actions has had a leader for so long that an append would fail.
    pub(super) fn leaderless(&self) -> Option<String> {
        let limit = self.params.append_timeout;
        let newest = lock(&self.newest);
        let is_led =
            |told: &Option<(u64, Instant)>| told.is_some_and(|(_, at)| at.elapsed() < limit);
        let actions = &newest[..usize::from(self.names.actions())];
        let is_any_led = actions.iter().any(is_led);
        (!is_any_led).then(|| {
            let last = self.client.last_error();
            let last = last.map_or_else(String::new, |error| format!(": {error}"));
            format!("no partition has had a leader for {limit:?}{last}")
        })
    }

    fn failure(&self) -> Option<String> {
        if let Some(stopped) = self.stopped() {
            return Some(stopped);
        }
        let is_new = self.began.elapsed() < NEW_FOR;
        match &*lock(&self.opening) {
            Opening::Refused(refusal) => return Some(self.refused(refusal.clone()).to_string()),
            Opening::Open(_) | Opening::Waiting(_) if is_new => return None,
            Opening::Waiting(reason) => return Some(reason.clone()),
            Opening::Open(_) => {}
        }
        if let Some((reason, at)) = &*lock(&self.failed)
            && at.elapsed() < FAILED_FOR
        {
            return Some(reason.clone());
        }
        self.leaderless()
    }

    pub(super) fn condition(&self) -> Condition {
        let failure = self.failure();
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
