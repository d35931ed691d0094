//! Rate limit of `RecommendationService`: refuses a call before its request is read,
//! when too many calls are in flight or its caller calls too often.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Request, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota};
use tonic::body::Body;
use tower::Service;

use super::layer::{CallPolicy, ResponseFuture, refuse};
use super::shed::shed;
use crate::serve::params::OverloadParams;
use crate::serve::security::identity::Caller;
use crate::serve::status::{CallError, Shed};

/// Number of rates in memory. A caller's rate is found by a hash, so that a header, which
/// can say anything, fills no memory; two callers with the same hash share one rate.
const RATE_SLOTS: u64 = 1 << 14;
/// Time after which to try again when too many calls were in flight.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Limits the calls of a service.
#[derive(Clone, Debug)]
pub(crate) struct RateLimit(Arc<RateLimitState>);

#[derive(Debug)]
struct RateLimitState {
    in_flight: AtomicUsize,
    max_calls: usize,
    rates: Option<CallerRates>,
}

#[derive(Debug)]
struct CallerRates {
    header: HeaderName,
    limiter: DefaultKeyedRateLimiter<u64>,
    /// Its keys are random, so that nobody can share the rate of another on purpose.
    hasher: RandomState,
}

/// What tells callers apart. A header never stands for a caller with a credential.
#[derive(Hash)]
enum CallerKey<'a> {
    Credential(&'a [u8]),
    Header(&'a [u8]),
}

impl RateLimit {
    pub(crate) fn new(params: &OverloadParams) -> Self {
        let rate = NonZeroU32::new(params.rate_limit).zip(NonZeroU32::new(params.rate_burst));
        let rates = rate.map(|(rate, burst)| CallerRates {
            limiter: DefaultKeyedRateLimiter::keyed(quota(rate, burst)),
            header: params.rate_key_header.clone(),
            hasher: RandomState::new(),
        });
        Self(Arc::new(RateLimitState {
            in_flight: AtomicUsize::new(0),
            max_calls: params.max_calls,
            rates,
        }))
    }

    fn check_rate<B>(&self, request: &Request<B>) -> Result<(), CallError> {
        match &self.0.rates {
            Some(rates) => rates.check(request),
            None => Ok(()),
        }
    }
}

impl CallPolicy for RateLimit {
    fn call<S, B>(&self, inner: &mut S, request: Request<B>) -> ResponseFuture<S::Error>
    where
        S: Service<Request<B>, Response = Response<Body>, Future: Send + 'static>,
    {
        let admitted = self.check_rate(&request);
        match admitted.and_then(|()| InFlightGuard::enter(self.0.clone())) {
            Ok(guard) => {
                let response = inner.call(request);
                Box::pin(async move {
                    let response = response.await;
                    drop(guard);
                    response
                })
            }
            Err(error) => refuse(error),
        }
    }
}

impl CallerRates {
    fn check<B>(&self, request: &Request<B>) -> Result<(), CallError> {
        let caller = match request.extensions().get::<Arc<Caller>>() {
            Some(caller) => CallerKey::Credential(caller.name.as_bytes()),
            None => {
                let header = request.headers().get(&self.header);
                CallerKey::Header(header.map_or(&[][..], HeaderValue::as_bytes))
            }
        };
        let slot = self.hasher.hash_one(caller) % RATE_SLOTS;
        let checked = self.limiter.check_key(&slot);
        checked.map_err(|refused| too_often(Shed::RateLimit, &refused))
    }
}

/// A rate of calls, for all callers together.
#[derive(Debug)]
pub(crate) struct Rate(DefaultDirectRateLimiter);

impl Rate {
    /// `rate` calls a second, and `burst` at once after a silence.
    pub(crate) fn new(rate: NonZeroU32, burst: NonZeroU32) -> Self {
        Self(DefaultDirectRateLimiter::direct(quota(rate, burst)))
    }

    /// Counts a call, or refuses it for this reason.
    pub(crate) fn check(&self, reason: Shed) -> Result<(), CallError> {
        let checked = self.0.check();
        checked.map_err(|refused| too_often(reason, &refused))
    }
}

fn quota(rate: NonZeroU32, burst: NonZeroU32) -> Quota {
    Quota::per_second(rate).allow_burst(burst)
}

/// The refusal of a call that came before its time.
fn too_often(reason: Shed, refused: &NotUntil<<DefaultClock as Clock>::Instant>) -> CallError {
    let wait = refused.wait_time_from(DefaultClock::default().now());
    shed(reason, wait)
}

/// An accepted call. It counts until this is dropped, which also happens when the client
/// leaves.
struct InFlightGuard(Arc<RateLimitState>);

impl InFlightGuard {
    fn enter(state: Arc<RateLimitState>) -> Result<Self, CallError> {
        let calls_before = state.in_flight.fetch_add(1, Ordering::Relaxed);
        let max_calls = state.max_calls;
        // The guard comes before the comparison, so that a refused call is uncounted too.
        let guard = Self(state);
        if calls_before < max_calls {
            Ok(guard)
        } else {
            Err(shed(Shed::QueueFull, RETRY_AFTER))
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `rate_limit` calls a second of one caller; 0 for no limit.
    fn params(rate_limit: u32) -> OverloadParams {
        OverloadParams {
            max_calls: 2,
            min_in_flight: 1,
            max_in_flight: 1,
            target_wait: Duration::from_millis(2),
            queue: 0,
            min_effort: 0.25,
            rate_limit,
            rate_burst: 1,
            rate_key_header: HeaderName::from_static("x-caller"),
        }
    }

    #[test]
    fn a_call_counts_until_its_guard_is_dropped_and_a_refused_call_not_at_all() {
        let RateLimit(state) = RateLimit::new(&params(0));
        let enter = || InFlightGuard::enter(state.clone());
        let (first, _second) = (enter().expect("room"), enter().expect("room"));
        for _ in 0..3 {
            let refused = enter().err();
            assert!(matches!(refused, Some(CallError::Shed(Shed::QueueFull, _))));
        }
        drop(first);
        enter().expect("room again");
    }

    #[test]
    fn a_caller_with_a_credential_does_not_share_the_rate_of_a_header() {
        let limit = RateLimit::new(&params(1));
        let request = Request::builder().header("x-caller", "ranker").body(());
        let mut request = request.expect("a request");
        assert_eq!(limit.check_rate(&request), Ok(()));
        let refused = limit.check_rate(&request);
        assert!(matches!(refused, Err(CallError::Shed(Shed::RateLimit, _))));
        let ranker = Arc::new(Caller::with_all_roles("ranker"));
        request.extensions_mut().insert(ranker);
        assert_eq!(limit.check_rate(&request), Ok(()));
    }
}
