//! The commands of operators against a running server.

use std::path::Path;
use std::process::Command;

use crate::common;
use crate::common::process::{Process, command, path, refusal, run, serve_command};
use crate::common::server::http_get;
use crate::common::{DIMENSION, EMBEDDING_VERSION, World, version_directory};
use serde_json::Value;

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
        said.contains(&format!("serving        catalog {first}")),
        "{said}"
    );
    assert!(
        said.contains("versions       following what is published"),
        "{said}"
    );
    assert!(said.contains("takes actions  yes"), "{said}");

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
    let said = ask_in_vain(&server, &["pins", "upsert", path(&file)]);
    assert!(said.contains("title"), "{said}");
    let said = ask_in_vain(&server, &["pins", "upsert", "no-such.parquet"]);
    assert!(said.contains("no-such.parquet"), "{said}");
    server.stop();
}
