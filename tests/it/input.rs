//! Input as warehouses have it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::common::files::{columns, ids, texts};
use crate::common::process::{command, output, path, refusal, run_command};
use crate::common::{self, World};
use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::{
    ArrayRef, Date32Array, DictionaryArray, Int32Array, LargeListArray, TimestampNanosecondArray,
    UInt32Array,
};
use pinnersage::index::Catalog;
use pinnersage::model::PinId;
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

fn say(command: &mut Command) -> (String, String) {
    let ended = output(command);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (out, err) = (text(ended.stdout), text(ended.stderr));
    assert!(ended.status.success(), "{err}");
    (out, err)
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
}

/// `profiles 0123...`, which names the bytes.
fn version(said: &str) -> String {
    let begin = said.find("profiles ").expect("a version");
    said[begin..]
        .split(' ')
        .nth(1)
        .expect("a version")
        .to_owned()
}

#[test]
fn folders_of_a_warehouse_are_columns() {
    let world = World::with_catalog();
    let mut parts: [Vec<common::Action>; 2] = [Vec::new(), Vec::new()];
    for action in common::actions() {
        parts[usize::from(action.name == "click")].push(action);
    }
    let expected = run_command(&mut profiles_build(&world, &["actions.parquet"]));
    for (name, part) in ["save", "click"].into_iter().zip(&parts) {
        let folder = world.path(&format!("events/dt=2026-03-01/action={name}"));
        fs::create_dir_all(&folder).expect("a folder");
        write_without_names(&folder.join("part-0.parquet"), part);
        fs::write(folder.join("_SUCCESS"), "").expect("a file");
    }
    fs::write(world.path("events/notes.txt"), "").expect("a file");
    let mut build = profiles_build(&world, &["events"]);
    let (said, noted) = say(&mut build);
    assert_eq!(version(&said), version(&expected));
    assert_says(&noted, &["events: 1 files that are neither", "notes.txt"]);
    assert!(!noted.contains("no column action"), "{noted}");
    let (said, _) = say(&mut profiles_build(
        &world,
        &["events/*/action=*/*.parquet"],
    ));
    assert_eq!(version(&said), version(&expected));

    // Without the folder they are saves, and the command says so.
    write_without_names(&world.path("unnamed.parquet"), &parts[1]);
    let (_, noted) = say(&mut profiles_build(&world, &["unnamed.parquet"]));
    let note = "1 of 1 files have no column action: all their rows count as save";
    assert_says(&noted, &[note]);

    let folder = world.path("wrong/action=save");
    fs::create_dir_all(&folder).expect("a folder");
    common::files::actions(&folder.join("part-0.parquet"), &parts[1]);
    let said = refusal(&mut profiles_build(&world, &["wrong"]));
    assert_says(
        &said,
        &[
            "part-0.parquet: row 0: action is another one",
            "action=save",
        ],
    );
    fs::create_dir(world.path("empty")).expect("a folder");
    let said = refusal(&mut profiles_build(&world, &["empty"]));
    assert_says(&said, &["empty: no .parquet, .csv or .jsonl file"]);
}

/// Actions without their names.
fn write_without_names(path: &Path, actions: &[common::Action]) {
    let named: Vec<(&str, ArrayRef)> = vec![
        ("user_id", ids(actions.iter().map(|action| action.user))),
        ("pin_id", ids(actions.iter().map(|action| action.pin))),
        ("time", ids(actions.iter().map(|action| action.time))),
    ];
    columns(path, named);
}

#[test]
fn text_files_say_the_same_as_parquet() {
    let world = World::with_catalog();
    // Ids that no double can hold.
    let first = (1 << 60) + 1;
    let mut actions = common::actions();
    actions.iter_mut().for_each(|action| action.user += first);
    common::files::actions(&world.path("large.parquet"), &actions);
    let expected = version(&run_command(&mut profiles_build(
        &world,
        &["large.parquet"],
    )));
    let (mut csv, mut json) = (
        "time,\"user_id\",action,note,pin_id\r\n".to_owned(),
        String::new(),
    );
    for (row, action) in actions.iter().enumerate() {
        let common::Action {
            user,
            pin,
            time,
            name,
        } = action;
        let seconds = pinnersage::model::Timestamp::from_seconds(*time).expect("a time");
        // A file without a column, and one that has it in some rows, mean the same.
        let action = if *name == "save" { "" } else { name };
        csv.push_str(&format!(
            "{seconds},{user},{action},\"a, \"\"b\"\"\",{pin}\r\n"
        ));
        let action = if *name == "save" {
            String::new()
        } else {
            format!(", \"action\": \"{name}\"")
        };
        let user = if row % 2 == 0 {
            user.to_string()
        } else {
            format!("\"{user}\"")
        };
        json.push_str(&format!(
            "{{\"user_id\": {user}, \"pin_id\": {pin}, \"time\": {time}{action}}}\n"
        ));
    }
    fs::write(world.path("actions.csv"), csv).expect("a file");
    fs::write(world.path("actions.jsonl"), json).expect("a file");
    for name in ["actions.csv", "actions.jsonl"] {
        let said = run_command(&mut profiles_build(&world, &[name]));
        assert_eq!(version(&said), expected, "{name}");
    }
}

#[test]
fn bad_rows_are_left_out_up_to_a_limit_and_listed() {
    let world = World::with_catalog();
    let good = "1,1,2026-02-01T00:00:00Z\n".repeat(3);
    let bad = "1,x,2026-02-01T00:00:00Z\n1,2,2026-02-01T00:00:00\n1,2\n-1,2,2026-02-01\n";
    fs::write(
        world.path("a.csv"),
        format!("user_id,pin_id,time\n{good}{bad}"),
    )
    .expect("a file");
    let report = world.path("bad.csv");
    let mut build = profiles_build(&world, &["a.csv"]);
    build.args(["--bad-rows", path(&report)]);
    let said = refusal(build.args(["--max-bad-rows", "3"]));
    assert_says(
        &said,
        &["4 bad rows, where at most 3 may be left out (rows count from 0)"],
    );
    let listed = fs::read_to_string(&report).expect("a report");
    let expected = [
        "file,row,reason",
        "a.csv,3,\"pin_id \"\"x\"\" is no whole number\"",
        "a.csv,4,\"time \"\"2026-02-01T00:00:00\"\" has no zone: write 2026-02-01T00:00:00Z\"",
        "a.csv,5,2 fields where the header has 3",
        "a.csv,6,user_id is negative",
    ];
    let listed: Vec<&str> = listed.lines().collect();
    assert_eq!(listed.len(), expected.len(), "{listed:?}");
    for (line, expected) in listed.iter().zip(expected) {
        assert!(line.ends_with(expected), "{line}");
    }

    let mut build = profiles_build(&world, &["a.csv"]);
    let (said, noted) = say(build.args(["--max-bad-rows", "4"]));
    assert_says(
        &said,
        &[
            "  7 actions read",
            "  4 left out: bad rows",
            "  1 clustered",
        ],
    );
    assert_says(
        &noted,
        &[
            "4 bad rows are left out (rows count from 0)",
            "row 5: 2 fields",
        ],
    );
}

#[test]
fn harmless_types_are_taken() {
    let world = World::files();
    let pins = common::pins();
    let build = |file: &str| {
        let mut build = command(["catalog", "build", "--pins"]);
        build
            .arg(world.path(file))
            .args(["--out", path(&world.path("catalog"))]);
        say(&mut build).0
    };
    let expected = build("pins.parquet");
    let lists =
        |pin: &common::Pin| Some(pin.embedding.iter().map(|&x| Some(f64::from(x))).collect());
    let lists: Vec<Option<Vec<Option<f64>>>> = pins.iter().map(lists).collect();
    let titles: DictionaryArray<Int32Type> = pins.iter().map(|pin| pin.title.as_str()).collect();
    let named: Vec<(&str, ArrayRef)> = vec![
        (
            "pin_id",
            Arc::new(UInt32Array::from_iter_values(
                pins.iter().map(|pin| pin.id as u32),
            )),
        ),
        (
            "embedding",
            Arc::new(LargeListArray::from_iter_primitive::<Float64Type, _, _>(
                lists,
            )),
        ),
        ("title", Arc::new(titles)),
        ("quality", Arc::new(Int32Array::from(vec![3; pins.len()]))),
    ];
    columns(&world.path("wide.parquet"), named);
    assert_eq!(build("wide.parquet"), expected);
    let mut json = String::new();
    for pin in &pins {
        let line = serde_json::json!({
            "pin_id": pin.id, "embedding": pin.embedding, "title": pin.title,
        });
        json.push_str(&format!("{line}\n"));
    }
    fs::write(world.path("pins.jsonl"), json).expect("a file");
    assert_eq!(build("pins.jsonl"), expected);

    let actions = common::actions();
    let days: Date32Array = actions
        .iter()
        .map(|action| Some((action.time / 86_400) as i32))
        .collect();
    let names: DictionaryArray<Int32Type> = actions.iter().map(|action| action.name).collect();
    let small = |ids: Vec<i64>| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(
            ids.into_iter().map(|id| id as i32),
        ))
    };
    let named: Vec<(&str, ArrayRef)> = vec![
        (
            "user_id",
            small(actions.iter().map(|action| action.user).collect()),
        ),
        (
            "pin_id",
            small(actions.iter().map(|action| action.pin).collect()),
        ),
        ("time", Arc::new(days)),
        ("action", Arc::new(names)),
    ];
    columns(&world.path("days.parquet"), named);
    let said = run_command(&mut profiles_build(&world, &["days.parquet"]));
    assert_says(&said, &["40 users"]);
}

#[test]
fn times_of_the_wrong_unit_are_refused_or_hinted_at() {
    let world = World::with_catalog();
    let write = |time: ArrayRef| {
        let named = vec![("user_id", ids([1])), ("pin_id", ids([1])), ("time", time)];
        columns(&world.path("a.parquet"), named);
        refusal(&mut profiles_build(&world, &["a.parquet"]))
    };
    let said = write(ids([1_770_000_000_000]));
    assert_says(
        &said,
        &[
            "row 0: time 1770000000000 is too large",
            "looks like milliseconds",
        ],
    );
    let as_nanoseconds = TimestampNanosecondArray::from(vec![1_770_000_000]);
    let said = write(Arc::new(as_nanoseconds));
    assert_says(
        &said,
        &["note: all actions are in the year 1970", "unit=\"s\""],
    );
}

#[test]
fn a_long_title_is_cut_and_counted() {
    let world = World::files();
    let mut pins = common::pins();
    pins[0].title = "茶".repeat(1_000);
    common::files::pins(&world.path("pins.parquet"), &pins);
    let mut build = command(["catalog", "build", "--pins"]);
    build
        .arg(world.path("pins.parquet"))
        .args(["--out", path(&world.path("catalog"))]);
    assert_says(&say(&mut build).0, &["  1 titles cut to 1024 bytes"]);
    let catalog = Catalog::open(&world.path("catalog")).expect("a catalog");
    assert_eq!(catalog.pins.title(PinId(0)), "茶".repeat(341));
}
