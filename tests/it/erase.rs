//! Erasing a user: gone from memory at once, from the disk when the call returns, and back
//! only by what the user does afterwards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use pinnersage::archive::{files, read_rows};
use pinnersage::wire::v1;
use pinnersage::wire::v1::ActionStatus;
use pinnersage::wire::v1::action_service_client::ActionServiceClient;
use pinnersage::wire::v1::admin_service_client::AdminServiceClient;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;
use tonic::transport::Channel;

use crate::common::World;
use crate::common::process::{Process, path, run, serve_command};
use crate::common::server::{ask, explain, save};

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
    let mut serve = serve_command(&world);
    serve
        .args(["--data", path(&world.path("data"))])
        .env("PINNERSAGE__ACTIONS__ARCHIVE", &archive);
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
