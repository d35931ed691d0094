//! How long a call may take: what its caller allows (`grpc-timeout`), and for
//! recommendations no more than the server does.
//!
//! A call that has no answer when its time is up is answered DEADLINE_EXCEEDED from
//! here, within the layer that counts calls. Searches look at the time themselves and end a little
//! before, so that what they found can still be sent.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::serve::status::CallError;
use crate::wire::v1::recommendation_service_server::SERVICE_NAME;

/// Most of the end of a budget that is left for merging and sending.
const RESERVE: Duration = Duration::from_millis(5);

/// When a call came, and when its caller stops waiting for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) begun: Instant,
    pub(crate) until: Instant,
}

impl Budget {
    /// When searches must end, so that their result is still of use.
    pub(crate) fn search_until(&self) -> Instant {
        let reserve = (self.until - self.begun) / 10;
        self.until - reserve.min(RESERVE)
    }
}

/// Gives every call its budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadlineLayer {
    /// Most that a call for recommendations may take.
    pub(crate) max: Duration,
}

/// See [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub(crate) struct Deadline<S> {
    inner: S,
    max: Duration,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline {
            inner,
            max: self.max,
        }
    }
}

impl<S, B> Service<Request<B>> for Deadline<S>
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
        let begun = Instant::now();
        let allowed = match allowed(request.headers()) {
            Ok(allowed) => allowed,
            Err(error) => {
                let refused = Status::from(error).into_http();
                return Box::pin(async { Ok(refused) });
            }
        };
        let path = request.uri().path();
        let service = path.split('/').nth(1).unwrap_or_default();
        let limit = match (service == SERVICE_NAME, allowed) {
            (true, allowed) => Some(allowed.map_or(self.max, |allowed| allowed.min(self.max))),
            (false, allowed) => allowed,
        };
        let until = limit.and_then(|limit| begun.checked_add(limit));
        if let Some(until) = until {
            request.extensions_mut().insert(Budget { begun, until });
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let Some(until) = until else {
                return answer.await;
            };
            match tokio::time::timeout_at(until.into(), answer).await {
                Ok(answer) => answer,
                Err(_) => Ok(Status::from(CallError::OutOfTime).into_http()),
            }
        })
    }
}

/// What the caller allows; none where it says nothing.
fn allowed(headers: &HeaderMap) -> Result<Option<Duration>, CallError> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let allowed = value.to_str().ok().and_then(parse);
    let refused = || CallError::field("grpc-timeout", "must be 1 to 8 digits and one of HMSmun");
    allowed.map(Some).ok_or_else(refused)
}

/// The duration that `text` stands for in the specification of gRPC over HTTP/2.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_specification_says() {
        let good = [
            ("1H", 3_600_000_000_000),
            ("2M", 120_000_000_000),
            ("99999999S", 99_999_999_000_000_000),
            ("250m", 250_000_000),
            ("07u", 7_000),
            ("0n", 0),
        ];
        for (text, nanos) in good {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in [
            "",
            "S",
            "5",
            "123456789S",
            "-1S",
            "+1S",
            "1.5S",
            "1s",
            "1 S",
            "5é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_tenth_of_a_budget_is_left_for_sending_but_no_more_than_needed() {
        let begun = Instant::now();
        let searches = |micros| {
            let until = begun + Duration::from_micros(micros);
            Budget { begun, until }.search_until() - begun
        };
        assert_eq!(searches(1_000), Duration::from_micros(900));
        assert_eq!(searches(1_000_000), Duration::from_micros(995_000));
    }
}
