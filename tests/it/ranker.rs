//! What a ranker takes: features of users, over the wire and in exported profiles.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use crate::common;
use crate::common::process::{command, output, path, refusal};
use crate::common::server::{Client, NOW, Server, ask, recommend, save};
use crate::common::strings::{self, user_key};
use crate::common::{DIMENSION, EMBEDDING_VERSION, USERS, World};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pinnersage::batch::{
    BatchError, CatalogColumns, ExportCounts, ExportedVectors, export_profiles,
};
use pinnersage::index::Catalog;
use pinnersage::model::{PinId, Timestamp};
use pinnersage::progress::Progress;
use pinnersage::store::ProfilesReader;
use pinnersage::wire::v1;
use tonic::{Code, Status};

/// A user whom the batch does not know.
const STRANGER: u64 = 1_000;
const DAY: f64 = 86_400.0;

async fn try_features(
    client: &mut Client,
    request: v1::GetUserFeaturesRequest,
) -> Result<v1::GetUserFeaturesResponse, Status> {
    let answer = client.get_user_features(request).await?;
    Ok(answer.into_inner())
}

async fn features(client: &mut Client, user: u64) -> v1::GetUserFeaturesResponse {
    try_features(client, of_user(user)).await.expect("features")
}

fn of_user(user: u64) -> v1::GetUserFeaturesRequest {
    v1::GetUserFeaturesRequest {
        user_id: Some(user),
        ..Default::default()
    }
}

/// The field that a refused request names.
fn field_of(refused: Result<v1::GetUserFeaturesResponse, Status>) -> String {
    let status = refused.expect_err("a bad request");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let field = status.message().split(':').next();
    field.expect("a field").to_owned()
}

/// The mean by its formula, in f64.
fn mean(medoids: &[v1::MedoidFeatures]) -> Vec<f64> {
    let total: f64 = medoids.iter().map(|one| one.importance).sum();
    let component = |at: usize| {
        let terms = medoids
            .iter()
            .map(|one| one.importance * f64::from(one.vector[at]));
        terms.sum::<f64>() / total
    };
    (0..medoids.first().map_or(0, |one| one.vector.len()))
        .map(component)
        .collect()
}

/// What must hold of all features.
fn check(answer: &v1::GetUserFeaturesResponse, catalog: &Catalog) {
    assert_eq!(answer.dimension as usize, DIMENSION);
    assert_eq!(answer.embedding_version, EMBEDDING_VERSION);
    assert_eq!(answer.catalog_version, catalog.manifest().version);
    assert!(!answer.medoids.is_empty());
    let importances = answer.medoids.iter().map(|one| one.importance);
    assert!(importances.is_sorted_by(|a, b| a >= b));
    let state_time = answer.state_time.as_ref().expect("a time");
    for one in &answer.medoids {
        assert!(one.importance > 0.0 && one.size > 0);
        assert_eq!(
            Some(&one.vector[..]),
            catalog.pins.vector(PinId(one.pin_id))
        );
        let last = one.last_action_time.as_ref().expect("a time");
        let age = (state_time.seconds - last.seconds) as f64 / DAY;
        assert!((one.age_days - age).abs() < 1e-9 && age >= 0.0, "{age}");
    }
    let expected = mean(&answer.medoids);
    assert_eq!(answer.aggregate.len(), expected.len());
    for (found, expected) in answer.aggregate.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-6);
    }
}

#[tokio::test]
async fn features_of_a_user_are_those_of_the_profile() {
    let world = World::built();
    let catalog = Catalog::open(&world.path("catalog")).expect("a catalog");
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    for (user, profile) in profiles.iter() {
        let answer = features(&mut client, user.0).await;
        check(&answer, &catalog);
        assert_eq!(answer.fallback_reason, 0);
        assert_eq!(
            (answer.medoids_not_in_catalog, answer.silenced_interests),
            (0, 0)
        );
        assert_eq!(answer.profile_version, profiles.manifest().version);
        let drawn = recommend(&mut client, ask(user.0)).await;
        assert_eq!(
            (answer.state_time, answer.state_age),
            (drawn.state_time, drawn.state_age)
        );
        assert_eq!(answer.medoids.len(), profile.medoids.len());
        for (one, medoid) in answer.medoids.iter().zip(profile.medoids) {
            let found = (one.pin_id, one.importance, one.size);
            assert_eq!(found, (medoid.pin.0, medoid.importance, medoid.size));
            assert_eq!(one.origin(), v1::MedoidOrigin::Profile);
        }
    }
    let unknown = features(&mut client, STRANGER).await;
    check(&unknown, &catalog);
    assert_eq!(unknown.fallback_reason(), v1::FallbackReason::UnknownUser);
    let mut origins = unknown.medoids.iter().map(|one| one.origin());
    assert!(origins.all(|origin| origin == v1::MedoidOrigin::Popular));
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn bad_requests_for_features_are_refused_by_field() {
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let nobody = v1::GetUserFeaturesRequest::default();
    assert_eq!(field_of(try_features(&mut client, nobody).await), "user_id");
    let disagreeing = v1::GetUserFeaturesRequest {
        user_key: Some("tea".to_owned()),
        ..of_user(1)
    };
    assert_eq!(
        field_of(try_features(&mut client, disagreeing).await),
        "user_key"
    );
    let with_token = |length| v1::GetUserFeaturesRequest {
        freshness_token: vec![7; length],
        ..of_user(1)
    };
    let refused = try_features(&mut client, with_token(257)).await;
    assert_eq!(field_of(refused), "freshness_token");
    let refused = try_features(&mut client, with_token(8)).await;
    let status = refused.expect_err("no actions are taken");
    assert_eq!(status.code(), Code::FailedPrecondition);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn features_follow_what_a_user_does() {
    let world = World::built();
    let catalog = Catalog::open(&world.path("catalog")).expect("a catalog");
    let server = Server::start_recording(&world).await;
    let (mut client, mut actions) = (server.client().await, server.action_client().await);
    let acts = [
        (1, 3, "save", 400),
        (2, 33, "save", 300),
        (3, 4, "save", 200),
    ];
    let record = acts.map(|(number, pin, name, age)| v1::Action {
        action: name.to_owned(),
        ..save(number, STRANGER, pin, NOW - age)
    });
    let request = v1::RecordActionsRequest {
        actions: record.to_vec(),
    };
    let recorded = actions.record_actions(request).await.expect("an answer");
    let request = v1::GetUserFeaturesRequest {
        freshness_token: recorded.into_inner().freshness_token,
        ..of_user(STRANGER)
    };
    let known = try_features(&mut client, request).await.expect("features");
    check(&known, &catalog);
    assert_eq!(
        known.fallback_reason(),
        v1::FallbackReason::RecentActionsOnly
    );
    assert_eq!(known.state_time.map(|time| time.seconds), Some(NOW - 200));
    let drawn = recommend(
        &mut client,
        v1::RecommendRequest {
            medoids: 20,
            ..ask(STRANGER)
        },
    )
    .await;
    let of_drawn = drawn.medoids.iter();
    let mut of_drawn: Vec<(u64, f64)> = of_drawn.map(|one| (one.pin_id, one.importance)).collect();
    of_drawn.sort_by(|a, b| b.1.total_cmp(&a.1));
    let of_known = known.medoids.iter();
    let of_known: Vec<(u64, f64)> = of_known.map(|one| (one.pin_id, one.importance)).collect();
    assert_eq!(of_known, of_drawn);
    assert_eq!(of_known.len(), 2);

    // One of the two interests is silenced.
    let hides = [(11, 3), (12, 33), (13, 63)].map(|(number, pin)| v1::Action {
        action: "hide".to_owned(),
        ..save(number, STRANGER, pin, NOW - 100)
    });
    let request = v1::RecordActionsRequest {
        actions: hides.to_vec(),
    };
    actions.record_actions(request).await.expect("an answer");
    let fewer = features(&mut client, STRANGER).await;
    check(&fewer, &catalog);
    assert_eq!((fewer.medoids.len(), fewer.silenced_interests), (1, 1));
    assert_eq!(fewer.medoids[0].pin_id, 4);
    let stored: Vec<f64> = fewer.medoids[0]
        .vector
        .iter()
        .map(|&x| f64::from(x))
        .collect();
    let only: Vec<f64> = fewer.aggregate.iter().map(|&x| f64::from(x)).collect();
    assert_eq!(stored, only, "one interest is its own mean");
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn pins_and_users_that_are_called_by_strings_have_features() {
    let world = strings::built();
    let server = Server::start(&world).await;
    let request = v1::GetUserFeaturesRequest {
        user_key: Some(user_key(1)),
        ..Default::default()
    };
    let answer = try_features(&mut server.client().await, request).await;
    let answer = answer.expect("features");
    assert_eq!(answer.fallback_reason, 0);
    assert!(!answer.medoids.is_empty());
    for one in &answer.medoids {
        assert_eq!(PinId::of_key(&one.pin_key).0, one.pin_id);
    }
    server.stop().await.expect("a clean end");
}

/// Builds the catalog without these pins. The profiles stay.
fn build_without(world: &World, gone: &[PinId]) {
    let mut pins = common::pins();
    pins.retain(|pin| !gone.contains(&PinId(pin.id as u64)));
    common::files::pins(&world.path("pins.parquet"), &pins);
    world.build_catalog("catalog", EMBEDDING_VERSION);
}

#[tokio::test]
async fn medoids_that_left_the_catalog_are_counted() {
    let world = World::built();
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let mut users = profiles.iter();
    let found = users.find(|(_, profile)| profile.medoids.len() > 2);
    let (user, profile) = found.expect("a user of three interests");
    let all: Vec<PinId> = profile.medoids.iter().map(|medoid| medoid.pin).collect();
    for (gone, reason) in [
        (&all[..1], v1::FallbackReason::Unspecified),
        (&all[..], v1::FallbackReason::ProfileNotInCatalog),
    ] {
        build_without(&world, gone);
        let server = Server::start(&world).await;
        let catalog = Catalog::open(&world.path("catalog")).expect("a catalog");
        let answer = features(&mut server.client().await, user.0).await;
        check(&answer, &catalog);
        assert_eq!(answer.medoids_not_in_catalog as usize, gone.len());
        assert_eq!(answer.fallback_reason(), reason);
        if reason == v1::FallbackReason::Unspecified {
            let pins: Vec<PinId> = answer.medoids.iter().map(|one| PinId(one.pin_id)).collect();
            assert_eq!(pins, all[1..]);
        }
        server.stop().await.expect("a clean end");
    }
}

fn export(world: &World, out: &Path) -> Result<ExportCounts, BatchError> {
    let catalog = world.path("catalog");
    let columns = CatalogColumns {
        catalog: &catalog,
        vectors: Some(ExportedVectors { silenced_by: 3 }),
    };
    let profiles = world.path("profiles");
    export_profiles(&profiles, Some(columns), out, Progress::Silent)
}

fn vector_of(list: &dyn Array) -> Vec<f32> {
    list.as_primitive::<Float32Type>().values().to_vec()
}

/// Pins and vectors of the medoids of a user, and the aggregate.
type ExportedFeatures = (Vec<(u64, Option<Vec<f32>>)>, Option<Vec<f32>>);

fn exported_features(batch: &RecordBatch, row: usize) -> ExportedFeatures {
    let column = |name: &str| batch.column_by_name(name).expect("a column");
    let medoids = column("medoids").as_list::<i32>().value(row);
    let pins = medoids
        .as_struct()
        .column_by_name("pin_id")
        .expect("a field");
    let pins = pins.as_primitive::<UInt64Type>();
    let vectors = column("medoid_vectors").as_list::<i32>().value(row);
    let vectors = vectors.as_list::<i32>();
    assert_eq!(vectors.len(), pins.len());
    let vectors = (0..pins.len()).map(|at| {
        let vector = vectors.is_valid(at).then(|| vector_of(&vectors.value(at)));
        (pins.value(at), vector)
    });
    let aggregates = column("aggregate").as_list::<i32>();
    let aggregate = aggregates
        .is_valid(row)
        .then(|| vector_of(&aggregates.value(row)));
    (vectors.collect(), aggregate)
}

/// The features in `file` by user.
fn read_features(file: &Path) -> HashMap<u64, ExportedFeatures> {
    let file = File::open(file).expect("a file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let mut features = HashMap::new();
    for batch in reader.build().expect("a reader") {
        let batch = batch.expect("a batch");
        let users = batch.column_by_name("user_id").expect("a column");
        let users = users.as_primitive::<UInt64Type>();
        let versions = batch.column_by_name("embedding_version").expect("a column");
        for row in 0..batch.num_rows() {
            assert_eq!(versions.as_string::<i32>().value(row), EMBEDDING_VERSION);
            features.insert(users.value(row), exported_features(&batch, row));
        }
    }
    features
}

#[tokio::test]
async fn exported_features_are_those_that_a_server_gives() {
    let world = World::built();
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    // All medoids of one user are gone, and with them some of the others.
    let (lost, profile) = profiles.iter().next().expect("a user");
    let gone: Vec<PinId> = profile.medoids.iter().map(|medoid| medoid.pin).collect();
    build_without(&world, &gone);
    let out = world.path("profiles.parquet");
    let counts = export(&world, &out).expect("an export");
    let exported = read_features(&out);
    assert_eq!((counts.users, exported.len() as u64), (USERS, USERS));

    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let mut without_vector = 0;
    for (user, (medoids, aggregate)) in exported {
        let served = features(&mut client, user).await;
        without_vector += u64::from(served.medoids_not_in_catalog);
        if user == lost.0 {
            assert_eq!(aggregate, None);
            assert!(medoids.iter().all(|(_, vector)| vector.is_none()));
            continue;
        }
        assert_eq!(aggregate, Some(served.aggregate), "user {user}");
        let there = medoids
            .into_iter()
            .filter_map(|(pin, vector)| Some((pin, vector?)));
        let of_server = served
            .medoids
            .into_iter()
            .map(|one| (one.pin_id, one.vector));
        assert!(there.eq(of_server), "user {user}");
    }
    assert!(without_vector > 0);
    assert_eq!(counts.without_vector, without_vector);
    let all: usize = profiles
        .iter()
        .map(|(_, profile)| profile.medoids.len())
        .sum();
    assert_eq!(counts.medoids, all as u64);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn what_the_batch_silenced_has_a_vector_and_no_part_in_the_aggregate() {
    let world = World::with_catalog();
    let as_of: Timestamp = common::AS_OF.parse().expect("a date");
    let time = as_of.micros() / 1_000_000 - 9;
    let act = |pin, name, time| common::Action {
        user: 1,
        pin,
        time,
        name,
    };
    let hides = [3, 33, 63].map(|pin| act(pin, "hide", time + 1));
    let saves = (0..6).map(|n| act(3 + 30 * n, "save", time));
    let all: Vec<common::Action> = saves.chain([act(4, "save", time)]).chain(hides).collect();
    common::files::actions(&world.path("actions.parquet"), &all);
    let mut params = common::profile_params(false);
    params.action_weights.insert("hide".to_owned(), -0.1);
    world.build_profiles_with("catalog", "profiles", &params);
    let out = world.path("profiles.parquet");
    export(&world, &out).expect("an export");
    let (medoids, aggregate) = read_features(&out).remove(&1).expect("a user");
    assert_eq!((medoids.len(), medoids[1].0), (2, 4));
    assert!(medoids[0].1.is_some(), "a silenced interest has a vector");
    assert_eq!(aggregate, medoids[1].1);

    let server = Server::start(&world).await;
    let served = features(&mut server.client().await, 1).await;
    assert_eq!((served.medoids.len(), served.silenced_interests), (1, 1));
    assert_eq!(Some(served.aggregate), aggregate);
    server.stop().await.expect("a clean end");
}

#[test]
fn vectors_of_another_model_are_not_exported() {
    let world = World::built();
    world.build_catalog("catalog", "another");
    let out = world.path("profiles.parquet");
    let refused = export(&world, &out).expect_err("another model");
    let said = refused.to_string();
    assert!(
        said.contains("\"another\"") && said.contains("\"test-16\""),
        "{said}"
    );
    assert!(!out.exists());
}

#[test]
fn the_command_says_how_many_medoids_have_no_vector() {
    let world = World::built();
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let gone = profiles
        .iter()
        .next()
        .map(|(_, profile)| profile.medoids[0].pin);
    build_without(&world, &[gone.expect("a user")]);
    let [catalog, profiles, out] =
        ["catalog", "profiles", "out.parquet"].map(|name| world.path(name));
    let export = [
        "profiles",
        "export",
        "--profiles",
        path(&profiles),
        "--out",
        path(&out),
    ];
    let with_vectors = export.iter().chain(&["--vectors"]);
    let refused = refusal(&mut command(with_vectors.clone()));
    assert!(refused.contains("--catalog"), "{refused}");
    let ran = output(&mut command(
        with_vectors.chain(&["--catalog", path(&catalog)]),
    ));
    assert!(ran.status.success());
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(said.starts_with("40 profiles in "), "{said}");
    let warned = String::from_utf8_lossy(&ran.stderr).into_owned();
    let expected = "medoids have no vector: the catalog does not have their pins";
    assert!(warned.contains(expected), "{warned}");
    // Without a gap there is no warning.
    build_without(&world, &[]);
    let ran = output(&mut command(export.iter().chain(&[
        "--vectors",
        "--catalog",
        path(&catalog),
    ])));
    assert!(ran.status.success());
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(!said.contains("no vector"), "{said}");
}
