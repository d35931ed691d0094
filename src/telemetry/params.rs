//! Settings of the log and of spans: the sections `log` and `trace`.

use serde::Deserialize;

use crate::setting_rules::{InvalidSetting, require, require_in_range};

/// The section `log` of the settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogParams {
    /// Least severe events that are logged.
    pub level: LogLevel,
    /// Form of a line.
    pub format: LogFormat,
}

/// The section `trace` of the settings: spans of calls, in a program that was built
/// with the feature `otlp`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceParams {
    /// URL of the collector; empty for none.
    pub endpoint: String,
    /// Share of the calls without a parent that are traced.
    pub ratio: f64,
}

/// Least severe events that are logged, from few to many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// Also events that look wrong.
    Warn,
    /// Also events that an operator wants to know.
    Info,
    /// Also events that a developer wants to know.
    Debug,
    /// All events.
    Trace,
}

/// Form of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl TraceParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let can_export = self.endpoint.is_empty() || cfg!(feature = "otlp");
        let reason = "empty: this program was built without the feature `otlp`";
        require("trace.endpoint", &self.endpoint, can_export, reason)?;
        require_in_range("trace.ratio", self.ratio, 0.0..=1.0)
    }
}
