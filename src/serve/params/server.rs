//! Settings of the server: the section `serve`.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use crate::setting_rules::{
    InvalidSetting, days, require_duration_in_range, require_in_range, zero_as_never,
};

/// The section `serve` of the settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerParams {
    /// Address that gRPC is served on.
    pub listen: SocketAddr,
    /// Address that metrics and probes are served on.
    pub ops_listen: SocketAddr,
    /// Size of the largest request that is read.
    pub max_request_size: ByteSize,
    /// Interval between two looks for new versions; none for never.
    #[serde(deserialize_with = "zero_as_never")]
    pub watch: Option<Duration>,
    /// Pins that may change beside a catalog.
    pub max_changed_pins: usize,
    /// Longest time that a call for recommendations may take.
    #[serde(with = "humantime_serde")]
    pub max_deadline: Duration,
    /// One in so many answers has its recall measured; 0 for none.
    pub probe_one_in: u64,
    /// Share of a core that measuring recall may take, above 0 and at most 1.
    pub probe_cpu: f64,
    /// How long to go on serving after a signal to stop, while health already says
    /// NOT_SERVING.
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    /// How long calls in flight may take to end after that.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

impl ServerParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        require_in_range("serve.max_changed_pins", self.max_changed_pins, 0..=100_000)?;
        let sizes = ByteSize::kib(1)..=ByteSize::mib(16);
        require_in_range("serve.max_request_size", self.max_request_size, sizes)?;
        let watch = self.watch.unwrap_or_default();
        require_duration_in_range("serve.watch", watch, Duration::ZERO..=days(1))?;
        let deadlines = Duration::from_millis(1)..=Duration::from_secs(60);
        require_duration_in_range("serve.max_deadline", self.max_deadline, deadlines)?;
        require_in_range("serve.probe_cpu", self.probe_cpu, 0.0001..=1.0)?;
        let drains = Duration::ZERO..=Duration::from_secs(600);
        require_duration_in_range("serve.drain_delay", self.drain_delay, drains.clone())?;
        require_duration_in_range("serve.drain_timeout", self.drain_timeout, drains)
    }

    /// [`Self::max_request_size`] in bytes.
    #[must_use]
    pub fn max_request_bytes(&self) -> usize {
        usize::try_from(self.max_request_size.as_u64()).unwrap_or(usize::MAX)
    }
}
