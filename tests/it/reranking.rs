//! Boosts, least scores, spacing and diversity over the wire.

use std::collections::{HashMap, HashSet};

use crate::common;
use crate::common::server::{Client, NOW, Server, ask, recommend};
use crate::filters::{any_of, language, world};
use pinnersage::wire::v1;
use tonic::Code;
use tonic_types::StatusExt;

const DAY: i64 = 86_400;
/// The moment from which the ages of boosts count: all pins of the world are older.
const BOOST_TIME: i64 = 1_769_904_000;

fn boost(weight: f32, by: v1::boost::By) -> v1::Boost {
    v1::Boost {
        weight,
        by: Some(by),
    }
}

fn decay(half_life: i64) -> v1::boost::By {
    v1::boost::By::Decay(v1::Decay {
        attribute: "created_at".to_owned(),
        half_life: Some(prost_types::Duration {
            seconds: half_life,
            nanos: 0,
        }),
    })
}

fn spacing(attribute: &str, max: u32, places: u32) -> v1::SpacingRule {
    v1::SpacingRule {
        attribute: attribute.to_owned(),
        max,
        places,
    }
}

/// Boosts of a language and of youth, and a penalty of another language.
fn boosts() -> Vec<v1::Boost> {
    vec![
        boost(0.2, v1::boost::By::Condition(any_of("language", &["fr"]))),
        boost(-0.1, v1::boost::By::Condition(any_of("language", &["en"]))),
        boost(0.3, decay(7 * DAY)),
    ]
}

/// What these boosts are worth for `pin`, as the definition says.
fn bonus(pin: u64) -> f64 {
    let of_language = match language(pin) {
        Some("fr") => 0.2,
        Some("en") => -0.1,
        _ => 0.0,
    };
    // The first of January 2026, and so many days later.
    let created_at = 1_767_225_600 + (pin % 28) as i64 * DAY;
    let age_in_weeks = (BOOST_TIME - created_at) as f64 / (7 * DAY) as f64;
    of_language + 0.3 * f64::exp2(-age_in_weeks)
}

fn moment(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

fn pins_of(answer: &v1::RecommendResponse) -> Vec<u64> {
    answer.candidates.iter().map(|c| c.pin_id).collect()
}

/// One medoid of user 3, by chance of seed 5: all eligible pins are in its list.
fn of_one_medoid(limit: u32) -> v1::RecommendRequest {
    v1::RecommendRequest {
        limit,
        medoids: 1,
        seed: Some(5),
        ..ask(3)
    }
}

/// All eligible pins by falling score.
async fn all_by_score(client: &mut Client) -> Vec<v1::Candidate> {
    let all = recommend(client, of_one_medoid(2_000)).await.candidates;
    assert!(all.len() > 400 && all.is_sorted_by(|a, b| a.score >= b.score));
    all
}

#[tokio::test]
async fn boosts_put_pins_in_the_order_of_an_exact_computation() {
    let world = world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let mut expected = all_by_score(&mut client).await;
    let rank = |candidate: &v1::Candidate| f64::from(candidate.score) + bonus(candidate.pin_id);
    expected.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
    let request = v1::RecommendRequest {
        boosts: boosts(),
        boost_time: Some(moment(BOOST_TIME)),
        ..of_one_medoid(300)
    };
    let answer = recommend(&mut client, request.clone()).await;
    assert_eq!(answer.candidates.len(), 300);
    assert_eq!(answer.boost_time, Some(moment(BOOST_TIME)));
    // Ranks that f32 cannot tell apart may change places; scores are cosines as before.
    for (found, expected) in answer.candidates.iter().zip(&expected) {
        assert!((rank(found) - rank(expected)).abs() < 1e-6);
    }
    let scores: HashMap<u64, f32> = expected.iter().map(|c| (c.pin_id, c.score)).collect();
    assert!(
        answer
            .candidates
            .iter()
            .all(|c| scores[&c.pin_id] == c.score)
    );
    // The server's clock otherwise, which the answer tells, and the same again with it.
    let by_clock = v1::RecommendRequest {
        boost_time: None,
        ..request
    };
    let answer = recommend(&mut client, by_clock.clone()).await;
    assert_eq!(answer.boost_time, Some(moment(NOW)));
    let again = v1::RecommendRequest {
        boost_time: answer.boost_time,
        ..by_clock
    };
    assert_eq!(recommend(&mut client, again).await, answer);
}

#[tokio::test]
async fn no_candidate_is_below_the_least_score() {
    let world = world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let all = all_by_score(&mut client).await;
    let least = all[36].score;
    let near = all
        .iter()
        .filter(|candidate| candidate.score >= least)
        .count();
    let request = v1::RecommendRequest {
        min_score: Some(least),
        ..of_one_medoid(400)
    };
    let answer = recommend(&mut client, request.clone()).await;
    assert_eq!(answer.candidates, all[..near]);
    assert!(answer.exhausted);
    assert_eq!(answer.exhausted_reason(), v1::ExhaustedReason::MinScore);
    // Boosts do not bring back what is too far away.
    let boosted = v1::RecommendRequest {
        boosts: boosts(),
        ..request.clone()
    };
    let boosted = recommend(&mut client, boosted).await;
    let set = |answer: &v1::RecommendResponse| HashSet::<u64>::from_iter(pins_of(answer));
    assert_eq!(set(&boosted), set(&answer));
    // Lists that end early give their turns to the others.
    let several = v1::RecommendRequest {
        medoids: 20,
        limit: 30,
        ..request.clone()
    };
    let several = recommend(&mut client, several).await;
    assert!(several.candidates.len() == 30 && !several.exhausted);
    assert!(
        several
            .candidates
            .iter()
            .all(|candidate| candidate.score >= least)
    );
    let enough = v1::RecommendRequest {
        min_score: Some(-1.0),
        ..request
    };
    let enough = recommend(&mut client, enough).await;
    assert_eq!(enough.candidates, all[..400]);
    assert!(!enough.exhausted);
}

#[tokio::test]
async fn a_language_comes_no_more_often_than_its_rule_says() {
    let world = world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let all: Vec<u64> = all_by_score(&mut client)
        .await
        .iter()
        .map(|c| c.pin_id)
        .collect();
    let request = v1::RecommendRequest {
        spacing: vec![spacing("language", 2, 7)],
        ..of_one_medoid(100)
    };
    let answer = recommend(&mut client, request.clone()).await;
    // The definition: each place goes to the next pin that may stand there.
    let mut left = all;
    let mut expected: Vec<u64> = Vec::new();
    while expected.len() < 100 {
        let before = &expected[expected.len().saturating_sub(6)..];
        let fits = |&pin: &u64| {
            let same = before
                .iter()
                .filter(|&&other| language(other) == language(pin));
            language(pin).is_none() || same.count() < 2
        };
        let Some(at) = left.iter().position(fits) else {
            break;
        };
        expected.push(left.remove(at));
    }
    assert_eq!(pins_of(&answer), expected);
    // Six of seven places have a language, the other pins are few: the list must end.
    assert_eq!(answer.exhausted, expected.len() < 100);
    if answer.exhausted {
        assert_eq!(answer.exhausted_reason(), v1::ExhaustedReason::Spacing);
    }
    let shorter = v1::RecommendRequest {
        limit: 9,
        ..request
    };
    assert_eq!(
        pins_of(&recommend(&mut client, shorter).await),
        expected[..9]
    );
}

#[tokio::test]
async fn diversity_spreads_the_first_candidates() {
    let world = world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let pins = common::pins();
    let cosine = |a: u64, b: u64| {
        let [a, b] = [a, b].map(|pin| &pins[pin as usize].embedding);
        let dot =
            |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum() };
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let likeness = |found: &[u64]| {
        let pairs = found.iter().enumerate();
        let pairs = pairs.flat_map(|(at, &a)| found[..at].iter().map(move |&b| cosine(a, b)));
        pairs.sum::<f64>() / (found.len() * (found.len() - 1) / 2) as f64
    };
    let with_strength = |strength: f32| v1::RecommendRequest {
        diversity: Some(v1::Diversity {
            strength,
            among: 60,
        }),
        ..of_one_medoid(10)
    };
    let plain = pins_of(&recommend(&mut client, of_one_medoid(10)).await);
    let some = pins_of(&recommend(&mut client, with_strength(0.5)).await);
    let most = pins_of(&recommend(&mut client, with_strength(1.0)).await);
    assert_eq!(plain[0], some[0]);
    assert!(likeness(&plain) > likeness(&some) + 0.01 && likeness(&some) >= likeness(&most));
    assert_eq!(
        some,
        pins_of(&recommend(&mut client, with_strength(0.5)).await)
    );
    let longer = v1::RecommendRequest {
        limit: 40,
        ..with_strength(0.5)
    };
    assert_eq!(pins_of(&recommend(&mut client, longer).await)[..10], some);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn upserted_pins_are_reranked_by_their_own_attributes() {
    use v1::attribute::Value;
    let world = world();
    let server = Server::start_recording(&world).await;
    let mut client = server.client().await;
    let mut pins = server.pin_client().await;
    let all = all_by_score(&mut client).await;
    // The vector of the last of 200, and a language of its own.
    let far = all[199].pin_id;
    let new = |id: u64| v1::Pin {
        pin_id: Some(id),
        embedding: common::pins()[far as usize].embedding.clone(),
        attributes: vec![
            v1::Attribute {
                name: "language".to_owned(),
                value: Some(Value::Keyword("is".to_owned())),
            },
            v1::Attribute {
                name: "created_at".to_owned(),
                value: Some(Value::Number(BOOST_TIME as f64)),
            },
        ],
        ..Default::default()
    };
    let upserted = v1::UpsertPinsRequest {
        pins: vec![new(10_000), new(10_001)],
    };
    pins.upsert_pins(upserted).await.expect("upserted");
    let icelandic = boost(2.0, v1::boost::By::Condition(any_of("language", &["is"])));
    let request = v1::RecommendRequest {
        boosts: vec![icelandic.clone()],
        ..of_one_medoid(50)
    };
    let answer = recommend(&mut client, request).await;
    assert_eq!(pins_of(&answer)[..2], [10_000, 10_001]);
    assert_eq!(answer.boost_time, None);
    let young = v1::RecommendRequest {
        boosts: vec![boost(2.0, decay(DAY))],
        boost_time: Some(moment(BOOST_TIME)),
        ..of_one_medoid(50)
    };
    assert_eq!(
        pins_of(&recommend(&mut client, young).await)[..2],
        [10_000, 10_001]
    );
    let apart = v1::RecommendRequest {
        boosts: vec![icelandic],
        spacing: vec![spacing("language", 1, 3)],
        ..of_one_medoid(9)
    };
    let apart = pins_of(&recommend(&mut client, apart).await);
    assert_eq!(apart.iter().position(|&pin| pin == 10_000), Some(0));
    assert_eq!(apart.iter().position(|&pin| pin == 10_001), Some(3));
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn similar_pins_are_reranked_in_the_same_way() {
    let world = world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let request = v1::SimilarPinsRequest {
        pin_ids: vec![7],
        limit: 100,
        ..Default::default()
    };
    let plain = client
        .similar_pins(request.clone())
        .await
        .expect("an answer");
    let plain = plain.into_inner().candidates;
    let least = plain[20].score;
    let reranked = v1::SimilarPinsRequest {
        boosts: boosts(),
        boost_time: Some(moment(BOOST_TIME)),
        min_score: Some(least),
        spacing: vec![spacing("language", 3, 4)],
        ..request
    };
    let answer = client
        .similar_pins(reranked)
        .await
        .expect("an answer")
        .into_inner();
    assert!(!answer.candidates.is_empty() && answer.exhausted);
    assert!(
        answer
            .candidates
            .iter()
            .all(|candidate| candidate.score >= least)
    );
    assert_eq!(answer.boost_time, Some(moment(BOOST_TIME)));
    let words: Vec<_> = answer
        .candidates
        .iter()
        .map(|c| language(c.pin_id))
        .collect();
    let same =
        |places: &[Option<&str>]| places[0].is_some() && places.iter().all(|one| one == &places[0]);
    assert!(!words.windows(4).any(same));
}

#[tokio::test]
async fn the_popularity_of_a_request_replaces_that_of_the_server() {
    let world = world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let plain = recommend(&mut client, of_one_medoid(300)).await;
    assert_eq!(plain.popularity_weight, 0.0);
    let popular = v1::RecommendRequest {
        popularity_weight: Some(2.0),
        ..of_one_medoid(300)
    };
    let popular = recommend(&mut client, popular).await;
    assert_eq!(popular.popularity_weight, 2.0);
    assert_ne!(pins_of(&popular), pins_of(&plain));
    let none = v1::RecommendRequest {
        popularity_weight: Some(0.0),
        ..of_one_medoid(300)
    };
    assert_eq!(recommend(&mut client, none).await, plain);
}

#[tokio::test]
async fn a_shorter_answer_is_the_head_of_a_longer_one() {
    let world = world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    for (user, merge) in [(1, 1), (2, 2), (3, 1), (999_999, 1)] {
        let with = |limit| v1::RecommendRequest {
            limit,
            seed: Some(user),
            merge_strategy: merge,
            ..ask(user)
        };
        let longest = pins_of(&recommend(&mut client, with(2_000)).await);
        assert!(longest.len() > 400);
        for limit in [1, 10, 100, 399, 400, 401, 500] {
            let shorter = pins_of(&recommend(&mut client, with(limit)).await);
            assert_eq!(shorter, longest[..longest.len().min(limit as usize)]);
        }
    }
}

#[tokio::test]
async fn bad_rules_are_refused_by_their_field() {
    let world = world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let with = |change: fn(&mut v1::RecommendRequest)| {
        let mut request = ask(1);
        change(&mut request);
        request
    };
    let cases: [(&str, v1::RecommendRequest); 12] = [
        ("min_score", with(|r| r.min_score = Some(f32::NAN))),
        (
            "popularity_weight",
            with(|r| r.popularity_weight = Some(-0.5)),
        ),
        ("boosts", with(|r| r.boosts = vec![boosts()[0].clone(); 17])),
        ("boosts[0]", with(|r| r.boosts = vec![v1::Boost::default()])),
        (
            "boosts[0].weight",
            with(|r| r.boosts = vec![boost(0.0, decay(DAY))]),
        ),
        (
            "boosts[1].decay.half_life",
            with(|r| r.boosts = vec![boost(1.0, decay(DAY)), boost(1.0, decay(0))]),
        ),
        (
            "boosts[0].condition.any_of",
            with(|r| {
                let condition = v1::boost::By::Condition(any_of("price", &["1"]));
                r.boosts = vec![boost(1.0, condition)];
            }),
        ),
        (
            "boosts[0].condition.any_of.values",
            with(|r| {
                let condition = v1::boost::By::Condition(any_of("language", &[]));
                r.boosts = vec![boost(1.0, condition)];
            }),
        ),
        (
            "spacing[0].attribute",
            with(|r| r.spacing = vec![spacing("price", 1, 2)]),
        ),
        (
            "spacing[0].places",
            with(|r| r.spacing = vec![spacing("language", 2, 2)]),
        ),
        (
            "diversity.strength",
            with(|r| r.diversity = Some(v1::Diversity::default())),
        ),
        (
            "boost_time",
            with(|r| {
                r.boost_time = Some(prost_types::Timestamp {
                    seconds: 1,
                    nanos: -1,
                });
            }),
        ),
    ];
    for (field, request) in cases {
        let status = client.recommend(request).await.expect_err(field);
        assert_eq!(status.code(), Code::InvalidArgument);
        let violations = status.get_details_bad_request().expect("details");
        assert_eq!(violations.field_violations[0].field, field);
    }
}
