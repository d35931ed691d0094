//! The errors of calls, and the one place where they become a gRPC status.

use std::time::Duration;

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use super::security::identity::Role;
use crate::model::{Timestamp, UserId};

/// Delay after which a call may be tried again that found the action log busy.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Reason why a call fails, by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// A field of the request is invalid: correct the request.
    Field {
        /// Path of the field, as in `google.rpc.BadRequest`.
        field: String,
        /// What is allowed.
        reason: String,
    },
    /// The user has no profile, and the request requires one.
    NoProfile(UserId),
    /// The call has actions or a freshness token, and the server takes no actions.
    TakesNoActions,
    /// The freshness token stands for actions that this server does not have.
    NotReflected,
    /// Too many calls wait for the log: try again later.
    Busy,
    /// The server has more calls than it can answer: try again after this time.
    Shed(Shed, Duration),
    /// The caller is unknown, for this reason.
    Unauthenticated(String),
    /// The caller of this name does not have that role.
    Forbidden(String, Role),
    /// The deadline passed before there was anything to answer with.
    OutOfTime,
    /// The change could not be made durable: try again later.
    NotRecorded,
    /// What was recorded cannot be read: try again later.
    NotReadable,
    /// The user is not erased everywhere: try again.
    NotErased,
    /// The clock, which is not believed, says the first time; the log was last used at the
    /// second one: set the clock right, or say that it is.
    ClockAhead(Timestamp, Timestamp),
    /// The call changes or copies what a server keeps, and this one keeps nothing.
    KeepsNothing,
    /// Another backup is being made, or a user is erased.
    BackupRunning,
    /// The backup could not be made as a whole. The log has the cause.
    NoBackup,
    /// The greatest number of pins, which is this, has changed.
    TooManyChanges(usize),
    /// These versions do not exist.
    NoVersion(String),
    /// The versions cannot be served, for this reason.
    CannotServe(String),
    /// A surface does not fit the catalog that is served: its name, the part, and why.
    SurfaceMisfit(String),
    /// Replicas share the log, and this server has a checkpoint of it only.
    OnlyCheckpoint,
    /// Replicas share the log, whose streams have no order among each other.
    NoOrder,
    /// Nothing is loaded yet: ask another server.
    NotLoaded,
    /// A defect of the server. The log has its cause.
    Internal,
}

/// Reason why a call was shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shed {
    /// The greatest number of calls is in progress or waits for a search.
    QueueFull,
    /// Its turn would come too late for its deadline.
    Deadline,
    /// The caller exceeds its rate.
    RateLimit,
    /// The surface is asked more often than its rate.
    SurfaceRate,
}

impl Shed {
    fn message(self) -> &'static str {
        match self {
            Self::QueueFull => "too many calls are waiting",
            Self::Deadline => "its turn would come after its deadline",
            Self::RateLimit => "the caller asks too often",
            Self::SurfaceRate => "the surface is asked too often",
        }
    }
}

impl CallError {
    /// An invalid field.
    pub(crate) fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

const TAKES_NO_ACTIONS: &str =
    "this server takes no actions, so it cannot reflect any: it was started without --data";
const KEEPS_NOTHING: &str =
    "this server keeps nothing, neither actions nor changed pins: it was started without --data";
const ONLY_CHECKPOINT: &str = "replicas share the log, and this server keeps a checkpoint of it: \
                               back up the nodes of the engine, or export actions";
const NO_ORDER: &str = "from_sequence: replicas share the log, whose streams have no order among \
                        each other: export all";

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Field { field, reason } => {
                let message = format!("{field}: {reason}");
                let details = ErrorDetails::with_bad_request_violation(field, reason);
                Self::with_error_details(tonic::Code::InvalidArgument, message, details)
            }
            CallError::NoProfile(user) => Self::not_found(format!("user {user} has no profile")),
            CallError::TakesNoActions => Self::failed_precondition(TAKES_NO_ACTIONS),
            CallError::NotReflected => Self::failed_precondition(
                "freshness_token: it stands for actions that this server does not have",
            ),
            CallError::Busy => {
                let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
                let message = "too many calls wait for the action log";
                Self::with_error_details(tonic::Code::ResourceExhausted, message, details)
            }
            CallError::Shed(shed, retry_after) => {
                let details = ErrorDetails::with_retry_info(Some(retry_after));
                Self::with_error_details(tonic::Code::ResourceExhausted, shed.message(), details)
            }
            CallError::Unauthenticated(reason) => Self::unauthenticated(reason),
            CallError::Forbidden(caller, role) => {
                Self::permission_denied(format!("caller {caller} does not have the role {role}"))
            }
            CallError::OutOfTime => {
                Self::deadline_exceeded("time was up before there was anything to answer with")
            }
            CallError::KeepsNothing => Self::failed_precondition(KEEPS_NOTHING),
            CallError::BackupRunning => Self::resource_exhausted("a backup or an erasure runs"),
            CallError::NoBackup => Self::unavailable(
                "the backup could not be made as a whole: the log of the server says why",
            ),
            CallError::TooManyChanges(max) => Self::resource_exhausted(format!(
                "{max} pins may change beside a catalog: build one with the changes so far"
            )),
            CallError::NotRecorded => Self::unavailable(
                "it could not be made durable: send it again when this server is back",
            ),
            CallError::NotReadable => {
                Self::unavailable("recorded actions cannot be read: try again later")
            }
            CallError::NotErased => Self::unavailable(
                "the user is not erased everywhere yet: the log or the archive cannot be written",
            ),
            CallError::ClockAhead(now, last_used) => Self::failed_precondition(format!(
                "the clock says {now}, and the log was last used at {last_used}: set the clock \
                 right, or ask with clock_is_right if it is"
            )),
            CallError::NoVersion(versions) => Self::not_found(format!("there is no {versions}")),
            CallError::CannotServe(reason) => Self::failed_precondition(reason),
            CallError::SurfaceMisfit(reason) => Self::failed_precondition(reason),
            CallError::OnlyCheckpoint => Self::failed_precondition(ONLY_CHECKPOINT),
            CallError::NoOrder => Self::failed_precondition(NO_ORDER),
            CallError::NotLoaded => Self::unavailable("no catalog and profiles are loaded yet"),
            CallError::Internal => Self::internal("internal error"),
        }
    }
}
