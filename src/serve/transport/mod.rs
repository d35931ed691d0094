//! Sockets: the port for gRPC, and the port for operators.
//!
//! Files in reading order: `drain` (phases of a server that stops), `prefixed_io` (the
//! preface of HTTP/2), `connection` (one connection), `connections` (all of them), `ops`
//! (metrics and probes).

mod connection;
mod connections;
mod drain;
mod ops;
mod prefixed_io;

pub use connection::ConnectionParams;
pub(crate) use connections::{ListenerParts, serve_connections};
pub(crate) use drain::Phase;
pub(crate) use ops::{OpsParts, serve_ops};
