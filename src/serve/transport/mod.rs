//! Sockets: connections, their first bytes, draining, and the port for operators.

pub(crate) mod connections;
pub(crate) mod drain;
pub(crate) mod ops;
pub(crate) mod prefixed_io;
