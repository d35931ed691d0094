//! What the parts of a log in Kafka share.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::producer::Producer as _;

use super::super::action_log::Condition;
use super::super::error::LogError;
use super::super::lock::lock;
use super::super::log_state::LogState;
use super::super::opening::Opening;
use super::super::params::ActionLogParams;
use super::super::rotation::Rotation;
use super::client::{Client, Consumer, Producer, describe};
use super::control::Control;
use super::names::{Names, Topic};

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
    forgotten: Mutex<Rotation>,
    kept: Mutex<Rotation>,
    pub(super) state: LogState,
    control: Mutex<Control>,
    /// The log is closed.
    pub(super) is_over: AtomicBool,
}

/// A broker that has not told so long is asked again.
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// Pause after a broker that does not lead a partition, or not yet.
const ASK_PAUSE: Duration = Duration::from_millis(25);

impl Shared {
    pub(super) fn new(params: &ActionLogParams, max_age: Duration) -> Result<Self, LogError> {
        let client = Client::new(params)?;
        let names = Names::new(&params.stream, params.streams);
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
            forgotten: Mutex::new(Rotation::new(names.partitions)),
            kept: Mutex::new(Rotation::new(names.partitions)),
            state: LogState::new(names.all().count()),
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
        now.id(&self.params.url)
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

    /// Why no stream of actions has had a leader for so long that an append would fail.
    pub(super) fn leaderless(&self) -> Option<String> {
        let limit = self.params.append_timeout;
        let is_any_led = self.state.is_any_led(self.names.actions(), limit);
        (!is_any_led).then(|| {
            let last = self.client.last_error();
            let last = last.map_or_else(String::new, |error| format!(": {error}"));
            format!("no partition has had a leader for {limit:?}{last}")
        })
    }

    fn failure(&self) -> Option<String> {
        let opening = lock(&self.opening).clone();
        match self.state.judge(&opening, &self.params.url) {
            ControlFlow::Break(failure) => failure,
            ControlFlow::Continue(()) => {
                let failed = self.state.failed_lately();
                failed.or_else(|| self.leaderless())
            }
        }
    }

    pub(super) fn condition(&self) -> Condition {
        self.state.condition(self.failure())
    }
}
