//! What values settings may have.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use humantime_serde::re::humantime::format_duration;

use super::{
    ActionSettings, ConnectionSettings, OverloadSettings, ServeSettings, Settings, SettingsError,
    TlsSettings,
};
use crate::model::{IMPRESSION, MAX_ACTION_NAME};

impl Settings {
    /// Refuses values that break their rules. Also for settings that arguments of
    /// the command line have changed since they were loaded.
    pub fn check(&self) -> Result<(), SettingsError> {
        let Self {
            index,
            neighbors,
            profiles,
            recommend,
            actions,
            feedback,
            serve,
            connections,
            tls,
            auth,
            overload,
            log: _,
            trace,
        } = self;
        between("index.ef_search", index.ef_search, 1, 100_000)?;
        between("index.ef_construction", index.ef_construction, 1, 10_000)?;
        between("neighbors.depth", neighbors.depth, 1, 10_000)?;
        not_negative("profiles.alpha", profiles.alpha)?;
        not_negative("profiles.lambda_per_day", profiles.lambda_per_day)?;
        let days = profiles.window_days;
        rule(
            "profiles.window_days",
            &days,
            days.is_finite() && days > 0.0,
            "above 0",
        )?;
        between("profiles.max_actions", profiles.max_actions, 1, 20_000)?;
        let memory = profiles.memory;
        rule(
            "profiles.memory",
            &memory,
            memory >= ByteSize::mib(64),
            "at least 64MiB",
        )?;
        for (name, &weight) in &profiles.action_weights {
            let value = format!("{name} = {weight}");
            let holds = weight != 0.0 && weight.abs() <= 1e6;
            rule(
                "profiles.action_weights",
                &value,
                holds,
                "from -1000000 to 1000000, and not 0",
            )?;
            let holds = name != IMPRESSION && (1..=MAX_ACTION_NAME).contains(&name.len());
            rule(
                "profiles.action_weights",
                &value,
                holds,
                "of 1 to 64 bytes and not `impression`, which has no weight",
            )?;
        }
        rule(
            "recommend.popularity",
            &recommend.popularity,
            (0.0..=2.0).contains(&recommend.popularity),
            "from 0 to 2",
        )?;
        actions.check()?;
        rule(
            "feedback.prior",
            &feedback.prior,
            (1e-3..=1e9).contains(&feedback.prior),
            "from 0.001 to 1000000000",
        )?;
        serve.check()?;
        connections.check()?;
        tls.check()?;
        let looks = (Duration::from_secs(1), Duration::from_secs(86_400));
        lasts("auth.reload", auth.reload, looks)?;
        let can_export = trace.endpoint.is_empty() || cfg!(feature = "otlp");
        let reason = "empty: this program was built without the feature `otlp`";
        rule("trace.endpoint", &trace.endpoint, can_export, reason)?;
        let is_share = (0.0..=1.0).contains(&trace.ratio);
        rule("trace.ratio", &trace.ratio, is_share, "from 0 to 1")?;
        overload.check()
    }
}

impl ServeSettings {
    fn check(&self) -> Result<(), SettingsError> {
        between("serve.max_changed_pins", self.max_changed_pins, 0, 100_000)?;
        let sizes = (ByteSize::kib(1), ByteSize::mib(16));
        size_between("serve.max_request_size", self.max_request_size, sizes)?;
        let day = Duration::from_secs(86_400);
        lasts("serve.watch", self.watch, (Duration::ZERO, day))?;
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let deadlines = (Duration::from_millis(1), minutes(1));
        lasts("serve.max_deadline", self.max_deadline, deadlines)?;
        rule(
            "serve.probe_cpu",
            &self.probe_cpu,
            (0.0001..=1.0).contains(&self.probe_cpu),
            "from 0.0001 to 1",
        )?;
        let drains = (Duration::ZERO, minutes(10));
        lasts("serve.drain_delay", self.drain_delay, drains)?;
        lasts("serve.drain_timeout", self.drain_timeout, drains)
    }
}

impl ConnectionSettings {
    fn check(&self) -> Result<(), SettingsError> {
        let (millis, seconds) = (Duration::from_millis, Duration::from_secs);
        between("connections.max", self.max, 1, 1_000_000)?;
        lasts(
            "connections.handshake_timeout",
            self.handshake_timeout,
            (millis(1), seconds(600)),
        )?;
        let ages = (seconds(1), seconds(30 * 86_400));
        if !self.max_age.is_zero() {
            lasts("connections.max_age", self.max_age, ages)?;
        }
        lasts(
            "connections.keepalive_interval",
            self.keepalive_interval,
            (seconds(1), seconds(3_600)),
        )?;
        lasts(
            "connections.keepalive_timeout",
            self.keepalive_timeout,
            (millis(100), seconds(3_600)),
        )?;
        between(
            "connections.max_concurrent_streams",
            self.max_concurrent_streams,
            1,
            100_000,
        )?;
        let sizes = (ByteSize::kib(1), ByteSize::mib(1));
        size_between("connections.max_header_size", self.max_header_size, sizes)
    }
}

impl TlsSettings {
    fn check(&self) -> Result<(), SettingsError> {
        let given = |path: &Path| !path.as_os_str().is_empty();
        let both = given(&self.certificate) == given(&self.key);
        let reason = "given together with tls.certificate";
        rule("tls.key", &self.key.display(), both, reason)?;
        let alone = given(&self.client_ca) && !given(&self.certificate);
        rule("tls.client_ca", &self.client_ca.display(), !alone, reason)
    }
}

impl OverloadSettings {
    fn check(&self) -> Result<(), SettingsError> {
        between("overload.max_calls", self.max_calls, 0, 1_000_000)?;
        between("overload.max_in_flight", self.max_in_flight, 1, 10_000)?;
        between(
            "overload.min_in_flight",
            self.min_in_flight,
            0,
            self.max_in_flight,
        )?;
        between("overload.queue", self.queue, 0, 100_000)?;
        let waits = (Duration::from_micros(10), Duration::from_secs(1));
        lasts("overload.target_wait", self.target_wait, waits)?;
        rule(
            "overload.min_effort",
            &self.min_effort,
            self.min_effort > 0.0 && self.min_effort <= 1.0,
            "above 0 and at most 1",
        )?;
        rule(
            "overload.rate_burst",
            &self.rate_burst,
            self.rate_burst > 0,
            "at least 1",
        )
    }
}

impl ActionSettings {
    fn check(&self) -> Result<(), SettingsError> {
        between("actions.clustered", self.clustered, 0, 200)?;
        between("actions.positive", self.positive, self.clustered, 1_000)?;
        between("actions.negative", self.negative, 0, 1_000)?;
        between("actions.silenced_by", self.silenced_by, 0, self.negative)?;
        between("actions.seen", self.seen, 0, 10_000)?;
        between("actions.engaged", self.engaged, 0, 1_000)?;
        let days = |days: u64| Duration::from_secs(days * 86_400);
        lasts("actions.retention", self.retention, (days(1), days(366)))?;
        rule(
            "actions.seen_life",
            &format_duration(self.seen_life),
            self.seen_life <= self.retention,
            "at most actions.retention",
        )?;
        lasts("actions.max_ahead", self.max_ahead, (days(0), days(1)))
    }
}

fn lasts(
    key: &'static str,
    value: Duration,
    (least, most): (Duration, Duration),
) -> Result<(), SettingsError> {
    let allowed = format!(
        "from {} to {}",
        format_duration(least),
        format_duration(most)
    );
    let holds = (least..=most).contains(&value);
    rule(key, &format_duration(value), holds, &allowed)
}

fn size_between(
    key: &'static str,
    value: ByteSize,
    (least, most): (ByteSize, ByteSize),
) -> Result<(), SettingsError> {
    let holds = (least..=most).contains(&value);
    rule(key, &value, holds, &format!("from {least} to {most}"))
}

fn between(
    key: &'static str,
    value: usize,
    least: usize,
    most: usize,
) -> Result<(), SettingsError> {
    rule(
        key,
        &value,
        (least..=most).contains(&value),
        &format!("from {least} to {most}"),
    )
}

fn not_negative(key: &'static str, value: f64) -> Result<(), SettingsError> {
    rule(key, &value, value.is_finite() && value >= 0.0, "at least 0")
}

fn rule(
    key: &'static str,
    value: &impl Display,
    holds: bool,
    rule: &str,
) -> Result<(), SettingsError> {
    if holds {
        return Ok(());
    }
    Err(SettingsError::Value {
        key,
        value: value.to_string(),
        rule: rule.to_owned(),
    })
}
