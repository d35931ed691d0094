//! Pins that are called by strings and users that are called by UUIDs, from the files of a
//! warehouse to answers, and from recorded actions back to files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use pinnersage::archive::read_rows;
use pinnersage::model::{PinId, Timestamp, UserId};
use pinnersage::store::ProfilesReader;
use pinnersage::wire::v1;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;

use crate::common::files::{archived, columns, ids, texts, vectors};
use crate::common::process::{
    Process, command, output, path, refusal, run, run_command, serve_command,
};
use crate::common::server::{Client, recommend};
use crate::common::strings::{self, pin_key, user_key, world, write_actions};
use crate::common::{self, Action, World};

/// Two keys of one hash, as in `src/model/ids.rs`.
const SAME_HASH: [&str; 2] = ["5acafa86498ffdd1", "0e99eef78e21102b"];

fn build_catalog(world: &World) -> String {
    run([
        "catalog",
        "build",
        "--pins",
        path(&world.path("pins.parquet")),
        "--out",
        path(&world.path("catalog")),
    ])
}

fn profiles_build(world: &World, actions: &str) -> Command {
    let mut command = command(["profiles", "build", "--actions"]);
    command
        .arg(world.path(actions))
        .args(["--catalog", path(&world.path("catalog"))])
        .args(["--out", path(&world.path("profiles"))])
        .args(["--as-of", common::AS_OF]);
    command
}

/// The version that a build says it has built.
fn version(said: &str) -> String {
    let line = said.lines().find(|line| line.starts_with("profiles "));
    let version = line.and_then(|line| line.split(' ').nth(1));
    version.expect("a version").to_owned()
}

fn ask(user: i64) -> v1::RecommendRequest {
    v1::RecommendRequest {
        user_key: Some(user_key(user)),
        seed: Some(7),
        limit: 50,
        ..Default::default()
    }
}

async fn client(process: &Process) -> Client {
    RecommendationServiceClient::new(process.channel().await)
}

fn candidates(answer: &v1::RecommendResponse) -> Vec<&str> {
    let candidates = answer.candidates.iter();
    candidates.map(|one| one.pin_key.as_str()).collect()
}

#[tokio::test]
async fn strings_go_from_files_to_answers_and_back() {
    let world = world();
    assert!(build_catalog(&world).contains("pins indexed, called by strings"));
    let said = run_command(&mut profiles_build(&world, "actions.parquet"));
    assert!(said.contains(" users, called by strings, "), "{said}");
    let archive = world.path("archive");
    let mut serve = serve_command(&world);
    serve
        .args(["--data", path(&world.path("data"))])
        .env("PINNERSAGE__ACTIONS__ARCHIVE", &archive);
    let process = Process::start(&mut serve);
    let mut client = client(&process).await;

    // A key and its hash are one user, and each pin comes with its key.
    let answer = recommend(&mut client, ask(1)).await;
    let by_id = v1::RecommendRequest {
        user_id: Some(UserId::of_key(&user_key(1)).0),
        user_key: None,
        ..ask(1)
    };
    assert_eq!(recommend(&mut client, by_id).await, answer);
    assert_eq!(answer.candidates.len(), 50);
    assert_eq!(answer.fallback_reason, 0);
    for one in &answer.candidates {
        assert_eq!(PinId::of_key(&one.pin_key).0, one.pin_id);
    }
    let first = candidates(&answer)[0].to_owned();
    let excluding = v1::RecommendRequest {
        exclude_pin_keys: vec![first.clone()],
        ..ask(1)
    };
    let excluded = recommend(&mut client, excluding).await;
    assert!(!candidates(&excluded).contains(&first.as_str()));

    // What a user does counts at once, and goes into the archive with its keys.
    let user = user_key(1);
    let server = ["--server", &process.url];
    let hide = [
        "record",
        "--action",
        "hide",
        "--user-key",
        &user,
        "--pin-key",
        &first,
    ];
    run(hide.into_iter().chain(server));
    assert!(!candidates(&recommend(&mut client, ask(1)).await).contains(&first.as_str()));
    let export = world.path("export.parquet");
    run(["actions", "export", "--out", path(&export)]
        .into_iter()
        .chain(server));
    process.stop();
    let found = archived(&archive);
    let keys = found[0].keys.as_deref().expect("keys");
    assert_eq!(
        (keys.user.as_deref(), keys.pin.as_deref()),
        (Some(&*user), Some(&*first))
    );
    assert_eq!(common::files::read_actions(&[export]), found);

    // A batch over the warehouse and the archive knows one user, who hid the pin.
    fs::create_dir(world.path("all")).expect("a directory");
    fs::rename(&archive, world.path("all/archive")).expect("an archive");
    fs::rename(world.path("actions.parquet"), world.path("all/a.parquet")).expect("actions");
    let users = users_of(&world).len();
    let mut build = command(["profiles", "build", "--allow-future-as-of", "--actions"]);
    build
        .arg(world.path("all"))
        .args(["--catalog", path(&world.path("catalog"))])
        .args(["--out", path(&world.path("profiles"))])
        .args(["--as-of", "2100-01-01", "--window-days", "100000"]);
    run_command(&mut build);
    let profiles = users_of(&world);
    assert_eq!(profiles.len(), users);
    assert_eq!(profiles[&user], [PinId::of_key(&first)]);
}

/// The hidden pins of each user with a profile.
fn users_of(world: &World) -> BTreeMap<String, Vec<PinId>> {
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let users = profiles.iter().enumerate();
    users
        .map(|(position, (user, profile))| {
            let key = profiles.key(position).expect("a key").to_owned();
            assert_eq!(UserId::of_key(&key), user);
            (key, profile.hidden.to_vec())
        })
        .collect()
}

#[test]
fn every_spelling_of_one_input_gives_one_version() {
    let world = world();
    build_catalog(&world);
    let expected = version(&run_command(&mut profiles_build(&world, "actions.parquet")));
    let actions = common::actions();
    let users: Vec<String> = actions.iter().map(|action| user_key(action.user)).collect();
    let users = texts(users.iter().map(String::as_str));
    write_actions(&world.path("strings.parquet"), users);
    let line = |action: &Action| {
        let (user, pin) = (user_key(action.user), pin_key(action.pin));
        format!("{user},{pin},{}\n", action.time)
    };
    let csv: String = actions.iter().map(line).collect();
    fs::write(world.path("a.csv"), format!("user_id,pin_id,time\n{csv}")).expect("a file");
    let line = |action: &Action| {
        let (user, pin) = (user_key(action.user), pin_key(action.pin));
        format!(
            "{{\"user_id\":{user:?},\"pin_id\":{pin:?},\"time\":{}}}\n",
            action.time
        )
    };
    let json: String = actions.iter().map(line).collect();
    fs::write(world.path("a.jsonl"), json).expect("a file");
    for name in ["strings.parquet", "a.csv", "a.jsonl"] {
        let said = run_command(&mut profiles_build(&world, name));
        assert_eq!(version(&said), expected, "{name}");
    }
}

#[test]
fn a_text_file_of_an_archive_has_ids_and_keys_and_names_the_same() {
    let world = world();
    build_catalog(&world);
    let expected = version(&run_command(&mut profiles_build(&world, "actions.parquet")));
    let line = |action: &Action| {
        let (user, pin) = (user_key(action.user), pin_key(action.pin));
        let (user_id, pin_id) = (UserId::of_key(&user), PinId::of_key(&pin));
        let time = action.time;
        format!("{user_id},{pin_id},{time},{user},{pin}\n")
    };
    let csv: String = common::actions().iter().map(line).collect();
    let csv = format!("user_id,pin_id,time,user_key,pin_key\n{csv}");
    fs::write(world.path("a.csv"), &csv).expect("a file");
    for choice in ["auto", "numbers", "strings"] {
        let mut build = profiles_build(&world, "a.csv");
        let said = run_command(build.args(["--text-ids", choice]));
        assert_eq!(version(&said), expected, "{choice}");
    }
    let wrong = csv.replacen("pin/", "pin-", 1);
    fs::write(world.path("a.csv"), wrong).expect("a file");
    let error = refusal(&mut profiles_build(&world, "a.csv"));
    assert!(
        error.contains("row 0: pin_key") && error.contains("is not that of pin_id"),
        "{error}"
    );
}

#[test]
fn strings_of_one_file_make_strings_of_the_numbers_in_another() {
    let world = world();
    build_catalog(&world);
    let day = common::AS_OF.parse::<pinnersage::model::Timestamp>();
    let time = day.expect("a date").micros() / 1_000_000 - 86_400;
    let named = vec![
        ("user_id", texts(["7"])),
        ("pin_id", texts(["pin/1"])),
        ("time", ids([time])),
    ];
    columns(&world.path("a.parquet"), named);
    let rows = "user_id,pin_id,time\n7,pin/2,2026-02-27\n";
    fs::write(world.path("b.csv"), rows).expect("a file");
    let mut build = profiles_build(&world, "a.parquet");
    build.arg("--actions").arg(world.path("b.csv"));
    let said = run_command(&mut build);
    assert!(said.contains("  1 users, called by strings"), "{said}");
    // Numbers by their type stay numbers, and are said to be others.
    let named = vec![
        ("user_id", ids([7])),
        ("pin_id", texts(["pin/3"])),
        ("time", ids([time])),
    ];
    columns(&world.path("c.parquet"), named);
    let ended = output(build.arg(world.path("c.parquet")));
    let said = String::from_utf8(ended.stdout).expect("UTF-8");
    assert!(said.contains("  2 users, called by strings"), "{said}");
    let notes = String::from_utf8(ended.stderr).expect("UTF-8");
    let expected = "1 files have numbers in user_id, and 2 have strings";
    assert!(notes.contains(expected), "{notes}");
}

#[test]
fn numbers_of_a_text_file_stay_numbers_unless_they_are_said_to_be_strings() {
    let world = world();
    build_catalog(&world);
    let rows = "user_id,pin_id,time\n7,pin/1,2026-02-27\n007,pin/2,2026-02-28\n";
    fs::write(world.path("a.csv"), rows).expect("a file");
    let error = refusal(&mut profiles_build(&world, "a.csv"));
    assert!(error.contains("row 1: user_id \"007\""), "{error}");
    assert!(error.contains("--text-ids strings"), "{error}");
    let said = run_command(profiles_build(&world, "a.csv").args(["--text-ids", "strings"]));
    assert!(said.contains("  2 users, called by strings"), "{said}");
}

#[test]
fn two_keys_of_one_hash_are_refused_by_name() {
    let world = world();
    build_catalog(&world);
    assert_eq!(UserId::of_key(SAME_HASH[0]), UserId::of_key(SAME_HASH[1]));
    let assert_names_both = |error: &str| {
        assert!(error.contains("the same hash"), "{error}");
        assert!(SAME_HASH.iter().all(|key| error.contains(key)), "{error}");
    };
    let named = |users: [&str; 2], pins: [&str; 2]| {
        let day = common::AS_OF.parse::<Timestamp>();
        let time = day.expect("a date").micros() / 1_000_000 - 86_400;
        vec![
            ("user_id", texts(users)),
            ("pin_id", texts(pins)),
            ("time", ids([time; 2])),
        ]
    };
    let users = named(SAME_HASH, ["pin/1", "pin/2"]);
    columns(&world.path("users.parquet"), users);
    assert_names_both(&refusal(&mut profiles_build(&world, "users.parquet")));

    let vector = [1.0; common::DIMENSION];
    let pins = vec![
        ("pin_id", texts(SAME_HASH)),
        ("embedding", vectors([&vector[..], &vector[..]])),
    ];
    columns(&world.path("pins.parquet"), pins);
    let mut build = command(["catalog", "build", "--pins"]);
    build.arg(world.path("pins.parquet"));
    build.args(["--out", path(&world.path("other"))]);
    assert_names_both(&refusal(&mut build));

    // An action on a pin that has the hash of another one.
    let pins = vec![
        ("pin_id", texts([SAME_HASH[0]])),
        ("embedding", vectors([&vector[..]])),
    ];
    columns(&world.path("pins.parquet"), pins);
    build_catalog(&world);
    let actions = named(["ann", "bob"], SAME_HASH);
    columns(&world.path("pins-of-actions.parquet"), actions);
    assert_names_both(&refusal(&mut profiles_build(
        &world,
        "pins-of-actions.parquet",
    )));
}

#[test]
fn strings_and_numbers_do_not_mix() {
    let world = world();
    build_catalog(&world);
    let numbers = World::files();
    let mut build = command(["catalog", "build", "--pins"]);
    build
        .args([numbers.path("pins.parquet"), world.path("pins.parquet")])
        .args(["--out", path(&world.path("other"))]);
    let error = refusal(&mut build);
    assert!(
        error.contains("pin_id is Utf8, where it should be an integer"),
        "{error}"
    );
    numbers.build_catalog("catalog", common::EMBEDDING_VERSION);
    fs::copy(
        world.path("actions.parquet"),
        numbers.path("strings.parquet"),
    )
    .expect("a copy");
    let error = refusal(&mut profiles_build(&numbers, "strings.parquet"));
    assert!(
        error.contains("pin_id is Utf8, where it should be an integer"),
        "{error}"
    );
}

/// Keys of medoids and of hidden pins in exported profiles, by the keys of their users.
fn exported_keys(batch: &RecordBatch) -> BTreeMap<String, [Vec<Option<String>>; 2]> {
    let column = |name| batch.column_by_name(name).expect("a column of keys");
    let users = column("user_key").as_string::<i32>().iter();
    let lists = ["medoid_pin_keys", "hidden_pin_keys"].map(|name| column(name).as_list::<i32>());
    let rows = users.enumerate().map(|(row, user)| {
        let keys = lists.map(|list| {
            let keys = list.value(row);
            let keys = keys.as_string::<i32>().iter();
            keys.map(|key| key.map(str::to_owned)).collect()
        });
        (user.expect("a key").to_owned(), keys)
    });
    rows.collect()
}

#[test]
fn exported_profiles_have_the_keys_that_the_catalog_has() {
    let world = world();
    build_catalog(&world);
    let day = common::AS_OF.parse::<Timestamp>().expect("a date");
    let time = day.micros() / 1_000_000 - 86_400;
    let named = vec![
        ("user_id", texts(["ann", "ann", "ann", "bob"])),
        ("pin_id", texts(["pin/1", "pin/2", "pin/402", "pin/401"])),
        ("time", ids([time; 4])),
        ("action", texts(["save", "hide", "hide", "save"])),
    ];
    columns(&world.path("two.parquet"), named);
    run_command(&mut profiles_build(&world, "two.parquet"));
    // The catalog of the export lacks some of the pins.
    strings::write_pins(&world.path("pins.parquet"), &common::pins()[..300]);
    build_catalog(&world);
    let out = world.path("profiles.parquet");
    let (profiles, catalog) = (world.path("profiles"), world.path("catalog"));
    let export = ["profiles", "export", "--profiles", path(&profiles)];
    let to = ["--out", path(&out), "--catalog", path(&catalog)];
    run(export.into_iter().chain(to));
    let mut rows = read_rows(&out).expect("a file");
    let batch = rows.next().expect("a batch").expect("rows");
    let mut hidden = [("pin/2", true), ("pin/402", false)];
    hidden.sort_by_key(|(key, _)| PinId::of_key(key));
    let hidden = hidden.map(|(key, is_there)| is_there.then(|| key.to_owned()));
    let ann = [vec![Some("pin/1".to_owned())], hidden.to_vec()];
    let bob = [vec![None], vec![]];
    let expected = [("ann".to_owned(), ann), ("bob".to_owned(), bob)];
    assert_eq!(exported_keys(&batch), expected.into());

    // Without a catalog, users alone have keys.
    run(export.into_iter().chain(["--out", path(&out)]));
    let mut rows = read_rows(&out).expect("a file");
    let schema = rows.next().expect("a batch").expect("rows").schema();
    assert!(schema.column_with_name("user_key").is_some());
    assert!(schema.column_with_name("medoid_pin_keys").is_none());
}

/// Starts a server of `world` that keeps what it records in `data`, and waits for its
/// warning, where there is one, before it is ready.
fn serve_recording(world: &World, data: &Path, warning: Option<&str>) -> Process {
    let mut command = serve_command(world);
    let mut process = Process::start_loading(command.args(["--data", path(data)]));
    if let Some(warning) = warning {
        let fields = process.wait_for(warning);
        assert_eq!(fields["pins"], 1);
    }
    process.wait_for("ready");
    process
}

#[test]
fn pins_upserted_by_strings_go_into_the_next_catalog_and_those_by_numbers_do_not() {
    let vector = vec![1.0; common::DIMENSION];
    let numbers = World::built();
    let data = numbers.path("data");
    let file = numbers.path("changed.parquet");
    let changed = common::Pin {
        id: 10_000,
        embedding: vector.clone(),
        title: "of before".to_owned(),
    };
    common::files::pins(&file, &[changed]);
    let process = serve_recording(&numbers, &data, None);
    let ask = |process: &Process, arguments: &[&str]| {
        let server = ["--server", &process.url];
        run(arguments.iter().copied().chain(server))
    };
    ask(&process, &["pins", "upsert", path(&file)]);
    process.stop();

    // The next catalog calls pins by strings.
    let world = strings::built();
    let warning = "upserted pins are left out: the catalog calls its pins otherwise";
    let process = serve_recording(&world, &data, Some(warning));
    let said = ask(&process, &["pins", "list"]);
    assert_eq!(said, "0 pins upserted, 0 deleted\n");
    let file = world.path("changed.jsonl");
    let line = format!("{{\"pin_id\":\"007\",\"embedding\":{vector:?},\"title\":\"new\"}}\n");
    fs::write(&file, line).expect("a file");
    let upsert = ["pins", "upsert", path(&file), "--text-ids", "strings"];
    let said = ask(&process, &upsert);
    assert!(said.contains("1 pins upserted; 1 pins differ"), "{said}");
    ask(&process, &["pins", "delete", "--pin-key", "pin/3"]);
    let changes = world.path("changes");
    let said = ask(&process, &["catalog", "changes", "--out", path(&changes)]);
    assert!(said.contains("1 pins upserted and 1 deleted"), "{said}");
    process.stop();

    let (pins, catalog) = (world.path("pins.parquet"), world.path("catalog"));
    let build = ["catalog", "build", "--pins", path(&pins), "--changes"];
    let to = [path(&changes), "--out", path(&catalog)];
    let version = ["--embedding-version", common::EMBEDDING_VERSION];
    let said = run(build.into_iter().chain(to).chain(version));
    assert!(
        said.contains("1 came or changed on a server, 1 went"),
        "{said}"
    );
    assert!(
        said.contains("600 pins indexed, called by strings"),
        "{said}"
    );
    // What the new catalog has, is no change of it.
    let process = serve_recording(&world, &data, Some(warning));
    let said = ask(&process, &["pins", "list"]);
    assert_eq!(said, "0 pins upserted, 0 deleted\n");
    let record = ["record", "--user-key", "ann", "--pin-key", "007"];
    let said = ask(&process, &record);
    assert!(said.contains("ACCEPTED"), "{said}");
    process.stop();
}
