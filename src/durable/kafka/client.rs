//! How the brokers are reached: addresses, TLS, who we are, and what librdkafka is told.

use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;

use super::super::error::LogError;
use super::super::last_error::LastError;
use super::super::params::ActionLogParams;
use super::names::confirmed;

/// A broker answers a consumer at once where it has something, and after this time where not.
const FETCH_WAIT: &str = "50";
/// What a file of credentials may say, by the beginning of a property.
const CREDENTIALS: [&str; 3] = ["security.", "sasl.", "ssl."];
const FROM_FILE: &str = "a line of it is no property of librdkafka that begins with security., \
                         sasl. or ssl.";

pub(super) type Consumer = BaseConsumer<Context>;
pub(super) type Producer = ThreadedProducer<Context>;

/// Makes clients.
pub(super) struct Client {
    config: ClientConfig,
    group: String,
    message_timeout: Duration,
    last_error: LastError,
}

/// Takes what a client tells.
#[derive(Clone)]
pub(super) struct Context {
    last_error: LastError,
}

/// What a delivery report belongs to.
pub(super) struct Sent {
    /// The message, for the sender.
    pub(super) number: usize,
    pub(super) stream: u8,
    /// The number that the stream was known to reach before.
    pub(super) known: u64,
    pub(super) reports: Sender<Report>,
}

/// What became of a message.
pub(super) struct Report {
    pub(super) number: usize,
    pub(super) stream: u8,
    /// Its number in the stream, or why it is most likely not there.
    pub(super) result: Result<u64, String>,
}

impl Client {
    /// Reads the files that `params` name.
    ///
    /// # Errors
    ///
    /// A file that is missing or holds something else, or settings that librdkafka refuses.
    pub(super) fn new(params: &ActionLogParams) -> Result<Self, LogError> {
        let mut config = ClientConfig::new();
        let brokers = params.urls().map(|url| url.trim_start_matches("kafka://"));
        let brokers: Vec<&str> = brokers.collect();
        for (key, value) in [
            ("bootstrap.servers", &*brokers.join(",")),
            ("client.id", "pinnersage"),
            ("socket.nagle.disable", "true"),
            ("socket.connection.setup.timeout.ms", "1000"),
            ("reconnect.backoff.ms", "25"),
            ("reconnect.backoff.max.ms", "250"),
            ("retry.backoff.ms", "25"),
            ("topic.metadata.refresh.fast.interval.ms", "50"),
        ] {
            config.set(key, value);
        }
        secure(&mut config, params)?;
        let client = Self {
            config,
            group: params.stream.clone(),
            message_timeout: params.append_timeout,
            last_error: LastError::default(),
        };
        let refused = |error: KafkaError| LogError::Unreachable {
            url: params.url.clone(),
            reason: describe(&error),
        };
        client.consumer(false).map_err(refused)?;
        Ok(client)
    }

    fn context(&self) -> Context {
        Context {
            last_error: self.last_error.clone(),
        }
    }

    /// A consumer, which tells the end of a partition if `tells_end`. It belongs to no group:
    /// librdkafka only wants a name.
    pub(super) fn consumer(&self, tells_end: bool) -> Result<Consumer, KafkaError> {
        let mut config = self.config.clone();
        for (key, value) in [
            ("group.id", &*self.group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_uncommitted"),
            ("allow.auto.create.topics", "false"),
            ("max.poll.interval.ms", "86400000"),
            ("fetch.wait.max.ms", FETCH_WAIT),
            ("fetch.error.backoff.ms", "25"),
            ("fetch.queue.backoff.ms", "10"),
            ("queued.max.messages.kbytes", "16384"),
            (
                "enable.partition.eof",
                if tells_end { "true" } else { "false" },
            ),
        ] {
            config.set(key, value);
        }
        config.create_with_context(self.context())
    }

    pub(super) fn producer(&self) -> Result<Producer, KafkaError> {
        let mut config = self.config.clone();
        for (key, value) in [
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("queue.buffering.max.ms", "0"),
            (
                "message.timeout.ms",
                &*self.message_timeout.as_millis().to_string(),
            ),
        ] {
            config.set(key, value);
        }
        config.create_with_context(self.context())
    }

    pub(super) fn admin(&self) -> Result<AdminClient<Context>, KafkaError> {
        self.config.create_with_context(self.context())
    }

    /// Notes an error that a consumer has told.
    pub(super) fn note(&self, error: &KafkaError) {
        self.last_error.note(describe(error));
    }

    /// Why a connection has failed last.
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.get()
    }
}

/// Takes over TLS and credentials.
fn secure(config: &mut ClientConfig, params: &ActionLogParams) -> Result<(), LogError> {
    let files = [
        ("ssl.ca.location", &params.ca),
        ("ssl.certificate.location", &params.certificate),
        ("ssl.key.location", &params.key),
    ];
    for (property, path) in files {
        if let Some(path) = path {
            // librdkafka does not name it.
            std::fs::File::open(path).map_err(LogError::io(path))?;
            config.set(property, path.display().to_string());
            config.set("security.protocol", "ssl");
        }
    }
    if let Some(path) = &params.credentials {
        let text = std::fs::read_to_string(path).map_err(LogError::io(path))?;
        let properties = properties(&text).ok_or_else(|| unusable(path))?;
        properties.into_iter().for_each(|(key, value)| {
            config.set(key, value);
        });
    }
    Ok(())
}

/// The properties in `text`, one a line; none if a line is no property of credentials.
fn properties(text: &str) -> Option<Vec<(&str, &str)>> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let properties = lines.map(|line| {
        let (key, value) = line.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        let is_allowed = CREDENTIALS.iter().any(|prefix| key.starts_with(prefix));
        is_allowed.then_some((key, value))
    });
    properties.collect()
}

/// An error without values, which may be secret.
pub(super) fn describe(error: &KafkaError) -> String {
    if let KafkaError::ClientConfig(_, description, key, _) = error {
        return format!("{key}: {description}");
    }
    error.to_string()
}

fn unusable(path: &Path) -> LogError {
    LogError::Io {
        path: path.to_owned(),
        cause: std::io::Error::new(std::io::ErrorKind::InvalidData, FROM_FILE),
    }
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let failure = format!("{}: {reason}", describe(&error));
        self.last_error.note(failure);
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let result = match result {
            Ok(message) => confirmed(message.offset(), sent.known),
            Err((error, _)) => Err(describe(error)),
        };
        // Who has sent it may have gone on with another copy.
        let _ = sent.reports.send(Report {
            number: sent.number,
            stream: sent.stream,
            result,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_properties_of_security_and_nothing_else() {
        let text = "# who we are\nsasl.username = u\n\n ssl.key.password=a=b\n";
        let read = properties(text).expect("properties");
        assert_eq!(read, [("sasl.username", "u"), ("ssl.key.password", "a=b")]);
        for other in ["acks=0", "sasl.username", "bootstrap.servers=other:1"] {
            assert_eq!(properties(other), None, "{other}");
        }
    }

    #[test]
    fn an_error_of_a_setting_does_not_have_its_value() {
        let mut config = ClientConfig::new();
        config.set("sasl.pasword", "secret");
        let Err(error) = config.create::<BaseConsumer>() else {
            panic!("it is no property");
        };
        let described = describe(&error);
        assert!(described.contains("sasl.pasword") && !described.contains("secret"));
    }
}
