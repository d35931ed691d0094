//! Settings of the server that more than one of its folders uses.

mod overload;
mod server;

pub use overload::OverloadParams;
pub use server::ServerParams;
