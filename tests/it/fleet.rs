//! Replicas that share their log: what one has taken all answer from. Each test runs over each
//! engine that is there.

use std::path::Path;

use pinnersage::wire::v1;
use pinnersage::wire::v1::ActionStatus;
use prost::Message;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::common::World;
use super::common::engine::{Engine, engines};
use super::common::server::{NOW, Server, ask, save};
use super::common::wait::{PATIENCE, wait_until};

const USER: u64 = 1;
/// An id whose bytes nothing else has.
const MARKED: u128 = u128::from_be_bytes(*b"a marked action!");
const ACTIONS: &str = "pinnersage.v1.ActionService";

/// Runs a test over each engine, which outlives its servers.
fn with_engines(test: &impl AsyncFn(&mut dyn Engine, &World)) {
    for mut engine in engines() {
        println!("over {:?}", engine.kind());
        let world = World::built();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(test(&mut *engine, &world));
    }
}

async fn replica(world: &World, engine: &dyn Engine, name: &str) -> Server {
    let server = Server::start_replica(world, engine, name).await;
    wait_until_serving(&server, "").await;
    server
}

async fn wait_until_serving(server: &Server, service: &str) {
    wait_for_health(server, service, ServingStatus::Serving).await;
}

async fn wait_for_health(server: &Server, service: &str, expected: ServingStatus) {
    let mut health = HealthClient::new(server.channel().await);
    wait_until("another health", PATIENCE, async || {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.expect("an answer");
        answer.into_inner().status() == expected
    })
    .await;
}

/// All candidates of a user, as bytes.
async fn answer(server: &Server, user: u64, token: &[u8]) -> Result<Vec<u8>, Status> {
    let request = v1::RecommendRequest {
        medoids: 20,
        limit: 100,
        seed: Some(7),
        freshness_token: token.to_vec(),
        ..ask(user)
    };
    let bytes = server.call_raw(&request.encode_to_vec()).await?;
    Ok(bytes.to_vec())
}

fn pins(answer: &[u8]) -> Vec<u64> {
    let response = v1::RecommendResponse::decode(answer).expect("an answer");
    response
        .candidates
        .iter()
        .map(|candidate| candidate.pin_id)
        .collect()
}

fn hide(number: u128, user: u64, pin: u64) -> v1::Action {
    v1::Action {
        action: "hide".to_owned(),
        ..save(number, user, pin, NOW - 60)
    }
}

async fn record(server: &Server, actions: Vec<v1::Action>) -> Result<Vec<u8>, Status> {
    let request = v1::RecordActionsRequest { actions };
    let recorded = server.action_client().await.record_actions(request).await?;
    let recorded = recorded.into_inner();
    for status in recorded.results {
        assert_eq!(status, ActionStatus::Accepted as i32);
    }
    Ok(recorded.freshness_token)
}

#[test]
fn what_one_replica_has_taken_another_answers_with() {
    with_engines(&async |engine, world| {
        let [a, b] = [
            replica(world, engine, "a").await,
            replica(world, engine, "b").await,
        ];
        let before = pins(&answer(&b, USER, &[]).await.expect("an answer"));
        let token = record(&a, vec![hide(1, USER, before[0])])
            .await
            .expect("a write");
        let after = answer(&b, USER, &token).await.expect("an answer");
        assert!(!pins(&after).contains(&before[0]));
        assert_eq!(answer(&a, USER, &token).await.expect("an answer"), after);
        // Sent again to another, it counts once.
        let request = v1::RecordActionsRequest {
            actions: vec![hide(1, USER, before[0])],
        };
        let again = b.action_client().await.record_actions(request).await;
        let again = again.expect("an answer").into_inner().results;
        assert_eq!(again, [ActionStatus::Duplicate as i32]);

        // One that lost its disk, and one that starts where it ended.
        b.stop().await.expect("an orderly end");
        std::fs::remove_dir_all(world.path("b")).expect("a checkpoint");
        let b = replica(world, engine, "b").await;
        let other = record(&b, vec![save(2, 2, before[0], NOW - 60)])
            .await
            .expect("a write");
        a.stop().await.expect("an orderly end");
        let a = replica(world, engine, "a").await;
        for user in [USER, 2] {
            let of_a = answer(&a, user, &other).await.expect("an answer");
            assert_eq!(of_a, answer(&b, user, &token).await.expect("an answer"));
        }
        a.stop().await.expect("an orderly end");
        b.stop().await.expect("an orderly end");
    });
}

#[test]
fn pins_and_erasures_reach_all_replicas() {
    with_engines(&async |engine, world| {
        let [a, b] = [
            replica(world, engine, "a").await,
            replica(world, engine, "b").await,
        ];
        let first = pins(&answer(&b, USER, &[]).await.expect("an answer"))[0];
        let delete = v1::DeletePinsRequest {
            pin_ids: vec![first],
            pin_keys: Vec::new(),
        };
        a.pin_client()
            .await
            .delete_pins(delete)
            .await
            .expect("an answer");
        let has_first = async |server: &Server| {
            let answer = answer(server, USER, &[]).await.expect("an answer");
            pins(&answer).contains(&first)
        };
        assert!(!has_first(&a).await);
        wait_until("a deleted pin", PATIENCE, async || !has_first(&b).await).await;

        let hidden = pins(&answer(&a, USER, &[]).await.expect("an answer"))[0];
        let token = record(&a, vec![hide(MARKED, USER, hidden)])
            .await
            .expect("a write");
        let has_hidden = async |server: &Server| {
            let answer = answer(server, USER, &token).await.expect("an answer");
            pins(&answer).contains(&hidden)
        };
        assert!(!has_hidden(&b).await);
        let id = MARKED.to_be_bytes();
        for (server, name) in [(&a, "a"), (&b, "b")] {
            // A replica writes what it has read when somebody wants it from the files.
            let request = v1::ExportActionsRequest::default();
            let exported = server.admin_client().await.export_actions(request).await;
            let first = exported.expect("an answer").into_inner().message().await;
            assert!(first.expect("an answer").is_some(), "{name}");
            assert!(has_bytes(&world.path(name), &id), "{name}");
        }
        let erase = v1::EraseUserRequest {
            user_id: Some(USER),
            ..Default::default()
        };
        let erased = b.admin_client().await.erase_user(erase).await;
        assert_eq!(erased.expect("an answer").into_inner().actions, 1);
        wait_until("an erased user", PATIENCE, async || {
            let answer = answer(&a, USER, &[]).await.expect("an answer");
            answer == self::answer(&b, USER, &[]).await.expect("an answer")
        })
        .await;
        for name in ["a", "b"] {
            let files = async || !has_bytes(&world.path(name), &id);
            wait_until("files without the user", PATIENCE, files).await;
        }
        a.stop().await.expect("an orderly end");
        b.stop().await.expect("an orderly end");
    });
}

async fn log_status(server: &Server) -> v1::ActionLogStatus {
    let mut client = server.admin_client().await;
    let status = client.get_status(v1::GetStatusRequest {}).await;
    let status = status.expect("an answer").into_inner();
    status.action_log.expect("a log of actions")
}

/// Whether a file below `directory` has these bytes. Files may go meanwhile.
fn has_bytes(directory: &Path, bytes: &[u8]) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.any(|path| match path.is_dir() {
        true => has_bytes(&path, bytes),
        false => {
            let content = std::fs::read(&path).unwrap_or_default();
            content.windows(bytes.len()).any(|at| at == bytes)
        }
    })
}

#[test]
fn a_replica_answers_without_the_engine_and_records_again_when_it_is_back() {
    with_engines(&async |engine, world| {
        let a = replica(world, engine, "a").await;
        let first = pins(&answer(&a, USER, &[]).await.expect("an answer"))[0];
        let token = record(&a, vec![hide(1, USER, first)])
            .await
            .expect("a write");
        engine.stop();
        let refused = record(&a, vec![hide(2, USER, first + 1)]).await;
        assert_eq!(refused.expect_err("no engine").code(), Code::Unavailable);
        wait_for_health(&a, ACTIONS, ServingStatus::NotServing).await;
        wait_until_serving(&a, "").await;
        let answered = answer(&a, USER, &token).await.expect("an answer");
        assert!(!pins(&answered).contains(&first));
        // A token of what nobody has recorded.
        let mut later = token.clone();
        *later.last_mut().expect("a position") += 1;
        let refused = answer(&a, USER, &later).await.expect_err("a later token");
        assert_eq!(refused.code(), Code::FailedPrecondition);

        // One that starts without the engine answers, but is not ready: it cannot know what it
        // lacks.
        a.stop().await.expect("an orderly end");
        let a = Server::start_replica(world, engine, "a").await;
        assert_eq!(answer(&a, USER, &token).await.expect("an answer"), answered);
        wait_for_health(&a, "", ServingStatus::NotServing).await;
        let log = log_status(&a).await;
        assert_eq!(log.kind(), v1::ActionLogKind::Shared);
        assert_eq!((log.is_ready, log.lag_messages), (false, None));
        engine.start();
        wait_until_serving(&a, "").await;
        wait_until("a log that can be written", PATIENCE, async || {
            let log = log_status(&a).await;
            log.is_writable && log.is_ready && log.failure.is_empty()
        })
        .await;
        let log = log_status(&a).await;
        assert_eq!((log.lag_messages, log.lag_seconds), (Some(0), Some(0.0)));
        wait_until_serving(&a, ACTIONS).await;
        let mut number = 2;
        wait_until("a write", PATIENCE, async || {
            number += 1;
            record(&a, vec![hide(number, USER, first + 1)])
                .await
                .is_ok()
        })
        .await;
        a.stop().await.expect("an orderly end");
    });
}
