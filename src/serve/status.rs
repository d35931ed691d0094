//! Why a call fails, and the one place where that becomes a gRPC status.

use std::time::Duration;

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use super::security::identity::Role;
use crate::model::UserId;

/// When to try again what is refused for load.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Why a call fails, by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// A field of the request is wrong: mend the request.
    Field {
        /// Path of the field, as in `google.rpc.BadRequest`.
        field: String,
        /// What is allowed.
        reason: String,
    },
    /// The user has no profile, and the request wants one.
    NoProfile(UserId),
    /// Actions or a freshness token, where no actions are taken.
    TakesNoActions,
    /// A freshness token for what this server cannot reflect.
    NotReflected,
    /// Too many calls wait for the log: try again later.
    Busy,
    /// More was asked than this server can do: try again after so long.
    Shed(Shed, Duration),
    /// Nobody knows who calls, for this reason.
    Unauthenticated(String),
    /// The caller of this name does not have that role.
    Forbidden(String, Role),
    /// Time was up before there was anything to answer with.
    OutOfTime,
    /// It could not be made durable: try again later.
    NotRecorded,
    /// A change of pins, where nothing is kept.
    KeepsNothing,
    /// That many pins have changed, and no more may.
    TooManyChanges(usize),
    /// There are no such versions.
    NoVersion(String),
    /// Versions cannot be served, for this reason.
    CannotServe(String),
    /// Nothing is loaded yet: ask another server.
    NotLoaded,
    /// A defect of ours. What it was is in the log.
    Internal,
}

/// Why a call was shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shed {
    /// As many calls are here, or wait for a search, as may be.
    QueueFull,
    /// Its turn would come too late for its deadline.
    Deadline,
    /// Its caller asks too often.
    RateLimit,
}

impl CallError {
    /// A field that is wrong.
    pub(crate) fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Field { field, reason } => {
                let message = format!("{field}: {reason}");
                let details = ErrorDetails::with_bad_request_violation(field, reason);
                Self::with_error_details(tonic::Code::InvalidArgument, message, details)
            }
            CallError::NoProfile(user) => Self::not_found(format!("user {user} has no profile")),
            CallError::TakesNoActions => Self::failed_precondition(
                "this server takes no actions, so it cannot reflect any: it was started without --data",
            ),
            CallError::NotReflected => Self::failed_precondition(
                "freshness_token: it stands for actions that this server does not have",
            ),
            CallError::Busy => {
                let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
                let message = "too many calls wait for the action log";
                Self::with_error_details(tonic::Code::ResourceExhausted, message, details)
            }
            CallError::Shed(why, after) => {
                let message = match why {
                    Shed::QueueFull => "too many calls are waiting",
                    Shed::Deadline => "its turn would come after its deadline",
                    Shed::RateLimit => "the caller asks too often",
                };
                let details = ErrorDetails::with_retry_info(Some(after));
                Self::with_error_details(tonic::Code::ResourceExhausted, message, details)
            }
            CallError::Unauthenticated(reason) => Self::unauthenticated(reason),
            CallError::Forbidden(caller, role) => {
                Self::permission_denied(format!("caller {caller} does not have the role {role}"))
            }
            CallError::OutOfTime => {
                Self::deadline_exceeded("time was up before there was anything to answer with")
            }
            CallError::KeepsNothing => Self::failed_precondition(
                "this server keeps nothing, so it changes no pins: it was started without --data",
            ),
            CallError::TooManyChanges(most) => Self::resource_exhausted(format!(
                "{most} pins may change beside a catalog: build one with the changes so far"
            )),
            CallError::NotRecorded => Self::unavailable(
                "it could not be made durable: send it again when this server is back",
            ),
            CallError::NoVersion(which) => Self::not_found(format!("there is no {which}")),
            CallError::CannotServe(reason) => Self::failed_precondition(reason),
            CallError::NotLoaded => Self::unavailable("no catalog and profiles are loaded yet"),
            CallError::Internal => Self::internal("internal error"),
        }
    }
}
