//! Settings that are proposed for a data set, as a person asks for them.

#![cfg(feature = "evaluation")]

mod common;

use common::World;
use common::process::{command, path, run};
use pinnersage::config::Settings;

const FROM: &str = "2026-02-01";

fn world() -> World {
    let world = World::files();
    world.build_catalog("catalog", common::EMBEDDING_VERSION);
    world
}

/// The arguments of `command` on the actions and the catalog of `world`.
fn arguments(world: &World, command: &str) -> Vec<String> {
    let (actions, catalog) = (world.path("actions.parquet"), world.path("catalog"));
    let mut arguments = vec![command, "--actions", path(&actions)];
    arguments.extend(["--catalog", path(&catalog), "--limit", "30", "--every", "3"]);
    arguments.extend(["--from", FROM, "--to", common::AS_OF]);
    arguments.into_iter().map(str::to_owned).collect()
}

#[test]
fn what_is_proposed_is_taken_as_settings() {
    let world = world();
    let file = world.path("settings.toml");
    let mut tune = arguments(&world, "tune");
    // An alpha as great as 400 makes one cluster of whatever a user did.
    let more = ["--alpha", "0.5,400", "--lambda", "0", "--out", path(&file)];
    tune.extend(more.map(str::to_owned));
    let tune: Vec<&str> = tune.iter().map(String::as_str).collect();
    let said = run(&tune);

    let text = std::fs::read_to_string(&file).expect("settings");
    let parts = [
        "# Settings proposed by `pinnersage tune`",
        "actions.parquet",
        "# Period:    from 2026-02-01T00:00:00Z, before 2026-03-01T00:00:00Z",
        "# Command:   pinnersage tune --actions",
        "--alpha 0.5,400 --lambda 0",
        "(`merge_strategy`): ",
    ];
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
    let rows = [
        ("profiles.alpha", 3),
        ("profiles.lambda_per_day", 2),
        ("merge_strategy", 2),
    ];
    let tables: Vec<&str> = said.split("\n\n").collect();
    for ((name, rows), table) in rows.into_iter().zip(tables) {
        assert!(table.starts_with(name), "{said}");
        assert_eq!(table.lines().count(), rows + 1, "{said}");
        for name in ["present", "best", "proposed"] {
            assert_eq!(
                table.matches(name).count(),
                1 + usize::from(name == "best"),
                "{table}"
            );
        }
        for line in table.lines() {
            assert!(text.contains(&format!("# {line}")), "{line}: {text}");
        }
    }

    let defaults = Settings::load(None).expect("the defaults");
    let settings = Settings::load(Some(&file)).expect("what was proposed");
    assert!([0.5, 4.0].contains(&settings.profiles.alpha), "{said}");
    assert!([0.0, 0.01].contains(&settings.profiles.lambda_per_day));
    let mut expected = defaults;
    expected.profiles.alpha = settings.profiles.alpha;
    expected.profiles.lambda_per_day = settings.profiles.lambda_per_day;
    assert_eq!(settings, expected);
    let mut evaluate = arguments(&world, "evaluate");
    let more = ["--models", "pinnersage", "--config", path(&file)];
    evaluate.extend(more.map(str::to_owned));
    run(&evaluate.iter().map(String::as_str).collect::<Vec<_>>());

    // Nothing but the present values: they stay.
    let mut again = arguments(&world, "tune");
    let (alpha, lambda) = (expected.profiles.alpha, expected.profiles.lambda_per_day);
    again.extend(["--alpha".to_owned(), alpha.to_string()]);
    again.extend(["--lambda".to_owned(), lambda.to_string()]);
    let more = ["--config", path(&file), "--out", path(&file)];
    again.extend(more.map(str::to_owned));
    run(&again.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(Settings::load(Some(&file)).expect("settings"), expected);
}

#[test]
fn what_cannot_be_compared_is_named() {
    let world = world();
    let out = world.path("settings.toml");
    let refused = |more: &[&str], parts: &[&str]| {
        let output = command()
            .args(arguments(&world, "tune"))
            .args(more)
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{more:?}");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        assert!(!out.exists());
    };
    let with = |list: &str, parts: &[&str]| refused(&["--out", path(&out), list], parts);
    with("--alpha=1,x", &["--alpha", "\"x\"", "at least 0"]);
    with("--alpha=4,4.0", &["--alpha", "\"4.0\" is there twice"]);
    with("--lambda=-1", &["--lambda", "\"-1\""]);
    with("--lambda=", &["--lambda", "\"\""]);
    refused(&[], &["--out"]);
    let nowhere = world.path("no-such/settings.toml");
    refused(
        &["--out", path(&nowhere)],
        &["no-such/settings.toml", "directory"],
    );
}
