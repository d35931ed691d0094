//! `ActionService` over the wire: what is recorded changes the next answer.

use std::collections::HashSet;
use std::sync::{Arc, mpsc};

use crate::common;
use crate::common::server::{NOW, Server, action_params, ask, clock, explain, recommend, save};
use crate::common::wait::PATIENCE;
use crate::common::{PINS, TOPICS, World};
use pinnersage::actions::Actions;
use pinnersage::durable::Log;
use pinnersage::model::{Action, ActionId, PinId, UserId};
use pinnersage::wire::v1;
use pinnersage::wire::v1::ActionStatus;
use pinnersage::wire::v1::action_service_client::ActionServiceClient;
use prost::Message;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

const HOUR: i64 = 3_600;
/// A user without a profile.
const STRANGER: u64 = 1_000;

/// The action number `number`, `age` seconds ago.
fn action(number: u128, user: u64, pin: u64, name: &str, age: i64) -> v1::Action {
    v1::Action {
        action: name.to_owned(),
        ..save(number, user, pin, NOW - age)
    }
}

async fn record(
    client: &mut ActionServiceClient<Channel>,
    actions: Vec<v1::Action>,
) -> v1::RecordActionsResponse {
    let request = v1::RecordActionsRequest { actions };
    let answer = client.record_actions(request).await;
    answer.expect("an answer").into_inner()
}

async fn record_all(client: &mut ActionServiceClient<Channel>, actions: Vec<v1::Action>) {
    let count = actions.len();
    let answer = record(client, actions).await;
    assert_eq!(answer.results, vec![ActionStatus::Accepted as i32; count]);
}

/// All of a user's interests are sampled.
fn ask_all(user: u64) -> v1::RecommendRequest {
    v1::RecommendRequest {
        medoids: 20,
        limit: 100,
        seed: Some(7),
        ..ask(user)
    }
}

fn topic(pin: u64) -> u64 {
    pin % TOPICS as u64
}

/// A topic on which the user never acted.
fn new_topic(user: u64) -> u64 {
    let actions = common::actions().into_iter();
    let own = actions.filter(|action| action.user as u64 == user);
    let own: HashSet<u64> = own.map(|action| topic(action.pin as u64)).collect();
    let others = (0..TOPICS as u64).find(|topic| !own.contains(topic));
    others.expect("a user has few topics")
}

#[tokio::test]
async fn three_saves_make_a_new_interest_in_the_next_answer() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let (mut client, mut actions) = (server.client().await, server.action_client().await);
    let before = explain(&mut client, 1).await;
    let topic_of_saves = new_topic(1);
    let pins = [0, 1, 2].map(|row| topic_of_saves + row * TOPICS as u64);
    let saves = pins.iter().zip(1..);
    let saves = saves.map(|(&pin, n)| action(n, 1, pin, "save", n as i64 * HOUR));
    let recorded = record(&mut actions, saves.collect()).await;
    assert_eq!(recorded.results, [ActionStatus::Accepted as i32; 3]);

    let after = explain(&mut client, 1).await;
    let new: Vec<_> = after
        .interests
        .iter()
        .filter(|interest| interest.origin() == v1::MedoidOrigin::Recent)
        .collect();
    assert_eq!(new.len(), 1, "{:?}", after.interests);
    assert!(pins.contains(&new[0].pin_id));
    assert_eq!((new[0].profile_clusters, new[0].recent_actions), (0, 3));
    assert_eq!(after.as_of.expect("a time").seconds, NOW - HOUR);
    // The other interests have decayed by one factor: their ratios stay.
    assert_eq!(after.interests.len(), before.interests.len() + 1);
    let old = after.interests.iter();
    let old: Vec<_> = old.filter(|i| i.recent_actions == 0).collect();
    let days = (NOW - HOUR - before.as_of.expect("a time").seconds) as f64 / 86_400.0;
    for (old, before) in old.iter().zip(&before.interests) {
        assert_eq!((old.pin_id, old.size), (before.pin_id, before.size));
        let expected = before.importance * (-0.01 * days).exp();
        assert!((old.importance / expected - 1.0).abs() < 1e-12);
    }

    let request = v1::RecommendRequest {
        freshness_token: recorded.freshness_token,
        ..ask_all(1)
    };
    let answer = recommend(&mut client, request).await;
    let sampled = answer.medoids.iter();
    let place = sampled.clone().position(|m| m.pin_id == new[0].pin_id);
    let place = place.expect("all medoids are sampled");
    assert_eq!(answer.medoids[place].origin(), v1::MedoidOrigin::Recent);
    let candidates = answer.candidates.iter();
    let found: Vec<_> = candidates
        .filter(|candidate| candidate.medoid_index as usize == place)
        .collect();
    // The topic has 20 pins, some of which may be in the user's history.
    assert!(found.len() > 10);
    let nearest = found[..10].iter();
    assert!(
        nearest
            .map(|c| topic(c.pin_id))
            .all(|topic| topic == topic_of_saves)
    );
    assert!(answer.candidates.iter().all(|c| !pins.contains(&c.pin_id)));
    assert_eq!(answer.state_time.expect("a time").seconds, NOW - HOUR);
    assert_eq!(answer.state_age.expect("an age").seconds, 0);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn saves_of_an_interest_that_is_there_raise_it() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let (mut client, mut actions) = (server.client().await, server.action_client().await);
    let before = explain(&mut client, 2).await.interests;
    let weakest = before.last().expect("an interest").pin_id;
    // More than are clustered: the older ones count through the interest alone.
    let saves = (1..=30).map(|n| action(n, 2, weakest, "save", n as i64 * HOUR));
    record_all(&mut actions, saves.collect()).await;
    let after = explain(&mut client, 2).await.interests;
    assert_eq!(after.len(), before.len());
    assert_eq!(after[0].pin_id, weakest);
    assert_eq!(
        (after[0].profile_clusters, after[0].recent_actions),
        (1, 30)
    );
    assert_eq!(after[0].origin(), v1::MedoidOrigin::ProfileAndRecent);
    assert!(after[0].importance > 29.0, "{}", after[0].importance);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_stranger_is_known_by_recent_actions_alone() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let (mut client, mut actions) = (server.client().await, server.action_client().await);
    let before = recommend(&mut client, ask_all(STRANGER)).await;
    assert_eq!(before.fallback_reason(), v1::FallbackReason::UnknownUser);
    let saves = [(1, 3), (2, 33), (3, 4)].map(|(n, pin)| action(n, STRANGER, pin, "save", HOUR));
    record_all(&mut actions, saves.to_vec()).await;
    let after = recommend(&mut client, ask_all(STRANGER)).await;
    assert_eq!(
        after.fallback_reason(),
        v1::FallbackReason::RecentActionsOnly
    );
    let pins: HashSet<u64> = after.medoids.iter().map(|m| topic(m.pin_id)).collect();
    assert_eq!(pins, HashSet::from([3, 4]));
    assert_eq!(after.candidates.len(), 100);
    let strict = v1::RecommendRequest {
        require_profile: true,
        ..ask_all(STRANGER)
    };
    let status = client.recommend(strict).await.expect_err("no profile");
    assert_eq!(status.code(), Code::NotFound);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn what_people_do_not_want_stays_away() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let (mut client, mut actions) = (server.client().await, server.action_client().await);
    let best = explain(&mut client, 3).await.interests[0].pin_id;
    let saves = (11..=15).map(|n| action(n, 3, best, "save", 20 * HOUR));
    record_all(&mut actions, saves.collect()).await;
    let before = explain(&mut client, 3).await.interests;
    let first = recommend(&mut client, ask_all(3)).await;
    let of_best = |answer: &v1::RecommendResponse| -> Vec<u64> {
        let best = answer
            .medoids
            .iter()
            .position(|m| m.pin_id == before[0].pin_id);
        let candidates = answer.candidates.iter();
        let of_best = candidates.filter(|c| Some(c.medoid_index as usize) == best);
        of_best.map(|c| c.pin_id).collect()
    };
    let hidden = of_best(&first)[0];
    record_all(&mut actions, vec![action(1, 3, hidden, "hide", 9 * HOUR)]).await;
    let after = explain(&mut client, 3).await.interests;
    let lowered = after.iter().find(|i| i.pin_id == before[0].pin_id);
    let lowered = lowered.expect("the interest is still there");
    assert_eq!(lowered.negative_actions, 1);
    let lost = before[0].importance - lowered.importance;
    // Beside the one, a few hours of decay.
    assert!((1.0..1.05).contains(&lost), "{lost}");
    let second = recommend(&mut client, ask_all(3)).await;
    assert!(second.candidates.iter().all(|c| c.pin_id != hidden));
    assert_eq!(second.candidates.len(), first.candidates.len());

    // The third silences the interest, the next save brings it back.
    let near = of_best(&second);
    let more = near[..2].iter().zip(2..);
    let more = more.map(|(&pin, n)| action(n, 3, pin, "hide", 8 * HOUR));
    record_all(&mut actions, more.collect()).await;
    let silenced = |interests: &[v1::Interest]| {
        let found = interests.iter().find(|i| i.pin_id == before[0].pin_id);
        found.expect("the interest is still there").silenced
    };
    assert!(silenced(&explain(&mut client, 3).await.interests));
    let third = recommend(&mut client, ask_all(3)).await;
    assert!(third.medoids.iter().all(|m| m.pin_id != before[0].pin_id));
    let save = action(4, 3, before[0].pin_id, "save", 7 * HOUR);
    record_all(&mut actions, vec![save]).await;
    assert!(!silenced(&explain(&mut client, 3).await.interests));
    let fourth = recommend(&mut client, ask_all(3)).await;
    assert!(fourth.candidates.iter().all(|c| c.pin_id != hidden));
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_user_who_wants_nothing_gets_popular_interests() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let (mut client, mut actions) = (server.client().await, server.action_client().await);
    let hide = (1..=3).map(|n| action(n, STRANGER, 3 + 30 * n as u64, "hide", HOUR));
    let save = action(9, STRANGER, 3, "save", 2 * HOUR);
    record_all(&mut actions, hide.chain([save]).collect()).await;
    let answer = recommend(&mut client, ask_all(STRANGER)).await;
    assert_eq!(answer.fallback_reason(), v1::FallbackReason::NothingWanted);
    assert_eq!(answer.candidates.len(), 100);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn pins_that_were_shown_give_way_to_others() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let (mut client, mut actions) = (server.client().await, server.action_client().await);
    let first = recommend(&mut client, ask_all(4)).await;
    let shown: Vec<u64> = first.candidates.iter().map(|c| c.pin_id).collect();
    let shown_at = |age: i64| {
        let shown = shown.iter().zip(age as u128 * 1_000..);
        let shown = shown.map(|(&pin, n)| action(n, 4, pin, "impression", age));
        shown.collect::<Vec<_>>()
    };
    // Out of sight for 7 days.
    record_all(&mut actions, shown_at(8 * 24 * HOUR)).await;
    let again = recommend(&mut client, ask_all(4)).await;
    assert_eq!(again.candidates, first.candidates);
    record_all(&mut actions, shown_at(6 * 24 * HOUR)).await;
    let second = recommend(&mut client, ask_all(4)).await;
    assert_eq!(second.candidates.len(), 100);
    assert!(second.candidates.iter().all(|c| !shown.contains(&c.pin_id)));
    // Being shown something says nothing of interests.
    assert_eq!(second.medoids, first.medoids);
    assert_eq!(second.state_time, first.state_time);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn engagement_shifts_the_draw_when_it_is_switched_on() {
    let world = World::built();
    let of = |number: u128, name: &str, medoid: u64| v1::Action {
        medoid_pin_id: Some(medoid),
        ..action(number, 5, number as u64 % PINS, name, 8 * 24 * HOUR)
    };
    let server = Server::start_recording(&world).await;
    let (mut client, mut actions) = (server.client().await, server.action_client().await);
    let before = recommend(&mut client, ask_all(5)).await;
    let [liked, ignored] = [0, 1].map(|at| before.medoids[at].pin_id);
    // Of 80 pins shown 8 were acted on, all of them from one medoid.
    let shown = (0..80).map(|n| of(n, "impression", if n < 40 { liked } else { ignored }));
    let engaged = (80..88).map(|n| of(n, "click", liked));
    record_all(&mut actions, shown.chain(engaged).collect()).await;
    let off = recommend(&mut client, ask_all(5)).await;
    assert!(!off.engagement_feedback);
    assert!(off.medoids.iter().all(|m| m.weight == m.importance));
    server.stop().await.expect("a clean end");

    let server = Server::start_with_feedback(&world).await;
    let mut client = server.client().await;
    let on = recommend(&mut client, ask_all(5)).await;
    assert!(on.engagement_feedback);
    for medoid in &on.medoids {
        let factor = medoid.weight / medoid.importance;
        // The average is 0.1, and counts as ten times shown.
        let expected = match medoid.pin_id {
            pin if pin == liked => (8.0 + 1.0) / (40.0 + 10.0) / 0.1,
            pin if pin == ignored => 1.0 / (40.0 + 10.0) / 0.1,
            _ => 1.0,
        };
        assert!((factor / expected - 1.0).abs() < 1e-12, "{factor}");
    }
    // Nobody else's draw is shifted by what this user did.
    let other = recommend(&mut client, ask_all(6)).await;
    assert!(other.medoids.iter().all(|m| m.weight == m.importance));
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn duplicates_and_disorder_leave_no_trace() {
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    let names = ["save", "click", "hide", "impression"];
    let of = |n: u64| {
        action(
            u128::from(n),
            n % 3,
            n * 7 % PINS,
            names[n as usize % 4],
            n as i64,
        )
    };
    let all: Vec<v1::Action> = (0..900).map(of).collect();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for deliveries in [1, 2] {
        let world = World::built();
        for _ in 0..deliveries {
            let server = Server::start_recording(&world).await;
            let mut actions = server.action_client().await;
            let mut shuffled = all.clone();
            shuffled.shuffle(rng);
            for part in shuffled.chunks(deliveries * 100) {
                for _ in 0..deliveries {
                    record(&mut actions, part.to_vec()).await;
                }
            }
            server.stop().await.expect("a clean end");
        }
        let server = Server::start_recording(&world).await;
        let mut client = server.client().await;
        let mut answers = Vec::new();
        for user in 0..3 {
            answers.extend(explain(&mut client, user).await.encode_to_vec());
            answers.extend(recommend(&mut client, ask_all(user)).await.encode_to_vec());
        }
        seen.push(answers);
        server.stop().await.expect("a clean end");
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn what_is_too_old_is_forgotten_but_for_what_nobody_wants() {
    let directory = tempfile::tempdir().expect("a directory");
    let days = |days: f64| clock().minus_days(-days);
    let open = |now| {
        let (log, tails) = Log::open(directory.path()).expect("a log");
        assert_eq!(tails, []);
        Actions::open(Arc::new(log), action_params(), now).expect("actions")
    };
    let (actions, _) = open(days(0.0));
    let action = |number: u8, user: u64, name: &str, day: f64| Action {
        id: ActionId([number; 16]),
        user: UserId(user),
        pin: PinId(u64::from(number)),
        name: name.to_owned(),
        time: days(day),
        medoid: None,
        keys: None,
    };
    let (done, is_done) = mpsc::channel();
    let sent = vec![
        action(1, 1, "save", 0.0),
        action(2, 1, "save", 5.0),
        action(3, 2, "impression", 0.0),
        action(4, 3, "hide", 0.0),
    ];
    actions.submit(sent, clock(), move |recorded| {
        done.send(recorded).expect("a test")
    });
    let recorded = is_done.recv_timeout(PATIENCE).expect("an answer");
    recorded.expect("a record");
    // Day by day: a clock that jumps is not believed.
    let forget = |from: u32, to: u32| {
        let forgotten = (from..=to).map(|day| actions.forget(days(f64::from(day))));
        forgotten.map(|count| count.expect("a log")).sum::<u64>()
    };
    assert_eq!(forget(1, 9), 0);
    assert_eq!(actions.users(), 3);
    // Ten days are kept.
    assert_eq!(forget(10, 11), 2);
    let check = |actions: &Actions| {
        assert_eq!(actions.users(), 2);
        let positive = actions.state(UserId(1)).expect("a user");
        assert_eq!(positive.positive().len(), 1);
        let hidden = actions.state(UserId(3)).expect("a user");
        assert!(hidden.is_blocked(PinId(4), days(400.0), 1.0));
    };
    check(&actions);
    drop(actions);
    let (actions, found) = open(days(11.0));
    assert_eq!((found.actions, found.forgotten), (2, 0));
    check(&actions);
}

#[tokio::test]
async fn each_action_has_its_status() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let mut actions = server.action_client().await;
    let days = |days: i64| days * 24 * HOUR;
    let sent = vec![
        action(1, 1, 1, "save", 0),
        action(1, 1, 2, "save", 0),
        action(2, 1, PINS, "save", 0),
        action(3, 1, 1, "stare", 0),
        action(4, 1, 1, "save", days(11)),
        action(5, 1, 1, "save", -days(1)),
        action(6, 1, 1, "save", i64::MAX / 2_000_000),
        action(7, 1, 1, "save", -HOUR),
    ];
    let expected = [
        ActionStatus::Accepted,
        ActionStatus::Duplicate,
        ActionStatus::UnknownPin,
        ActionStatus::UnknownAction,
        ActionStatus::TooOld,
        ActionStatus::InFuture,
        ActionStatus::TooOld,
        ActionStatus::Accepted,
    ];
    let answer = record(&mut actions, sent.clone()).await;
    assert_eq!(answer.results, expected.map(|status| status as i32));
    let requests = [sent.clone(), sent].map(|actions| v1::FeedActionsRequest { actions });
    let stream = tokio_stream::iter(requests);
    let fed = actions.feed_actions(stream).await.expect("an answer");
    let counts = fed.into_inner().counts;
    let counts: Vec<_> = counts.iter().map(|c| (c.status(), c.count)).collect();
    assert_eq!(
        counts,
        [
            (ActionStatus::Duplicate, 6),
            (ActionStatus::UnknownPin, 2),
            (ActionStatus::UnknownAction, 2),
            (ActionStatus::TooOld, 4),
            (ActionStatus::InFuture, 2),
        ]
    );
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_bad_field_is_named_and_nothing_is_recorded() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let (mut client, mut actions) = (server.client().await, server.action_client().await);
    let good = || action(1, STRANGER, 1, "save", 0);
    let moment = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let bad: [(&str, v1::Action); 10] = [
        (
            "action_id",
            v1::Action {
                action_id: vec![1; 15],
                ..good()
            },
        ),
        (
            "action_id",
            v1::Action {
                action_id: vec![],
                ..good()
            },
        ),
        (
            "user_id",
            v1::Action {
                user_id: None,
                ..good()
            },
        ),
        (
            "pin_id",
            v1::Action {
                pin_id: None,
                ..good()
            },
        ),
        (
            "action",
            v1::Action {
                action: String::new(),
                ..good()
            },
        ),
        (
            "action",
            v1::Action {
                action: "x".repeat(65),
                ..good()
            },
        ),
        (
            "time",
            v1::Action {
                time: None,
                ..good()
            },
        ),
        (
            "time",
            v1::Action {
                time: moment(i64::MAX, 0),
                ..good()
            },
        ),
        (
            "time",
            v1::Action {
                time: moment(NOW, -1),
                ..good()
            },
        ),
        (
            "time",
            v1::Action {
                time: moment(NOW, 1_000_000_000),
                ..good()
            },
        ),
    ];
    for (field, bad) in bad {
        let request = v1::RecordActionsRequest {
            actions: vec![action(2, STRANGER, 1, "save", 0), bad],
        };
        let status = actions.record_actions(request).await.expect_err(field);
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_details_bad_request().expect("a BadRequest");
        assert_eq!(
            details.field_violations[0].field,
            format!("actions[1].{field}")
        );
    }
    for count in [0, 1_001] {
        let request = v1::RecordActionsRequest {
            actions: vec![good(); count],
        };
        let status = actions
            .record_actions(request)
            .await
            .expect_err("a bad count");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(&count.to_string()), "{status}");
    }
    let answer = recommend(&mut client, ask_all(STRANGER)).await;
    assert_eq!(answer.fallback_reason(), v1::FallbackReason::UnknownUser);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_token_is_honored_or_refused() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let (mut client, mut actions) = (server.client().await, server.action_client().await);
    let recorded = record(&mut actions, vec![action(1, 1, 1, "save", 0)]).await;
    let with = |token: &[u8]| v1::RecommendRequest {
        freshness_token: token.to_vec(),
        ..ask(1)
    };
    let token = recorded.freshness_token;
    recommend(&mut client, with(&token)).await;
    let mut later = token.clone();
    later[15] += 1;
    let mut of_another = token.clone();
    of_another[0] ^= 1;
    for token in [&later[..], &of_another, b"token", &[0; 17]] {
        let status = client
            .recommend(with(token))
            .await
            .expect_err("a bad token");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().starts_with("freshness_token"), "{status}");
    }
    // The token outlives the server, with its directory.
    server.stop().await.expect("a clean end");
    let server = Server::start_recording(&world).await;
    recommend(&mut server.client().await, with(&token)).await;
    server.stop().await.expect("a clean end");
    let server = Server::start(&world).await;
    let status = server.client().await.recommend(with(&token)).await;
    assert_eq!(
        status.expect_err("no actions").code(),
        Code::FailedPrecondition
    );
    let request = v1::RecordActionsRequest {
        actions: vec![action(1, 1, 1, "save", 0)],
    };
    let status = server.action_client().await.record_actions(request).await;
    assert_eq!(
        status.expect_err("no actions").code(),
        Code::FailedPrecondition
    );
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_start_with_a_clock_that_is_ten_days_ahead_forgets_nothing() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let mut client = server.action_client().await;
    let saves = (1..=50).map(|n| action(n, STRANGER, n as u64, "save", n as i64 * HOUR));
    record_all(&mut client, saves.collect()).await;
    server.stop().await.expect("a clean end");
    let open = |days: f64| {
        let (log, _) = Log::open(&world.path("data")).expect("a log");
        let now = clock().minus_days(-days);
        let (_, found) = Actions::open(Arc::new(log), action_params(), now).expect("actions");
        (found.actions, found.forgotten)
    };
    assert_eq!(open(20.0), (50, 0));
    assert_eq!(open(0.0), (50, 0));
    // A clock that goes on forgets, as ever.
    for day in 1..=7 {
        assert_eq!(open(f64::from(day)), (50, 0));
    }
    let forgotten: u64 = (8..=10).map(|day| open(f64::from(day)).1).sum();
    assert!(forgotten > 0, "{forgotten}");
}
