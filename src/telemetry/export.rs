//! Spans to a collector of OpenTelemetry, over OTLP with gRPC.

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

use super::{SPANS, TelemetryError, TraceParams};

/// Exports in the background until it is dropped, and then what is left.
#[derive(Debug)]
pub(super) struct Export {
    provider: SdkTracerProvider,
    /// Of its own, for it begins before that of the server and ends after it.
    _runtime: Runtime,
}

impl Drop for Export {
    fn drop(&mut self) {
        // Nobody is left to tell that spans were lost.
        let _ = self.provider.shutdown();
    }
}

/// What takes spans, and what exports them.
pub(super) fn layer<S>(
    params: &TraceParams,
) -> Result<(impl Layer<S> + use<S>, Export), TelemetryError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let failed = |error: &dyn ToString| TelemetryError(error.to_string());
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("export")
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    let entered = runtime.enter();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&params.endpoint)
        .build()
        .map_err(|error| failed(&error))?;
    drop(entered);
    // Who calls decides for its whole trace; what begins here is drawn by the ratio.
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(params.ratio)));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(Resource::builder().with_service_name("pinnersage").build())
        .build();
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
