//! Spans reach a collector of OpenTelemetry, in the trace of the caller. Only in a build
//! with the feature `otlp`.

use std::convert::Infallible;

use crate::common::World;
use crate::common::process::{Process, serve_command};
use crate::common::server::ask;
use crate::common::wait::{PATIENCE, within};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pinnersage::wire::v1;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;
use prost::bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::Request;
use tonic::codegen::http;

/// A collector that keeps the bytes of what it is sent.
async fn collector() -> (String, mpsc::UnboundedReceiver<Bytes>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (give, taken) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let give = give.clone();
            let service = service_fn(move |request: http::Request<Incoming>| {
                let give = give.clone();
                async move {
                    let body = request.into_body().collect().await.expect("a body");
                    // The test may be over.
                    let _ = give.send(body.to_bytes());
                    let answer = http::Response::builder()
                        .header("content-type", "application/grpc")
                        .header("grpc-status", "0")
                        .body(Empty::<Bytes>::new());
                    Ok::<_, Infallible>(answer.expect("an answer"))
                }
            });
            let builder = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, taken)
}

#[tokio::test]
async fn a_call_is_exported_with_its_stages_in_the_trace_of_its_caller() {
    let (url, mut exported) = collector().await;
    let world = World::built();
    let mut serve = serve_command(&world);
    serve
        .env("PINNERSAGE__TRACE__ENDPOINT", url)
        .env("PINNERSAGE__TRACE__RATIO", "0")
        .env("PINNERSAGE__SURFACES__TRACED__LIMIT", "5");
    let server = Process::start(&mut serve);
    let mut client = RecommendationServiceClient::new(server.channel().await);
    // Without a parent the ratio of 0 decides: no span of this one.
    client.recommend(ask(1)).await.expect("an answer");
    let mut traced = Request::new(v1::RecommendRequest {
        surface: "traced".to_owned(),
        arm: "arm-of-a-span".to_owned(),
        ..ask(1)
    });
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let metadata = traced.metadata_mut();
    metadata.insert("traceparent", parent.parse().expect("a value"));
    client.recommend(traced).await.expect("an answer");
    // What is left is exported at the end.
    let ended = tokio::task::spawn_blocking(move || server.stop());
    let mut all = Vec::new();
    ended.await.expect("a clean end");
    exported.close();
    let what = "the end of what was exported";
    while let Some(bytes) = within(what, PATIENCE, exported.recv()).await {
        all.extend_from_slice(&bytes);
    }
    let count = |part: &[u8]| all.windows(part.len()).filter(|&w| w == part).count();
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    for name in [
        "RecommendationService/Recommend",
        "lookup",
        "sample",
        "retrieve",
        "merge",
    ] {
        assert!(count(name.as_bytes()) >= 1, "{name}");
    }
    assert_eq!(count(b"RecommendationService/Recommend"), 1);
    for label in [
        "pinnersage.surface",
        "traced",
        "pinnersage.arm",
        "arm-of-a-span",
    ] {
        assert_eq!(count(label.as_bytes()), 1, "{label}");
    }
    assert!(count(&trace) >= 5, "all spans are of the caller's trace");
}
