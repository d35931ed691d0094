//! Deadlines of calls: the caller's timeout (`grpc-timeout`), and for recommendations at
//! most the server's limit.
//!
//! A call without an answer at its deadline is answered DEADLINE_EXCEEDED from here,
//! within the layer that counts calls. Searches look at the time themselves and end a
//! little earlier, so that what they found can still be sent.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::layer::{CallPolicy, ResponseFuture, refuse};
use crate::serve::status::CallError;
use crate::wire::v1::recommendation_service_server::SERVICE_NAME;

/// Longest end of a budget that is kept for merging and sending.
const MAX_RESERVE: Duration = Duration::from_millis(5);

/// The time that a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Arrival of the call.
    pub(crate) begun: Instant,
    /// Moment at which the caller stops waiting.
    pub(crate) until: Instant,
}

impl Budget {
    /// Returns the moment at which searches must end, so that their result is of use.
    pub(crate) fn search_until(&self) -> Instant {
        let reserve = (self.until - self.begun) / 10;
        self.until - reserve.min(MAX_RESERVE)
    }
}

/// Gives every call its budget, and ends it when that is spent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnforceDeadline {
    /// Longest duration of a call for recommendations.
    pub(crate) max: Duration,
}

impl CallPolicy for EnforceDeadline {
    fn call<S, B>(&self, inner: &mut S, mut request: Request<B>) -> ResponseFuture<S::Error>
    where
        S: Service<Request<B>, Response = Response<Body>, Future: Send + 'static>,
    {
        let begun = Instant::now();
        let limit = match caller_timeout(request.headers()) {
            Ok(timeout) => self.limit(request.uri().path(), timeout),
            Err(error) => return refuse(error),
        };
        let until = limit.and_then(|limit| begun.checked_add(limit));
        if let Some(until) = until {
            request.extensions_mut().insert(Budget { begun, until });
        }
        let response = inner.call(request);
        Box::pin(async move {
            let Some(until) = until else {
                return response.await;
            };
            match tokio::time::timeout_at(until.into(), response).await {
                Ok(response) => response,
                Err(_) => Ok(Status::from(CallError::OutOfTime).into_http()),
            }
        })
    }
}

impl EnforceDeadline {
    /// Returns the longest duration of a call to `path`; none for no limit.
    fn limit(&self, path: &str, timeout: Option<Duration>) -> Option<Duration> {
        let service = path.split('/').nth(1).unwrap_or_default();
        if service == SERVICE_NAME {
            Some(timeout.map_or(self.max, |timeout| timeout.min(self.max)))
        } else {
            timeout
        }
    }
}

/// Reads the timeout that the caller sent, if any.
fn caller_timeout(headers: &HeaderMap) -> Result<Option<Duration>, CallError> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let timeout = value.to_str().ok().and_then(parse_timeout);
    let refused = || CallError::field("grpc-timeout", "must be 1 to 8 digits and one of HMSmun");
    timeout.map(Some).ok_or_else(refused)
}

/// Parses a timeout in the format of the specification of gRPC over HTTP/2.
fn parse_timeout(text: &str) -> Option<Duration> {
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
            assert_eq!(
                parse_timeout(text),
                Some(Duration::from_nanos(nanos)),
                "{text}"
            );
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
            assert_eq!(parse_timeout(text), None, "{text}");
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

    #[test]
    fn only_recommendations_have_the_limit_of_the_server() {
        let second = Duration::from_secs(1);
        let policy = EnforceDeadline { max: second };
        let recommend = format!("/{SERVICE_NAME}/Recommend");
        assert_eq!(policy.limit(&recommend, None), Some(second));
        assert_eq!(policy.limit(&recommend, Some(second * 2)), Some(second));
        assert_eq!(policy.limit(&recommend, Some(second / 2)), Some(second / 2));
        assert_eq!(policy.limit("/other/Method", None), None);
        assert_eq!(
            policy.limit("/other/Method", Some(second * 2)),
            Some(second * 2)
        );
    }
}
