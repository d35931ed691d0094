//! Settings of the log of actions: where it lies, and how it is reached.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::positions::MAX_STREAMS;
use crate::setting_rules::{
    InvalidSetting, empty_as_no_file, require, require_duration_in_range, require_in_range,
};

/// What keeps recorded actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionLogKind {
    /// The store in the directory of the server.
    Embedded,
    /// Streams of NATS JetStream, which all replicas share.
    Nats,
    /// Topics of Kafka, which all replicas share; with the feature `kafka` only.
    Kafka,
}

/// The section `actions.log` of the settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionLogParams {
    /// What keeps recorded actions.
    pub kind: ActionLogKind,
    /// Addresses of the nodes, separated by commas.
    pub url: String,
    /// Prefix of the names of the streams.
    pub stream: String,
    /// Streams of actions.
    pub streams: usize,
    /// Nodes that keep each stream.
    pub replicas: usize,
    /// File of credentials of NATS, from `nsc`, or of properties of librdkafka; none for none.
    #[serde(deserialize_with = "empty_as_no_file")]
    pub credentials: Option<PathBuf>,
    /// Roots of the nodes' certificates; none for those of the system.
    #[serde(deserialize_with = "empty_as_no_file")]
    pub ca: Option<PathBuf>,
    /// Certificate of this client; none for none.
    #[serde(deserialize_with = "empty_as_no_file")]
    pub certificate: Option<PathBuf>,
    /// Its key.
    #[serde(deserialize_with = "empty_as_no_file")]
    pub key: Option<PathBuf>,
    /// An append that nobody has confirmed for so long is tried on another stream.
    #[serde(with = "humantime_serde")]
    pub retry_after: Duration,
    /// An append that nobody has confirmed for so long has failed.
    #[serde(with = "humantime_serde")]
    pub append_timeout: Duration,
    /// Most time that a replica which is ready is behind the log.
    #[serde(with = "humantime_serde")]
    pub max_ready_lag: Duration,
    /// Most messages that a replica which is ready is behind the log.
    pub max_ready_messages: u64,
    /// Whether a replica that is further behind is ready all the same.
    pub serve_stale: bool,
}

impl ActionLogParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let is_kafka = self.kind == ActionLogKind::Kafka;
        require(
            "actions.log.kind",
            "kafka",
            !is_kafka || cfg!(feature = "kafka"),
            "embedded or nats in a program that was built without the feature kafka",
        )?;
        let is_shared = self.kind != ActionLogKind::Embedded;
        require(
            "actions.log.url",
            format!("{:?}", self.url),
            !is_shared || self.urls().next().is_some(),
            "given for a log that replicas share",
        )?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        require(
            "actions.log.stream",
            format!("{:?}", self.stream),
            !self.stream.is_empty() && self.stream.len() <= 32 && self.stream.chars().all(is_word),
            "1 to 32 of letters, digits, - and _",
        )?;
        let max_streams = match is_kafka {
            // Each has another one beside it.
            true => (MAX_STREAMS - 1) / 2,
            false => MAX_STREAMS - 1,
        };
        require_in_range("actions.log.streams", self.streams, 1..=max_streams)?;
        require_in_range("actions.log.replicas", self.replicas, 1..=5)?;
        require(
            "actions.log.key",
            format!("{:?}", self.key.as_deref().unwrap_or_else(|| "".as_ref())),
            self.key.is_some() == self.certificate.is_some(),
            "given together with actions.log.certificate",
        )?;
        let retry = Duration::from_millis(10)..=Duration::from_secs(10);
        require_duration_in_range("actions.log.retry_after", self.retry_after, retry)?;
        let append = self.retry_after..=Duration::from_secs(60);
        require_duration_in_range("actions.log.append_timeout", self.append_timeout, append)?;
        let lag = Duration::from_millis(10)..=Duration::from_secs(3_600);
        require_duration_in_range("actions.log.max_ready_lag", self.max_ready_lag, lag)
    }

    /// Number of the streams of a shared log that have actions; the control stream follows.
    #[must_use]
    pub fn action_streams(&self) -> u8 {
        // In Kafka, those that are never forgotten have streams of their own.
        let topics = if self.kind == ActionLogKind::Kafka {
            2
        } else {
            1
        };
        u8::try_from(topics * self.streams).unwrap_or(u8::MAX)
    }

    /// The addresses in [`Self::url`].
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        let urls = self.url.split(',').map(str::trim);
        urls.filter(|url| !url.is_empty())
    }
}

#[cfg(test)]
impl ActionLogParams {
    /// Settings for tests of what is in memory.
    pub(crate) fn sample() -> Self {
        Self {
            kind: ActionLogKind::Nats,
            url: "nats://127.0.0.1:4222".to_owned(),
            stream: "test".to_owned(),
            streams: 3,
            replicas: 1,
            credentials: None,
            ca: None,
            certificate: None,
            key: None,
            retry_after: Duration::from_millis(250),
            append_timeout: Duration::from_secs(5),
            max_ready_lag: Duration::from_secs(2),
            max_ready_messages: 10_000,
            serve_stale: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka(streams: usize) -> ActionLogParams {
        ActionLogParams {
            kind: ActionLogKind::Kafka,
            url: "127.0.0.1:9092".to_owned(),
            streams,
            ..ActionLogParams::sample()
        }
    }

    #[test]
    fn kafka_is_refused_by_a_program_without_it_and_takes_half_of_the_streams() {
        let refused = |streams| kafka(streams).validate().err().map(|error| error.key);
        if !cfg!(feature = "kafka") {
            assert_eq!(refused(3), Some("actions.log.kind".into()));
            return;
        }
        assert_eq!(refused(7), None);
        assert_eq!(refused(8), Some("actions.log.streams".into()));
        assert_eq!(usize::from(kafka(7).action_streams()) + 1, MAX_STREAMS - 1);
    }
}
