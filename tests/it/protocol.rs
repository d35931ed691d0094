//! The server as a gRPC server: bytes, health, reflection, probes, starting and
//! stopping.

use std::sync::mpsc;
use std::time::Duration;

use crate::common::World;
use crate::common::server::{Server, ask, clock, params, source};
use pinnersage::serve::{InitialState, LoadError, ServeError, ServingSource};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const SERVICE: &str = "pinnersage.v1.RecommendationService";

#[tokio::test]
async fn an_empty_and_an_oversized_request_are_refused_by_what_is_wrong() {
    let world = World::built();
    let server = Server::start(&world).await;
    let empty = server.call_raw(&[]).await.expect_err("no user");
    assert_eq!(
        (empty.code(), empty.message()),
        (Code::InvalidArgument, "user_id: is required")
    );

    let large = server
        .call_raw(&vec![0; 3 << 20])
        .await
        .expect_err("too large");
    assert_eq!(large.code(), Code::OutOfRange);
    server
        .client()
        .await
        .recommend(ask(1))
        .await
        .expect("the server is still there");
    server.stop().await.expect("a clean end");
}

async fn http(server: &Server, path: &str) -> String {
    let mut stream = TcpStream::connect(server.ops).await.expect("a port");
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn nothing_is_served_before_it_is_loaded_and_health_tells() {
    let world = World::built();
    let source = source(&world);
    let (go, wait) = mpsc::channel::<()>();
    let (ready, is_ready) = oneshot::channel();
    let loading = move |source: &ServingSource| {
        wait.recv().expect("the test lets it load");
        InitialState::open(source, None, clock())
    };
    let server = Server::start_loading(source, loading, ready).await;
    let mut health = HealthClient::new(server.channel().await);
    let check = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    for service in ["", SERVICE] {
        let status = health
            .check(check(service))
            .await
            .expect("an answer")
            .into_inner()
            .status();
        assert_eq!(status, ServingStatus::NotServing, "{service:?}");
    }
    let mut watched = health
        .watch(check(SERVICE))
        .await
        .expect("a stream")
        .into_inner();
    let first = watched
        .message()
        .await
        .expect("a message")
        .expect("a status");
    assert_eq!(first.status(), ServingStatus::NotServing);
    let mut client = server.client().await;
    let status = client
        .recommend(ask(1))
        .await
        .expect_err("nothing is loaded");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(http(&server, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(http(&server, "/readyz").await.starts_with("HTTP/1.1 503"));

    go.send(()).expect("a waiting server");
    let second = watched
        .message()
        .await
        .expect("a message")
        .expect("a status");
    assert_eq!(second.status(), ServingStatus::Serving);
    is_ready.await.expect("a loaded server");
    client.recommend(ask(1)).await.expect("an answer");
    assert!(http(&server, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(http(&server, "/metrics").await.starts_with("HTTP/1.1 200"));
    let unknown = health
        .check(check("no.such.Service"))
        .await
        .expect_err("unknown");
    assert_eq!(unknown.code(), Code::NotFound);

    // A client that goes on watching is told, and does not hold up the end.
    let stopping = tokio::spawn(server.stop());
    let third = watched
        .message()
        .await
        .expect("a message")
        .expect("a status");
    assert_eq!(third.status(), ServingStatus::NotServing);
    assert_eq!(
        watched.message().await.expect("the end of the stream"),
        None
    );
    stopping.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn every_call_is_counted_and_timed_whatever_becomes_of_it() {
    let world = World::built();
    let mut params = params();
    params.server.probe_one_in = 1;
    let server = Server::start_with(&world, params).await;
    let mut client = server.client().await;
    client.recommend(ask(1)).await.expect("an answer");
    client.recommend(ask(u64::MAX)).await.expect("an answer");
    server.call_raw(&[0xff]).await.expect_err("no message");
    let page = http(&server, "/metrics").await;
    let value = |series: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(series));
        let line = line.unwrap_or_else(|| panic!("{series} is missing in {page}"));
        line.trim().parse().expect("a number")
    };
    let method = r#"method="pinnersage.v1.RecommendationService/Recommend""#;
    let calls = |code| {
        value(&format!(
            "pinnersage_grpc_requests_total{{{method},code=\"{code}\"}}"
        ))
    };
    // Other tests of this process count as well.
    assert!(calls("OK") >= 2.0);
    assert!(calls("INVALID_ARGUMENT") >= 1.0);
    let timed = value(&format!(
        "pinnersage_grpc_request_duration_seconds_count{{{method}}}"
    ));
    assert!(timed >= 3.0);
    for stage in ["lookup", "sample", "retrieve", "merge"] {
        let name = "pinnersage_recommend_stage_duration_seconds_count";
        assert!(value(&format!("{name}{{stage=\"{stage}\"}}")) >= 2.0);
    }
    assert!(value(r#"pinnersage_recommend_fallback_total{reason="unknown_user"}"#) >= 1.0);
    assert_eq!(value("pinnersage_index_pins"), 600.0);
    assert!(value("pinnersage_connections") >= 1.0);
    let probed = r#"pinnersage_index_recall_ratio{k="100"}"#;
    let measured = async {
        loop {
            // In the background.
            let page = http(&server, "/metrics").await;
            if let Some(found) = page.lines().find_map(|line| line.strip_prefix(probed)) {
                break found.trim().parse::<f64>().expect("a number");
            }
        }
    };
    let recall = timeout(Duration::from_secs(60), measured).await;
    let recall = recall.expect("a measure");
    assert!((0.9..=1.0).contains(&recall), "{recall}");
    assert_eq!(value("pinnersage_profiles"), 40.0);
    // Written a moment ago: as the clock of the file system tells, within an hour.
    assert!((0.0..3_600.0).contains(&value(r#"pinnersage_snapshot_age_seconds{kind="catalog"}"#)));
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_while_it_loads_stops() {
    let source = source(&World::files());
    let (hold, held) = mpsc::channel::<()>();
    let (ready, _never) = oneshot::channel();
    let loading = move |source: &ServingSource| {
        // Ends with an error when the test lets go.
        let _ = held.recv();
        InitialState::open(source, None, clock())
    };
    let server = Server::start_loading(source, loading, ready).await;
    server.stop().await.expect("a clean end");
    drop(hold);
}

#[tokio::test]
async fn catalog_and_profiles_of_different_embeddings_are_refused() {
    let world = World::built();
    world.build_catalog("catalog", "another-model");
    let source = source(&world);
    let (ready, _never) = oneshot::channel();
    let server = Server::start_loading(
        source,
        |source: &ServingSource| InitialState::open(source, None, clock()),
        ready,
    )
    .await;
    let error = server.ended().await.expect_err("a mismatch");
    assert!(matches!(
        error,
        ServeError::Load(LoadError::EmbeddingVersion { .. })
    ));
    let text = error.to_string();
    assert!(
        text.contains("another-model") && text.contains("test-16"),
        "{text}"
    );
}

#[tokio::test]
async fn both_versions_of_reflection_know_the_services() {
    let world = World::built();
    let server = Server::start(&world).await;
    let channel = server.channel().await;
    macro_rules! services {
        ($version:ident) => {{
            use pb::server_reflection_request::MessageRequest;
            use pb::server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$version as pb;
            let request = pb::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client =
                pb::server_reflection_client::ServerReflectionClient::new(channel.clone());
            let stream = client
                .server_reflection_info(tokio_stream::once(request))
                .await;
            let answer = stream.expect("a stream").into_inner().message().await;
            match answer
                .expect("an answer")
                .expect("a message")
                .message_response
            {
                Some(MessageResponse::ListServicesResponse(list)) => list
                    .service
                    .into_iter()
                    .map(|service| service.name)
                    .collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        }};
    }
    for services in [services!(v1), services!(v1alpha)] {
        assert!(services.iter().any(|name| name == SERVICE), "{services:?}");
        assert!(
            services.iter().any(|name| name == "grpc.health.v1.Health"),
            "{services:?}"
        );
    }
    drop(channel);
    server.stop().await.expect("a clean end");
}
