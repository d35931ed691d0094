//! The door of `RecommendationService`: refuses a call before its request is read,
//! when there are too many of them or its caller asks too often.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Request, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::{Layer, Service};

use crate::serve::overload::limiter::shed;
use crate::serve::overload::params::OverloadParams;
use crate::serve::security::callers::Caller;
use crate::serve::status::{CallError, Shed};

/// Rates that are kept. Callers find theirs by a hash, so that a header, which can say
/// anything, fills no memory; two who meet in one share it.
const RATES: u64 = 1 << 14;
/// When to try again after there were too many calls.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Guards a service.
#[derive(Clone, Debug)]
pub(crate) struct RateLimitLayer(Arc<Shared>);

/// See [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub(crate) struct RateLimit<S> {
    inner: S,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    calls: AtomicUsize,
    max_calls: usize,
    rates: Option<Rates>,
}

#[derive(Debug)]
struct Rates {
    header: HeaderName,
    of_callers: DefaultKeyedRateLimiter<u64>,
    /// Not to be foreseen, so that nobody takes the rate of another on purpose.
    hashes: RandomState,
}

impl RateLimitLayer {
    pub(crate) fn new(params: &OverloadParams) -> Self {
        let rate = NonZeroU32::new(params.rate_limit).zip(NonZeroU32::new(params.rate_burst));
        let rates = rate.map(|(rate, burst)| Rates {
            of_callers: DefaultKeyedRateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)),
            header: params.rate_key_header.clone(),
            hashes: RandomState::new(),
        });
        Self(Arc::new(Shared {
            calls: AtomicUsize::new(0),
            max_calls: params.max_calls,
            rates,
        }))
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit {
            inner,
            shared: self.0.clone(),
        }
    }
}

impl<S: NamedService> NamedService for RateLimit<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<Request<B>> for RateLimit<S>
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let passed = self.shared.check_rate(&request);
        match passed.and_then(|()| Inside::enter(self.shared.clone())) {
            Ok(inside) => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    let answer = answer.await;
                    drop(inside);
                    answer
                })
            }
            Err(error) => {
                let refused = Status::from(error).into_http();
                Box::pin(async { Ok(refused) })
            }
        }
    }
}

impl Shared {
    fn check_rate<B>(&self, request: &Request<B>) -> Result<(), CallError> {
        let Some(rates) = &self.rates else {
            return Ok(());
        };
        // Who is known by a credential cannot call itself something else.
        let known = request.extensions().get::<Arc<Caller>>();
        let known = known.map(|caller| caller.name.as_bytes());
        let named = request.headers().get(&rates.header);
        let caller = match known {
            Some(name) => (true, name),
            None => (false, named.map_or(&[][..], HeaderValue::as_bytes)),
        };
        let key = rates.hashes.hash_one(caller) % RATES;
        rates.of_callers.check_key(&key).map_err(|refused| {
            let wait = refused.wait_time_from(DefaultClock::default().now());
            shed(Shed::RateLimit, wait)
        })
    }
}

/// A call that passed the gate; counted until it is dropped, which it also is when
/// the client leaves.
struct Inside(Arc<Shared>);

impl Inside {
    fn enter(shared: Arc<Shared>) -> Result<Self, CallError> {
        let before = shared.calls.fetch_add(1, Ordering::Relaxed);
        let max = shared.max_calls;
        let inside = Self(shared);
        match before < max {
            true => Ok(inside),
            false => Err(shed(Shed::QueueFull, RETRY_AFTER)),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}
