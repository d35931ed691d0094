//! Erasing a user: gone from memory at once, from the disk when the call returns, and back
//! only by what the user does afterwards.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use pinnersage::archive::{erased_through, files, read_rows};
use pinnersage::durable::Log;
use pinnersage::model::{Timestamp, UserId};
use pinnersage::wire::v1;
use pinnersage::wire::v1::ActionStatus;
use pinnersage::wire::v1::action_service_client::ActionServiceClient;
use pinnersage::wire::v1::admin_service_client::AdminServiceClient;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tonic::Code;
use tonic::transport::Channel;

use crate::common::process::{Process, command, path, refusal, run, run_command, serve_command};
use crate::common::server::{ask, explain, save};
use crate::common::wait::{PATIENCE, wait_until, within};
use crate::common::{self, AS_OF, World};

/// A user without a profile, of such an id that no other bytes are like it.
const USER: u64 = 0x5eed_cafe_f00d_beef;
/// A user with a profile.
const KNOWN: u64 = 1;

/// A server that keeps actions in `data` of the world.
fn start(world: &World) -> Process {
    let mut serve = serve_command(world);
    serve.args(["--data", path(&world.path("data"))]);
    Process::start(&mut serve)
}

/// The same with an archive.
fn serve_archiving(world: &World) -> Command {
    let mut serve = serve_command(world);
    serve
        .args(["--data", path(&world.path("data"))])
        .env("PINNERSAGE__ACTIONS__ARCHIVE", world.path("archive"));
    serve
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_secs() as i64
}

async fn record(process: &Process, actions: Vec<v1::Action>) -> Vec<ActionStatus> {
    let mut client = ActionServiceClient::<Channel>::new(process.channel().await);
    let answer = client
        .record_actions(v1::RecordActionsRequest { actions })
        .await;
    answer.expect("an answer").get_ref().results().collect()
}

async fn recent_actions(process: &Process, user: u64) -> u32 {
    let mut client = RecommendationServiceClient::new(process.channel().await);
    let interests = explain(&mut client, user).await.interests;
    interests
        .iter()
        .map(|interest| interest.recent_actions)
        .sum()
}

/// The answer for `user`, but for what tells the user.
async fn answer(process: &Process, user: u64) -> v1::RecommendResponse {
    let mut client = RecommendationServiceClient::new(process.channel().await);
    let request = v1::RecommendRequest {
        seed: Some(7),
        ..ask(user)
    };
    let answer = client.recommend(request).await;
    answer.expect("an answer").into_inner()
}

async fn erase(process: &Process, user: u64) -> v1::EraseUserResponse {
    let mut client = AdminServiceClient::new(process.channel().await);
    let request = v1::EraseUserRequest {
        user_id: Some(user),
        ..Default::default()
    };
    let erased = client.erase_user(request).await;
    erased.expect("an answer").into_inner()
}

/// Files below `directory` that have `user` in any form.
fn files_with(directory: &Path, user: u64) -> Vec<PathBuf> {
    let forms = [
        user.to_le_bytes().to_vec(),
        user.to_be_bytes().to_vec(),
        user.to_string().into_bytes(),
    ];
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, user));
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file");
        let has = |form: &Vec<u8>| bytes.windows(form.len()).any(|at| at == form);
        if forms.iter().any(has) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn no_file_has_an_erased_user_and_later_actions_count() {
    let world = World::built();
    let process = start(&world);
    let data = world.path("data");
    let before = now() - 60;
    let saves =
        |user: u64| (1..=3).map(move |n| save(u128::from(user) + n, user, n as u64, before));
    let both: Vec<v1::Action> = saves(USER).chain(saves(2_000)).collect();
    let accepted = record(&process, both.clone()).await;
    assert_eq!(accepted, [ActionStatus::Accepted; 6]);
    assert_eq!(recent_actions(&process, USER).await, 3);
    assert!(!files_with(&data, USER).is_empty());

    let user = USER.to_string();
    let said = run([
        "actions",
        "erase",
        "--user",
        &user,
        "--server",
        &process.url,
    ]);
    assert!(said.starts_with("3 recorded actions erased"), "{said}");
    assert_eq!(files_with(&data, USER), [] as [PathBuf; 0]);
    assert_eq!(recent_actions(&process, USER).await, 0);
    assert_eq!(recent_actions(&process, 2_000).await, 3);
    let again = erase(&process, USER).await;
    assert_eq!((again.actions, again.has_profile), (0, false));

    // A feeder that repeats, and the user who comes back.
    let erased = [ActionStatus::Erased; 3];
    assert_eq!(record(&process, both[..3].to_vec()).await, erased);
    let duplicates = [ActionStatus::Duplicate; 3];
    assert_eq!(record(&process, both[3..].to_vec()).await, duplicates);
    process.stop();
    let process = start(&world);
    assert_eq!(files_with(&data, USER), [] as [PathBuf; 0]);
    assert_eq!(record(&process, both[..3].to_vec()).await, erased);
    let later = vec![save(9, USER, 1, now() + 1)];
    assert_eq!(record(&process, later).await, [ActionStatus::Accepted]);
    assert_eq!(recent_actions(&process, USER).await, 1);
    process.stop();
}

#[tokio::test]
async fn nobody_is_erased_by_a_clock_that_is_not_believed_unless_it_is_right() {
    let world = World::built();
    let last_used = Timestamp::from_seconds(now() - 10 * 86_400).expect("a time");
    let (log, _) = Log::open(&world.path("data")).expect("a log");
    log.keep_time(last_used).expect("a write");
    drop(log);
    let process = start(&world);
    let saves = vec![save(1, USER, 1, now() - 60)];
    record(&process, saves).await;
    let user = USER.to_string();
    let erase = [
        "actions",
        "erase",
        "--server",
        &process.url,
        "--user",
        &user,
    ];
    let said = refusal(&mut command(erase));
    let expected = "the log was last used at 2";
    assert!(said.contains(expected), "{said}");
    assert_eq!(recent_actions(&process, USER).await, 1);
    let said = run_command(command(erase).arg("--clock-is-right"));
    assert!(said.starts_with("1 recorded actions erased"), "{said}");
    process.stop();
}

#[tokio::test]
async fn the_profile_of_an_erased_user_is_not_served() {
    let world = World::built();
    let process = start(&world);
    let known = answer(&process, KNOWN).await;
    let stranger = answer(&process, 3_000).await;
    assert_ne!(known.candidates, stranger.candidates);
    assert!(erase(&process, KNOWN).await.has_profile);
    assert_eq!(
        answer(&process, KNOWN).await.candidates,
        stranger.candidates
    );
    process.stop();
    let process = start(&world);
    assert_eq!(
        answer(&process, KNOWN).await.candidates,
        stranger.candidates
    );
    assert_eq!(recent_actions(&process, KNOWN).await, 0);
    process.stop();
}

#[tokio::test]
async fn the_archive_has_an_erased_user_no_more() {
    let world = World::built();
    let archive = world.path("archive");
    let mut serve = serve_archiving(&world);
    let process = Process::start(&mut serve);
    let before = now() - 60;
    let saves = (1..=20).map(|n| {
        let user = if n % 2 == 0 { USER } else { 2_000 };
        save(n, user, n as u64, before)
    });
    record(&process, saves.collect()).await;
    // The rest is archived when the server stops.
    process.stop();
    assert_eq!(archived_users(&archive), [vec![2_000, USER]]);
    let process = Process::start(&mut serve);
    let erased = erase(&process, USER).await;
    assert_eq!((erased.archived_actions, erased.archive_files), (10, 1));
    assert_eq!(archived_users(&archive), [vec![2_000]]);
    let again = erase(&process, USER).await;
    assert_eq!((again.archived_actions, again.archive_files), (0, 0));
    process.stop();
    assert_eq!(archived_users(&archive), [vec![2_000]]);
    assert_eq!(files_with(&archive, USER), [] as [PathBuf; 0]);
}

/// A file of the archive that cannot be read, which is met before all others.
fn damage(archive: &Path) -> PathBuf {
    let hour = archive.join("date=2000-01-01/hour=00");
    std::fs::create_dir_all(&hour).expect("a directory");
    let damaged = hour.join("damaged.parquet");
    std::fs::write(&damaged, "no Parquet").expect("a file");
    damaged
}

async fn fail_to_erase(process: &Process, user: u64) {
    let mut client = AdminServiceClient::new(process.channel().await);
    let request = v1::EraseUserRequest {
        user_id: Some(user),
        ..Default::default()
    };
    let refused = client.erase_user(request).await.expect_err("a failure");
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test]
async fn what_the_archive_could_not_erase_is_erased_by_the_next_call_or_the_next_start() {
    let world = World::built();
    let (data, archive) = (world.path("data"), world.path("archive"));
    let mut serve = serve_archiving(&world);
    // No file is written but at the start and at the end.
    serve.env("PINNERSAGE__ACTIONS__ARCHIVE_EVERY", "1h");
    let process = Process::start(&mut serve);
    let saves = (1..=20).map(|n| save(n, USER + n as u64 % 4, n as u64, now() - 60));
    record(&process, saves.collect()).await;
    process.stop();
    let process = Process::start(&mut serve);
    let users = |users: Range<u64>| [users.map(|user| USER + user).collect::<Vec<_>>()];
    let damaged = damage(&archive);
    fail_to_erase(&process, USER).await;
    assert_eq!(files_with(&data, USER), [] as [PathBuf; 0]);
    assert_eq!(erased_through(&archive).expect("an archive"), [].into());
    std::fs::remove_file(&damaged).expect("a file");
    assert_eq!(archived_users(&archive), users(0..4));
    // Another user's erasure ends that of the first as well.
    let second = erase(&process, USER + 1).await;
    assert_eq!((second.archived_actions, second.archive_files), (10, 1));
    assert_eq!(archived_users(&archive), users(2..4));

    let damaged = damage(&archive);
    fail_to_erase(&process, USER + 2).await;
    process.kill();
    std::fs::remove_file(&damaged).expect("a file");
    let process = Process::start(&mut serve);
    let is_erased = async || archived_users(&archive) == users(3..4);
    wait_until("the erasure from the archive", PATIENCE, is_erased).await;
    for user in USER..USER + 3 {
        assert_eq!(files_with(&data, user), [] as [PathBuf; 0]);
    }
    process.stop();
}

/// Erases until the server is killed, after so many answers to another call.
async fn erase_until_killed(process: Process, user: u64, answers: usize) {
    let mut client = AdminServiceClient::<Channel>::new(process.channel().await);
    let mut eraser = client.clone();
    let erasure = tokio::spawn(async move {
        let request = v1::EraseUserRequest {
            user_id: Some(user),
            ..Default::default()
        };
        eraser.erase_user(request).await
    });
    for _ in 0..answers {
        let status = client.get_status(v1::GetStatusRequest {}).await;
        status.expect("an answer");
    }
    process.kill();
    // It may have ended in time.
    let _ = within("the end of the call", PATIENCE, erasure).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_was_killed_is_ended_by_the_next_start() {
    let world = World::built();
    let (data, archive) = (world.path("data"), world.path("archive"));
    let mut serve = serve_archiving(&world);
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    for round in 0..6 {
        let process = Process::start(&mut serve);
        let user = USER + round;
        let saves = (0..5).map(|n| save(u128::from(round * 5 + n), user, n, now() - 60));
        let saves: Vec<_> = saves.collect();
        record(&process, saves.clone()).await;
        // The actions are archived when the server stops.
        process.stop();
        let process = Process::start(&mut serve);
        erase_until_killed(process, user, rng.random_range(0..20)).await;
        let process = Process::start(&mut serve);
        let answers = record(&process, saves).await;
        if answers == [ActionStatus::Erased; 5] {
            assert_eq!(files_with(&data, user), [] as [PathBuf; 0]);
            let is_erased = async || {
                archived_users(&archive)
                    .iter()
                    .flatten()
                    .all(|&one| one != user)
            };
            wait_until("the erasure from the archive", PATIENCE, is_erased).await;
        } else {
            assert_eq!(answers, [ActionStatus::Duplicate; 5]);
            assert_eq!(recent_actions(&process, user).await, 5);
            erase(&process, user).await;
        }
        process.stop();
        for kept in [&data, &archive] {
            assert_eq!(files_with(kept, user), [] as [PathBuf; 0]);
        }
    }
    assert_eq!(archived_users(&archive).concat(), [] as [u64; 0]);
}

/// Builds profiles from the archive as the command does that is named, as of an hour to come.
fn build_from_archive<const N: usize>(world: &World, hour: i64, arguments: [&str; N]) {
    let as_of = Timestamp::from_seconds(now() + hour * 3_600).expect("a time");
    let mut build = command(arguments);
    build
        .args(["--catalog", path(&world.path("catalog"))])
        .args(["--out", path(&world.path("profiles"))])
        .args(["--as-of", &as_of.to_string(), "--allow-future-as-of"]);
    run_command(&mut build);
}

/// Where the medoids come from that stand for `user`.
async fn origin(process: &Process, user: u64) -> v1::MedoidOrigin {
    let answer = answer(process, user).await;
    answer.medoids.first().expect("a medoid").origin()
}

#[tokio::test]
async fn who_comes_back_has_a_profile_of_the_next_nightly_job_and_no_file_has_the_rest() {
    let world = World::built();
    let (archive, profiles) = (world.path("archive"), world.path("profiles"));
    let nightly = ["daily", "--keep", "2", "--archive", path(&archive)];
    let daily = |hour| build_from_archive(&world, hour, nightly);
    let mut serve = serve_archiving(&world);
    let process = Process::start(&mut serve);
    let saves =
        |number: u128, user| (0..5u128).map(move |n| save(number + n, user, n as u64, now() - 60));
    record(&process, saves(0, USER).chain(saves(10, 2_000)).collect()).await;
    process.stop();
    daily(1);
    assert!(!files_with(&profiles, USER).is_empty());
    let process = Process::start(&mut serve);
    assert_eq!(origin(&process, USER).await, v1::MedoidOrigin::Profile);

    erase(&process, USER).await;
    assert_eq!(origin(&process, USER).await, v1::MedoidOrigin::Popular);
    // One version of before stays for a rollback, until the second build.
    daily(2);
    daily(3);
    for kept in [&world.path("data"), &archive, &profiles] {
        assert_eq!(files_with(kept, USER), [] as [PathBuf; 0]);
    }

    // The time is in seconds, and the next one has not begun before.
    let later = (20..25u128).map(|n| save(n, USER, n as u64, now() + 1));
    let accepted = [ActionStatus::Accepted; 5];
    assert_eq!(record(&process, later.collect()).await, accepted);
    process.stop();
    let build = ["profiles", "build", "--actions", path(&archive)];
    build_from_archive(&world, 4, build);
    let process = Process::start(&mut serve);
    assert_eq!(origin(&process, USER).await, v1::MedoidOrigin::Recent);
    process.stop();
    daily(5);
    let process = Process::start(&mut serve);
    assert_eq!(origin(&process, USER).await, v1::MedoidOrigin::Profile);
    process.stop();
    let mut future = command(build);
    future
        .args(["--catalog", path(&world.path("catalog"))])
        .args(["--out", path(&profiles), "--as-of", "2026-03-01"])
        .args(["--erased-through", "9999-01-01"]);
    assert!(
        refusal(&mut future).contains("--erased-through 9999-01-01T00:00:00Z is in the future")
    );
}

/// Users in each file of the archive, ascending.
fn archived_users(archive: &Path) -> Vec<Vec<u64>> {
    let users = |path: PathBuf| {
        let mut users = BTreeSet::new();
        for rows in read_rows(&path).expect("a file") {
            let rows = rows.expect("rows");
            let column = rows.column_by_name("user_id").expect("a column");
            users.extend(column.as_primitive::<UInt64Type>().values().iter().copied());
        }
        users.into_iter().collect()
    };
    files(archive)
        .expect("an archive")
        .into_iter()
        .map(users)
        .collect()
}

#[test]
fn a_build_leaves_out_the_users_of_a_file_as_if_they_were_not_in_the_input() {
    let world = World::with_catalog();
    let of_key = i64::try_from(UserId::of_key("user-1").0).expect("a small one");
    let (mut all, mut others) = (Vec::new(), Vec::new());
    for mut action in common::actions() {
        if action.user == 2 {
            action.user = of_key;
        }
        if action.user != of_key && action.user != 7 {
            others.push(action.clone());
        }
        all.push(action);
    }
    let erased_rows = all.len() - others.len();
    common::files::actions(&world.path("all.parquet"), &all);
    common::files::actions(&world.path("others.parquet"), &others);
    let list = world.path("erased.txt");
    std::fs::write(&list, "7\n\n{\"user_key\": \"user-1\"}\n").expect("a file");
    let build = |actions: &str, out: &str, more: &[&str]| {
        let mut build = command(["profiles", "build", "--as-of", AS_OF]);
        build
            .args(["--actions", path(&world.path(actions))])
            .args(["--catalog", path(&world.path("catalog"))])
            .args(["--out", path(&world.path(out))])
            .args(more);
        build
    };
    let expected = run_command(&mut build("others.parquet", "expected", &[]));
    assert!(!expected.contains("erased"), "{expected}");
    let said = run_command(&mut build(
        "all.parquet",
        "found",
        &["--erased", path(&list)],
    ));
    let line = format!("{erased_rows} left out: of erased users");
    assert!(said.contains(&line), "{said}");
    let version = |name: &str| common::version_directory(&world.path(name));
    for file in ["users.bin", "medoids.bin", "popularity.bin"] {
        let bytes = |name: &str| std::fs::read(version(name).join(file)).expect("a file");
        assert!(bytes("expected") == bytes("found"), "{file}");
    }
    // The summary tells of a list that meets nobody, or has nobody.
    for nobody in ["8000\n", "[]"] {
        std::fs::write(&list, nobody).expect("a file");
        let listed = ["--erased", path(&list)];
        let said = run_command(&mut build("others.parquet", "found", &listed));
        assert!(said.contains("\n  0 left out: of erased users"), "{said}");
    }
    std::fs::write(&list, "7\nalice\n").expect("a file");
    let said = refusal(&mut build(
        "all.parquet",
        "found",
        &["--erased", path(&list)],
    ));
    assert!(said.contains("line 2: \"alice\": "), "{said}");
}
