//! New catalogs and profiles under a running server, through `AdminService` and
//! by themselves.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::common;
use crate::common::server::{NOW, Server, ask, params, save, source};
use crate::common::wait::{PATIENCE, wait_until, within};
use crate::common::{EMBEDDING_VERSION, World, version_directory};
use pinnersage::batch::ProfileParams;
use pinnersage::model::Timestamp;
use pinnersage::serve::ServingSource;
use pinnersage::wire::v1;
use pinnersage::wire::v1::admin_service_client::AdminServiceClient;
use tonic::Code;
use tonic::transport::Channel;

type Admin = AdminServiceClient<Channel>;

/// Pins of the smaller catalog.
const FEWER: usize = 500;

fn version(root: &Path) -> String {
    let directory = version_directory(root);
    let name = directory.file_name().expect("a name");
    name.to_str().expect("a text").to_owned()
}

/// The published versions.
fn published(world: &World) -> v1::Versions {
    v1::Versions {
        catalog_version: version(&world.path("catalog")),
        profile_version: version(&world.path("profiles")),
    }
}

/// Publishes a catalog of fewer pins, and profiles made from it.
fn publish_fewer(world: &World) {
    let mut pins = common::pins();
    pins.truncate(FEWER);
    common::files::pins(&world.path("pins.parquet"), &pins);
    world.build_catalog("catalog", EMBEDDING_VERSION);
    world.build_profiles("catalog", "profiles", true);
}

async fn serving(admin: &mut Admin) -> v1::Versions {
    let status = admin.get_status(v1::GetStatusRequest {}).await;
    let status = status.expect("a status").into_inner();
    status.serving.expect("versions")
}

async fn load(admin: &mut Admin, versions: v1::Versions) -> Result<(), tonic::Status> {
    let request = v1::LoadVersionsRequest {
        versions: Some(versions.clone()),
    };
    let answer = admin.load_versions(request).await?;
    assert_eq!(answer.into_inner().serving, Some(versions));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_and_every_answer_is_of_one_pair_while_versions_change() {
    let world = World::built();
    let first = published(&world);
    publish_fewer(&world);
    let second = published(&world);
    let server = Server::start(&world).await;
    let (stop, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..4 {
        let mut client = server.client().await;
        let (stop, answered) = (stop.clone(), answered.clone());
        let pairs = [first.clone(), second.clone()];
        callers.spawn(async move {
            let mut seen: HashMap<String, usize> = HashMap::new();
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let answer = client.recommend(ask((caller + number) % 40)).await;
                let answer = answer.expect("an answer").into_inner();
                let pair = v1::Versions {
                    catalog_version: answer.catalog_version,
                    profile_version: answer.profile_version,
                };
                assert!(pairs.contains(&pair), "{pair:?}");
                let most = if pair == pairs[0] { 600 } else { FEWER as u64 };
                assert!(answer.candidates.iter().all(|c| c.pin_id < most));
                *seen.entry(pair.catalog_version).or_default() += 1;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            seen
        });
    }
    let mut admin = server.admin_client().await;
    for round in 0..20 {
        let wanted = [&first, &second][round % 2];
        load(&mut admin, wanted.clone()).await.expect("a change");
        // Some answers of each pair.
        let enough = answered.load(Ordering::Relaxed) + 20;
        let is_enough = async || answered.load(Ordering::Relaxed) >= enough;
        wait_until("20 more answers", PATIENCE, is_enough).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen: HashMap<String, usize> = HashMap::new();
    for counts in within("the callers", PATIENCE, callers.join_all()).await {
        for (version, count) in counts {
            *seen.entry(version).or_default() += count;
        }
    }
    assert!(
        seen.len() == 2 && seen.values().all(|&count| count > 50),
        "{seen:?}"
    );
    server.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_taken_over_and_can_be_rolled_back() {
    let world = World::built();
    let first = published(&world);
    let server = Server::start_watching(&world).await;
    let mut admin = server.admin_client().await;
    assert_eq!(serving(&mut admin).await, first);
    let nothing = admin.rollback(v1::RollbackRequest {}).await;
    let nothing = nothing.expect_err("nothing was served before");
    assert_eq!(nothing.code(), Code::FailedPrecondition);

    publish_fewer(&world);
    let second = published(&world);
    let is_second = async || serving(&mut admin).await == second;
    wait_until("the new versions", PATIENCE, is_second).await;
    let answer = server.client().await.recommend(ask(1)).await;
    assert_eq!(
        answer.expect("an answer").into_inner().catalog_version,
        second.catalog_version
    );

    // It may be that the catalog was taken over before the profiles.
    let back = admin.rollback(v1::RollbackRequest {}).await;
    let back = back
        .expect("a rollback")
        .into_inner()
        .serving
        .expect("versions");
    assert_ne!(back, second);
    let forth = admin.rollback(v1::RollbackRequest {}).await;
    assert_eq!(
        forth.expect("a rollback").into_inner().serving,
        Some(second)
    );
    load(&mut admin, first.clone())
        .await
        .expect("an old version");
    let listed = admin.list_versions(v1::ListVersionsRequest {}).await;
    let listed = listed.expect("versions").into_inner();
    assert_eq!(listed.catalog_versions.len(), 2);
    assert!(listed.profile_versions.contains(&first.profile_version));
    assert_eq!(
        listed.published_catalog_version,
        published(&world).catalog_version
    );
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_and_the_old_stays() {
    let world = World::built();
    let first = published(&world);
    let server = Server::start(&world).await;
    let mut admin = server.admin_client().await;
    world.build_catalog("catalog", "another-model");
    let other = version(&world.path("catalog"));
    let mismatch = v1::Versions {
        catalog_version: other.clone(),
        ..first.clone()
    };
    let refused = load(&mut admin, mismatch.clone()).await;
    let refused = refused.expect_err("another model");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("another-model"), "{refused}");

    // A damaged byte in a file that is only mapped.
    publish_fewer(&world);
    let damaged = published(&world);
    let vectors = version_directory(&world.path("catalog")).join("vectors.bin");
    let mut bytes = std::fs::read(&vectors).expect("a file");
    bytes[100] ^= 1;
    std::fs::write(&vectors, bytes).expect("a file");
    let refused = load(&mut admin, damaged.clone()).await;
    let refused = refused.expect_err("damage");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("vectors.bin"), "{refused}");
    let status = admin.get_status(v1::GetStatusRequest {}).await;
    let status = status.expect("a status").into_inner();
    assert_eq!(status.serving, Some(first.clone()));
    assert_eq!(status.refused.expect("a refusal").versions, Some(damaged));
    assert_eq!(
        (status.pins, status.profiles, status.takes_actions),
        (600, 40, false)
    );
    assert_eq!(status.action_log, None);

    for (version, code) in [
        ("0123456789abcdef", Code::NotFound),
        ("../catalog", Code::InvalidArgument),
        ("abc", Code::InvalidArgument),
    ] {
        let wanted = v1::Versions {
            catalog_version: version.to_owned(),
            ..first.clone()
        };
        let refused = load(&mut admin, wanted).await.expect_err("no version");
        assert_eq!(refused.code(), code, "{refused}");
    }
    server
        .client()
        .await
        .recommend(ask(1))
        .await
        .expect("an answer");
    server.stop().await.expect("a clean end");
}

async fn status(admin: &mut Admin) -> v1::GetStatusResponse {
    let status = admin.get_status(v1::GetStatusRequest {}).await;
    status.expect("a status").into_inner()
}

async fn follow(admin: &mut Admin) -> v1::FollowVersionsResponse {
    let followed = admin.follow_versions(v1::FollowVersionsRequest {}).await;
    followed.expect("a change").into_inner()
}

/// A server of `world` that looks for new versions all the time, and has a directory for
/// its data.
async fn start_watching_with_data(world: &World) -> Server {
    let mut params = params();
    params.server.watch = Some(Duration::from_millis(1));
    Server::start_recording_with(world, params).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_stays_through_publications_and_a_restart_until_it_is_undone() {
    let world = World::built();
    let first = published(&world);
    let server = start_watching_with_data(&world).await;
    let mut admin = server.admin_client().await;
    let before = status(&mut admin).await;
    assert_eq!(before.version_mode(), v1::VersionMode::Following);
    assert!(before.survives_restart && before.waiting.is_none());
    assert_eq!(before.published, Some(first.clone()));
    publish_fewer(&world);
    let second = published(&world);
    load(&mut admin, second.clone()).await.expect("a change");
    load(&mut admin, first.clone()).await.expect("a change");
    let pinned = status(&mut admin).await;
    assert_eq!(pinned.version_mode(), v1::VersionMode::Pinned);
    assert!(pinned.survives_restart);
    assert_eq!(pinned.pinned_since.map(|time| time.seconds), Some(NOW));
    assert_eq!(pinned.waiting, Some(second.clone()));
    assert_eq!(serving(&mut admin).await, first);
    server.stop().await.expect("a clean end");

    let server = start_watching_with_data(&world).await;
    let mut admin = server.admin_client().await;
    let restarted = status(&mut admin).await;
    assert_eq!(restarted.serving, Some(first.clone()));
    assert_eq!(restarted.version_mode(), v1::VersionMode::Pinned);
    assert_eq!(restarted.pinned_since, pinned.pinned_since);
    let followed = follow(&mut admin).await;
    assert_eq!(followed.serving, Some(second.clone()));
    assert!(followed.survives_restart);
    let after = status(&mut admin).await;
    assert_eq!(after.version_mode(), v1::VersionMode::Following);
    assert_eq!((after.waiting, after.pinned_since), (None, None));
    server.stop().await.expect("a clean end");

    let server = start_watching_with_data(&world).await;
    assert_eq!(serving(&mut server.admin_client().await).await, second);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn pinned_versions_that_are_gone_are_reported_and_the_published_ones_served() {
    let world = World::built();
    let first = published(&world);
    let server = Server::start_recording(&world).await;
    let mut admin = server.admin_client().await;
    load(&mut admin, first.clone()).await.expect("a change");
    server.stop().await.expect("a clean end");
    publish_fewer(&world);
    let second = published(&world);
    let catalog = world.path("catalog").join(&first.catalog_version);
    std::fs::remove_dir_all(catalog).expect("a version to remove");

    for refused in [Some(first), None] {
        let server = Server::start_recording(&world).await;
        let after = status(&mut server.admin_client().await).await;
        assert_eq!(after.serving, Some(second.clone()));
        assert_eq!(after.version_mode(), v1::VersionMode::Following);
        let reported = after.refused.and_then(|refused| refused.versions);
        assert_eq!(reported, refused);
        server.stop().await.expect("a clean end");
    }
}

#[tokio::test]
async fn without_a_directory_for_data_a_rollback_ends_with_the_server_and_says_so() {
    let world = World::built();
    let first = published(&world);
    let server = Server::start(&world).await;
    let mut admin = server.admin_client().await;
    let request = v1::LoadVersionsRequest { versions: None };
    let loaded = admin.load_versions(request).await.expect("a change");
    let loaded = loaded.into_inner();
    assert_eq!(loaded.serving, Some(first));
    assert!(!loaded.survives_restart);
    let pinned = status(&mut admin).await;
    assert_eq!(pinned.version_mode(), v1::VersionMode::Pinned);
    assert!(!pinned.survives_restart);
    assert!(follow(&mut admin).await.survives_restart);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn versions_are_listed_with_what_is_known_of_them() {
    let world = World::built();
    let first = published(&world);
    publish_fewer(&world);
    let second = published(&world);
    let server = Server::start(&world).await;
    let mut admin = server.admin_client().await;
    load(&mut admin, first.clone()).await.expect("a change");
    let listed = admin.list_versions(v1::ListVersionsRequest {}).await;
    let listed = listed.expect("versions").into_inner();
    let names = |names: &mut dyn Iterator<Item = &String>| names.cloned().collect::<Vec<_>>();
    let catalogs = names(&mut listed.catalogs.iter().map(|catalog| &catalog.version));
    assert_eq!(catalogs, listed.catalog_versions);
    let profiles = names(&mut listed.profiles.iter().map(|profiles| &profiles.version));
    assert_eq!(profiles, listed.profile_versions);
    for catalog in &listed.catalogs {
        let is_first = catalog.version == first.catalog_version;
        let expected = if is_first { 600 } else { FEWER as u64 };
        assert_eq!(catalog.pins, expected);
        assert_eq!(catalog.embedding_version, EMBEDDING_VERSION);
        assert!(catalog.size_bytes > 0 && catalog.unreadable.is_empty());
        assert!(catalog.published_time.is_some_and(|time| time.seconds > 0));
        let uses: Vec<_> = catalog.uses().collect();
        let expected = if is_first {
            [v1::VersionUse::Serving, v1::VersionUse::Pinned]
        } else {
            [v1::VersionUse::Previous, v1::VersionUse::Published]
        };
        assert_eq!(uses, expected);
    }
    let newest = listed.profiles.iter();
    let mut newest = newest.filter(|profiles| profiles.version == second.profile_version);
    let newest = newest.next().expect("the published profiles");
    assert_eq!((newest.users, newest.unreadable.as_str()), (40, ""));
    assert_eq!(newest.catalog_version, second.catalog_version);
    let as_of: Timestamp = common::AS_OF.parse().expect("a date");
    assert_eq!(
        newest.as_of.map(|time| time.seconds),
        Some(as_of.seconds_and_nanos().0)
    );
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_server_of_a_single_version_cannot_change_it() {
    let world = World::built();
    let versions = published(&world);
    let single = ServingSource {
        catalog: version_directory(&world.path("catalog")),
        ..source(&world)
    };
    let server = Server::start_from(single).await;
    let mut admin = server.admin_client().await;
    assert_eq!(serving(&mut admin).await, versions);
    let refused = load(&mut admin, versions).await.expect_err("no directory");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let refused = admin.list_versions(v1::ListVersionsRequest {}).await;
    assert_eq!(
        refused.expect_err("no directory").code(),
        Code::FailedPrecondition
    );
    let refused = admin.follow_versions(v1::FollowVersionsRequest {}).await;
    assert_eq!(
        refused.expect_err("no directory").code(),
        Code::FailedPrecondition
    );
    let fixed = status(&mut admin).await;
    assert_eq!(fixed.version_mode(), v1::VersionMode::Fixed);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_batch_takes_over_what_was_recorded_and_nothing_counts_twice() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let request = v1::RecordActionsRequest {
        actions: vec![save(1, 1, 3, NOW - 7_200), save(2, 1, 3, NOW - 3_600)],
    };
    let mut actions = server.action_client().await;
    actions.record_actions(request).await.expect("an answer");
    let mut client = server.client().await;
    let mut explain = async || {
        let request = v1::ExplainUserRequest {
            user_id: Some(1),
            ..Default::default()
        };
        let answer = client.explain_user(request).await;
        answer.expect("an answer").into_inner().interests
    };
    let sum = |interests: &[v1::Interest]| interests.iter().map(|i| i.size).sum::<u32>();
    let recent = |interests: &[v1::Interest]| {
        let recent = interests.iter().map(|interest| interest.recent_actions);
        recent.sum::<u32>()
    };
    let before = explain().await;
    assert_eq!(recent(&before), 2);

    // The batch has the first of the two; the second came after its as_of.
    let mut rows = common::actions();
    rows.push(common::Action {
        user: 1,
        pin: 3,
        time: NOW - 7_200,
        name: "save",
    });
    common::files::actions(&world.path("actions.parquet"), &rows);
    let params = ProfileParams {
        window_days: 500.0,
        ..common::profile_params(true)
    };
    let as_of = Timestamp::from_seconds(NOW - 3_600).expect("a time");
    world.build_profiles_at("catalog", "profiles", as_of, &params);
    let mut admin = server.admin_client().await;
    load(&mut admin, published(&world)).await.expect("a change");
    let after = explain().await;
    assert_eq!(recent(&after), 1);
    assert_eq!(sum(&after), sum(&before));
    server.stop().await.expect("a clean end");
}
