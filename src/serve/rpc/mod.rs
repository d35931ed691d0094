//! The gRPC services: convert, validate, call, map.

pub(crate) mod actions;
pub(crate) mod admin;
pub(crate) mod catalog;
pub(crate) mod convert;
pub(crate) mod recommendation;
pub(crate) mod routes;
