//! Spans of calls: their target, and why they cannot be exported.

/// Target of the spans of calls and their stages. They never appear in the log: where
/// nothing is exported they cost one check of a flag.
pub const SPANS: &str = "pinnersage::spans";

/// Spans cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("trace.endpoint: {0}")]
pub struct TelemetryError(pub(super) String);
