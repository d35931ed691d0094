//! All services behind their layers, from the outside in: every call is counted, gets
//! its budget of time, is let through if its caller may, and finds its service;
//! recommendations stand behind a rate limit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::{Layer, ServiceBuilder};

use super::action_recorder::ActionRecorder;
use super::{actions, admin, catalog, recommendation};
use crate::model::Timestamp;
use crate::serve::middleware::{
    Authorize, EnforceDeadline, GrpcService, Observe, PolicyLayer, RateLimit,
};
use crate::serve::overload::{Limiter, Workers};
use crate::serve::params::{OverloadParams, ServerParams};
use crate::serve::request_limits::MAX_ACTIONS_SIZE;
use crate::serve::security::AccessPolicy;
use crate::serve::state::{AnswerParams, Live, Probe, VersionManager};
use crate::serve::surfaces::Surfaces;
use crate::wire::DESCRIPTORS;
use crate::wire::v1::action_service_server::ActionServiceServer;
use crate::wire::v1::admin_service_server::AdminServiceServer;
use crate::wire::v1::catalog_service_server::CatalogServiceServer;
use crate::wire::v1::recommendation_service_server::RecommendationServiceServer;

/// What the services share.
pub(crate) struct RouteParts {
    pub(crate) live: Arc<Live>,
    pub(crate) workers: Workers,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) versions: Arc<VersionManager>,
    pub(crate) probe: Arc<Probe>,
    pub(crate) surfaces: Arc<Surfaces>,
    pub(crate) access: AccessPolicy,
    pub(crate) server: ServerParams,
    pub(crate) overload: OverloadParams,
    pub(crate) answers: AnswerParams,
    /// How long a call waits for what its token stands for.
    pub(crate) max_wait: Duration,
    /// Reads the time of an answer.
    pub(crate) clock: fn() -> Timestamp,
}

/// The service that answers every call.
pub(crate) fn service<H: Health>(parts: RouteParts, health: HealthServer<H>) -> impl GrpcService {
    let access = parts.access.clone();
    let deadline = EnforceDeadline {
        max: parts.server.max_deadline,
    };
    ServiceBuilder::new()
        .layer(PolicyLayer(Observe))
        .layer(PolicyLayer(deadline))
        .layer(PolicyLayer(Authorize(access)))
        .service(routes(parts, health))
}

/// Finds the service of a call by its path.
fn routes<H: Health>(parts: RouteParts, health: HealthServer<H>) -> Routes {
    let max_size = parts.server.max_request_bytes();
    let live = parts.live.clone();
    let recommendations = RecommendationServiceServer::new(recommendation::Service {
        live: live.clone(),
        workers: parts.workers,
        limiter: parts.limiter,
        probe: parts.probe,
        surfaces: parts.surfaces,
        clock: parts.clock,
        answers: parts.answers,
        max_wait: parts.max_wait,
    })
    .max_decoding_message_size(max_size);
    let recorder = ActionRecorder {
        live: live.clone(),
        clock: parts.clock,
    };
    let actions = ActionServiceServer::new(actions::Service {
        recorder: recorder.clone(),
    })
    .max_decoding_message_size(max_size.min(MAX_ACTIONS_SIZE));
    let admin = AdminServiceServer::new(admin::Service {
        live: live.clone(),
        versions: parts.versions,
        recorder,
        backups: Arc::new(Semaphore::new(1)),
    })
    .max_decoding_message_size(max_size.min(MAX_ACTIONS_SIZE));
    let catalog = CatalogServiceServer::new(catalog::Service { live });
    let rate_limit = PolicyLayer(RateLimit::new(&parts.overload));
    Routes::new(health)
        .add_service(reflection_v1())
        .add_service(reflection_v1alpha())
        .add_service(rate_limit.layer(recommendations))
        .add_service(admin)
        .add_service(catalog.max_decoding_message_size(max_size))
        .add_service(actions)
        .prepare()
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

fn reflection_v1() -> tonic_reflection::server::v1::ServerReflectionServer<
    impl tonic_reflection::server::v1::ServerReflection,
> {
    reflection()
        .build_v1()
        .expect("the descriptors were made by the compiler of the protos")
}

fn reflection_v1alpha() -> tonic_reflection::server::v1alpha::ServerReflectionServer<
    impl tonic_reflection::server::v1alpha::ServerReflection,
> {
    reflection()
        .build_v1alpha()
        .expect("the descriptors were made by the compiler of the protos")
}
