//! The gRPC services: convert, validate, call, map.

pub(crate) mod actions;
pub(crate) mod admin;
pub(crate) mod catalog;
pub(crate) mod convert;
pub(crate) mod recommendation;
mod request_context;
pub(crate) mod routes;
mod search_budget;
mod stage_timer;
mod validated_request;
