//! Export of spans to a collector of OpenTelemetry, over OTLP with gRPC.

use opentelemetry::global;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::{Builder, Runtime};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use super::params::TraceParams;
use super::spans::{SPANS, TelemetryError};

/// Background export of spans. Dropping it exports the spans that are left.
#[derive(Debug)]
pub(super) struct Export {
    provider: SdkTracerProvider,
    /// A runtime of its own, because the export begins before the server's runtime and
    /// ends after it.
    _runtime: Runtime,
}

impl Drop for Export {
    fn drop(&mut self) {
        // Logging has ended here, so a failure cannot be reported.
        let _ = self.provider.shutdown();
    }
}

/// Creates the layer that collects spans, and their export.
///
/// # Errors
///
/// When the endpoint is not valid, or the runtime cannot start.
pub(super) fn layer<S>(
    params: &TraceParams,
) -> Result<(impl Layer<S> + use<S>, Export), TelemetryError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("export")
        .enable_all()
        .build()
        .map_err(|error| TelemetryError(error.to_string()))?;
    let exporter = {
        // The exporter connects on the runtime that is entered here.
        let _entered = runtime.enter();
        exporter(params)?
    };
    let provider = provider(exporter, params.ratio);
    global::set_text_map_propagator(TraceContextPropagator::new());
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("pinnersage"))
        .with_filter(Targets::new().with_target(SPANS, LevelFilter::INFO));
    let export = Export {
        provider,
        _runtime: runtime,
    };
    Ok((layer, export))
}

fn exporter(params: &TraceParams) -> Result<SpanExporter, TelemetryError> {
    SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&params.endpoint)
        .build()
        .map_err(|error| TelemetryError(error.to_string()))
}

fn provider(exporter: SpanExporter, ratio: f64) -> SdkTracerProvider {
    // The caller decides whether its trace is sampled; a trace that begins here is
    // sampled by the ratio.
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
    SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(Resource::builder().with_service_name("pinnersage").build())
        .build()
}
