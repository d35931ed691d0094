//! What happens around every call, whatever its service.
//!
//! Files in reading order: `layer` (the tower layer that all policies share), then the
//! policies from the outside in: `observe` (metrics and logs, with `methods` for labels
//! and `trace` for spans), `deadline`, `authorize`, `rate_limit` (with `shed` for its
//! refusals); and `version_headers`, which services put on their answers.

mod layer;

mod authorize;
mod deadline;
mod methods;
mod observe;
mod rate_limit;
mod shed;
mod trace;
mod version_headers;

pub(crate) use authorize::Authorize;
pub(crate) use deadline::{Budget, EnforceDeadline};
pub(crate) use layer::{GrpcService, PolicyLayer};
pub(crate) use observe::Observe;
pub(crate) use rate_limit::{Rate, RateLimit};
pub(crate) use shed::shed;
pub(crate) use trace::{record_labels, stage_span};
pub(crate) use version_headers::VersionHeaders;
