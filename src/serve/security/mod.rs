//! Who calls, and whether they may: TLS, callers, roles, and their reload.

pub(crate) mod auth;
pub(crate) mod callers;
pub(crate) mod credentials;
pub(crate) mod tls;
