//! Authentication and authorization of a call: the caller it comes from, and the role
//! that its service needs.

use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Request};

use super::callers::{self, Callers};
use super::identity::{Caller, Certificate, Peer, Role};
use crate::serve::status::CallError;
use crate::wire::v1::{
    action_service_server as actions, admin_service_server as admin,
    catalog_service_server as catalog, recommendation_service_server as recommendation,
};

/// Callers that are let through.
#[derive(Clone, Debug)]
pub(crate) enum AccessPolicy {
    /// Everybody may call everything.
    Open,
    /// Everybody with a valid certificate may call everything.
    AnyCertificate,
    /// Listed callers may call what their roles allow.
    ListedCallers(Arc<Callers>),
}

impl AccessPolicy {
    /// Returns the caller, where one is known by name. The error is UNAUTHENTICATED for
    /// an unknown caller, and PERMISSION_DENIED for one without the role.
    pub(crate) fn authorize<B>(
        &self,
        request: &Request<B>,
    ) -> Result<Option<Arc<Caller>>, CallError> {
        let Some(role) = required_role(request.uri().path()) else {
            return Ok(None);
        };
        match self {
            Self::Open => Ok(None),
            Self::AnyCertificate => match certificate(request) {
                Certificate::Verified(names) => {
                    let caller = names.first().map(|name| Caller::with_all_roles(name));
                    Ok(caller.map(Arc::new))
                }
                other @ (Certificate::Absent | Certificate::Invalid(_)) => {
                    Err(callers::refuse_certificate(other))
                }
            },
            Self::ListedCallers(callers) => {
                let token = bearer_token(request.headers())?;
                let caller = callers.identify(token, certificate(request))?;
                if !caller.has_role(role) && !is_for_writers(request.uri().path(), &caller) {
                    return Err(CallError::Forbidden(caller.name.clone(), role));
                }
                Ok(Some(caller))
            }
        }
    }
}

/// Returns the role that a method needs; none for methods that everybody may call.
fn required_role(path: &str) -> Option<Role> {
    let service = path.split('/').nth(1).unwrap_or_default();
    match service {
        // Probes and load balancers have no credentials.
        "grpc.health.v1.Health" => None,
        actions::SERVICE_NAME | catalog::SERVICE_NAME => Some(Role::Write),
        admin::SERVICE_NAME => Some(Role::Admin),
        // A service that does not exist is refused to strangers as well, so that they
        // do not learn which services there are.
        _ => Some(Role::Read),
    }
}

/// Whether `path` is the method that says which attributes pins may have, and the caller
/// one who may write pins.
fn is_for_writers(path: &str, caller: &Caller) -> bool {
    let method = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    method == Some((recommendation::SERVICE_NAME, "ListAttributes")) && caller.has_role(Role::Write)
}

/// Returns what the certificate of the connection says.
fn certificate<B>(request: &Request<B>) -> &Certificate {
    let peer = request.extensions().get::<Peer>();
    peer.map_or(&Certificate::Absent, |peer| &peer.certificate)
}

/// Returns the bearer token of a call, if it has one.
fn bearer_token(headers: &HeaderMap) -> Result<Option<&[u8]>, CallError> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let parts = value.as_bytes().split_at_checked("Bearer ".len());
    let token = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    let reason = "authorization is no bearer token";
    let (_, token) = token.ok_or_else(|| CallError::Unauthenticated(reason.to_owned()))?;
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use axum::http::HeaderValue;

    use super::*;
    use crate::wire::{DESCRIPTORS, method_paths};

    #[test]
    fn every_service_of_the_contract_needs_a_role_that_was_chosen_for_it() {
        let roles = HashMap::from([
            ("pinnersage.v1.RecommendationService", Role::Read),
            ("pinnersage.v1.ActionService", Role::Write),
            ("pinnersage.v1.CatalogService", Role::Write),
            ("pinnersage.v1.AdminService", Role::Admin),
        ]);
        let paths = method_paths(DESCRIPTORS);
        let service = |path: &String| path.split('/').next().map(str::to_owned);
        let services: HashSet<String> = paths.iter().filter_map(service).collect();
        assert_eq!(services.len(), roles.len(), "{services:?}");
        for service in services {
            let role = required_role(&format!("/{service}/Method"));
            assert_eq!(role, roles.get(&*service).copied(), "{service}");
        }
    }

    #[test]
    fn health_needs_no_role_and_unknown_services_need_read() {
        assert_eq!(required_role("/grpc.health.v1.Health/Check"), None);
        for unknown in ["", "/", "//", "/x", "grpc.health.v1.Health/Check"] {
            assert_eq!(required_role(unknown), Some(Role::Read), "{unknown:?}");
        }
    }

    #[test]
    fn tokens_come_as_bearer_tokens_only() {
        let token = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
            bearer_token(&headers).map(|token| token.map(<[u8]>::to_vec))
        };
        assert_eq!(token("Bearer abc"), Ok(Some(b"abc".to_vec())));
        assert_eq!(token("bearer abc"), Ok(Some(b"abc".to_vec())));
        for bad in ["abc", "Basic abc", "Bearer", ""] {
            assert!(token(bad).is_err(), "{bad:?}");
        }
        assert_eq!(bearer_token(&HeaderMap::new()), Ok(None));
    }
}
