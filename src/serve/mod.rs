//! The online shell: the gRPC server. [`run`] serves until it is told to stop.
//!
//! In reading order: `params` (settings), `status` (errors of calls) and `request_limits`; `security` (who may
//! call), `middleware` (what happens around every call), `overload` (how much is searched
//! at a time), `surfaces` (settings by the place that asks), `state` (what is served, and
//! changes of it), `transport` (sockets), `rpc` (the services); and `server` with
//! `maintenance`, `archiving`, `replica` and `surface_watch` (work beside calls), which put
//! them together.

mod archiving;
mod erasing_turn;
mod error;
mod health;
mod listeners;
mod maintenance;
mod middleware;
mod overload;
mod params;
mod replica;
mod request_limits;
mod rpc;
mod security;
mod server;
mod state;
mod status;
mod surface_watch;
mod surfaces;
mod transport;

pub use error::ServeError;
pub use listeners::Listeners;
pub use params::{OverloadParams, ReplicaParams, ServerParams};
pub(crate) use request_limits::MAX_ACTIONS_SIZE;
pub use security::{AuthParams, CallersError, SecurityError, SecurityParams, TlsError, TlsParams};
pub use server::{Startup, run};
pub use state::{
    AnswerParams, DataParams, InitialState, LoadError, Loaded, ServingSource, pinned_profiles,
};
pub use surfaces::{
    ReadSurfaces, RequestField, SurfaceParams, SurfaceReader, SurfaceSet, SurfaceSource,
};
pub use transport::ConnectionParams;

use metrics_exporter_prometheus::PrometheusHandle;

use crate::model::Timestamp;

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct ServeParams {
    /// Settings of the server; its addresses are those of [`Listeners`].
    pub server: ServerParams,
    /// Limits of connections.
    pub connections: ConnectionParams,
    /// Certificates and callers.
    pub security: SecurityParams,
    /// Limits of calls and searches.
    pub overload: OverloadParams,
    /// Where `/metrics` comes from; none answers with an empty page.
    pub metrics: Option<PrometheusHandle>,
    /// Tells the time of an answer.
    pub clock: fn() -> Timestamp,
    /// What shapes an answer beside the request.
    pub answers: AnswerParams,
    /// How it treats actions that it has not read yet.
    pub replica: ReplicaParams,
    /// The places that ask for candidates, and what each asks for.
    pub surfaces: SurfaceSource,
}
