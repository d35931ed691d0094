//! The server when there is too much to do or too little time, and while it stops.

use std::time::Duration;

use crate::common::World;
use crate::common::process::{Process, serve_command};
use crate::common::server::{RECOMMEND, Server, ask, connect, params};
use crate::common::wait::{PATIENCE, wait_for, wait_until, within};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pinnersage::wire::v1;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;
use prost::Message;
use prost::bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

/// Calls Recommend over plain HTTP/2 with this header, so that no deadline of a client
/// library is in the way, and gives back the headers of the answer.
async fn call(server: &Server, name: &'static str, value: &str) -> http::HeaderMap {
    let stream = TcpStream::connect(server.grpc).await.expect("a server");
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let message = ask(1).encode_to_vec();
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    let request = http::Request::post(format!("http://{}{RECOMMEND}", server.grpc))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(name, value)
        .body(Body::new(http_body_util::Full::new(Bytes::from(framed))))
        .expect("a request");
    let sent = within("an answer", PATIENCE, sender.send_request(request));
    let answer = sent.await.expect("an answer");
    connection.abort();
    answer.headers().clone()
}

async fn status(server: &Server, name: &'static str, value: &str) -> Code {
    let headers = call(server, name, value).await;
    Status::from_header_map(&headers).map_or(Code::Ok, |status| status.code())
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_health_and_administration_answer() {
    let world = World::built();
    let mut params = params();
    params.overload.max_calls = 0;
    let server = Server::start_with(&world, params).await;
    let refused = server.client().await.recommend(ask(1)).await;
    let refused = refused.expect_err("no call may be there");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let retry = refused.get_details_retry_info().expect("when to try again");
    assert!(retry.retry_delay.expect("a time") >= Duration::from_millis(10));
    let mut health = HealthClient::new(server.channel().await);
    let check = HealthCheckRequest::default();
    health.check(check).await.expect("an answer");
    let mut admin = server.admin_client().await;
    let status = admin.get_status(v1::GetStatusRequest {}).await;
    status.expect("an answer");
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn each_caller_has_a_rate_of_its_own() {
    let world = World::built();
    let mut params = params();
    (params.overload.rate_limit, params.overload.rate_burst) = (1, 2);
    let server = Server::start_with(&world, params).await;
    let mut codes = Vec::new();
    for caller in ["a", "a", "a", "a", "b"] {
        codes.push(status(&server, "x-caller", caller).await);
    }
    assert_eq!(codes[..2], [Code::Ok; 2]);
    // A second may have gone by on a slow machine, which allows one more.
    assert!(codes[2..4].contains(&Code::ResourceExhausted), "{codes:?}");
    assert_eq!(codes[4], Code::Ok);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_deadline_that_is_over_is_answered_by_the_server_itself() {
    let world = World::built();
    let server = Server::start(&world).await;
    for (timeout, code) in [
        ("0n", Code::DeadlineExceeded),
        ("1n", Code::DeadlineExceeded),
        ("1H", Code::Ok),
        ("soon", Code::InvalidArgument),
        ("123456789S", Code::InvalidArgument),
    ] {
        assert_eq!(
            status(&server, "grpc-timeout", timeout).await,
            code,
            "{timeout}"
        );
    }
    server.stop().await.expect("a clean end");
    let mut params = params();
    params.server.max_deadline = Duration::ZERO;
    let server = Server::start_with(&world, params).await;
    let own = status(&server, "grpc-timeout", "1H").await;
    assert_eq!(own, Code::DeadlineExceeded, "the server's own limit");
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn an_answer_says_what_it_was_made_from() {
    let world = World::built();
    let server = Server::start(&world).await;
    let answer = server.client().await.recommend(ask(1)).await;
    let answer = answer.expect("an answer");
    let stamp = |name: &str| {
        let value = answer.metadata().get(format!("x-pinnersage-{name}"));
        value.expect(name).to_str().expect("text").to_owned()
    };
    assert!(stamp("build").starts_with(env!("CARGO_PKG_VERSION")));
    assert_eq!(stamp("catalog-version"), answer.get_ref().catalog_version);
    assert_eq!(stamp("profile-version"), answer.get_ref().profile_version);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn connections_and_headers_have_their_limits() {
    let world = World::built();
    let mut params = params();
    params.connections.max = 1;
    let server = Server::start_with(&world, params).await;
    let mut client = server.client().await;
    client.recommend(ask(1)).await.expect("an answer");
    let mut one_too_many = TcpStream::connect(server.grpc).await.expect("a port");
    let mut said = Vec::new();
    // Long before the server would give up waiting for a first word.
    let end = timeout(Duration::from_secs(5), one_too_many.read_to_end(&mut said)).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?} {said:?}");
    drop(client);
    // The place is free once the server has seen that the client is gone.
    let served_client = async || {
        let channel = connect(&server.url()).await.ok()?;
        let mut client = RecommendationServiceClient::new(channel);
        let answer = client.recommend(ask(1)).await;
        answer.is_ok().then_some(client)
    };
    let mut client = wait_for("a free place", PATIENCE, served_client).await;
    let mut long = tonic::Request::new(ask(1));
    let value = "x".repeat(20 << 10).parse().expect("a value");
    long.metadata_mut().insert("x-long", value);
    let refused = client.recommend(long).await.expect_err("too long headers");
    assert!(refused.message().contains("431"), "{refused:?}");
    client
        .recommend(ask(1))
        .await
        .expect("an answer all the same");
    drop(client);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_server_that_stops_says_so_first_and_ends_at_once_when_told_again() {
    let world = World::built();
    let mut command = serve_command(&world);
    command.env("PINNERSAGE__SERVE__DRAIN_DELAY", "10min");
    let mut server = Process::start(&mut command);
    let mut client = RecommendationServiceClient::new(server.channel().await);
    let header = "x-envoy-immediate-health-check-fail";
    let before = client.recommend(ask(1)).await.expect("an answer");
    assert!(before.metadata().get(header).is_none());
    server.signal("TERM");
    server.wait_for("stopping: a second signal ends it at once");
    // It is said a moment before it is so.
    let is_announced = async || {
        let answer = client.recommend(ask(1)).await.expect("still an answer");
        answer.metadata().get(header).is_some()
    };
    wait_until("the header", PATIENCE, is_announced).await;
    let mut late = RecommendationServiceClient::new(server.channel().await);
    late.recommend(ask(1)).await.expect("still an answer");
    server.signal("INT");
    assert_eq!(server.end(), Some(70));
}

#[tokio::test]
async fn calls_outlive_the_connections_that_are_told_to_go() {
    let world = World::built();
    let mut params = params();
    params.connections.max_age = Some(Duration::from_millis(2));
    let server = Server::start_with(&world, params).await;
    let mut client = server.client().await;
    let begun = std::time::Instant::now();
    let mut answered = 0;
    // Some dozens of connections long, or more calls on a slow machine.
    while begun.elapsed() < Duration::from_millis(200) || answered <= 20 {
        assert!(begun.elapsed() < PATIENCE, "only {answered} answers");
        match client.recommend(ask(1)).await {
            Ok(_) => answered += 1,
            // The client saw that its connection is closed before it sent anything.
            Err(unsent) => assert_eq!(unsent.code(), Code::Cancelled, "{unsent:?}"),
        }
    }
    drop(client);
    server.stop().await.expect("a clean end");
}
