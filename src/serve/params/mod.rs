//! Settings of the server that more than one of its folders uses.

mod overload;
mod replica;
mod server;

pub use overload::OverloadParams;
pub use replica::ReplicaParams;
pub use server::ServerParams;
