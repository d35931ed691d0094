//! Hostile bytes, a bounded number of them from a fixed seed: requests of most methods;
//! files of a catalog and of profiles whose checksums were made to fit; files of the log,
//! and its records. Nothing panics, nothing says INTERNAL, and what a reader accepts is
//! what its documentation promises.
//!
//! All of them start from `tests/corpus/`, and files from every format in it.
//! `FUZZ_ROUNDS=100000 cargo test --release --test it fuzz` goes on for longer;
//! `cargo +nightly fuzz run catalog` lets libFuzzer choose the bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::common;
use crate::common::World;
use crate::common::raw::Raw;
use crate::common::server::{Server, source};
use crate::{filters, surfaces};
use pinnersage::serve::{Loaded, ServingSource};
use prost::bytes::Bytes;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use tempfile::TempDir;
use tonic::client::Grpc;
use tonic::{Code, Request};

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a library of its own for cargo fuzz")]
pub(crate) mod targets;

use targets::{
    Damaged, EDIT, LogFiles, LogRecords, Version, are_profiles_accepted, damage, formats,
    is_catalog_accepted, is_log_accepted, is_message_accepted, messages,
};

/// Methods, messages of the corpus that are theirs, and how often each is damaged: seldom
/// where a call writes or reads all that is kept.
const METHODS: [(&str, &str, usize); 30] = [
    ("RecommendationService/Recommend", "recommend", OFTEN),
    (
        "RecommendationService/Recommend",
        "recommend_by_keys",
        OFTEN,
    ),
    (
        "RecommendationService/Recommend",
        "recommend_with_seeds",
        OFTEN,
    ),
    (
        "RecommendationService/BatchRecommend",
        "batch_recommend",
        OFTEN,
    ),
    ("RecommendationService/SimilarPins", "similar_pins", OFTEN),
    ("RecommendationService/Recommend", "recommend_paged", OFTEN),
    (
        "RecommendationService/SimilarPins",
        "similar_pins_paged",
        OFTEN,
    ),
    ("RecommendationService/ExplainUser", "explain_user", OFTEN),
    (
        "RecommendationService/Recommend",
        "recommend_columns",
        OFTEN,
    ),
    (
        "RecommendationService/Recommend",
        "recommend_filtered",
        OFTEN,
    ),
    (
        "RecommendationService/Recommend",
        "recommend_reranked",
        OFTEN,
    ),
    (
        "RecommendationService/Recommend",
        "recommend_with_surface",
        OFTEN,
    ),
    (
        "RecommendationService/SimilarPins",
        "similar_pins_with_surface",
        OFTEN,
    ),
    (
        "RecommendationService/GetUserFeatures",
        "get_user_features",
        OFTEN,
    ),
    ("RecommendationService/ListAttributes", "empty", OFTEN),
    ("ActionService/RecordActions", "record_actions", OFTEN),
    (
        "ActionService/RecordActions",
        "record_actions_by_keys",
        OFTEN,
    ),
    ("ActionService/FeedActions", "record_actions", OFTEN),
    ("CatalogService/UpsertPins", "upsert_pins", OFTEN),
    (
        "CatalogService/UpsertPins",
        "upsert_pins_with_attributes",
        OFTEN,
    ),
    ("CatalogService/DeletePins", "delete_pins", OFTEN),
    ("CatalogService/DeletePins", "delete_pins_by_keys", OFTEN),
    ("CatalogService/ListChanges", "list_changes", OFTEN),
    ("AdminService/LoadVersions", "load_versions", OFTEN),
    ("AdminService/FollowVersions", "empty", SELDOM),
    ("AdminService/GetStatus", "empty", OFTEN),
    ("AdminService/ExportActions", "export_actions", OFTEN),
    ("AdminService/ImportActions", "record_actions", OFTEN),
    ("AdminService/BackupData", "empty", SELDOM),
    ("AdminService/EraseUser", "erase_user", SELDOM),
];
/// Surfaces that messages of the corpus name.
const SURFACES: &str = r#"{"homefeed": {"max_limit": 100, "filter": {"must_not": [
    {"attribute": "safe", "is": false}]}}, "related": {"may_override": ["limit"]}}"#;
const OFTEN: usize = 600;
const SELDOM: usize = 30;

fn rounds(usual: usize) -> usize {
    let wanted = std::env::var("FUZZ_ROUNDS").ok();
    wanted
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(usual)
}

/// An input for a target: the part that it damages, and one to three edits.
fn input(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut input = vec![0; 1 + EDIT * rng.random_range(1..4)];
    rng.fill_bytes(&mut input);
    input
}

/// A directory that damaged files are written to, again and again.
fn scratch() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

#[tokio::test]
async fn no_request_of_any_method_is_an_internal_error() {
    let world = filters::world();
    let server = Server::start_recording_with(&world, surfaces::params(SURFACES)).await;
    let corpus = common::corpus().join("requests");
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let mut client = Grpc::new(server.channel().await);
    for (method, name, times) in METHODS {
        let seed = fs::read(corpus.join(format!("{name}.bin"))).expect("a corpus");
        for _ in 0..rounds(times) {
            let mut bytes = seed.clone();
            for _ in 0..rng.random_range(0..4) {
                damage(&mut bytes, rng.random());
            }
            client.ready().await.expect("a connection");
            let request = Request::new(Bytes::from(bytes.clone()));
            let path = format!("/pinnersage.v1.{method}").parse().expect("a path");
            let answer = client.unary(request, path, Raw).await;
            if let Err(status) = answer {
                let mended_by_caller = [
                    Code::InvalidArgument,
                    Code::FailedPrecondition,
                    Code::NotFound,
                    Code::ResourceExhausted,
                ];
                assert!(
                    mended_by_caller.contains(&status.code()),
                    "{method} {bytes:?}: {status:?}"
                );
            }
        }
    }
    server.stop().await.expect("a clean end");
}

/// Damages the parts of a version, with checksums that fit, and asks its reader each time.
fn fuzz_version(directory: &Path, seed: u64, is_accepted: impl Fn(&Path) -> bool) {
    let version = Version::read(directory);
    let scratch = scratch();
    let whole = Damaged::new(version.parts(), &[0]).expect("a part");
    version.write_with(scratch.path(), &whole);
    assert!(is_accepted(scratch.path()), "{directory:?}");
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let (mut accepted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..rounds(400) {
        let damaged = Damaged::new(version.parts(), &input(rng)).expect("a part");
        version.write_with(scratch.path(), &damaged);
        match is_accepted(scratch.path()) {
            true => accepted.insert(damaged.part),
            false => refused.insert(damaged.part),
        };
    }
    // Every part has a length that must fit, but for texts and bitmaps; vectors may be
    // anything.
    let has_any_length = |name: &&str| {
        let ends = ["titles.bin", "words.bin", "bitmaps.bin"];
        ends.iter().any(|end| name.ends_with(end))
    };
    let of_any_length = version.names().filter(has_any_length).count();
    assert!(
        refused.len() + of_any_length >= version.parts().len(),
        "{refused:?}"
    );
    assert!(!accepted.is_empty());
}

#[test]
fn no_file_of_a_catalog_makes_its_reader_or_a_search_panic() {
    for format in formats(&common::corpus()) {
        fuzz_version(&format.join("catalog"), 2, is_catalog_accepted);
    }
}

#[test]
fn no_file_of_profiles_makes_their_reader_or_an_answer_panic() {
    let world = World::files();
    for format in formats(&common::corpus()) {
        fuzz_version(&format.join("profiles"), 3, |directory| {
            let is_accepted = are_profiles_accepted(directory);
            if is_accepted {
                let source = ServingSource {
                    catalog: format.join("catalog"),
                    profiles: directory.to_owned(),
                    ..source(&world)
                };
                // Warming answers for many users.
                drop(Loaded::open(&source));
            }
            is_accepted
        });
    }
}

/// The log of each format.
fn logs() -> Vec<LogFiles> {
    let formats = formats(&common::corpus());
    let logs = formats.iter().map(|format| format.join("log"));
    logs.map(|log| LogFiles::read(&log)).collect()
}

#[test]
fn no_damage_to_the_action_log_makes_it_panic() {
    let rng = &mut ChaCha8Rng::seed_from_u64(4);
    for log in logs() {
        let scratch = scratch();
        let directory = scratch.path().join("log");
        log.write(&directory);
        assert!(is_log_accepted(&directory));
        let (mut accepted, mut refused) = (0, 0);
        for _ in 0..rounds(25) {
            let damaged = Damaged::new(log.files(), &input(rng)).expect("a file");
            log.write_with(&directory, &damaged);
            match is_log_accepted(&directory) {
                true => accepted += 1,
                false => refused += 1,
            }
        }
        assert!(accepted > 0 && refused > 0, "{accepted} {refused}");
    }
}

#[test]
fn no_record_of_the_log_makes_its_reader_panic() {
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    for log in logs() {
        let scratch = scratch();
        let directory = scratch.path().join("log");
        log.write(&directory);
        let records = LogRecords::read(&directory);
        let (mut accepted, mut refused) = (0, 0);
        for _ in 0..rounds(40) {
            log.write(&directory);
            let damaged = Damaged::new(records.values(), &input(rng)).expect("a record");
            records.write_with(&directory, &damaged);
            match is_log_accepted(&directory) {
                true => accepted += 1,
                false => refused += 1,
            }
        }
        assert!(accepted > 0 && refused > 0, "{accepted} {refused}");
    }
}

#[test]
fn no_message_of_a_shared_log_makes_its_reader_panic() {
    let rng = &mut ChaCha8Rng::seed_from_u64(6);
    let messages = messages();
    assert!(messages.iter().all(|message| is_message_accepted(message)));
    let (mut accepted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..rounds(2_000) {
        let damaged = Damaged::new(&messages, &input(rng)).expect("a message");
        match is_message_accepted(&damaged.bytes) {
            true => accepted.insert(damaged.part),
            false => refused.insert(damaged.part),
        };
    }
    let all: BTreeSet<usize> = (0..messages.len()).collect();
    assert_eq!((accepted, refused), (all.clone(), all));
}
