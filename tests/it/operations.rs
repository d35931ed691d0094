//! The commands of operators against a running server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crate::common;
use crate::common::process::{Process, command, path, refusal, run, serve_command};
use crate::common::server::{http_get, recommend, save};
use crate::common::wait::{PATIENCE, within};
use crate::common::{DIMENSION, EMBEDDING_VERSION, World, version_directory};
use pinnersage::wire::v1;
use pinnersage::wire::v1::action_service_client::ActionServiceClient;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;
use prost::Message;
use serde_json::Value;
use tonic::transport::Channel;

type Actions = ActionServiceClient<Channel>;

/// A server of `world` that records, and looks for new versions often.
fn start(world: &World) -> Process {
    Process::start(&mut server_command(world, &world.path("data")))
}

fn server_command(world: &World, data: &Path) -> Command {
    let mut command = serve_command(world);
    command.args(["--data", path(data)]);
    command.env("PINNERSAGE__SERVE__WATCH", "5ms");
    command
}

/// Runs a command against `server`, and returns what it printed.
fn ask(server: &Process, arguments: &[&str]) -> String {
    run([arguments, &["--server", &server.url]].concat())
}

fn ask_json(server: &Process, arguments: &[&str]) -> Value {
    let said = ask(server, &[arguments, &["--json"]].concat());
    serde_json::from_str(&said).expect("JSON")
}

/// What a command says that is refused.
fn ask_in_vain(server: &Process, arguments: &[&str]) -> String {
    refusal(command(arguments).args(["--server", &server.url]))
}

fn version(root: &Path) -> String {
    let directory = version_directory(root);
    let name = directory.file_name().and_then(|name| name.to_str());
    name.expect("a version").to_owned()
}

/// Publishes a catalog of fewer pins, and profiles made from it.
fn publish_fewer(world: &World) {
    let mut pins = common::pins();
    pins.truncate(500);
    common::files::pins(&world.path("pins.parquet"), &pins);
    world.build_catalog("catalog", EMBEDDING_VERSION);
    world.build_profiles("catalog", "profiles", true);
}

/// The lines of a table whose last cell names a use.
fn uses_of<'a>(table: &'a str, version: &str) -> &'a str {
    let mut lines = table.lines().filter(|line| line.starts_with(version));
    lines.next().expect("a line of the version")
}

#[tokio::test]
async fn versions_are_shown_pinned_rolled_back_and_followed_again() {
    let world = World::built();
    let [first, profiles] = ["catalog", "profiles"].map(|name| version(&world.path(name)));
    let mut server = start(&world);
    let said = ask(&server, &["status"]);
    assert!(
        said.contains(&format!("serving           catalog {first}")),
        "{said}"
    );
    assert!(
        said.contains("versions          following what is published"),
        "{said}"
    );
    assert!(said.contains("takes actions     yes"), "{said}");

    let said = ask(&server, &["load", "--profiles", &profiles]);
    assert!(said.contains("until `pinnersage load --follow`"), "{said}");
    publish_fewer(&world);
    let second = version(&world.path("catalog"));
    server.wait_for("published versions wait: others are pinned");
    let page = http_get(&server.ops, "/metrics").await;
    assert!(page.contains("\npinnersage_versions_waiting 1\n"), "{page}");
    assert!(page.contains("\npinnersage_versions_pinned 1\n"), "{page}");
    let status = ask_json(&server, &["status"]);
    assert_eq!(status["serving"]["catalog_version"], first);
    assert_eq!(status["version_mode"], "VERSION_MODE_PINNED");
    assert_eq!(status["survives_restart"], true);
    // It may be that the profiles were published a moment later.
    assert_eq!(status["waiting"]["catalog_version"], second);

    let said = ask(&server, &["load", "--follow"]);
    assert!(
        said.contains(&format!("serving catalog {second}")),
        "{said}"
    );
    assert!(said.contains("following"), "{said}");
    let said = ask(&server, &["rollback"]);
    assert!(said.contains(&format!("serving catalog {first}")), "{said}");
    let table = ask(&server, &["versions"]);
    assert!(
        uses_of(&table, &first).ends_with("serving, pinned"),
        "{table}"
    );
    assert!(
        uses_of(&table, &second).ends_with("previous, published"),
        "{table}"
    );
    assert!(table.lines().all(|line| line.trim_end() == line), "{table}");
    let listed = ask_json(&server, &["versions"]);
    assert_eq!(listed["catalogs"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["profiles"][0]["users"], 40);

    let said = ask_in_vain(&server, &["load", "--catalog", "abc"]);
    assert!(said.contains("16 hexadecimal digits"), "{said}");
    let said = ask_in_vain(&server, &["load"]);
    assert!(said.contains("--follow"), "{said}");
    let said = ask_in_vain(&server, &["load", "--follow", "--catalog", &first]);
    assert!(said.contains("cannot be used with"), "{said}");
    server.stop();
}

#[test]
fn pins_are_upserted_from_files_listed_and_deleted() {
    let world = World::built();
    let server = start(&world);
    let pin = |id, title: &str| common::Pin {
        id,
        embedding: vec![1.0; DIMENSION],
        title: title.to_owned(),
    };
    let file = world.path("changed.parquet");
    common::files::pins(&file, &[pin(10_001, "tea"), pin(10_000, "coffee")]);
    let said = ask(&server, &["pins", "upsert", path(&file)]);
    assert!(said.contains("2 pins upserted; 2 pins differ"), "{said}");
    let said = ask(&server, &["pins", "delete", "10001", "7", "99999", "7"]);
    assert!(
        said.contains("2 pins deleted, 1 were not there; 2 pins differ"),
        "{said}"
    );
    let said = ask(&server, &["pins", "list"]);
    let expected = [
        "pin    change    title",
        "10000  upserted  coffee",
        "7      deleted",
        "1 pins upserted, 1 deleted",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);

    common::files::pins(&file, &[pin(10_002, &"x".repeat(1_025))]);
    // A file's long title is cut, as in a catalog.
    let said = ask(&server, &["pins", "upsert", path(&file)]);
    assert!(said.contains("1 pins upserted"), "{said}");
    let said = ask_in_vain(&server, &["pins", "upsert", "no-such.parquet"]);
    assert!(said.contains("no-such.parquet"), "{said}");
    server.stop();
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("a clock").as_secs() as i64
}

/// Records one save of each of 40 users, in one call, and returns its token.
async fn record_round(client: &mut Actions, round: u64) -> Vec<u8> {
    let save = |user| {
        let number = u128::from(round * 1_000 + user);
        save(number, user, (user * 7 + round) % 500, now() - 60)
    };
    let request = v1::RecordActionsRequest {
        actions: (0..40).map(save).collect(),
    };
    let answer = client.record_actions(request).await;
    answer.expect("an answer").into_inner().freshness_token
}

/// Answers for all users, as bytes.
async fn answers(server: &Process, token: &[u8]) -> Vec<Vec<u8>> {
    let mut client = RecommendationServiceClient::new(server.channel().await);
    let mut answers = Vec::new();
    for user in 0..40 {
        let request = v1::RecommendRequest {
            seed: Some(user),
            medoids: 20,
            freshness_token: token.to_vec(),
            ..common::server::ask(user)
        };
        let answer = recommend(&mut client, request).await;
        answers.push(answer.encode_to_vec());
    }
    answers
}

/// The number of actions in a line about a backup.
fn backed_up(said: &str) -> u64 {
    let (before, _) = said.split_once(" actions").expect("a number of actions");
    let number = before.rsplit(' ').next().expect("a number");
    number.parse().expect("a number")
}

fn back_up(server: &Process, out: &Path) -> String {
    ask(server, &["data", "backup", "--out", path(out)])
}

fn restore(from: &Path, data: &Path) -> String {
    run([
        "data",
        "restore",
        "--from",
        path(from),
        "--data",
        path(data),
    ])
}

/// Fails if anybody but the owner may do anything with what is below `root`.
fn assert_private(root: &Path) {
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode();
    assert_eq!(mode(root) & 0o77, 0, "{}", root.display());
    for entry in fs::read_dir(root).expect("a directory") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path) & 0o77, 0, "{}", path.display());
        if path.is_dir() {
            assert_private(&path);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_answers_as_the_server_did_byte_for_byte() {
    let world = World::built();
    let server = start(&world);
    let mut actions = ActionServiceClient::new(server.channel().await);
    for round in 0..5 {
        record_round(&mut actions, round).await;
    }
    ask(&server, &["pins", "delete", "3"]);
    ask(
        &server,
        &["load", "--catalog", &version(&world.path("catalog"))],
    );

    // One backup while a writer writes: it has what was acknowledged before, and no part of
    // a call.
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let stop = stop.clone();
        async move {
            let mut round = 5;
            while !stop.load(Ordering::Relaxed) {
                record_round(&mut actions, round).await;
                round += 1;
            }
            (actions, round)
        }
    });
    let backups = world.path("backups");
    let during = backed_up(&back_up(&server, &backups));
    stop.store(true, Ordering::Relaxed);
    let (mut actions, round) = within("the writer", PATIENCE, writer)
        .await
        .expect("no panic");
    assert_eq!(during % 40, 0);
    assert!(
        (200..=round * 40).contains(&during),
        "{during} of {round} rounds"
    );

    let token = record_round(&mut actions, round).await;
    let said = back_up(&server, &backups);
    assert_eq!(backed_up(&said), (round + 1) * 40);
    assert_private(&backups);
    let expected = answers(&server, &token).await;
    server.stop();

    let data = world.path("restored");
    let said = restore(&backups, &data);
    assert_eq!(backed_up(&said), (round + 1) * 40);
    assert_private(&data);
    let restored = Process::start(&mut server_command(&world, &data));
    assert_eq!(answers(&restored, &token).await, expected);
    let status = ask_json(&restored, &["status"]);
    assert_eq!(status["version_mode"], "VERSION_MODE_PINNED");
    let pins = ask(&restored, &["pins", "list"]);
    assert!(pins.contains("0 pins upserted, 1 deleted"), "{pins}");
    // The same call again finds all its actions.
    let mut actions = ActionServiceClient::new(restored.channel().await);
    record_round(&mut actions, round).await;
    let again = back_up(&restored, &world.path("again"));
    assert_eq!(backed_up(&again), (round + 1) * 40);
    restored.stop();
}

#[test]
fn a_backup_that_is_not_whole_and_a_directory_in_use_are_refused() {
    let world = World::built();
    let server = start(&world);
    let backups = world.path("backups");
    back_up(&server, &backups);
    let data = world.path("data");
    let check = ["data", "check", "--from", path(&backups)];
    assert!(run(check).ends_with(": whole\n"));
    let into = |data: &Path| {
        let from = ["data", "restore", "--from", path(&backups)];
        refusal(command(from).args(["--data", path(data)]))
    };
    let said = into(&data);
    assert!(said.contains("empty directory"), "{said}");
    server.stop();

    let meta = version_directory(&backups).join("records-meta");
    let mut bytes = fs::read(&meta).expect("a file");
    bytes[9] ^= 1;
    fs::write(&meta, bytes).expect("a file");
    let said = refusal(&mut command(check));
    assert!(said.contains("records-meta"), "{said}");
    let restored = world.path("restored");
    let said = into(&restored);
    assert!(said.contains("records-meta"), "{said}");
    assert!(!restored.exists());

    let server = Process::start(&mut serve_command(&world));
    let said = ask_in_vain(&server, &["data", "backup", "--out", path(&backups)]);
    assert!(said.contains("started without --data"), "{said}");
    server.stop();
}
