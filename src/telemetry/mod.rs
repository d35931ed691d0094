//! Logging, to standard error; and spans of calls, to a collector of OpenTelemetry
//! where the program was built with the feature `otlp`.

#[cfg(feature = "otlp")]
mod export;
mod params;

pub use params::{LogFormat, LogLevel, LogParams, TraceParams};

use std::io::{IsTerminal, stderr};

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Target of the spans of calls and their stages. They are no lines of the log: where
/// nothing is exported they cost a look at a flag.
pub const SPANS: &str = "pinnersage::spans";

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("trace.endpoint: {0}")]
pub struct TelemetryError(String);

/// Exports what is left when it is dropped.
#[derive(Debug, Default)]
#[must_use]
pub struct Exporting {
    #[cfg(feature = "otlp")]
    _export: Option<export::Export>,
}

/// Begins to log, and to export spans if `trace` names a collector. Call once, in main.
pub fn init(log: &LogParams, trace: &TraceParams) -> Result<Exporting, TelemetryError> {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_target(false)
        .with_ansi(stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let lines = lines.with_filter(
        Targets::new()
            .with_default(level)
            .with_target(SPANS, LevelFilter::OFF),
    );
    let registry = tracing_subscriber::registry().with(lines);
    #[cfg(feature = "otlp")]
    if !trace.endpoint.is_empty() {
        let (spans, export) = export::layer(trace)?;
        registry.with(spans).init();
        return Ok(Exporting {
            _export: Some(export),
        });
    }
    debug_assert!(trace.endpoint.is_empty(), "validated: nothing can export");
    registry.init();
    Ok(Exporting::default())
}
