//! The gRPC services: convert, validate, call, convert back.
//!
//! One file a service: `recommendation` (with `request` and `response` for its
//! messages), `actions`, `catalog`, `admin`. `routes` puts them behind their layers.
//! Limits of requests are in `serve::request_limits`.

mod actions;
mod admin;
mod catalog;
mod recommendation;
mod request;
mod response;
mod routes;

pub(crate) use routes::{RouteParts, service};
