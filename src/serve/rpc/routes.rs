//! All services behind their layers, from the outside in: every call is counted, gets
//! its budget of time, is let through if its caller may, and finds its service;
//! recommendations stand behind a gate.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::service::Routes;
use tower::ServiceBuilder;

use super::{actions, admin, catalog, recommendation};
use crate::serve::ServeParams;
use crate::serve::middleware::deadline::DeadlineLayer;
use crate::serve::middleware::observe::ObserveLayer;
use crate::serve::middleware::rate_limit::RateLimitLayer;
use crate::serve::overload::limiter::Limiter;
use crate::serve::overload::workers::Workers;
use crate::serve::security::auth::{AuthLayer, Guard};
use crate::serve::state::live::Live;
use crate::serve::state::recall_probe::Probe;
use crate::serve::state::reload::Versions;
use crate::serve::transport::connections::Answers;
use crate::serve::transport::drain::{self, Phase};
use crate::wire::DESCRIPTORS;
use crate::wire::v1::action_service_server::ActionServiceServer;
use crate::wire::v1::admin_service_server::AdminServiceServer;
use crate::wire::v1::catalog_service_server::CatalogServiceServer;
use crate::wire::v1::recommendation_service_server::RecommendationServiceServer;

/// Largest call that records actions, in bytes: a thousand of the longest have less.
/// Small ones take many times their size once they are read.
const MAX_ACTIONS_SIZE: usize = 256 << 10;

/// What services share.
pub(crate) struct Parts {
    pub(crate) live: Arc<Live>,
    pub(crate) workers: Workers,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) versions: Arc<Versions>,
    pub(crate) probe: Probe,
    pub(crate) guard: Guard,
    pub(crate) phases: watch::Receiver<Phase>,
}

/// What answers every call.
pub(crate) fn service<H: tonic_health::pb::health_server::Health>(
    parts: Parts,
    health: tonic_health::pb::health_server::HealthServer<H>,
    params: &ServeParams,
) -> impl Answers {
    let Parts {
        live,
        guard,
        phases,
        ..
    } = parts;
    let max_request_bytes = params.server.max_request_bytes();
    let recommendations = recommendation::Service {
        live: live.clone(),
        workers: parts.workers,
        limiter: parts.limiter,
        probe: Arc::new(parts.probe),
        clock: params.clock,
        answers: params.answers,
    };
    let recommendations = RecommendationServiceServer::new(recommendations)
        .max_decoding_message_size(max_request_bytes);
    let actions = ActionServiceServer::new(actions::Service {
        live: live.clone(),
        clock: params.clock,
    })
    .max_decoding_message_size(max_request_bytes.min(MAX_ACTIONS_SIZE));
    let administration = AdminServiceServer::new(admin::Service {
        live: live.clone(),
        versions: parts.versions,
    });
    let pins = CatalogServiceServer::new(catalog::Service { live })
        .max_decoding_message_size(max_request_bytes);

    let gate = RateLimitLayer::new(&params.overload);
    let routes = Routes::new(health)
        .add_service(reflection_v1())
        .add_service(reflection_v1alpha())
        .add_service(tower::Layer::layer(&gate, recommendations))
        .add_service(administration)
        .add_service(pins)
        .add_service(actions)
        .prepare();
    let deadline = DeadlineLayer {
        max: params.server.max_deadline,
    };
    ServiceBuilder::new()
        .map_response(move |response| drain::say(&phases, response))
        .layer(ObserveLayer)
        .layer(deadline)
        .layer(AuthLayer(guard))
        .service(routes)
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
