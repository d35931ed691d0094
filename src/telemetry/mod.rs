//! Logging to standard error. With the feature `otlp` also export of spans of calls to a
//! collector of OpenTelemetry.

#[cfg(feature = "otlp")]
mod export;
mod params;
mod spans;

pub use params::{LogFormat, LogLevel, LogParams, TraceParams};
pub use spans::{SPANS, TelemetryError};

use std::io::{IsTerminal, stderr};

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Running export of spans. Dropping it exports the spans that are left.
#[derive(Debug, Default)]
#[must_use]
pub struct Exporting {
    #[cfg(feature = "otlp")]
    _export: Option<export::Export>,
}

/// Begins to log, and to export spans if `trace` has an endpoint. Call it once, in
/// main.
///
/// # Errors
///
/// When the endpoint of spans is not valid.
pub fn init(log: &LogParams, trace: &TraceParams) -> Result<Exporting, TelemetryError> {
    let registry = tracing_subscriber::registry().with(log_layer(log));
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

/// Creates the layer that writes the log.
fn log_layer<S>(params: &LogParams) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_target(false)
        .with_ansi(stderr().is_terminal());
    let lines = match params.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    lines.with_filter(
        Targets::new()
            .with_default(level_filter(params.level))
            .with_target(SPANS, LevelFilter::OFF),
    )
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
