//! Layers around the services, from the outside in: metrics, deadlines, call limits, headers of versions.

pub(crate) mod deadline;
pub(crate) mod observe;
pub(crate) mod rate_limit;
pub(crate) mod trace;
pub(crate) mod version_headers;
