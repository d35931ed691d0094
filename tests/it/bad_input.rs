//! The command line on inputs that are wrong: each is refused by file, row and
//! field, and nothing is written.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use crate::common;
use crate::common::files::{columns, ids, texts, vectors};
use crate::common::process::{self, command, path, serve_command, serve_command_of};
use crate::common::{Pin, World, version_directory};
use arrow_array::{ArrayRef, Float64Array, Int64Array, UInt64Array};
use bytesize::ByteSize;
use pinnersage::batch::build_neighbors;
use pinnersage::index::NeighborParams;
use pinnersage::progress::Progress;

/// Runs a command that must fail with 1, and returns what it said.
fn refusal(arguments: &[&str]) -> String {
    refusal_of(&mut command(arguments))
}

fn refusal_of(command: &mut Command) -> String {
    let (code, said) = process::failure(command);
    assert_eq!(code, 1, "{said}");
    said
}

/// What `catalog build` says of a file with these columns.
fn catalog_refusal(named: Vec<(&str, ArrayRef)>) -> String {
    let world = World::files();
    columns(&world.path("pins.parquet"), named);
    catalog_refusal_of(&world)
}

fn catalog_refusal_of(world: &World) -> String {
    let (pins, out) = (world.path("pins.parquet"), world.path("out"));
    let said = refusal(&[
        "catalog",
        "build",
        "--pins",
        path(&pins),
        "--out",
        path(&out),
    ]);
    assert!(!out.exists(), "nothing is written");
    said
}

fn profiles_refusal_of(world: &World) -> String {
    let (actions, out) = (world.path("actions.parquet"), world.path("out"));
    let catalog = world.path("catalog");
    refusal(&[
        "profiles",
        "build",
        "--actions",
        path(&actions),
        "--catalog",
        path(&catalog),
        "--out",
        path(&out),
        "--as-of",
        common::AS_OF,
    ])
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
}

#[test]
fn bad_vectors_are_named_by_file_row_and_pin() {
    let nan = [0.5f32, f32::NAN];
    let rows: [&[f32]; 6] = [
        &[1.0, 0.0],
        &[1.0, 2.0, 3.0],
        &nan,
        &[0.0, 0.0],
        &[],
        &[0.0, 1.0],
    ];
    let named = vec![
        ("pin_id", ids([10, 11, 12, 13, 14, 15])),
        ("embedding", vectors(rows)),
    ];
    let said = catalog_refusal(named);
    assert_says(
        &said,
        &[
            "4 bad rows",
            "pins.parquet: row 1: pin 11: the embedding has dimension 3 where most have 2",
            "pins.parquet: row 2: pin 12: component 1 of the embedding is not finite",
            "pins.parquet: row 3: pin 13: the embedding is all zero",
            "pins.parquet: row 4: pin 14: the embedding is empty",
        ],
    );
}

#[test]
fn a_ragged_first_row_blames_no_other_one() {
    let rows: [&[f32]; 4] = [&[1.0, 2.0, 3.0], &[1.0, 0.0], &[0.0, 1.0], &[1.0, 1.0]];
    let named = vec![
        ("pin_id", ids([10, 11, 12, 13])),
        ("embedding", vectors(rows)),
    ];
    let said = catalog_refusal(named);
    let reason = "row 0: pin 10: the embedding has dimension 3 where most have 2";
    assert_says(&said, &["1 bad rows", "rows count from 0", reason]);
}

#[test]
fn names_of_the_input_do_not_steer_the_terminal() {
    let world = World::with_catalog();
    let actions = world.path("actions.parquet");
    let named = vec![
        ("user_id", ids([1])),
        ("pin_id", ids([1])),
        ("time", ids([1_770_000_000])),
        ("action", texts(["\u{1b}[31mlike\u{202e}"])),
    ];
    columns(&actions, named);
    let said = profiles_refusal_of(&world);
    assert_says(&said, &[r#"without a weight: 1 "\u{1b}[31mlike\u{202e}""#]);
    fs::rename(&actions, world.path("\u{9b}31m.csv")).expect("a file");
    let (catalog, out) = (world.path("catalog"), world.path("out"));
    let directory = world.path("");
    let mut build = command(["profiles", "build", "--as-of", common::AS_OF, "--actions"]);
    build.arg(directory.join("\u{9b}31m.csv"));
    build.args(["--catalog", path(&catalog), "--out", path(&out)]);
    assert_says(&refusal_of(&mut build), &[r"\u{9b}31m.csv: "]);
}

#[test]
fn bad_ids_are_named_and_many_bad_rows_are_counted() {
    let vector: &[f32] = &[1.0, 0.0];
    let named = vec![
        ("pin_id", ids([1, 2, 1, -4])),
        ("embedding", vectors([vector; 4])),
    ];
    let said = catalog_refusal(named);
    assert_says(
        &said,
        &[
            "row 2: pin 1: stands already in",
            "pins.parquet, row 0",
            "row 3: pin_id is negative",
        ],
    );
    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None; 25]));
    let said = catalog_refusal(vec![
        ("pin_id", nulls),
        ("embedding", vectors([vector; 25])),
    ]);
    assert_says(
        &said,
        &["25 bad rows", "row 9: pin_id is null", "and 15 more"],
    );
    assert!(!said.contains("row 10:"));
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let vector: &[f32] = &[1.0, 0.0];
    let said = catalog_refusal(vec![("pin_id", ids([1]))]);
    assert_says(&said, &["pins.parquet: column embedding is missing"]);
    let said = catalog_refusal(vec![
        ("pin_id", Arc::new(Float64Array::from(vec![1.0]))),
        ("embedding", vectors([vector])),
    ]);
    let expected = "an integer, a string or the 16 bytes of a UUID";
    let expected = format!("column pin_id is Float64, where it should be {expected}");
    assert_says(&said, &[expected.as_str()]);
    let said = catalog_refusal(vec![("pin_id", ids([1])), ("embedding", ids([1]))]);
    assert_says(
        &said,
        &["column embedding is Int64, where it should be a list of floats"],
    );
    let none: [&[f32]; 0] = [];
    let said = catalog_refusal(vec![("pin_id", ids([])), ("embedding", vectors(none))]);
    assert_says(&said, &["none of the 0 pins"]);

    let world = World::files();
    let pins = world.path("pins.parquet");
    let whole = fs::read(&pins).expect("a file");
    fs::write(&pins, &whole[..whole.len() / 2]).expect("half a file");
    assert_says(
        &catalog_refusal_of(&world),
        &["pins.parquet: not a readable Parquet file"],
    );
    // The footer is whole, but a page in the middle is not.
    let mut torn = whole.clone();
    torn[100..2_000].fill(0xff);
    fs::write(&pins, torn).expect("a torn file");
    assert_says(&catalog_refusal_of(&world), &["pins.parquet"]);
    fs::remove_file(&pins).expect("no file");
    assert_says(&catalog_refusal_of(&world), &["pins.parquet: No such file"]);
}

#[test]
fn a_quality_threshold_needs_a_quality() {
    let world = World::files();
    let (pins, out) = (world.path("pins.parquet"), world.path("out"));
    let said = refusal(&[
        "catalog",
        "build",
        "--pins",
        path(&pins),
        "--out",
        path(&out),
        "--min-quality",
        "0.5",
    ]);
    assert_says(&said, &["pins.parquet: column quality is missing"]);
}

#[test]
fn bad_actions_are_named_by_file_and_row() {
    let world = World::files();
    world.build_catalog("catalog", "x");
    let users: ArrayRef = Arc::new(UInt64Array::from(vec![Some(1), None, Some(3)]));
    let times = ids([0, 0, i64::MAX]);
    let named = vec![
        ("user_id", users),
        ("pin_id", ids([1, 2, 3])),
        ("time", times),
    ];
    columns(&world.path("actions.parquet"), named);
    let said = profiles_refusal_of(&world);
    assert_says(
        &said,
        &[
            "2 bad rows",
            "actions.parquet: row 1: user_id is null",
            "actions.parquet: row 2: time is out of range",
        ],
    );
    let named = vec![
        ("user_id", ids([1])),
        ("pin_id", ids([1])),
        ("time", texts(["now"])),
    ];
    columns(&world.path("actions.parquet"), named);
    let said = profiles_refusal_of(&world);
    assert_says(
        &said,
        &["row 0: time \"now\" is no time like 2026-03-01T06:00:00Z"],
    );
    let left: Vec<_> = fs::read_dir(world.path("out"))
        .into_iter()
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn one_flipped_byte_of_any_file_that_is_served_is_refused_by_name() {
    let world = World::built();
    let (catalog, profiles) = (world.path("catalog"), world.path("profiles"));
    let params = NeighborParams {
        depth: 20,
        budget: ByteSize::mib(1),
        cache: ByteSize::b(0),
    };
    build_neighbors(&catalog, &profiles, params, Progress::Silent).expect("lists");
    let lists = fs::read_dir(catalog.join("neighbors"))
        .expect("lists")
        .next();
    let lists = fs::read_dir(lists.expect("a catalog").expect("an entry").path());
    let segment = lists
        .expect("segments")
        .next()
        .expect("one")
        .expect("an entry");
    let versions = [&catalog, &profiles].map(|root| version_directory(root));
    for version in versions.into_iter().chain([segment.path()]) {
        for entry in fs::read_dir(version).expect("a version") {
            let file = entry.expect("an entry").path();
            let whole = fs::read(&file).expect("a file");
            if whole.is_empty() {
                // Nobody hid a pin.
                continue;
            }
            let mut damaged = whole.clone();
            damaged[whole.len() / 2] ^= 0x10;
            fs::write(&file, damaged).expect("a damaged file");
            let said = refusal_of(&mut serve_command(&world));
            let name = file
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a name");
            assert_says(&said, &[name, "damaged"]);
            fs::write(&file, whole).expect("the whole file");
        }
    }
}

#[test]
fn a_catalog_is_no_set_of_profiles() {
    let world = World::built();
    let catalog = world.path("catalog");
    let said = refusal_of(&mut serve_command_of(&catalog, &catalog));
    assert_says(
        &said,
        &[r#"is a "pinnersage-catalog/3", not a "pinnersage-profiles/3""#],
    );
    let nowhere = world.path("nowhere");
    let out = world.path("x.parquet");
    let said = refusal(&[
        "profiles",
        "export",
        "--profiles",
        path(&nowhere),
        "--out",
        path(&out),
    ]);
    assert_says(&said, &["nowhere", "no snapshot was written here"]);
}

#[test]
fn bad_settings_exit_64_before_anything_starts() {
    let world = World::files();
    let config = world.path("settings.toml");
    for (text, part) in [
        ("[index]\nef_search = 0\n", "index.ef_search is 0"),
        ("[index]\nef_serch = 5\n", "ef_serch"),
        ("[profiles.action_weights]\nhide = 0.0\n", "hide = 0"),
        ("not toml", "settings.toml"),
    ] {
        fs::write(&config, text).expect("settings");
        let arguments = ["--config", path(&config), "explain", "--user", "1"];
        let (code, said) = process::failure(&mut command(arguments));
        assert_eq!(code, 64, "{said}");
        assert_says(&said, &[part]);
    }
    let mut explain = command(["explain", "--user", "1"]);
    explain.env("PINNERSAGE__PROFILES__ALPHA", "-3");
    let (code, said) = process::failure(&mut explain);
    assert_eq!(code, 64, "{said}");
    assert_says(&said, &["profiles.alpha is -3"]);
}

#[test]
fn one_bad_pin_among_many_keeps_the_old_version() {
    let world = World::built();
    let before = version_directory(&world.path("catalog"));
    let mut pins: Vec<Pin> = common::pins();
    pins[300].embedding = vec![0.0; common::DIMENSION];
    common::files::pins(&world.path("pins.parquet"), &pins);
    let (file, catalog) = (world.path("pins.parquet"), world.path("catalog"));
    let said = refusal(&[
        "catalog",
        "build",
        "--pins",
        path(&file),
        "--out",
        path(&catalog),
    ]);
    assert_says(&said, &["row 300: pin 300: the embedding is all zero"]);
    assert_eq!(version_directory(&catalog), before);
}
