//! The demo: its sample ends yesterday, whenever that is.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::common::process::{Process, command, path, run};
use crate::common::{self, World, files};
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

/// The department of a pin.
fn department(pin: u64) -> &'static str {
    if pin.is_multiple_of(7) {
        "Produce"
    } else {
        "Deli"
    }
}

/// Writes pins as the sample has them: with an attribute.
fn write_pins(world: &World) {
    let pins = common::pins();
    let vectors = pins.iter().map(|pin| pin.embedding.as_slice());
    let departments = pins.iter().map(|pin| department(pin.id as u64));
    let columns = vec![
        ("pin_id", files::ids(pins.iter().map(|pin| pin.id))),
        ("embedding", files::vectors(vectors)),
        ("department", files::texts(departments)),
    ];
    files::columns(&world.path("pins.parquet"), columns);
}

/// Runs the command with pages that the demo suggests, by the program under test.
fn check_suggested_pages(server: &mut Process) {
    let suggested = server.line_with("--pages");
    let (_, arguments) = suggested.split_once("recommend").expect("a command");
    let arguments = arguments.split_whitespace();
    let said = run(std::iter::once("recommend").chain(arguments));
    for page in 1..=2 {
        let title = format!("user {USER}, page {page}: 5 candidates");
        assert!(said.contains(&title), "{said}");
    }
}

/// Runs the command for pins like the first candidate, by the program under test.
fn check_suggested_similar_pins(server: &mut Process) {
    let suggested = server.line_with(" similar ");
    let (_, arguments) = suggested.split_once("similar").expect("a command");
    let arguments = arguments.split_whitespace();
    let said = run(std::iter::once("similar").chain(arguments));
    assert!(said.starts_with("20 candidates like"), "{said}");
}

/// Runs the command with a filter that the demo suggests, by the program under test.
fn check_suggested_filter(server: &mut Process) {
    let suggested = server.line_with("--filter");
    let (filter, url) = (suggested.split('\'').nth(1), &server.url);
    let filter = filter.expect("a filter in quotes");
    assert!(
        suggested.contains(&format!("recommend --user {USER} --filter"))
            && suggested.ends_with(url),
        "{suggested}"
    );
    let arguments = [
        "recommend",
        "--user",
        USER,
        "--filter",
        filter,
        "--json",
        "--server",
        url,
    ];
    let answer: Value = serde_json::from_str(&run(arguments)).expect("JSON");
    let candidates = answer["candidates"].as_array().expect("candidates");
    assert_eq!(candidates.len(), 20);
    let pins = candidates
        .iter()
        .map(|one| one["pin_id"].as_u64().expect("a number"));
    assert!(
        pins.into_iter().all(|pin| department(pin) == "Produce"),
        "{answer}"
    );
    let everything = run([
        "recommend",
        "--user",
        USER,
        "--filter",
        filter,
        "--limit",
        "2000",
        "--server",
        url,
    ]);
    assert!(everything.contains("\n  exhausted: "), "{everything}");
}

#[test]
fn what_is_saved_while_the_demo_runs_stands_beside_the_old_interests() {
    let world = World::files();
    write_pins(&world);
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
    check_suggested_pages(&mut server);
    check_suggested_filter(&mut server);
    check_suggested_similar_pins(&mut server);
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
