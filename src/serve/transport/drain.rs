//! Draining: a server that stops says so first, and closes its connections later.

use axum::http::{HeaderValue, Response};
use tokio::sync::watch;

/// Tells Envoy to take this host out of its load balancing at once, without waiting
/// for the next health check.
const FAIL_HEALTH_CHECK: &str = "x-envoy-immediate-health-check-fail";

/// Phase of a server's life. Phases only advance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The server serves, or loads what it will serve.
    #[default]
    Open,
    /// The server still serves, until clients and load balancers have noticed that it
    /// will stop.
    Draining,
    /// The server answers the calls in flight, and accepts no others.
    Closing,
}

/// Waits until `phase` is reached, or the sender of phases is gone.
pub(super) async fn wait_for_phase(mut phases: watch::Receiver<Phase>, phase: Phase) {
    // An error means that the sender is gone, which is a reason to stop too.
    let _ = phases.wait_for(|&now| now >= phase).await;
}

/// Sets the header that fails health checks, once the server has begun to drain.
pub(super) fn set_closing_header<B>(
    phases: &watch::Receiver<Phase>,
    mut response: Response<B>,
) -> Response<B> {
    if *phases.borrow() > Phase::Open {
        let headers = response.headers_mut();
        headers.insert(FAIL_HEALTH_CHECK, HeaderValue::from_static("true"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_phase_is_reached_with_it_or_a_later_one_or_without_a_sender() {
        let (sender, phases) = watch::channel(Phase::Open);
        let is_marked = || {
            let response = set_closing_header(&phases, Response::new(()));
            response.headers().contains_key(FAIL_HEALTH_CHECK)
        };
        assert!(!is_marked());
        sender.send(Phase::Closing).expect("a receiver");
        assert!(is_marked());
        wait_for_phase(phases.clone(), Phase::Draining).await;
        wait_for_phase(phases.clone(), Phase::Closing).await;

        let (sender, phases) = watch::channel(Phase::Open);
        drop(sender);
        wait_for_phase(phases, Phase::Closing).await;
    }
}
