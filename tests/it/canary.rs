//! Judging a canary at the prompt: users to ask for, and two servers compared.

use std::fs;

use crate::common;
use crate::common::World;
use crate::common::process::{
    Process, command, output, path, refusal, run, serve_command, serve_command_of,
};
use serde_json::Value;

fn serve(world: &World, profiles: &str) -> Process {
    let (catalog, profiles) = (world.path("catalog"), world.path(profiles));
    Process::start(&mut serve_command_of(&catalog, &profiles))
}

#[test]
fn users_are_drawn_unevenly_and_by_seed() {
    let world = World::built();
    let out = world.path("users.json");
    let write = |source: &[&str]| -> Vec<u64> {
        let arguments = [
            "users",
            "--count",
            "1000",
            "--skew",
            "1.2",
            "--out",
            path(&out),
        ];
        run([&arguments[..], source].concat());
        let text = fs::read_to_string(&out).expect("a file");
        let requests: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        let id = |request: &Value| request["user_id"].as_str().expect("text").parse();
        requests
            .iter()
            .map(|request| id(request).expect("an id"))
            .collect()
    };
    let drawn = write(&["--users", "50"]);
    assert_eq!(drawn, write(&["--users", "50"]));
    assert_ne!(drawn, write(&["--users", "50", "--seed", "2"]));
    assert!(drawn.iter().all(|&user| user < 50));
    let times = |user: u64| drawn.iter().filter(|&&other| other == user).count();
    // A zeta law with exponent 1.2 gives the first 26 % of 50, and the tenth 1.6 %.
    assert!(times(0) > 200 && times(9) < 50, "{} {}", times(0), times(9));
    let known = write(&["--profiles", path(&world.path("profiles"))]);
    assert!(known.iter().all(|&user| user < common::USERS));
    let said = refusal(&mut command(["users", "--users", "0", "--out", path(&out)]));
    assert!(said.contains("users"), "{said}");
}

#[test]
fn two_servers_are_compared_and_thresholds_decide() {
    let world = World::built();
    // Other interests: a higher threshold merges more.
    let mut params = common::profile_params(true);
    params.alpha = 30.0;
    world.build_profiles_with("catalog", "others", &params);
    let users = world.path("users");
    let ids: Vec<String> = (0..common::USERS).map(|user| user.to_string()).collect();
    fs::write(&users, ids.join("\n")).expect("a disk");
    let (one, two, other) = (
        serve(&world, "profiles"),
        serve(&world, "profiles"),
        serve(&world, "others"),
    );
    assert!(run(["health", "--server", &one.url]).contains("SERVING"));
    let diff = |candidate: &str, rest: &[&str]| {
        let arguments = ["diff", "--baseline", &one.url, "--candidate", candidate];
        let mut diff = command(arguments);
        diff.args(["--users", path(&users), "--limit", "50"])
            .args(rest);
        let output = output(&mut diff);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (
            output.status.success(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let strict = [
        "--min-identical",
        "1",
        "--min-overlap",
        "1",
        "--min-rbo",
        "1",
    ];
    let (same, table, said) = diff(&two.url, &strict);
    assert!(same, "{table} {said}");
    assert!(
        table.contains("40 of 40 requests") && table.contains("identical answers"),
        "{table}"
    );

    let (same, json, said) = diff(&other.url, &["--json", "--min-overlap", "0.99"]);
    assert!(!same && said.contains("overlap is"), "{said}");
    let report: Value = serde_json::from_str(&json).expect("JSON");
    let number = |value: &Value| value.as_f64().expect("a number");
    assert!(number(&report["overlap"]["mean"]) < 0.99);
    assert!(number(&report["interests"]["shared"]) < 1.0);
    assert_ne!(
        report["baseline"]["profile_version"],
        report["candidate"]["profile_version"]
    );
    assert_eq!(
        report["baseline"]["catalog_version"],
        report["candidate"]["catalog_version"]
    );
    assert_eq!(number(&report["candidate"]["failed"]), 0.0);

    two.stop();
    let (reached, _, said) = diff("http://127.0.0.1:1", &[]);
    assert!(
        !reached && said.contains("no server at http://127.0.0.1:1"),
        "{said}"
    );
    one.stop();
    other.stop();
}

#[test]
fn a_comparison_says_which_side_alone_has_recorded_actions() {
    let world = World::built();
    let without = serve(&world, "profiles");
    let mut with = serve_command(&world);
    let with = Process::start(with.args(["--data", path(&world.path("data"))]));
    let record = ["record", "--user", "1", "--pin", "3", "--server", &with.url];
    run(record);
    let users = world.path("users.txt");
    std::fs::write(&users, "1\n").expect("a file");
    let pair = ["--baseline", &without.url, "--candidate", &with.url];
    let users = ["--users", path(&users), "--medoids", "20"];
    let said = run([&["diff"], &pair[..], &users].concat());
    assert!(
        said.contains("only the candidate has answers that rest on recorded"),
        "{said}"
    );
    without.stop();
    with.stop();
}
