//! The commands as a person runs them, from files to printed candidates.

use crate::common;
use crate::common::World;
use crate::common::process::{
    Process, command, path, refusal, run, serve_command, serve_command_of,
};
use serde_json::Value;

#[test]
fn from_files_to_candidates() {
    let world = World::files();
    let [pins, actions, catalog, profiles, export] = [
        "pins.parquet",
        "actions.parquet",
        "catalog",
        "profiles",
        "export.parquet",
    ]
    .map(|name| world.path(name));
    let said = run([
        "catalog",
        "build",
        "--pins",
        path(&pins),
        "--out",
        path(&catalog),
    ]);
    assert!(said.contains("600 pins read"), "{said}");
    assert!(
        said.contains("600 pins indexed: 590 distinct vectors of 16 dimensions"),
        "{said}"
    );
    let said = run([
        "profiles",
        "build",
        "--actions",
        path(&actions),
        "--catalog",
        path(&catalog),
        "--out",
        path(&profiles),
        "--as-of",
        common::AS_OF,
        "--alpha",
        "1",
        "--history-filter",
        "off",
    ]);
    assert!(said.contains("40 users"), "{said}");
    let said = run([
        "profiles",
        "export",
        "--profiles",
        path(&profiles),
        "--out",
        path(&export),
    ]);
    assert!(said.starts_with("40 profiles in "), "{said}");
    assert!(export.exists());

    let server = Process::start(&mut serve_command(&world));
    let to = ["--server", server.url.as_str()];
    let said = run([&["explain", "--user", "1"][..], &to].concat());
    assert!(
        said.contains("user 1:") && said.contains("of topic"),
        "{said}"
    );
    let recommend = ["recommend", "--user", "1", "--limit", "5", "--seed", "9"];
    let said = run([&recommend[..], &to].concat());
    assert!(
        said.contains("user 1: 5 candidates (seed 9)") && said.contains("[a]"),
        "{said}"
    );

    let json = |arguments: &[&str]| -> Value {
        let said = run([arguments, &["--json"], &to].concat());
        serde_json::from_str(&said).expect("JSON")
    };
    let explained = json(&["explain", "--user", "1"]);
    let interests = explained["interests"].as_array().expect("interests");
    let first = json(&recommend);
    let candidates = first["candidates"].as_array().expect("candidates");
    assert_eq!(candidates.len(), 5);
    for medoid in first["medoids"].as_array().expect("medoids") {
        assert!(
            interests
                .iter()
                .any(|interest| interest["pin_id"] == medoid["pin_id"])
        );
    }
    let excluded = candidates[0]["pin_id"].to_string();
    let second = json(&[&recommend[..], &["--exclude", &excluded]].concat());
    let second = second["candidates"].as_array().expect("candidates");
    assert_eq!(second.len(), 5);
    assert!(
        second
            .iter()
            .all(|candidate| candidate["pin_id"] != candidates[0]["pin_id"])
    );

    let mut too_many = command(["recommend", "--user", "1", "--limit", "9999"]);
    let said = refusal(too_many.args(to));
    assert!(
        said.contains("limit: is 9999, at most 2000 may be"),
        "{said}"
    );
    server.stop();
}

#[test]
fn the_versions_of_a_catalog_are_kept_and_an_old_one_can_be_served() {
    let world = World::built();
    let old = common::version_directory(&world.path("catalog"));
    let mut pins = common::pins();
    pins.truncate(500);
    common::files::pins(&world.path("pins.parquet"), &pins);
    world.build_catalog("catalog", common::EMBEDDING_VERSION);
    assert_ne!(common::version_directory(&world.path("catalog")), old);
    let profiles = world.path("profiles");
    let server = Process::start(&mut serve_command_of(&old, &profiles));
    let said = run([
        "recommend",
        "--user",
        "1",
        "--json",
        "--server",
        &server.url,
    ]);
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    let version = old.file_name().and_then(|name| name.to_str());
    assert_eq!(answer["catalog_version"].as_str(), version);
    server.stop();
}

#[test]
fn a_command_without_a_server_says_where_it_looked() {
    let nobody = ["--server", "http://127.0.0.1:1"];
    let mut explain = command(["explain", "--user", "1"]);
    let said = refusal(explain.args(nobody));
    assert!(said.contains("no server at http://127.0.0.1:1"), "{said}");
}

#[test]
fn a_catalog_is_checked_and_its_lists_are_made_once() {
    let world = World::built();
    let (catalog, profiles) = (world.path("catalog"), world.path("profiles"));
    let both = ["--catalog", path(&catalog), "--profiles", path(&profiles)];
    let made = run([&["neighbors"], &both[..]].concat());
    assert!(!made.contains(": 0 made"), "{made}");
    let again = run([&["neighbors"], &both[..]].concat());
    assert!(again.contains(": 0 made"), "{again}");
    // What a killed build leaves half written is passed over.
    let lists = std::fs::read_dir(catalog.join("neighbors")).expect("lists");
    for version in lists {
        let partial = version.expect("an entry").path().join(".partial-1");
        std::fs::create_dir(partial).expect("a directory");
    }
    let ask = |server: &Process| {
        let asked = ["recommend", "--user", "1", "--seed", "3", "--json"];
        run([&asked[..], &["--server", &server.url]].concat())
    };
    let server = Process::start(&mut serve_command(&world));
    let from_lists = ask(&server);
    server.stop();
    std::fs::remove_dir_all(catalog.join("neighbors")).expect("lists to remove");
    let server = Process::start(&mut serve_command(&world));
    // So few pins that a walk finds all there are: lists change no byte.
    assert_eq!(ask(&server), from_lists);
    server.stop();

    let arguments = ["catalog", "check", "--catalog", path(&catalog)];
    let options = [
        "--k",
        "5",
        "--queries",
        "20",
        "--threads",
        "2",
        "--effort",
        "5,40",
        "--json",
    ];
    let printed = run([&arguments[..], &options].concat());
    let curve: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(curve.len(), 2);
    for (point, effort) in curve.iter().zip([5, 40]) {
        assert_eq!((&point["k"], &point["effort"]), (&5.into(), &effort.into()));
        for field in ["queries_per_second", "p50_us", "p99_us"] {
            assert!(
                point[field].as_f64().is_some_and(|value| value > 0.0),
                "{point}"
            );
        }
        assert!(point["resident_bytes_per_pin"].is_number(), "{point}");
    }
    assert!(
        curve[1]["recall"]
            .as_f64()
            .is_some_and(|recall| recall > 0.9)
    );
}
