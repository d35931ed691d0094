//! A server whose callers call users and pins by strings: requests by keys, keys in answers,
//! in the archive and in exports, and their erasure.

use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use pinnersage::archive::{files, read_rows};
use pinnersage::model::{PinId, UserId};
use pinnersage::wire::v1;
use pinnersage::wire::v1::ActionStatus;
use tonic::{Code, Status};

use crate::common;
use crate::common::process::{command, output, path, run};
use crate::common::server::{NOW, Server, recommend, save};
use crate::common::strings::{self, pin_key, user_key};

/// A user with a profile, by its number in the usual world.
const KNOWN: i64 = 1;
/// A user without a profile.
const STRANGER: &str = "stranger-\u{8336}";

/// A save on a pin, of a user without a profile, by their keys.
fn save_by_keys(number: u128, pin: &str) -> v1::Action {
    v1::Action {
        user_id: None,
        user_key: Some(STRANGER.to_owned()),
        pin_id: None,
        pin_key: Some(pin.to_owned()),
        ..save(number, 0, 0, NOW - 60)
    }
}

async fn record(server: &Server, actions: Vec<v1::Action>) -> Vec<ActionStatus> {
    let request = v1::RecordActionsRequest { actions };
    let answer = server.action_client().await.record_actions(request).await;
    answer.expect("an answer").get_ref().results().collect()
}

/// Two actions by keys, and one of a user called by a number on a pin of the catalog.
async fn record_three(server: &Server) {
    let first = v1::Action {
        medoid_pin_key: Some(pin_key(1)),
        ..save_by_keys(1, &pin_key(5))
    };
    let second = v1::Action {
        medoid_pin_key: Some("no such pin".to_owned()),
        ..save_by_keys(2, &pin_key(6))
    };
    let by_number = save(3, 7, PinId::of_key(&pin_key(8)).0, NOW - 60);
    let statuses = record(server, vec![first, second, by_number]).await;
    assert_eq!(statuses, [ActionStatus::Accepted; 3]);
}

/// The columns of keys in `file`: user, pin and medoid of each row.
fn keys_of(file: &Path) -> Vec<[Option<String>; 3]> {
    let mut found = Vec::new();
    for rows in read_rows(file).expect("a file") {
        let rows = rows.expect("rows");
        let column = |name| rows.column_by_name(name).expect("a column");
        let columns = ["user_key", "pin_key", "medoid_pin_key"].map(column);
        for row in 0..rows.num_rows() {
            let text = |column: &dyn Array| {
                let is_there = !column.is_null(row);
                is_there.then(|| column.as_string::<i32>().value(row).to_owned())
            };
            found.push(columns.map(|column| text(column.as_ref())));
        }
    }
    found
}

fn owned(keys: [Option<&str>; 3]) -> [Option<String>; 3] {
    keys.map(|key| key.map(str::to_owned))
}

/// What is kept of the three actions.
fn kept_keys() -> [[Option<String>; 3]; 3] {
    [
        owned([Some(STRANGER), Some("pin/5"), Some("pin/1")]),
        owned([Some(STRANGER), Some("pin/6"), None]),
        owned([None, Some("pin/8"), None]),
    ]
}

/// Files below `directory` that have the key of the erased user, or its id.
fn files_with_stranger(directory: &Path) -> Vec<PathBuf> {
    let id = UserId::of_key(STRANGER).0.to_le_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with_stranger(&path));
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file");
        let has = |form: &[u8]| bytes.windows(form.len()).any(|at| at == form);
        if has(STRANGER.as_bytes()) || has(&id) {
            found.push(path);
        }
    }
    found
}

fn field_of(status: &Status) -> &str {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    status.message().split(':').next().expect("a field")
}

#[tokio::test]
async fn requests_by_keys_are_answered_with_keys() {
    let world = strings::built();
    let server = Server::start_recording(&world).await;
    record_three(&server).await;
    let unknown = record(&server, vec![save_by_keys(4, "no such pin")]).await;
    assert_eq!(unknown, [ActionStatus::UnknownPin]);

    let mut client = server.client().await;
    let request = v1::ExplainUserRequest {
        user_key: Some(STRANGER.to_owned()),
        ..Default::default()
    };
    let explained = client.explain_user(request).await.expect("an answer");
    let interests = &explained.get_ref().interests;
    let actions: u32 = interests.iter().map(|one| one.recent_actions).sum();
    assert_eq!(actions, 2);
    assert!(
        interests
            .iter()
            .all(|one| id_has_key(one.pin_id, &one.pin_key))
    );

    let request = v1::RecommendRequest {
        user_key: Some(user_key(KNOWN)),
        seed: Some(1),
        ..Default::default()
    };
    let answer = recommend(&mut client, request.clone()).await;
    assert_eq!(answer.fallback_reason, 0);
    let mut medoids = answer.medoids.iter();
    assert!(medoids.all(|one| id_has_key(one.pin_id, &one.pin_key)));
    let mut candidates = answer.candidates.iter();
    assert!(candidates.all(|one| id_has_key(one.pin_id, &one.pin_key)));
    let first = &answer.candidates[0];
    let excluded = v1::RecommendRequest {
        exclude_pin_keys: vec![first.pin_key.clone()],
        ..request
    };
    let without = recommend(&mut client, excluded.clone()).await;
    let mut candidates = without.candidates.iter();
    assert!(candidates.all(|one| one.pin_id != first.pin_id));

    let disagreeing = v1::RecommendRequest {
        user_id: Some(7),
        ..excluded
    };
    let refused = client.recommend(disagreeing).await.expect_err("two users");
    assert_eq!(field_of(&refused), "user_key");
    let wanted = UserId::of_key(&user_key(KNOWN)).to_string();
    assert!(refused.message().contains(&wanted), "{refused}");
    server.stop().await.expect("a clean end");
}

fn id_has_key(id: u64, key: &str) -> bool {
    !key.is_empty() && PinId::of_key(key) == PinId(id)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_archived_and_exported_and_those_of_an_erased_user_are_gone() {
    let world = strings::built();
    let (data, archive) = (world.path("data"), world.path("archive"));
    const SELDOM: Duration = Duration::from_secs(3_600);
    let server = Server::start_archiving(&world, SELDOM).await;
    record_three(&server).await;
    let out = world.path("out.parquet");
    let ran = run_beside(&server, &["export", "--out", path(&out)]).await;
    assert!(ran.starts_with("3 actions fetched"), "{ran}");
    assert_eq!(keys_of(&out), kept_keys());
    server.stop().await.expect("a clean end");
    let archived = files(&archive).expect("an archive");
    assert_eq!(keys_of(&archived[0]), kept_keys());

    let server = Server::start_archiving(&world, SELDOM).await;
    let ran = run_beside(&server, &["erase", "--user-key", STRANGER]).await;
    assert!(ran.starts_with("2 recorded actions erased"), "{ran}");
    assert_eq!(files_with_stranger(&data), [] as [PathBuf; 0]);
    assert_eq!(files_with_stranger(&archive), [] as [PathBuf; 0]);
    assert_eq!(keys_of(&archived[0]), kept_keys()[2..]);
    server.stop().await.expect("a clean end");
}

/// Runs `pinnersage actions` with `server`.
async fn run_beside(server: &Server, arguments: &[&str]) -> String {
    let mut all = vec!["actions".to_owned()];
    all.extend(arguments.iter().map(|&argument| argument.to_owned()));
    all.extend(["--server".to_owned(), server.url()]);
    let ran = tokio::task::spawn_blocking(move || run(all)).await;
    ran.expect("no panic")
}

#[test]
fn who_is_erased_has_an_id_or_a_key() {
    let of_both = ["--user", "1", "--user-key", "one"];
    for users in [&[][..], &of_both] {
        let output = output(command(["actions", "erase"]).args(users));
        assert_eq!(output.status.code(), Some(2), "{users:?}");
        let said = String::from_utf8(output.stderr).expect("a text");
        assert!(said.contains("--user-key <KEY>"), "{said}");
    }
}

#[tokio::test]
async fn pins_change_by_their_keys() {
    let world = strings::built();
    let server = Server::start_recording(&world).await;
    let mut client = server.pin_client().await;
    let new = v1::Pin {
        pin_key: Some("new".to_owned()),
        embedding: common::pins()[3].embedding.clone(),
        ..Default::default()
    };
    let request = v1::UpsertPinsRequest {
        pins: vec![new.clone()],
    };
    client.upsert_pins(request).await.expect("upserted");
    let by_number = v1::Pin {
        pin_key: None,
        pin_id: Some(7),
        ..new
    };
    let request = v1::UpsertPinsRequest {
        pins: vec![by_number],
    };
    let refused = client.upsert_pins(request).await.expect_err("a number");
    assert_eq!(field_of(&refused), "pins[0].pin_key");
    let accepted = record(&server, vec![save_by_keys(1, "new")]).await;
    assert_eq!(accepted, [ActionStatus::Accepted]);
    server.stop().await.expect("a clean end");

    // They are there with their keys after a restart.
    let server = Server::start_recording(&world).await;
    let mut client = server.pin_client().await;
    let listed = client.list_changes(v1::ListChangesRequest {}).await;
    let mut listed = listed.expect("an answer").into_inner();
    let changes = listed.message().await.expect("a message").expect("changes");
    assert_eq!(changes.upserted[0].pin_key(), "new");
    assert_eq!(changes.upserted[0].pin_id, Some(PinId::of_key("new").0));
    let request = v1::DeletePinsRequest {
        pin_keys: ["new", "pin/3", "unknown"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    let deleted = client.delete_pins(request).await.expect("deleted");
    assert_eq!(deleted.get_ref().unknown_pins, 1);
    let statuses = record(
        &server,
        vec![save_by_keys(2, "new"), save_by_keys(3, "pin/3")],
    )
    .await;
    assert_eq!(statuses, [ActionStatus::UnknownPin; 2]);
    server.stop().await.expect("a clean end");
}
