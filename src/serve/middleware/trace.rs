//! Spans of calls and of their stages, in the caller's trace. Where nothing is exported
//! they are disabled, and cost one check of a flag.

use axum::http::HeaderMap;
use tonic::Code;
use tracing::field::Empty;
use tracing::span::EnteredSpan;
use tracing::{Span, info_span};

use crate::recommend::Stage;
use crate::telemetry::SPANS;

/// Creates the span of a call with these headers.
pub(super) fn call_span(method: &'static str, headers: &HeaderMap) -> Span {
    let span = info_span!(
        target: SPANS,
        "call",
        otel.name = method,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.grpc.status_code = Empty,
        pinnersage.surface = Empty,
        pinnersage.arm = Empty,
    );
    #[cfg(feature = "otlp")]
    join(&span, headers);
    #[cfg(not(feature = "otlp"))]
    let _ = headers;
    span
}

/// Records the code that a call ended with.
pub(super) fn record_code(span: &Span, code: Code) {
    span.record("rpc.grpc.status_code", i32::from(code));
}

/// Records the surface and the arm of the current call; an empty one is none.
pub(crate) fn record_labels(surface: &str, arm: &str) {
    let span = Span::current();
    for (field, label) in [("pinnersage.surface", surface), ("pinnersage.arm", arm)] {
        if !label.is_empty() {
            span.record(field, label);
        }
    }
}

/// Enters the span of a stage of the current call.
pub(crate) fn stage_span(stage: Stage) -> EnteredSpan {
    let span = match stage {
        Stage::Lookup => info_span!(target: SPANS, "lookup"),
        Stage::Sample => info_span!(target: SPANS, "sample"),
        Stage::Retrieve => info_span!(target: SPANS, "retrieve"),
        Stage::Merge => info_span!(target: SPANS, "merge"),
    };
    span.entered()
}

/// Makes `span` a part of the trace that the headers name.
#[cfg(feature = "otlp")]
fn join(span: &Span, headers: &HeaderMap) {
    use opentelemetry::global::get_text_map_propagator;
    use opentelemetry::propagation::Extractor;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    struct Headers<'a>(&'a HeaderMap);

    impl Extractor for Headers<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            self.0.get(key)?.to_str().ok()
        }

        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(|name| name.as_str()).collect()
        }
    }

    if !span.is_disabled() {
        let parent = get_text_map_propagator(|trace| trace.extract(&Headers(headers)));
        // Fails only for a span that has begun already.
        let _ = span.set_parent(parent);
    }
}
