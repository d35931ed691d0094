//! Files that were written by earlier code: a server starts from them and answers as it did.
//!
//! `WRITE_CORPUS=format-4 cargo test --test it formats` keeps what today's code writes as a
//! new folder of `tests/corpus/`. Folders that are there are never written again.

use std::fs;
use std::path::Path;

use crate::common;
use crate::common::server::{NOW, Server, ask, explain, params, recommend, save, source};
use crate::common::{World, files, profile_params, version_directory};
use crate::filters;
use crate::fuzz::targets::{
    LogFiles, Version, are_profiles_accepted, files_below, formats, is_catalog_accepted,
    is_log_accepted, newest_format,
};
use pinnersage::batch::build_catalog;
use pinnersage::index::{Catalog, CatalogManifest};
use pinnersage::progress::Progress;
use pinnersage::serve::ServingSource;
use pinnersage::snapshot::ManifestFacts;
use pinnersage::store::ProfileManifest;
use pinnersage::wire::v1;
use serde_json::{Value, json};

const PINS: usize = 80;
/// Pins from this id on are copies of the pins ten below.
const FIRST_COPY: usize = 70;
const USERS: i64 = 6;
/// This one has interests of the batch, and one that was recorded.
const USER: u64 = 3;

/// Answers of a server over the files of one format: all that does not depend on rounding.
async fn answers(format: &Path) -> Value {
    let world = World {
        directory: tempfile::tempdir().expect("a directory"),
    };
    // A log belongs to the server that has it open.
    LogFiles::read(&format.join("log")).write(&world.path("data"));
    let source = ServingSource {
        catalog: format.join("catalog"),
        profiles: format.join("profiles"),
        ..source(&world)
    };
    let server = Server::start_ready(source, Some(world.path("data")), params()).await;
    let mut client = server.client().await;
    let request = v1::RecommendRequest {
        limit: 12,
        medoids: 20,
        seed: Some(7),
        include_titles: true,
        ..ask(USER)
    };
    let answer = recommend(&mut client, request.clone()).await;
    let explained = explain(&mut client, USER).await;
    let catalog = Catalog::open(&format.join("catalog")).expect("a catalog");
    let filtered = match catalog.attributes.definitions() {
        [] => None,
        _ => {
            let icelandic_or_french = filters::any_of("language", &["is", "fr"]);
            let request = v1::RecommendRequest {
                filter: Some(filters::filter(vec![icelandic_or_french])),
                ..request
            };
            Some(candidates(&recommend(&mut client, request).await))
        }
    };
    server.stop().await.expect("a clean end");
    let interests = explained.interests.iter();
    let interests = interests.map(|interest| {
        json!([
            interest.pin_id,
            interest.size,
            interest.recent_actions,
            interest.negative_actions
        ])
    });
    let mut answers = json!({
        "candidates": candidates(&answer),
        "interests": interests.collect::<Value>(),
    });
    if let Some(filtered) = filtered {
        answers["filtered"] = filtered;
    }
    answers
}

fn candidates(answer: &v1::RecommendResponse) -> Value {
    let candidates = answer.candidates.iter();
    let candidates = candidates.map(|candidate| json!([candidate.pin_id, candidate.title]));
    candidates.collect()
}

#[tokio::test]
async fn a_server_starts_from_files_of_every_format_and_answers_as_it_did() {
    for format in formats(&common::corpus()) {
        let recorded = fs::read(format.join("answers.json")).expect("answers");
        let recorded: Value = serde_json::from_slice(&recorded).expect("JSON");
        assert_eq!(answers(&format).await, recorded, "{format:?}");
    }
}

#[tokio::test]
async fn what_is_written_today_is_read_and_its_format_is_in_the_corpus() {
    let written = write_files().await;
    let format = written.path();
    assert!(is_catalog_accepted(&format.join("catalog")));
    assert!(are_profiles_accepted(&format.join("profiles")));
    assert!(is_log_accepted(&format.join("log")));
    if let Some(name) = std::env::var_os("WRITE_CORPUS") {
        let kept = common::corpus().join(name);
        fs::create_dir(&kept).expect("a new folder: old ones stay as they are");
        LogFiles::read(format).write(&kept);
    }
    let newest = newest_format(&common::corpus());
    let newest = ["catalog", "profiles"].map(|name| Version::read(&newest.join(name)));
    assert_eq!(
        newest.each_ref().map(Version::format),
        [CatalogManifest::FORMAT, ProfileManifest::FORMAT],
        "a format is new: WRITE_CORPUS=format-N cargo test --test it formats"
    );
}

/// Small files of each kind, written by today's code, with the answers of a server.
async fn write_files() -> tempfile::TempDir {
    let world = World::files();
    write_input(&world);
    let pins = [world.path("pins.jsonl")];
    let catalog = world.path("catalog");
    build_catalog(&pins, &catalog, &filters::params(), Progress::Silent).expect("a catalog");
    let mut params = profile_params(true);
    params.action_weights.insert("hide".to_owned(), -1.0);
    world.build_profiles_with("catalog", "profiles", &params);
    record(&world).await;
    let format = tempfile::tempdir().expect("a directory");
    let from = [
        version_directory(&world.path("catalog")),
        version_directory(&world.path("profiles")),
        world.path("data"),
    ];
    for (from, name) in from.iter().zip(["catalog", "profiles", "log"]) {
        LogFiles::read(from).write(&format.path().join(name));
    }
    cut_unused_room(&format.path().join("log"));
    let answers = serde_json::to_string_pretty(&answers(format.path()).await);
    let answers = answers.expect("JSON") + "\n";
    fs::write(format.path().join("answers.json"), answers).expect("a disk");
    format
}

/// Few pins and few users, so that the corpus stays small.
fn write_input(world: &World) {
    let mut pins = common::pins();
    pins.truncate(PINS);
    for copy in FIRST_COPY..PINS {
        pins[copy].embedding = pins[copy - 10].embedding.clone();
    }
    fs::write(world.path("pins.jsonl"), filters::lines(&pins)).expect("a disk");
    let mut actions = common::actions();
    actions.retain(|action| action.user < USERS);
    for (number, action) in actions.iter_mut().enumerate() {
        action.pin %= PINS as i64;
        if number.is_multiple_of(11) {
            action.name = "hide";
        }
    }
    files::actions(&world.path("actions.parquet"), &actions);
}

/// Records actions of all users, and changes of pins.
async fn record(world: &World) {
    let server = Server::start_recording(world).await;
    let mut client = server.action_client().await;
    let action = |number: u64| {
        let (user, pin) = (number % USERS as u64, number * 7 % PINS as u64);
        let time = NOW - 60 * number as i64;
        let name = if number.is_multiple_of(9) {
            "hide"
        } else {
            "save"
        };
        v1::Action {
            action: name.to_owned(),
            ..save(u128::from(number), user, pin, time)
        }
    };
    let actions = (1..30).map(action).collect();
    let request = v1::RecordActionsRequest { actions };
    client.record_actions(request).await.expect("recorded");
    let mut client = server.pin_client().await;
    let pins = common::pins();
    let language = |word: &str| v1::Attribute {
        name: "language".to_owned(),
        value: Some(v1::attribute::Value::Keyword(word.to_owned())),
    };
    let price = v1::Attribute {
        name: "price".to_owned(),
        value: Some(v1::attribute::Value::Number(3.5)),
    };
    let pin = |id: usize| v1::Pin {
        pin_id: Some(id as u64),
        embedding: pins[id].embedding.clone(),
        title: format!("changed pin {id}"),
        attributes: match id {
            30 => vec![language("is"), price.clone()],
            _ => Vec::new(),
        },
        ..Default::default()
    };
    let pins = [1, 30, 31, 100].map(pin).to_vec();
    let request = v1::UpsertPinsRequest { pins };
    client.upsert_pins(request).await.expect("upserted");
    let request = v1::DeletePinsRequest {
        pin_ids: vec![2, 50],
        ..Default::default()
    };
    client.delete_pins(request).await.expect("deleted");
    drop(client);
    server.stop().await.expect("a clean end");
}

/// Cuts the zeros at the ends of journals: they are room for what is to come.
fn cut_unused_room(log: &Path) {
    let mut files = files_below(log);
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jnl"));
    assert!(!files.is_empty());
    for file in files {
        let mut bytes = fs::read(&file).expect("a file");
        let last = bytes.iter().rposition(|&byte| byte != 0);
        bytes.truncate(last.map_or(0, |last| last + 1));
        fs::write(&file, bytes).expect("a disk");
    }
}
