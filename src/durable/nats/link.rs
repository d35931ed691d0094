//! Connections to the nodes, one for each address, so that a node that hangs holds up no
//! more than what was on its way to it; and requests with any number of replies.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, Event, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::StreamExt;

use super::super::error::LogError;
use super::super::last_error::LastError;
use super::super::lock::lock;
use super::connect::Access;

/// A node answers an echo that often.
const ECHO_INTERVAL: Duration = Duration::from_millis(50);
/// After a silence of this length an append that is late is blamed on the link, and after the
/// longer one the link is left.
const PROMPT_PATIENCE: Duration = Duration::from_millis(175);
const ECHO_PATIENCE: Duration = Duration::from_millis(350);
/// Two links of one node are moved apart that often.
const SEPARATE_INTERVAL: Duration = Duration::from_secs(1);
/// The token of echoes; requests count from 1.
const ECHO: u64 = 0;

/// What is asked or published: a subject, headers and a payload.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

impl Question {
    /// A question without headers.
    pub(super) fn new(subject: String, payload: impl Into<Bytes>) -> Self {
        Self {
            subject,
            headers: HeaderMap::new(),
            payload: payload.into(),
        }
    }
}

/// A connection to one node.
pub(super) struct Link {
    pub(super) client: Client,
    inbox: String,
    pending: Mutex<HashMap<u64, UnboundedSender<Message>>>,
    tokens: AtomicU64,
    started: Instant,
    /// Milliseconds from `started` to the last echo.
    echoed: AtomicU64,
}

/// A question that waits for replies, until this is dropped.
pub(super) struct Asked {
    link: Arc<Link>,
    token: u64,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.link.pending().remove(&self.token);
    }
}

impl Link {
    fn pending(&self) -> std::sync::MutexGuard<'_, HashMap<u64, UnboundedSender<Message>>> {
        lock(&self.pending)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    fn silent_for(&self) -> Duration {
        let echoed = Duration::from_millis(self.echoed.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(echoed)
    }

    /// Whether the node has answered lately.
    pub(super) fn is_healthy(&self) -> bool {
        self.is_connected() && self.silent_for() < ECHO_PATIENCE
    }

    /// Whether the node answers at once.
    pub(super) fn is_prompt(&self) -> bool {
        self.is_connected() && self.silent_for() < PROMPT_PATIENCE
    }

    /// Sends `question`, whose replies go to `replies`.
    pub(super) async fn ask(
        self: &Arc<Self>,
        question: Question,
        replies: &UnboundedSender<Message>,
    ) -> Result<Asked, String> {
        let token = self.tokens.fetch_add(1, Ordering::Relaxed);
        self.pending().insert(token, replies.clone());
        let asked = Asked {
            link: self.clone(),
            token,
        };
        let Question {
            subject,
            headers,
            payload,
        } = question;
        let reply = format!("{}.{token}", self.inbox);
        let sent = match headers.is_empty() {
            true => self
                .client
                .publish_with_reply(subject, reply, payload)
                .await
                .map_err(|error| error.to_string()),
            false => self
                .client
                .publish_with_reply_and_headers(subject, reply, headers, payload)
                .await
                .map_err(|error| error.to_string()),
        };
        sent.map(|()| asked)
    }

    /// The first reply to `question`.
    pub(super) async fn request(
        self: &Arc<Self>,
        question: Question,
        limit: Duration,
    ) -> Result<Message, String> {
        let (replies, mut replied) = mpsc::unbounded_channel();
        let answer = async {
            let _asked = self.ask(question, &replies).await?;
            replied
                .recv()
                .await
                .ok_or_else(|| "it is closed".to_owned())
        };
        let answer = timeout(limit, answer).await;
        answer.unwrap_or_else(|_| Err(format!("no answer in {limit:?}")))
    }

    async fn dispatch(self: Arc<Self>, mut inbox: Subscriber) {
        while let Some(message) = inbox.next().await {
            let token = message.subject.rsplit('.').next().map(str::parse);
            let Some(Ok(token)) = token else {
                tracing::warn!(subject = %message.subject, "a reply to nothing is dropped");
                continue;
            };
            if token == ECHO {
                let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.echoed.store(at, Ordering::Relaxed);
            } else if let Some(replies) = self.pending().get(&token) {
                // Who asked may have gone meanwhile.
                let _ = replies.send(message);
            }
        }
    }

    async fn send_echoes(self: Arc<Self>) {
        let mut ticks = interval(ECHO_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.is_connected() {
                let echo = format!("{}.{ECHO}", self.inbox);
                // An echo that cannot be sent is one that does not come back.
                let _ = timeout(ECHO_INTERVAL, self.client.publish(echo, Bytes::new())).await;
            }
        }
    }
}

/// All links.
pub(super) struct Links {
    all: Vec<Arc<Link>>,
    last_error: LastError,
    turns: AtomicUsize,
}

impl Links {
    /// Creates a client for each address, and two for a single one, behind which several
    /// nodes may be. They connect in the background, for ever.
    pub(super) async fn open(access: &Access) -> Result<Self, LogError> {
        let last_error = LastError::default();
        let is_pinned = access.addresses.len() > 1;
        let mut all = Vec::new();
        for at in 0..access.addresses.len().max(2) {
            let address = access.addresses[at % access.addresses.len()].clone();
            let events = last_error.clone();
            let options = access.options(is_pinned)?.event_callback(move |event| {
                note_event(&events, &event);
                std::future::ready(())
            });
            let unreachable = |reason: String| LogError::Unreachable {
                url: address.host().to_owned(),
                reason,
            };
            let client = options.connect(address.clone()).await;
            let client = client.map_err(|error| unreachable(error.to_string()))?;
            let inbox = client.new_inbox();
            let subscribed = client.subscribe(format!("{inbox}.*")).await;
            let subscriber = subscribed.map_err(|error| unreachable(error.to_string()))?;
            let link = Arc::new(Link {
                client,
                inbox,
                pending: Mutex::default(),
                tokens: AtomicU64::new(ECHO + 1),
                started: Instant::now(),
                echoed: AtomicU64::new(0),
            });
            tokio::spawn(link.clone().dispatch(subscriber));
            tokio::spawn(link.clone().send_echoes());
            all.push(link);
        }
        if !is_pinned {
            tokio::spawn(separate(all.clone()));
        }
        Ok(Self {
            all,
            last_error,
            turns: AtomicUsize::new(0),
        })
    }

    /// Why the last connection failed.
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.get()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.all.iter().any(|link| link.is_connected())
    }

    /// A link whose node answers; if there is none, one that is connected, and else any. The
    /// number `turn` takes another one than its neighbors, where there are several.
    pub(super) fn pick(&self, turn: usize) -> &Arc<Link> {
        let nth = |is_fit: fn(&Link) -> bool| {
            let fit: Vec<_> = self.all.iter().filter(|link| is_fit(link)).collect();
            (!fit.is_empty()).then(|| fit[turn % fit.len()])
        };
        nth(Link::is_healthy)
            .or_else(|| nth(Link::is_connected))
            .unwrap_or(&self.all[turn % self.all.len()])
    }

    /// The next number for [`Self::pick`], so that load spreads.
    pub(super) fn turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// The largest message that the nodes take.
    pub(super) fn max_payload(&self) -> usize {
        let payloads = self.all.iter().map(|link| link.client.max_payload());
        payloads.min().expect("a link at least")
    }
}

/// Moves the second of two links with one address to another node than the first.
async fn separate(links: Vec<Arc<Link>>) {
    let mut ticks = interval(SEPARATE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let [first, second] = &links[..] else {
            return;
        };
        let [one, other] = [first, second].map(|link| link.client.server_info());
        let is_same = one.server_id == other.server_id && one.connect_urls.len() > 1;
        if is_same && first.is_healthy() && second.is_connected() {
            // It takes any of the nodes that the first one has told of.
            let _ = timeout(SEPARATE_INTERVAL, second.client.force_reconnect()).await;
        }
    }
}

fn note_event(last_error: &LastError, event: &Event) {
    let failure = match event {
        Event::ClientError(error) => error.to_string(),
        Event::ServerError(error) => error.to_string(),
        Event::SlowConsumer(_) => {
            // What is dropped there is missing in a stream, and asked for again.
            tracing::debug!("messages of the action log came faster than they were read");
            return;
        }
        Event::Connected
        | Event::Disconnected
        | Event::LameDuckMode
        | Event::Draining
        | Event::Closed => return,
    };
    last_error.note(failure);
}

/// Replies that come one by one, each within `limit`.
pub(super) async fn next_reply(
    replied: &mut UnboundedReceiver<Message>,
    limit: Duration,
) -> Option<Message> {
    timeout(limit, replied.recv()).await.ok().flatten()
}
