//! The online shell: the gRPC server. [`run`] serves until it is told to stop.
//!
//! In reading order: `status` (errors of calls) and `request_limits`; `security` (who may
//! call), `middleware` (what happens around every call), `overload` (how much is searched
//! at a time), `state` (what is served, and changes of it), `transport` (sockets), `rpc`
//! (the services); and `server` with `maintenance` (work beside calls), which put them
//! together.

mod error;
mod listeners;
mod maintenance;
mod middleware;
mod overload;
mod request_limits;
mod rpc;
mod security;
mod server;
mod state;
mod status;
mod transport;

pub use error::ServeError;
pub use listeners::Listeners;
pub use middleware::{AdmissionParams, RateParams};
pub use overload::OverloadParams;
pub use security::{CallersError, SecurityError, SecurityParams, TlsError, TlsParams};
pub use server::{Startup, run};
pub use state::{
    AnswerParams, DataParams, InitialState, LoadError, Loaded, ProbeParams, ServingSource,
};
pub use transport::ConnectionParams;

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use crate::model::Timestamp;

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct ServeParams {
    /// Largest request that is read, in bytes.
    pub max_request_size: usize,
    /// Limits of connections.
    pub connections: ConnectionParams,
    /// Who may call, and how.
    pub security: SecurityParams,
    /// Most that a call for recommendations may take.
    pub max_deadline: Duration,
    /// What is refused before it is read.
    pub gate: AdmissionParams,
    /// How much is searched at a time.
    pub overload: OverloadParams,
    /// How often recall is measured.
    pub probe: ProbeParams,
    /// How long to go on after it was said that the server will stop.
    pub drain_delay: Duration,
    /// How long calls in flight may take to end after that.
    pub drain_timeout: Duration,
    /// Where `/metrics` comes from; none answers with an empty page.
    pub metrics: Option<PrometheusHandle>,
    /// Tells the time of an answer.
    pub clock: fn() -> Timestamp,
    /// How far ahead of the clock an action may be, in days.
    pub max_ahead_days: f64,
    /// What shapes an answer beside the request.
    pub answers: AnswerParams,
    /// How often to look for new versions; none for never.
    pub watch: Option<Duration>,
}
