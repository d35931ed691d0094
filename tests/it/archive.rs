//! The archive, and export and import: each action once, whatever happens.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::files::{self, archive_files, archived, read_actions};
use crate::common::process::{command, failure, output, path, run, run_command};
use crate::common::server::{NOW, Server, ask, http_get, recommend, save};
use crate::common::wait::{PATIENCE, wait_until};
use crate::common::{self, World};
use pinnersage::model::Action;
use pinnersage::snapshot::versions;
use pinnersage::wire::v1;
use pinnersage::wire::v1::ActionStatus;

const SELDOM: Duration = Duration::from_secs(3_600);
const OFTEN: Duration = Duration::from_millis(10);
/// A user without a profile.
const STRANGER: u64 = 1_000;

fn actions(numbers: std::ops::Range<u64>) -> Vec<v1::Action> {
    let action = |number: u64| v1::Action {
        medoid_pin_id: number.is_multiple_of(2).then_some(number % 7),
        ..save(
            number.into(),
            STRANGER + number % 3,
            number % 500,
            NOW - number as i64,
        )
    };
    numbers.map(action).collect()
}

async fn record(server: &Server, actions: Vec<v1::Action>) {
    let count = actions.len();
    let request = v1::RecordActionsRequest { actions };
    let answer = server.action_client().await.record_actions(request).await;
    let answer = answer.expect("an answer").into_inner();
    assert_eq!(answer.results, vec![ActionStatus::Accepted as i32; count]);
}

/// Whether `found` are the actions with these numbers, each once.
#[track_caller]
fn assert_are(found: &[Action], numbers: std::ops::Range<u64>) {
    let expected: Vec<_> = actions(numbers)
        .into_iter()
        .map(|action| {
            let medoid = action.medoid_pin_id;
            (action.action_id, action.user_id, action.pin_id, medoid)
        })
        .collect();
    let found: Vec<_> = found
        .iter()
        .map(|action| {
            let medoid = action.medoid.map(|pin| pin.0);
            (
                action.id.0.to_vec(),
                Some(action.user.0),
                Some(action.pin.0),
                medoid,
            )
        })
        .collect();
    assert_eq!(found, expected);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[tokio::test]
async fn each_action_is_in_one_file_also_after_a_crash_between_file_and_mark() {
    let world = World::built();
    let archive = world.path("archive");
    // What is there before the archive is switched on goes into it.
    let server = Server::start_recording(&world).await;
    record(&server, actions(0..10)).await;
    server.stop().await.expect("a clean end");
    copy(&world.path("data"), &world.path("before"));

    let server = Server::start_archiving(&world, SELDOM).await;
    record(&server, actions(10..20)).await;
    // A clean end writes the rest.
    server.stop().await.expect("a clean end");
    let written = archive_files(&archive);
    assert_are(&read_actions(&written), 0..20);
    let name = written[0].strip_prefix(&archive).expect("below it");
    assert!(
        name.starts_with("date=2027-01-15/hour=08"),
        "{}",
        name.display()
    );

    // The files were written, but the log does not know: only their names tell. The
    // log is even older than they are, as one that came back from a backup.
    fs::remove_dir_all(world.path("data")).expect("a directory");
    copy(&world.path("before"), &world.path("data"));
    let hour = written[0].parent().expect("an hour").to_owned();
    let store = written[0]
        .file_name()
        .expect("a name")
        .to_str()
        .expect("a name");
    let left = hour.join(format!(".{store}-1"));
    fs::write(&left, "half a file").expect("a file");
    let server = Server::start_archiving(&world, SELDOM).await;
    record(&server, actions(20..30)).await;
    server.stop().await.expect("a clean end");
    assert_are(&archived(&archive), 0..30);
    assert!(!left.exists(), "what a killed server has left goes");
}

#[tokio::test]
async fn a_failing_archive_is_tried_again_and_recording_goes_on() {
    let world = World::built();
    let archive = world.path("archive");
    fs::write(&archive, "in the way").expect("a file");
    let server = Server::start_archiving(&world, OFTEN).await;
    record(&server, actions(0..10)).await;
    let ops = server.ops.to_string();
    wait_until("a failure", PATIENCE, async || {
        let page = http_get(&ops, "/metrics").await;
        page.contains("\npinnersage_archive_waiting 10\n")
            && page.contains("\npinnersage_archive_failures_total ")
    })
    .await;
    fs::remove_file(&archive).expect("a file");
    wait_until("the archive", PATIENCE, async || {
        let page = http_get(&ops, "/metrics").await;
        page.contains("\npinnersage_archive_waiting 0\n")
    })
    .await;
    assert_are(&archived(&archive), 0..10);
    server.stop().await.expect("a clean end");
    assert_are(&archived(&archive), 0..10);
}

/// The numbers of the status lines that an import printed.
fn statuses(printed: &str) -> BTreeMap<String, u64> {
    let status = |line: &str| {
        let (count, status) = line.trim().split_once(' ').expect("a count");
        (status.to_owned(), count.parse().expect("a count"))
    };
    printed.lines().map(status).collect()
}

/// Runs the program while servers of this process answer it.
async fn run_beside(arguments: Vec<String>) -> String {
    let ran = tokio::task::spawn_blocking(move || run(arguments)).await;
    ran.expect("no panic")
}

fn export(server: &Server, out: &Path) -> Vec<String> {
    let url = server.url();
    let words = ["actions", "export", "--server", &url, "--out", path(out)];
    words.map(str::to_owned).into()
}

fn import(server: &Server, file: &Path) -> Vec<String> {
    let url = server.url();
    let words = ["actions", "import", "--server", &url, path(file)];
    words.map(str::to_owned).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_on_where_it_stopped_and_its_import_counts_once() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    record(&server, actions(0..700)).await;
    let out = world.path("out.parquet");
    run_beside(export(&server, &out)).await;
    assert_are(&read_actions(std::slice::from_ref(&out)), 0..700);

    // An export that stopped there has left its parts.
    let request = v1::ExportActionsRequest { from_sequence: 700 };
    let answer = server.admin_client().await.export_actions(request).await;
    let mut messages = answer.expect("an answer").into_inner();
    let first = messages
        .message()
        .await
        .expect("a message")
        .expect("a message");
    let parts = world.path("out.parquet.parts");
    fs::create_dir(&parts).expect("a directory");
    let part = parts.join(format!(
        "{:016x}-1-{}.parquet",
        first.store_id, first.last_sequence
    ));
    fs::rename(&out, part).expect("a part");
    record(&server, actions(700..1_600)).await;
    let said = run_beside(export(&server, &out)).await;
    assert!(said.starts_with("900 actions fetched"), "{said}");
    assert!(said.contains("--from-sequence 1601"), "{said}");
    assert!(!parts.exists());
    assert_are(&read_actions(std::slice::from_ref(&out)), 0..1_600);
    server.stop().await.expect("a clean end");

    fs::rename(world.path("data"), world.path("lost")).expect("a loss");
    let server = Server::start_recording(&world).await;
    for expected in ["ACCEPTED", "DUPLICATE"] {
        let said = run_beside(import(&server, &out)).await;
        let expected = BTreeMap::from([(expected.to_owned(), 1_600)]);
        assert_eq!(statuses(&said), expected);
    }
    let again = world.path("again.parquet");
    run_beside(export(&server, &again)).await;
    assert_are(&read_actions(&[again]), 0..1_600);
    server.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_takes_any_age_and_otherwise_checks_as_recording_does() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let file = world.path("old.parquet");
    let year = 365 * 86_400;
    let old = |pin, time, name| common::Action {
        user: STRANGER as i64,
        pin,
        time,
        name,
    };
    let rows = [
        old(1, NOW - year, "save"),
        old(2, NOW - year, "hide"),
        old(3, NOW - year, "no-such-name"),
        old(1_000_000, NOW, "save"),
        old(4, NOW + year, "save"),
    ];
    files::actions(&file, &rows);
    let arguments = import(&server, &file);
    let imported = tokio::task::spawn_blocking(move || output(&mut command(arguments)));
    let output = imported.await.expect("no panic");
    assert!(!output.status.success());
    let printed = String::from_utf8(output.stdout).expect("a text");
    let expected = [
        ("ACCEPTED", 2),
        ("IN_FUTURE", 1),
        ("UNKNOWN_ACTION", 1),
        ("UNKNOWN_PIN", 1),
    ];
    let expected = expected.map(|(status, count)| (status.to_owned(), count));
    assert_eq!(statuses(&printed), expected.into());
    // The save is too old to count, and the hidden pin stays away.
    let mut client = server.client().await;
    let request = v1::RecommendRequest {
        limit: 600,
        ..ask(STRANGER)
    };
    let answer = recommend(&mut client, request).await;
    assert_eq!(answer.fallback_reason(), v1::FallbackReason::UnknownUser);
    assert!(
        answer
            .candidates
            .iter()
            .all(|candidate| candidate.pin_id != 2)
    );
    server.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nightly_job_builds_from_the_archive_and_removes_old_versions() {
    let world = World::built();
    let archive = world.path("archive");
    let daily = |as_of: &str| {
        let mut command = command(["daily", "--archive", path(&archive)]);
        command
            .args(["--catalog", path(&world.path("catalog"))])
            .args(["--out", path(&world.path("profiles"))])
            .args(["--as-of", as_of, "--allow-future-as-of", "--keep", "2"]);
        command
    };
    fs::create_dir(&archive).expect("a directory");
    let (code, said) = failure(&mut daily("2027-01-16"));
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("has no actions yet"), "{said}");

    let server = Server::start_archiving(&world, SELDOM).await;
    record(&server, actions(0..60)).await;
    server.stop().await.expect("a clean end");
    for as_of in ["2027-01-16", "2027-01-17"] {
        let said = run_command(&mut daily(as_of));
        assert!(said.contains("60 actions read"), "{said}");
        assert!(said.contains("3 users"), "{said}");
    }
    assert_eq!(
        versions(&world.path("profiles")).expect("versions").len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nightly_job_keeps_profiles_that_are_pinned() {
    let world = World::built();
    let (data, profiles) = (world.path("data"), world.path("profiles"));
    let published = || {
        let published = common::version_directory(&profiles);
        let name = published.file_name().and_then(|name| name.to_str());
        name.expect("a version").to_owned()
    };
    let daily = |as_of: &str, data: &Path| {
        let mut command = command(["daily", "--archive", path(&world.path("archive"))]);
        command
            .args(["--catalog", path(&world.path("catalog"))])
            .args(["--out", path(&profiles), "--data", path(data)])
            .args(["--as-of", as_of, "--allow-future-as-of", "--keep", "2"]);
        command
    };
    let first = published();
    let server = Server::start_archiving(&world, SELDOM).await;
    record(&server, actions(0..60)).await;
    let request = v1::LoadVersionsRequest {
        versions: Some(v1::Versions {
            catalog_version: String::new(),
            profile_version: first.clone(),
        }),
    };
    let pinned = server.admin_client().await.load_versions(request).await;
    pinned.expect("pinned versions");
    server.stop().await.expect("a clean end");

    let (_, said) = failure(&mut daily("2027-01-16", Path::new("no-such-data")));
    assert!(said.contains("no-such-data: there is no"), "{said}");
    let mut expected = vec![first];
    for as_of in ["2027-01-16", "2027-01-17", "2027-01-18"] {
        run_command(&mut daily(as_of, &data));
        expected.push(published());
    }
    // The pinned one, and the newest two.
    expected.remove(1);
    expected.sort();
    assert_eq!(versions(&profiles).expect("versions"), expected);
}
