//! An action counts once, whether the batch has it, the server's log, or both; and what a
//! user does not want holds in both.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use crate::common::files::{columns, ids, texts};
use crate::common::process::{command, path, refusal, run_command};
use crate::common::server::{Client, NOW, Server, ask, explain, recommend, save};
use crate::common::{self, TOPICS, World, profile_input, profile_params};
use pinnersage::batch::{ProfileInput, ProfileParams, build_profiles, export_profiles};
use pinnersage::model::Timestamp;
use pinnersage::progress::Progress;
use pinnersage::store::ProfilesReader;
use pinnersage::wire::v1;
use pinnersage::wire::v1::ActionStatus;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// The midnight before the servers' clock.
const MIDNIGHT: i64 = NOW - NOW % DAY;
const USER: u64 = 7;

/// One action; its number is its id.
#[derive(Clone, Copy, Debug)]
struct Act {
    number: u128,
    user: u64,
    pin: u64,
    /// In seconds.
    time: i64,
    name: &'static str,
}

fn act(number: u128, pin: u64, time: i64) -> Act {
    Act {
        number,
        user: USER,
        pin,
        time,
        name: "save",
    }
}

/// Ten saves on topic 3, the last of which is three minutes before the midnight before.
fn old_saves() -> Vec<Act> {
    let last = MIDNIGHT - DAY - 180;
    let saves = (0..10).map(|n| {
        let pin = 3 + TOPICS as u64 * n;
        act(u128::from(n), pin, last - (9 - n as i64) * HOUR)
    });
    saves.collect()
}

/// Three saves on topic 5, at ten in the evening.
fn new_saves() -> [Act; 3] {
    [0, 1, 2].map(|n| {
        let pin = 5 + TOPICS as u64 * n;
        act(100 + u128::from(n), pin, MIDNIGHT - 2 * HOUR)
    })
}

/// `count` hides on topic 5, an hour before midnight.
fn hides(count: u64) -> Vec<Act> {
    let hide = |n| Act {
        name: "hide",
        ..act(
            200 + u128::from(n),
            155 + TOPICS as u64 * n,
            MIDNIGHT - HOUR + n as i64,
        )
    };
    (0..count).map(hide).collect()
}

/// Whether a file has the ids of its actions.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ids {
    Present,
    Absent,
}

fn write_actions(path: &Path, actions: &[Act], with: Ids) {
    let spelled: Vec<String> = actions
        .iter()
        .map(|one| format!("{:032x}", one.number))
        .collect();
    let of = |value: fn(&Act) -> i64| ids(actions.iter().map(value));
    let mut named = vec![
        ("user_id", of(|one| one.user as i64)),
        ("pin_id", of(|one| one.pin as i64)),
        ("time", of(|one| one.time)),
        ("action", texts(actions.iter().map(|one| one.name))),
    ];
    if with == Ids::Present {
        named.push(("action_id", texts(spelled.iter().map(String::as_str))));
    }
    columns(path, named);
}

/// Parameters under which actions and hides count whole, whatever their age.
fn params() -> ProfileParams {
    let weights = [("save", 1.0), ("hide", -1.0)];
    ProfileParams {
        lambda_per_day: 0.0,
        action_weights: weights
            .map(|(name, weight)| (name.to_owned(), weight))
            .into(),
        ..profile_params(true)
    }
}

/// Builds profiles as of midnight from a file of these actions.
fn build(world: &World, actions: &[Act], with: Ids) {
    let files: [PathBuf; 1] = [world.path("batch.parquet")];
    write_actions(&files[0], actions, with);
    let catalog = world.path("catalog");
    let input = ProfileInput {
        as_of: Timestamp::from_seconds(MIDNIGHT).expect("a time"),
        ..profile_input(&files, &catalog)
    };
    let out = world.path("profiles");
    build_profiles(&input, &out, &params(), Progress::Silent).expect("profiles");
}

fn message(one: &Act) -> v1::Action {
    v1::Action {
        action: one.name.to_owned(),
        ..save(one.number, one.user, one.pin, one.time)
    }
}

async fn record(server: &Server, actions: &[Act]) {
    send(server, actions.iter().map(message).collect()).await;
}

/// Records `actions`, all of which must be accepted.
async fn send(server: &Server, actions: Vec<v1::Action>) {
    let count = actions.len();
    let mut client = server.action_client().await;
    let answer = client
        .record_actions(v1::RecordActionsRequest { actions })
        .await;
    let results = answer.expect("an answer").into_inner().results;
    assert_eq!(results, vec![ActionStatus::Accepted as i32; count]);
}

/// What a server without `--data` tells of the user, whose actions a batch all has.
async fn explained_from_one_batch(actions: &[Act]) -> v1::ExplainUserResponse {
    let world = World::with_catalog();
    build(&world, actions, Ids::Present);
    let server = Server::start(&world).await;
    explain(&mut server.client().await, USER).await
}

/// Interests without their origin: topic, size, importance, silenced; by topic.
fn interests(explained: &v1::ExplainUserResponse) -> BTreeMap<u64, (u32, f64, bool)> {
    let interests = explained.interests.iter();
    let all: Vec<(u64, (u32, f64, bool))> = interests
        .map(|one| {
            let rounded = (one.importance * 1e9).round() / 1e9;
            (
                one.pin_id % TOPICS as u64,
                (one.size, rounded, one.silenced),
            )
        })
        .collect();
    let by_topic: BTreeMap<_, _> = all.iter().copied().collect();
    assert_eq!(by_topic.len(), all.len(), "one interest a topic: {all:?}");
    by_topic
}

fn all_saves() -> Vec<Act> {
    old_saves().into_iter().chain(new_saves()).collect()
}

#[tokio::test]
async fn what_a_lagging_input_lacks_is_folded_in_from_the_log() {
    let world = World::with_catalog();
    build(&world, &old_saves(), Ids::Absent);
    let server = Server::start_recording(&world).await;
    record(&server, &new_saves()).await;
    let found = explain(&mut server.client().await, USER).await;
    let expected = explained_from_one_batch(&all_saves()).await;
    assert_eq!(interests(&found), interests(&expected));
    let status = server.admin_client().await;
    let status = { status }.get_status(v1::GetStatusRequest {}).await;
    let status = status.expect("a status").into_inner();
    let complete_through = status.complete_through.expect("a time").seconds;
    assert_eq!(complete_through, MIDNIGHT - DAY - 180);
    let expected = v1::ActionLogStatus {
        kind: v1::ActionLogKind::Embedded.into(),
        is_writable: true,
        is_ready: true,
        ..Default::default()
    };
    assert_eq!(status.action_log, Some(expected));
}

#[tokio::test]
async fn an_action_that_batch_and_log_have_counts_once_by_its_id() {
    let world = World::with_catalog();
    let mut in_file = old_saves();
    in_file.push(new_saves()[1]);
    build(&world, &in_file, Ids::Present);
    let server = Server::start_recording(&world).await;
    // One of the old ones too: it is younger than late actions may be.
    let recorded: Vec<Act> = new_saves().into_iter().chain([old_saves()[9]]).collect();
    record(&server, &recorded).await;
    let found = explain(&mut server.client().await, USER).await;
    let expected = explained_from_one_batch(&all_saves()).await;
    assert_eq!(interests(&found), interests(&expected));
}

#[tokio::test]
async fn an_action_that_batch_and_log_have_counts_once_by_its_content() {
    let world = World::with_catalog();
    let mut in_file = old_saves();
    in_file.push(new_saves()[1]);
    build(&world, &in_file, Ids::Absent);
    let server = Server::start_recording(&world).await;
    record(&server, &new_saves()).await;
    let found = explain(&mut server.client().await, USER).await;
    let expected = explained_from_one_batch(&all_saves()).await;
    assert_eq!(interests(&found), interests(&expected));
}

#[tokio::test]
async fn a_hide_that_the_batch_has_in_whole_seconds_takes_once() {
    let world = World::with_catalog();
    let mut in_file = old_saves();
    in_file.extend(hides(1));
    // The hide is before what the file is complete through.
    in_file.push(new_saves()[1]);
    in_file.push(act(300, 6, MIDNIGHT - 60));
    build(&world, &in_file, Ids::Absent);
    let server = Server::start_recording(&world).await;
    let client = &mut server.client().await;
    let before = explain(client, USER).await;
    let mut actions: Vec<v1::Action> = hides(1).iter().map(message).collect();
    for time in actions.iter_mut().filter_map(|action| action.time.as_mut()) {
        time.nanos = 345_000_000;
    }
    send(&server, actions).await;
    let after = explain(client, USER).await;
    assert_eq!(interests(&after), interests(&before));
}

#[test]
fn a_window_that_ends_in_the_future_is_refused_unless_it_is_wanted() {
    let world = World::with_catalog();
    let build = |as_of: &str| {
        let mut build = command(["profiles", "build", "--as-of", as_of, "--window-days"]);
        build
            .args(["400000", "--actions", path(&world.path("actions.parquet"))])
            .args(["--catalog", path(&world.path("catalog"))])
            .args(["--out", path(&world.path("profiles"))]);
        build
    };
    let said = refusal(&mut build("2999-01-01"));
    assert!(
        said.contains("2999-01-01T00:00:00Z is in the future"),
        "{said}"
    );
    let printed = run_command(build("2999-01-01").arg("--allow-future-as-of"));
    assert!(printed.contains("complete through 2026-02-"), "{printed}");
    let late = refusal(build(common::AS_OF).args(["--complete-through", "2026-03-02"]));
    assert!(late.contains("is after as_of"), "{late}");
}

#[tokio::test]
async fn hides_that_the_batch_has_count_as_those_that_the_server_has() {
    for count in [1, 3] {
        let recorded_there = World::with_catalog();
        build(&recorded_there, &all_saves(), Ids::Present);
        let server = Server::start_recording(&recorded_there).await;
        record(&server, &hides(count)).await;
        let expected = explain(&mut server.client().await, USER).await;

        let world = World::with_catalog();
        let all: Vec<Act> = all_saves().into_iter().chain(hides(count)).collect();
        build(&world, &all, Ids::Present);
        let server = Server::start_recording(&world).await;
        let mut client = server.client().await;
        let found = explain(&mut client, USER).await;
        assert_eq!(interests(&found), interests(&expected), "{count} hides");
        assert_eq!(interests(&found)[&5].2, count == 3);
        assert_without_hidden_pins(&mut client, count).await;
        // The log of this server has them too, as one whose disk is not lost: nothing more.
        record(&server, &hides(count)).await;
        let found = explain(&mut client, USER).await;
        assert_eq!(
            interests(&found),
            interests(&expected),
            "{count} hides twice"
        );
    }
}

/// Asserts that no answer has a hidden pin or a candidate of a silenced interest.
async fn assert_without_hidden_pins(client: &mut Client, count: u64) {
    let hidden: HashSet<u64> = hides(count).iter().map(|hide| hide.pin).collect();
    for seed in 0..20 {
        let request = v1::RecommendRequest {
            seed: Some(seed),
            limit: 400,
            ..ask(USER)
        };
        let answer = recommend(client, request).await;
        let mut candidates = answer.candidates.iter();
        assert!(candidates.all(|one| !hidden.contains(&one.pin_id)));
        let mut sampled = answer.medoids.iter();
        assert!(count < 3 || sampled.all(|one| one.pin_id % TOPICS as u64 != 5));
    }
}

#[tokio::test]
async fn silencing_goes_on_where_the_batch_stopped_and_a_save_ends_it() {
    let world = World::with_catalog();
    let all: Vec<Act> = all_saves().into_iter().chain(hides(2)).collect();
    build(&world, &all, Ids::Present);
    let server = Server::start_recording(&world).await;
    let mut client = server.client().await;
    assert!(!interests(&explain(&mut client, USER).await)[&5].2);
    let third = Act {
        name: "hide",
        ..act(300, 5 + TOPICS as u64 * 9, MIDNIGHT + HOUR)
    };
    record(&server, &[third]).await;
    assert!(interests(&explain(&mut client, USER).await)[&5].2);
    record(&server, &[act(301, 5, MIDNIGHT + 2 * HOUR)]).await;
    assert!(!interests(&explain(&mut client, USER).await)[&5].2);
}

#[tokio::test]
async fn a_user_with_hides_alone_has_no_profile_and_never_sees_those_pins() {
    const STRANGER: u64 = 77;
    let world = World::with_catalog();
    build(&world, &old_saves(), Ids::Absent);
    let server = Server::start(&world).await;
    let request = || v1::RecommendRequest {
        seed: Some(1),
        ..ask(STRANGER)
    };
    let before = recommend(&mut server.client().await, request()).await;
    let disliked = before.candidates[0].pin_id;
    let long_ago = Act {
        user: STRANGER,
        name: "hide",
        ..act(1, disliked, MIDNIGHT - 1_000 * DAY)
    };
    let all: Vec<Act> = old_saves().into_iter().chain([long_ago]).collect();
    build(&world, &all, Ids::Absent);
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let after = recommend(&mut client, request()).await;
    assert_eq!(after.fallback_reason(), v1::FallbackReason::UnknownUser);
    assert!(!after.candidates.is_empty());
    assert!(after.candidates.iter().all(|one| one.pin_id != disliked));
    let profiled = v1::RecommendRequest {
        require_profile: true,
        ..request()
    };
    assert!(client.recommend(profiled).await.is_err());
}

#[test]
fn what_was_read_is_counted_by_reason() {
    let world = World::with_catalog();
    let named = |name, number| Act {
        name,
        ..act(number, 3, MIDNIGHT - 5 * HOUR)
    };
    let mut all = old_saves();
    all.extend(hides(2));
    all.extend([named("impression", 400), named("view", 401)]);
    build(&world, &all, Ids::Present);
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let facts = &profiles.manifest().facts;
    let counts = &facts.actions;
    assert_eq!(
        (counts.used, counts.negative, counts.impressions),
        (10, 2, 1)
    );
    assert_eq!(counts.unknown_action, [("view".to_owned(), 1)].into());
    assert_eq!(counts.read(), all.len() as u64);
    let newest = Timestamp::from_seconds(MIDNIGHT - HOUR + 1).expect("a time");
    assert_eq!(facts.complete_through, newest);
    assert_eq!(facts.identified_from, facts.as_of.minus_days(8.0));
    let out = world.path("profiles.parquet");
    let counts = export_profiles(&world.path("profiles"), None, &out, Progress::Silent);
    assert_eq!(counts.expect("an export").users, 1);
}

/// A user's actions, spread over a file and a log, each in one of them or in both.
fn spread(user: u64, rng: &mut ChaCha8Rng) -> (Vec<Act>, Vec<Act>) {
    let (mut in_file, mut in_log) = (Vec::new(), Vec::new());
    for n in 0..rng.random_range(1..=18) {
        let one = Act {
            user,
            ..act(
                u128::from(user * 100 + n),
                rng.random_range(0..common::PINS),
                MIDNIGHT - rng.random_range(-4 * HOUR..5 * DAY),
            )
        };
        // The file has nothing from midnight on; before that, any of the two may lack it.
        let choice = rng.random_range(0..3);
        if one.time < MIDNIGHT && choice != 0 {
            in_file.push(one);
        }
        if one.time >= MIDNIGHT || choice != 1 {
            in_log.push(one);
        }
    }
    (in_file, in_log)
}

#[tokio::test]
async fn each_action_counts_exactly_once_however_they_are_spread() {
    let world = World::with_catalog();
    let rng = &mut ChaCha8Rng::seed_from_u64(14);
    let users: Vec<(Vec<Act>, Vec<Act>)> = (1..=60).map(|user| spread(user, rng)).collect();
    let in_file: Vec<Act> = users.iter().flat_map(|(file, _)| file.clone()).collect();
    build(&world, &in_file, Ids::Present);
    let server = Server::start_recording(&world).await;
    for (_, in_log) in users.iter().filter(|(_, in_log)| !in_log.is_empty()) {
        record(&server, in_log).await;
    }
    let mut client = server.client().await;
    for (user, (in_file, in_log)) in (1..).zip(&users) {
        let all = in_file.iter().chain(in_log).map(|one| one.number);
        let all: HashSet<u128> = all.collect();
        let explained = explain(&mut client, user).await;
        let sizes: u32 = explained.interests.iter().map(|one| one.size).sum();
        assert_eq!(sizes as usize, all.len(), "user {user}");
        let importance: f64 = explained.interests.iter().map(|one| one.importance).sum();
        assert!((importance - all.len() as f64).abs() < 1e-9, "user {user}");
    }
}
