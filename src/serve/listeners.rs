//! The sockets of a server, bound before anything else is done.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// The sockets that a server listens on.
#[derive(Debug)]
pub struct Listeners {
    pub(super) grpc: TcpListener,
    pub(super) ops: TcpListener,
}

impl Listeners {
    /// Binds both sockets; port 0 takes any free one. The error names the address.
    pub async fn bind(grpc: SocketAddr, ops: SocketAddr) -> io::Result<Self> {
        let bind = async |address: SocketAddr| {
            let named = |e: io::Error| io::Error::new(e.kind(), format!("{address}: {e}"));
            TcpListener::bind(address).await.map_err(named)
        };
        Ok(Self {
            grpc: bind(grpc).await?,
            ops: bind(ops).await?,
        })
    }

    /// The address of gRPC.
    pub fn grpc_address(&self) -> io::Result<SocketAddr> {
        self.grpc.local_addr()
    }

    /// The address of metrics and probes.
    pub fn ops_address(&self) -> io::Result<SocketAddr> {
        self.ops.local_addr()
    }
}
