//! How a server stops: first it says that it will, then it closes.

use axum::http::{HeaderValue, Response};
use tokio::sync::watch;

/// Tells Envoy to take this host out of its load balancing at once, without waiting
/// for the next health check.
const FAIL_HEALTH_CHECK: &str = "x-envoy-immediate-health-check-fail";

/// What a server is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serving, or loading what it will serve.
    #[default]
    Open,
    /// Serving for as long as it takes everybody to notice that it will stop.
    Draining,
    /// Answering what has come, and nothing else.
    Closing,
}

/// Done when `phase` has come, or whoever tells it is gone.
pub(crate) async fn reached(mut phases: watch::Receiver<Phase>, phase: Phase) {
    // An error means that the sender is gone, which is a reason to stop too.
    let _ = phases.wait_for(|&now| now >= phase).await;
}

/// Says in `response` that this server will stop, if so.
pub(crate) fn say<B>(phases: &watch::Receiver<Phase>, mut response: Response<B>) -> Response<B> {
    if *phases.borrow() > Phase::Open {
        let headers = response.headers_mut();
        headers.insert(FAIL_HEALTH_CHECK, HeaderValue::from_static("true"));
    }
    response
}
