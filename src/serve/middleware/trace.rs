//! Spans of calls and of their stages, in the caller's trace. Where nothing is exported
//! they are disabled, and cost a look at a flag.

use axum::http::HeaderMap;
use tonic::Code;
use tracing::field::Empty;
use tracing::span::EnteredSpan;
use tracing::{Span, info_span};

use crate::recommend::Stage;
use crate::telemetry::SPANS;

/// The span of a call with these headers.
pub(crate) fn call(method: &'static str, headers: &HeaderMap) -> Span {
    let span = info_span!(
        target: SPANS,
        "call",
        otel.name = method,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.grpc.status_code = Empty,
    );
    #[cfg(feature = "otlp")]
    join(&span, headers);
    #[cfg(not(feature = "otlp"))]
    let _ = headers;
    span
}

/// Says how a call ended.
pub(crate) fn end(span: &Span, code: Code) {
    span.record("rpc.grpc.status_code", i32::from(code));
}

/// The span of a stage of the call that is being worked on.
pub(crate) fn stage(stage: Stage) -> EnteredSpan {
    let span = match stage {
        Stage::Lookup => info_span!(target: SPANS, "lookup"),
        Stage::Sample => info_span!(target: SPANS, "sample"),
        Stage::Retrieve => info_span!(target: SPANS, "retrieve"),
        Stage::Merge => info_span!(target: SPANS, "merge"),
    };
    span.entered()
}

/// Makes a span a part of the trace that the headers name.
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
