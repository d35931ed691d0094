//! The ceiling: a server of the same stack that answers every `Recommend` with
//! the same bytes, which it asked a real server for when it started.
//!
//! ```text
//! cargo run --release --example echo -- [--server http://127.0.0.1:50051]
//!     [--listen 127.0.0.1:50061] [--user 0]
//! ```
//!
//! What `tools/load.rs` measures against it is what tonic, tokio and the
//! client cost; the difference to the real server is what recommending costs.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use anyhow::Result;
use clap::Parser;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;
use pinnersage::wire::v1::{RecommendRequest, recommendation_service_server};
use prost::Message;
use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

#[path = "../tests/it/common/raw.rs"]
#[allow(unreachable_pub)]
mod raw;

use raw::Raw;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value = "http://127.0.0.1:50051")]
    server: String,
    #[arg(long, default_value = "127.0.0.1:50061")]
    listen: SocketAddr,
    #[arg(long, default_value_t = 0)]
    user: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut client = RecommendationServiceClient::connect(args.server).await?;
    let request = RecommendRequest {
        user_id: Some(args.user),
        ..Default::default()
    };
    let answer = client.recommend(request).await?.into_inner();
    let echo = Echo(answer.encode_to_vec().into());
    println!("answers {} bytes on {}", echo.0.len(), args.listen);
    let incoming = TcpIncoming::bind(args.listen)?.with_nodelay(Some(true));
    Server::builder()
        .add_service(echo)
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

/// Answers with these bytes.
#[derive(Clone)]
struct Echo(Bytes);

impl NamedService for Echo {
    const NAME: &'static str = recommendation_service_server::SERVICE_NAME;
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move { Ok(Grpc::new(Raw).unary(echo, request).await) })
    }
}

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(self.0.clone())))
    }
}
