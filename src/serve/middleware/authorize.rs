//! Refuses calls whose callers may not make them. `security` decides; this file puts the
//! decision in front of the services.

use axum::http::{Request, Response};
use tonic::body::Body;
use tower::Service;

use super::layer::{CallPolicy, ResponseFuture, refuse};
use crate::serve::security::AccessPolicy;

/// Lets through the calls that `0` authorizes, each with its caller as an extension.
#[derive(Clone, Debug)]
pub(crate) struct Authorize(pub(crate) AccessPolicy);

impl CallPolicy for Authorize {
    fn call<S, B>(&self, inner: &mut S, mut request: Request<B>) -> ResponseFuture<S::Error>
    where
        S: Service<Request<B>, Response = Response<Body>, Future: Send + 'static>,
    {
        match self.0.authorize(&request) {
            Ok(caller) => {
                if let Some(caller) = caller {
                    request.extensions_mut().insert(caller);
                }
                Box::pin(inner.call(request))
            }
            Err(error) => refuse(error),
        }
    }
}
