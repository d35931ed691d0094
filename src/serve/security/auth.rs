//! Which calls are let through: the role that each service asks for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::header::AUTHORIZATION;
use axum::http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::serve::security::callers::{self, Caller, Callers, Role};
use crate::serve::security::tls::Certificate;
use crate::serve::status::CallError;
use crate::serve::transport::connections::Peer;
use crate::wire::v1::{
    action_service_server as actions, admin_service_server as admin,
    catalog_service_server as catalog,
};

/// Who is let through.
#[derive(Clone, Debug)]
pub(crate) enum Guard {
    /// Everybody.
    Open,
    /// Who has a certificate that holds, to everything.
    Certified,
    /// Callers of a list, to what their roles allow.
    Listed(Arc<Callers>),
}

/// Guards all services.
#[derive(Clone, Debug)]
pub(crate) struct AuthLayer(pub(crate) Guard);

/// See [`AuthLayer`].
#[derive(Clone, Debug)]
pub(crate) struct Auth<S> {
    inner: S,
    guard: Guard,
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth {
            inner,
            guard: self.0.clone(),
        }
    }
}

impl<S, B> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.guard.admit(&request) {
            Ok(caller) => {
                if let Some(caller) = caller {
                    request.extensions_mut().insert(caller);
                }
                Box::pin(self.inner.call(request))
            }
            Err(error) => {
                let refused = Status::from(error).into_http();
                Box::pin(async { Ok(refused) })
            }
        }
    }
}

impl Guard {
    /// Who calls, where that is known by name.
    fn admit<B>(&self, request: &Request<B>) -> Result<Option<Arc<Caller>>, CallError> {
        let Some(role) = role(request.uri().path()) else {
            return Ok(None);
        };
        let certificate = || {
            let peer = request.extensions().get::<Peer>();
            peer.map_or(&Certificate::None, |peer| &peer.certificate)
        };
        match self {
            Self::Open => Ok(None),
            Self::Certified => match certificate() {
                Certificate::Of(names) => Ok(names.first().map(|name| Caller::of_all_roles(name))),
                lacking @ (Certificate::None | Certificate::Refused(_)) => {
                    Err(callers::unverified(lacking))
                }
            },
            Self::Listed(callers) => {
                let caller = callers.resolve(token(request)?, certificate())?;
                caller.check(role)?;
                Ok(Some(caller))
            }
        }
    }
}

/// The role that a method asks for; none for what anybody may call.
fn role(path: &str) -> Option<Role> {
    let service = path.split('/').nth(1).unwrap_or_default();
    match service {
        // Probes and load balancers have no credentials.
        "grpc.health.v1.Health" => None,
        actions::SERVICE_NAME | catalog::SERVICE_NAME => Some(Role::Write),
        admin::SERVICE_NAME => Some(Role::Admin),
        // What there is not is refused to strangers as well, so that they learn nothing.
        _ => Some(Role::Read),
    }
}

/// The bearer token of a call, if it has one.
fn token<B>(request: &Request<B>) -> Result<Option<&[u8]>, CallError> {
    let Some(value) = request.headers().get(AUTHORIZATION) else {
        return Ok(None);
    };
    let value = value.as_bytes();
    let refused = || CallError::Unauthenticated("authorization is no bearer token".to_owned());
    let (scheme, token) = value
        .split_at_checked("Bearer ".len())
        .ok_or_else(refused)?;
    match scheme.eq_ignore_ascii_case(b"Bearer ") {
        true => Ok(Some(token)),
        false => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_but_health_asks_for_a_role() {
        let service = |name: &str| role(&format!("/{name}/Method"));
        assert_eq!(
            service("pinnersage.v1.RecommendationService"),
            Some(Role::Read)
        );
        assert_eq!(service("pinnersage.v1.ActionService"), Some(Role::Write));
        assert_eq!(service("pinnersage.v1.CatalogService"), Some(Role::Write));
        assert_eq!(service("pinnersage.v1.AdminService"), Some(Role::Admin));
        assert_eq!(service("grpc.health.v1.Health"), None);
        for stranger in ["", "/", "//", "/x", "grpc.health.v1.Health/Check"] {
            assert_eq!(role(stranger), Some(Role::Read), "{stranger:?}");
        }
    }

    #[test]
    fn tokens_come_as_bearer_tokens_only() {
        let of = |value: &str| {
            let request = Request::builder().header("authorization", value).body(());
            token(&request.expect("a request")).map(|token| token.map(<[u8]>::to_vec))
        };
        assert_eq!(of("Bearer abc"), Ok(Some(b"abc".to_vec())));
        assert_eq!(of("bearer abc"), Ok(Some(b"abc".to_vec())));
        for bad in ["abc", "Basic abc", "Bearer", ""] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        assert_eq!(token(&Request::new(())), Ok(None));
    }
}
