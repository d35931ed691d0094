//! Pins like others over the wire: `SimilarPins`.

use std::collections::HashSet;
use std::time::Duration;

use crate::common::server::{Client, NOW, Server, params, save};
use crate::common::strings::{self, pin_key, user_key};
use crate::common::twin::{Table, unit};
use crate::common::{self, DIMENSION, FIRST_COPY, PINS, TOPICS, World};
use pinnersage::index::Catalog;
use pinnersage::model::{Neighbor, PinId};
use pinnersage::wire::v1;
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const SIMILAR_PINS: &str = "/pinnersage.v1.RecommendationService/SimilarPins";
const NEW: u64 = 10_000;

fn like(pin_ids: &[u64]) -> v1::SimilarPinsRequest {
    v1::SimilarPinsRequest {
        pin_ids: pin_ids.to_vec(),
        ..Default::default()
    }
}

fn vector(values: &[f32]) -> v1::Vector {
    v1::Vector {
        values: values.to_vec(),
    }
}

async fn similar(client: &mut Client, request: v1::SimilarPinsRequest) -> v1::SimilarPinsResponse {
    let answer = client.similar_pins(request).await;
    answer.expect("an answer").into_inner()
}

async fn refusal(client: &mut Client, request: v1::SimilarPinsRequest) -> Status {
    let answer = client.similar_pins(request).await;
    answer.expect_err("a refusal")
}

fn pins(answer: &v1::SimilarPinsResponse) -> Vec<u64> {
    answer.candidates.iter().map(|c| c.pin_id).collect()
}

/// Checks an answer against `lists`, in which everything is sorted: each candidate is the
/// nearest pin to what found it that no candidate before it is; and those have equal shares.
fn check(answer: &v1::SimilarPinsResponse, lists: &[Vec<Neighbor>], limit: usize) {
    let mut taken = HashSet::new();
    let mut shares = vec![0; lists.len()];
    for candidate in &answer.candidates {
        let mut list = lists[candidate.medoid_index as usize].iter();
        let next = list
            .find(|next| !taken.contains(&next.pin.0))
            .expect("one more");
        assert_eq!(
            (candidate.pin_id, candidate.score),
            (next.pin.0, next.score)
        );
        taken.insert(candidate.pin_id);
        shares[candidate.medoid_index as usize] += 1;
    }
    assert_eq!(taken.len(), limit.min(lists[0].len()));
    if taken.len() == limit {
        let (least, most) = (shares.iter().min(), shares.iter().max());
        let spread = most.expect("a list") - least.expect("a list");
        assert!(spread <= 1, "{shares:?}");
    }
}

#[tokio::test]
async fn pins_like_others_are_those_of_a_twin_that_sorts_everything() {
    let world = World::built();
    let table = Table::of(&Catalog::open(&world.path("catalog")).expect("a catalog"));
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let between: Vec<f32> = (0..DIMENSION).map(|at| at as f32 - 7.5).collect();
    let cases = [
        (vec![7], vec![]),
        (vec![FIRST_COPY, FIRST_COPY - 10], vec![]),
        (vec![], vec![between.clone()]),
        (
            vec![3, 4, 5, 250],
            vec![between, table.0[&9].iter().map(|x| x * 40.0).collect()],
        ),
        ((0..20).collect(), vec![]),
    ];
    for (pin_ids, vectors) in cases {
        for limit in [1, 20, 60, 0, 2_000] {
            let request = v1::SimilarPinsRequest {
                vectors: vectors.iter().map(|values| vector(values)).collect(),
                limit,
                exclude_pin_ids: vec![37, 38, 99_999],
                ..like(&pin_ids)
            };
            let answer = similar(&mut client, request.clone()).await;
            let blocked = [&pin_ids[..], &[37, 38]].concat();
            let targets = pin_ids.iter().map(|pin| table.0[pin].clone());
            let targets = targets.chain(vectors.iter().map(|vector| unit(vector)));
            let lists: Vec<_> = targets.map(|to| table.sorted(&to, &blocked)).collect();
            let limit = if limit == 0 { 400 } else { limit as usize };
            check(&answer, &lists, limit.min(PINS as usize));
            assert!(!answer.degraded && answer.unknown_pin_ids.is_empty());

            let bytes = request.encode_to_vec();
            let first = server.call_method_raw(SIMILAR_PINS, &bytes).await;
            let again = server.call_method_raw(SIMILAR_PINS, &bytes).await;
            let first = first.expect("an answer");
            assert_eq!(first, again.expect("an answer"));
            assert_eq!(first, answer.encode_to_vec());
        }
    }
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn an_answer_says_what_it_is_of_and_titles_come_where_they_are_asked_for() {
    let world = World::built();
    let catalog = Catalog::open(&world.path("catalog")).expect("a catalog");
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let request = v1::SimilarPinsRequest {
        include_titles: true,
        limit: 3,
        ..like(&[7])
    };
    let answer = client.similar_pins(request).await.expect("an answer");
    let version = answer.metadata().get("x-pinnersage-catalog-version");
    let version = version
        .expect("a version")
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(version, catalog.manifest().version);
    let answer = answer.into_inner();
    assert_eq!(answer.catalog_version, version);
    for candidate in answer.candidates {
        let (pin, topic) = (candidate.pin_id, candidate.pin_id % TOPICS as u64);
        assert_eq!(candidate.title, format!("pin {pin} of topic {topic}"));
    }
    assert_eq!(answer.popularity_weight, 0.0);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn pins_that_the_catalog_lacks_are_reported_and_leave_the_rest_as_it_is() {
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let known = similar(&mut client, like(&[7, 8])).await;
    let mixed = similar(&mut client, like(&[NEW, 7, NEW + 1, 8])).await;
    assert_eq!(mixed.unknown_pin_ids, [NEW, NEW + 1]);
    assert!(!mixed.degraded);
    assert_eq!(pins(&mixed), pins(&known));
    let places = |answer: &v1::SimilarPinsResponse| -> Vec<u32> {
        answer.candidates.iter().map(|c| c.medoid_index).collect()
    };
    let expected: Vec<u32> = places(&known).iter().map(|place| place * 2 + 1).collect();
    assert_eq!(places(&mixed), expected);

    let by_key = v1::SimilarPinsRequest {
        pin_keys: vec!["tea".to_owned()],
        ..like(&[NEW])
    };
    let none = similar(&mut client, by_key).await;
    assert_eq!(none.candidates, []);
    assert_eq!(none.unknown_pin_ids, [NEW]);
    assert_eq!(none.unknown_pin_keys, ["tea"]);
    assert!(!none.degraded && !none.catalog_version.is_empty());
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn changed_pins_come_and_go_as_candidates_and_as_what_others_are_like() {
    let world = World::built();
    let mut table = Table::of(&Catalog::open(&world.path("catalog")).expect("a catalog"));
    let server = Server::start_recording(&world).await;
    let (mut client, mut changes) = (server.client().await, server.pin_client().await);
    let moved = 8;
    for (pin, near) in [(NEW, 7), (moved, 11)] {
        let embedding: Vec<f32> = table.0[&near].iter().map(|x| x + 0.01).collect();
        table.0.insert(pin, unit(&embedding));
        let pin = v1::Pin {
            pin_id: Some(pin),
            embedding,
            ..Default::default()
        };
        let request = v1::UpsertPinsRequest { pins: vec![pin] };
        changes.upsert_pins(request).await.expect("an answer");
    }
    let gone = v1::DeletePinsRequest {
        pin_ids: vec![37],
        ..Default::default()
    };
    changes.delete_pins(gone).await.expect("an answer");
    table.0.remove(&37);
    let of_vector: Vec<f32> = table.0[&NEW].clone();
    for (pin_ids, vectors) in [
        (vec![NEW], vec![]),
        (vec![7, moved], vec![]),
        (vec![], vec![of_vector]),
    ] {
        let request = v1::SimilarPinsRequest {
            vectors: vectors.iter().map(|values| vector(values)).collect(),
            limit: 30,
            ..like(&pin_ids)
        };
        let answer = similar(&mut client, request).await;
        let targets = pin_ids
            .iter()
            .map(|pin| table.0[pin].clone())
            .chain(vectors);
        let lists: Vec<_> = targets.map(|to| table.sorted(&to, &pin_ids)).collect();
        check(&answer, &lists, 30);
    }
    let answer = similar(&mut client, like(&[37])).await;
    assert_eq!(
        (answer.unknown_pin_ids, answer.candidates),
        (vec![37], vec![])
    );
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn what_a_user_must_not_see_stays_out_and_nothing_else_changes() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let mut client = server.client().await;
    let user = 7;
    let actions = common::actions();
    let own = actions.iter().filter(|action| action.user as u64 == user);
    let history: HashSet<u64> = own.map(|action| action.pin as u64).collect();
    let query = *history.iter().min().expect("an action");
    let all = similar(&mut client, like(&[query])).await;
    assert!(pins(&all).iter().any(|pin| history.contains(pin)));
    let left: Vec<u64> = pins(&all)
        .into_iter()
        .filter(|pin| !history.contains(pin))
        .collect();
    let (hidden, shown) = (left[0], left[2]);
    let action = |number, pin, name: &str| v1::Action {
        action: name.to_owned(),
        ..save(number, user, pin, NOW - 60)
    };
    let request = v1::RecordActionsRequest {
        actions: vec![action(1, hidden, "hide"), action(2, shown, "impression")],
    };
    let recorded = server.action_client().await.record_actions(request).await;
    let request = v1::SimilarPinsRequest {
        user_id: Some(user),
        freshness_token: recorded.expect("an answer").into_inner().freshness_token,
        ..like(&[query])
    };
    let of_user = similar(&mut client, request.clone()).await;
    let blocked: HashSet<u64> = history.into_iter().chain([hidden, shown]).collect();
    assert!(pins(&of_user).iter().all(|pin| !blocked.contains(pin)));
    assert_eq!(of_user.candidates.len(), 400);
    // One in some hundred pins may be taken for one of the history.
    let left: Vec<u64> = left
        .into_iter()
        .filter(|pin| !blocked.contains(pin))
        .collect();
    let places = pins(&of_user)
        .into_iter()
        .map(|pin| left.iter().position(|p| *p == pin));
    let places: Vec<usize> = places.take(100).map(|place| place.expect("near")).collect();
    assert!(places.is_sorted() && places[99] < 105, "{places:?}");

    // A stranger sees what nobody sees.
    let of_stranger = v1::SimilarPinsRequest {
        user_id: Some(u64::MAX),
        ..like(&[query])
    };
    assert_eq!(similar(&mut client, of_stranger).await, all);

    let bad = v1::SimilarPinsRequest {
        freshness_token: b"token".to_vec(),
        ..request
    };
    let refused = refusal(&mut client, bad).await;
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn bad_requests_are_refused_by_field() {
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let good = vector(&[1.0; DIMENSION]);
    let with_vectors = |vectors: Vec<v1::Vector>| v1::SimilarPinsRequest {
        vectors,
        ..Default::default()
    };
    let second = |values: &[f32]| with_vectors(vec![good.clone(), vector(values)]);
    let mut not_finite = [1.0; DIMENSION];
    not_finite[3] = f32::INFINITY;
    let mut nan = [1.0; DIMENSION];
    nan[0] = f32::NAN;
    let keys = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
    let bad = [
        ("pin_ids", v1::SimilarPinsRequest::default()),
        ("pin_ids", like(&[1; 21])),
        (
            "pin_keys",
            v1::SimilarPinsRequest {
                pin_keys: keys(&["tea", "pot"]),
                ..like(&[1; 19])
            },
        ),
        (
            "pin_keys[1]",
            v1::SimilarPinsRequest {
                pin_keys: keys(&["tea", ""]),
                ..Default::default()
            },
        ),
        ("vectors", with_vectors(vec![good.clone(); 21])),
        (
            "vectors",
            v1::SimilarPinsRequest {
                vectors: vec![good.clone()],
                ..like(&[1; 20])
            },
        ),
        ("vectors[1]", second(&[])),
        ("vectors[1]", second(&[1.0; DIMENSION - 1])),
        ("vectors[1]", second(&[1.0; DIMENSION + 1])),
        ("vectors[1]", second(&[0.0; DIMENSION])),
        ("vectors[1]", second(&not_finite)),
        ("vectors[1]", second(&nan)),
        (
            "limit",
            v1::SimilarPinsRequest {
                limit: 2_001,
                ..like(&[1])
            },
        ),
        (
            "exclude_pin_ids",
            v1::SimilarPinsRequest {
                exclude_pin_ids: vec![1; 10_001],
                ..like(&[1])
            },
        ),
        (
            "user_key",
            v1::SimilarPinsRequest {
                user_id: Some(1),
                user_key: Some("tea".to_owned()),
                ..like(&[1])
            },
        ),
        (
            "freshness_token",
            v1::SimilarPinsRequest {
                freshness_token: vec![0; 257],
                ..like(&[1])
            },
        ),
    ];
    for (field, request) in bad {
        let refused = refusal(&mut client, request).await;
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused}");
        let details = refused.get_details_bad_request().expect("a BadRequest");
        assert_eq!(details.field_violations[0].field, field, "{refused}");
    }
    let greatest = v1::SimilarPinsRequest {
        vectors: vec![good; 10],
        ..like(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    };
    assert_eq!(similar(&mut client, greatest).await.candidates.len(), 400);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn load_and_deadlines_hold_for_it_as_for_recommendations() {
    let world = World::built();
    let mut crowded = params();
    crowded.overload.max_calls = 0;
    let server = Server::start_with(&world, crowded).await;
    let refused = refusal(&mut server.client().await, like(&[7])).await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.get_details_retry_info().is_some());
    server.stop().await.expect("a clean end");

    let mut late = params();
    late.server.max_deadline = Duration::ZERO;
    let server = Server::start_with(&world, late).await;
    let refused = refusal(&mut server.client().await, like(&[7])).await;
    assert_eq!(refused.code(), Code::DeadlineExceeded);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn pins_and_users_may_be_called_by_strings() {
    let world = strings::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let by_key = v1::SimilarPinsRequest {
        pin_keys: vec![pin_key(7), "no such pin".to_owned()],
        exclude_pin_keys: vec![pin_key(37)],
        user_key: Some(user_key(1)),
        ..Default::default()
    };
    let answer = similar(&mut client, by_key).await;
    assert_eq!(answer.unknown_pin_keys, ["no such pin"]);
    assert!(answer.unknown_pin_ids.is_empty());
    assert_eq!(answer.candidates.len(), 400);
    for candidate in &answer.candidates {
        assert_eq!(PinId::of_key(&candidate.pin_key).0, candidate.pin_id);
        assert!(![pin_key(7), pin_key(37)].contains(&candidate.pin_key));
    }
    server.stop().await.expect("a clean end");
}
