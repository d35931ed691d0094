//! Input as warehouses have it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::files::{columns, ids, texts};
use crate::common::process::{command, output, path, run_command};
use crate::common::{self, World};
use arrow_array::ArrayRef;
use pinnersage::store::ProfilesReader;

/// `profiles build` of these actions into `profiles`.
fn profiles_build(world: &World, actions: &[&str]) -> Command {
    let mut command = command(["profiles", "build", "--actions"]);
    command
        .args(actions.iter().map(|name| world.path(name)))
        .args(["--catalog", path(&world.path("catalog"))])
        .args(["--out", path(&world.path("profiles"))])
        .args(["--as-of", common::AS_OF]);
    command
}

fn medoids(profiles: &Path) -> Vec<(u64, usize)> {
    let profiles = ProfilesReader::open(profiles).expect("profiles");
    let medoids = profiles.iter();
    medoids
        .map(|(user, profile)| (user.0, profile.medoids.len()))
        .collect()
}

#[test]
fn a_file_given_twice_changes_no_interest_and_is_reported() {
    let world = World::with_catalog();
    let once = run_command(&mut profiles_build(&world, &["actions.parquet"]));
    let expected = medoids(&world.path("profiles"));
    assert!(once.contains("  0 left out: they repeat another action"));

    fs::copy(
        world.path("actions.parquet"),
        world.path("export-2.parquet"),
    )
    .expect("a copy");
    let mut twice = profiles_build(&world, &["actions.parquet", "export-2.parquet"]);
    let ended = output(&mut twice);
    assert!(ended.status.success());
    let rows = common::actions().len();
    let said = String::from_utf8(ended.stderr).expect("UTF-8");
    let expected_warning = format!("warning: {rows} of {} actions repeat another", 2 * rows);
    assert!(said.contains(&expected_warning), "{said}");
    assert_eq!(medoids(&world.path("profiles")), expected);
    let printed = String::from_utf8(ended.stdout).expect("UTF-8");
    let expected_line = format!("  {rows} left out: they repeat another action");
    assert!(printed.contains(&expected_line), "{printed}");

    let kept = run_command(twice.args(["--duplicates", "keep"]));
    assert!(
        kept.contains(&format!("  {} clustered", 2 * rows)),
        "{kept}"
    );
}

#[test]
fn actions_with_an_id_repeat_by_it_and_others_by_their_content() {
    let world = World::with_catalog();
    let day = common::AS_OF.parse::<pinnersage::model::Timestamp>();
    let time = day.expect("a date").micros() / 1_000_000 - 86_400;
    let uuid = "123e4567-e89b-12d3-a456-426614174000";
    let other = "123e4567e89b12d3a456426614174001";
    // Two purchases of one moment, the first of which was delivered again a minute later
    // and in another spelling.
    let named: Vec<(&str, ArrayRef)> = vec![
        ("user_id", ids([1; 4])),
        ("pin_id", ids([5; 4])),
        ("time", ids([time, time, time + 60, time])),
        (
            "action_id",
            texts([uuid, other, &uuid.to_uppercase(), other]),
        ),
    ];
    columns(&world.path("with-ids.parquet"), named);
    let said = run_command(&mut profiles_build(&world, &["with-ids.parquet"]));
    assert!(
        said.contains("  2 left out: they repeat another action"),
        "{said}"
    );
    assert!(said.contains("  2 clustered"), "{said}");

    let named: Vec<(&str, ArrayRef)> = vec![
        ("user_id", ids([1, 1, 1, 2])),
        ("pin_id", ids([5, 5, 6, 5])),
        ("time", ids([time; 4])),
        ("action", texts(["save"; 4])),
    ];
    columns(&world.path("without.parquet"), named);
    let said = run_command(&mut profiles_build(&world, &["without.parquet"]));
    assert!(
        said.contains("  1 left out: they repeat another action"),
        "{said}"
    );
    assert!(said.contains("  3 clustered"), "{said}");
}
