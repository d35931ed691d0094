//! `CatalogService`: single pins on a running server, and into the next catalog.

use crate::common;
use crate::common::server::{Client, NOW, Server, ask, save};
use crate::common::{
    DIMENSION, EMBEDDING_VERSION, TOPICS, World, catalog_params, version_directory,
};
use pinnersage::batch::{CatalogParams, ChangeFiles, UpsertedPin, build_catalog, write_changes};
use pinnersage::model::{PinAttributes, PinId};
use pinnersage::progress::Progress;
use pinnersage::wire::v1;
use pinnersage::wire::v1::catalog_service_client::CatalogServiceClient;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

type Pins = CatalogServiceClient<Channel>;

const NEW: u64 = 10_000;

fn pin(id: u64, embedding: &[f32]) -> v1::Pin {
    v1::Pin {
        pin_id: Some(id),
        embedding: embedding.to_vec(),
        title: format!("new pin {id}"),
        ..Default::default()
    }
}

/// A vector near the pins of that topic, and a little off each of them.
fn near(topic: u64) -> Vec<f32> {
    let pins = common::pins();
    let of_topic = |at: usize| &pins[topic as usize + at * TOPICS].embedding;
    let pairs = of_topic(0).iter().zip(of_topic(1));
    pairs.map(|(a, b)| a + b).collect()
}

async fn upsert(client: &mut Pins, pins: Vec<v1::Pin>) -> u64 {
    let request = v1::UpsertPinsRequest { pins };
    let answer = client.upsert_pins(request).await.expect("an answer");
    answer.into_inner().changed_pins
}

async fn delete(client: &mut Pins, pin_ids: &[u64]) -> u64 {
    delete_counted(client, pin_ids).await.changed_pins
}

async fn delete_counted(client: &mut Pins, pin_ids: &[u64]) -> v1::DeletePinsResponse {
    let request = v1::DeletePinsRequest {
        pin_ids: pin_ids.to_vec(),
        ..Default::default()
    };
    let answer = client.delete_pins(request).await.expect("an answer");
    answer.into_inner()
}

async fn recommend(client: &mut Client, user: u64) -> v1::RecommendResponse {
    let request = v1::RecommendRequest {
        medoids: 20,
        limit: 200,
        seed: Some(3),
        include_titles: true,
        ..ask(user)
    };
    let answer = client.recommend(request).await;
    answer.expect("an answer").into_inner()
}

fn place(answer: &v1::RecommendResponse, pin: u64) -> Option<usize> {
    answer.candidates.iter().position(|c| c.pin_id == pin)
}

async fn changes(client: &mut Pins) -> (Vec<v1::Pin>, Vec<u64>) {
    let stream = client.list_changes(v1::ListChangesRequest {}).await;
    let mut stream = stream.expect("a stream").into_inner();
    let (mut upserted, mut deleted) = (Vec::new(), Vec::new());
    while let Some(part) = stream.message().await.expect("a part") {
        upserted.extend(part.upserted);
        deleted.extend(part.deleted_pin_ids);
    }
    (upserted, deleted)
}

#[tokio::test]
async fn pins_come_change_and_go_with_the_next_answer_and_through_a_restart() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let (mut client, mut pins) = (server.client().await, server.pin_client().await);
    let first = recommend(&mut client, 1).await;
    let topic = first.medoids[0].pin_id % TOPICS as u64;
    assert_eq!(upsert(&mut pins, vec![pin(NEW, &near(topic))]).await, 1);
    let second = recommend(&mut client, 1).await;
    let at = place(&second, NEW).expect("the new pin");
    assert_eq!(second.candidates[at].title, format!("new pin {NEW}"));
    let medoid = &second.medoids[second.candidates[at].medoid_index as usize];
    assert_eq!(medoid.pin_id % TOPICS as u64, topic);
    assert_eq!(second.candidates.len(), 200);

    // A pin that moves to the other end of the space is found there, if at all.
    let moved = second.candidates[0].pin_id;
    let away: Vec<f32> = near(topic).iter().map(|x| -x).collect();
    assert_eq!(upsert(&mut pins, vec![pin(moved, &away)]).await, 2);
    let third = recommend(&mut client, 1).await;
    assert!(place(&third, moved).is_none_or(|at| at > 20));

    // What is deleted is gone, as a candidate and as a medoid.
    let gone = [third.candidates[1].pin_id, third.medoids[0].pin_id];
    assert_eq!(delete(&mut pins, &gone).await, 4);
    let check = |answer: &v1::RecommendResponse| {
        assert!(gone.iter().all(|&pin| place(answer, pin).is_none()));
        assert!(answer.medoids.iter().all(|m| !gone.contains(&m.pin_id)));
        assert_eq!(answer.candidates.len(), 200);
        assert!(answer.degraded);
    };
    let fourth = recommend(&mut client, 1).await;
    check(&fourth);

    // A new pin can be acted on, and stands for an interest like any other.
    let save = save(1, 1_000, NEW, NOW);
    let on_gone = v1::Action {
        action_id: vec![2; 16],
        pin_id: Some(gone[0]),
        ..save.clone()
    };
    let request = v1::RecordActionsRequest {
        actions: vec![save, on_gone],
    };
    let recorded = server.action_client().await.record_actions(request).await;
    let statuses: Vec<_> = recorded.expect("an answer").get_ref().results().collect();
    assert_eq!(
        statuses,
        [v1::ActionStatus::Accepted, v1::ActionStatus::UnknownPin]
    );
    let stranger = recommend(&mut client, 1_000).await;
    assert_eq!(stranger.medoids[0].pin_id, NEW);
    assert_eq!(stranger.candidates[0].pin_id % TOPICS as u64, topic);
    assert_eq!(stranger.candidates.len(), 200);

    server.stop().await.expect("a clean end");
    let server = Server::start_recording(&world).await;
    let mut client = server.client().await;
    let again = recommend(&mut client, 1).await;
    check(&again);
    assert_eq!(again.candidates, fourth.candidates);
    assert_eq!(
        recommend(&mut client, 1_000).await.candidates,
        stranger.candidates
    );
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn changes_go_into_the_next_catalog_and_are_given_up_then() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let (mut client, mut pins) = (server.client().await, server.pin_client().await);
    let topic = recommend(&mut client, 1).await.medoids[0].pin_id % TOPICS as u64;
    upsert(&mut pins, vec![pin(NEW, &near(topic))]).await;
    delete(&mut pins, &[7, 99_999]).await;
    let before = recommend(&mut client, 1).await;

    let (upserted, deleted) = changes(&mut pins).await;
    // The catalog never had the other one.
    assert_eq!((upserted.len(), &deleted[..]), (1, &[7][..]));
    let upserted: Vec<UpsertedPin> = upserted
        .into_iter()
        .map(|pin| UpsertedPin {
            id: PinId(pin.pin_id.expect("an id")),
            key: pin.pin_key,
            vector: pin.embedding,
            title: pin.title,
            attributes: PinAttributes::default(),
        })
        .collect();
    let directory = world.path("changes");
    write_changes(&directory, &upserted, &[PinId(7)]).expect("files");
    let params = CatalogParams {
        changes: ChangeFiles::in_directory(&directory),
        ..catalog_params(EMBEDDING_VERSION)
    };
    let old = version_directory(&world.path("catalog"));
    let files = [world.path("pins.parquet")];
    let built = build_catalog(&files, &world.path("catalog"), &params, Progress::Silent);
    let facts = built.expect("a catalog").facts;
    assert_eq!((facts.pins, facts.upserted, facts.deleted), (600, 1, 1));

    let mut admin = server.admin_client().await;
    let mut load = async |directory: &std::path::Path| {
        let version = directory.file_name().and_then(|name| name.to_str());
        let versions = v1::Versions {
            catalog_version: version.expect("a version").to_owned(),
            profile_version: String::new(),
        };
        let request = v1::LoadVersionsRequest {
            versions: Some(versions),
        };
        admin.load_versions(request).await.expect("a change");
    };
    let new = version_directory(&world.path("catalog"));
    load(&new).await;
    assert_eq!(changes(&mut pins).await, (vec![], vec![]));
    let after = recommend(&mut client, 1).await;
    assert_eq!(after.candidates, before.candidates);
    // After a rollback the changes are still there.
    load(&old).await;
    assert_eq!(
        recommend(&mut client, 1).await.candidates,
        before.candidates
    );
    assert_eq!(changes(&mut pins).await.1, [7]);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_deletion_of_pins_that_are_not_there_changes_none() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let mut pins = server.pin_client().await;
    let counts = delete_counted(&mut pins, &[NEW, NEW, NEW + 1]).await;
    assert_eq!((counts.changed_pins, counts.unknown_pins), (0, 2));
    let counts = delete_counted(&mut pins, &[7, NEW]).await;
    assert_eq!((counts.changed_pins, counts.unknown_pins), (1, 1));
    let counts = delete_counted(&mut pins, &[7]).await;
    assert_eq!((counts.changed_pins, counts.unknown_pins), (1, 1));
    assert_eq!(changes(&mut pins).await, (vec![], vec![7]));
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn bad_pins_are_named_and_none_of_the_call_is_taken() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let mut pins = server.pin_client().await;
    let good = || pin(NEW, &[1.0; DIMENSION]);
    let mut nan = [1.0; DIMENSION];
    nan[3] = f32::NAN;
    let bad = [
        ("embedding", pin(1, &[1.0; DIMENSION - 1])),
        ("embedding", pin(1, &[])),
        ("embedding", pin(1, &[0.0; DIMENSION])),
        ("embedding", pin(1, &nan)),
        ("pin_id", pin(NEW, &[1.0; DIMENSION])),
        (
            "pin_id",
            v1::Pin {
                pin_id: None,
                ..good()
            },
        ),
        (
            "title",
            v1::Pin {
                title: "x".repeat(1_025),
                ..pin(1, &[1.0; DIMENSION])
            },
        ),
    ];
    for (field, bad) in bad {
        let request = v1::UpsertPinsRequest {
            pins: vec![good(), bad],
        };
        let status = pins.upsert_pins(request).await.expect_err(field);
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        let details = status.get_details_bad_request().expect("a BadRequest");
        assert_eq!(
            details.field_violations[0].field,
            format!("pins[1].{field}")
        );
    }
    for count in [0, 1_001] {
        let request = v1::DeletePinsRequest {
            pin_ids: vec![1; count],
            ..Default::default()
        };
        let status = pins.delete_pins(request).await.expect_err("a bad count");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    assert_eq!(changes(&mut pins).await, (vec![], vec![]));

    // Fifty may change; replacing one of them is no new change.
    let many: Vec<v1::Pin> = (NEW..NEW + 50)
        .map(|id| pin(id, &[1.0; DIMENSION]))
        .collect();
    assert_eq!(upsert(&mut pins, many).await, 50);
    // It is as the catalog has it again, but holds its place.
    assert_eq!(delete(&mut pins, &[NEW]).await, 49);
    let request = v1::DeletePinsRequest {
        pin_ids: vec![1],
        ..Default::default()
    };
    let status = pins.delete_pins(request).await.expect_err("too many");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("50 pins"), "{status}");
    server.stop().await.expect("a clean end");

    let server = Server::start(&world).await;
    let request = v1::DeletePinsRequest {
        pin_ids: vec![1],
        ..Default::default()
    };
    let status = server.pin_client().await.delete_pins(request).await;
    assert_eq!(
        status.expect_err("no data").code(),
        Code::FailedPrecondition
    );
    server.stop().await.expect("a clean end");
}
