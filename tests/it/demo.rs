//! The demo: its sample ends yesterday, whenever that is.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::World;
use crate::common::process::{Process, command, path, run};
use serde_json::Value;

const USER: &str = "3";

/// Number of the day, 0 for 1970-01-01.
fn today() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock").as_secs() / 86_400
}

/// Number of the day of a time as the command line writes it.
fn day(time: &Value) -> u64 {
    let time: pinnersage::model::Timestamp = serde_json::from_value(time.clone()).expect("a time");
    u64::try_from(time.day()).expect("a day after 1970")
}

fn interests(server: &Process) -> Value {
    let arguments = ["explain", "--user", USER, "--json", "--server", &server.url];
    serde_json::from_str(&run(arguments)).expect("JSON")
}

#[test]
fn what_is_saved_while_the_demo_runs_stands_beside_the_old_interests() {
    let world = World::files();
    let actions = world.path("actions_300_users.parquet");
    fs::rename(world.path("actions.parquet"), actions).expect("a disk");
    let before = today();
    let data = ["demo", "--data", path(world.directory.path())];
    let mut demo = command(data);
    demo.args(["--cache", path(&world.path("cache")), "--user", USER])
        .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
    let (mut server, printed) = Process::start_demo(&mut demo);
    let is_moved = printed.contains("days later here: its last day is yesterday");
    assert!(is_moved, "{printed}");
    let explained = interests(&server);
    let as_of = day(&explained["as_of"]);
    assert!((before..=today()).contains(&as_of), "{explained}");
    let old = explained["interests"].as_array().expect("interests").len();

    run([
        "record",
        "--user",
        USER,
        "--pin",
        "5",
        "35",
        "65",
        "--server",
        &server.url,
    ]);
    let explained = interests(&server);
    let interests = explained["interests"].as_array().expect("interests");
    assert!(interests.len() >= old, "{explained:#}");
    let is_new = |interest: &&Value| interest["recent_actions"] == 3;
    let new = interests.iter().find(is_new).expect("a new interest");
    let importance = |interest: &Value| interest["importance"].as_f64().expect("a number");
    let all: f64 = interests.iter().map(importance).sum();
    assert!(importance(new) < all / 2.0, "{explained:#}");
    server.signal("INT");
    assert_eq!(server.end(), Some(0));
}
