//! Why a call fails, and the one place where that becomes a gRPC status.

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::model::UserId;

/// Why a call fails, by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// A field of the request is wrong: mend the request.
    Field {
        /// Path of the field, as in `google.rpc.BadRequest`.
        field: String,
        /// What is allowed.
        reason: String,
    },
    /// The user has no profile, and the request wants one.
    NoProfile(UserId),
    /// A freshness token, where no actions are taken.
    TakesNoActions,
    /// Nothing is loaded yet: ask another server.
    NotLoaded,
    /// A defect of ours. What it was is in the log.
    Internal,
}

impl CallError {
    /// A field that is wrong.
    pub(super) fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
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
                "freshness_token: this server takes no actions, so it cannot reflect any",
            ),
            CallError::NotLoaded => Self::unavailable("no catalogue and profiles are loaded yet"),
            CallError::Internal => Self::internal("internal error"),
        }
    }
}
