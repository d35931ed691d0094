//! Seeds of `Recommend` over the wire: pins of the request beside the user's medoids or in
//! their place.

use std::collections::HashSet;

use crate::common::server::{Client, Server, ask, explain, recommend};
use crate::common::strings::{self, pin_key};
use crate::common::twin::Table;
use crate::common::{PINS, USERS, World};
use pinnersage::index::Catalog;
use pinnersage::model::PinId;
use pinnersage::wire::v1;
use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;

const UNKNOWN: u64 = 10_000;

fn seed(pin: u64, weight: f64) -> v1::Seed {
    v1::Seed {
        pin_id: Some(pin),
        pin_key: None,
        weight,
    }
}

fn with_seeds(user: u64, seeds: &[(u64, f64)]) -> v1::RecommendRequest {
    v1::RecommendRequest {
        seed: Some(5),
        seeds: seeds
            .iter()
            .map(|&(pin, weight)| seed(pin, weight))
            .collect(),
        ..ask(user)
    }
}

/// A request of nobody for candidates of seeds alone.
fn anonymous(seeds: &[(u64, f64)]) -> v1::RecommendRequest {
    v1::RecommendRequest {
        user_id: None,
        seed_mode: v1::SeedMode::Replace.into(),
        ..with_seeds(0, seeds)
    }
}

/// Checks each candidate against a twin that sorts everything: it is the nearest pin to what
/// found it that is not `blocked`, and that no candidate before it is. Returns how many each
/// medoid of the answer brought.
fn check(answer: &v1::RecommendResponse, table: &Table, blocked: &[u64]) -> Vec<usize> {
    let medoids = answer.medoids.iter().map(|medoid| medoid.pin_id);
    let lists = medoids.map(|pin| table.sorted(&table.0[&pin], blocked));
    let lists: Vec<_> = lists.collect();
    let (mut taken, mut brought) = (HashSet::new(), vec![0; lists.len()]);
    for candidate in &answer.candidates {
        let mut list = lists[candidate.medoid_index as usize].iter();
        let next = list.find(|next| !taken.contains(&next.pin.0));
        let next = next.expect("one more");
        assert_eq!(
            (candidate.pin_id, candidate.score),
            (next.pin.0, next.score)
        );
        taken.insert(candidate.pin_id);
        brought[candidate.medoid_index as usize] += 1;
    }
    brought
}

async fn medoids_of(client: &mut Client, user: u64) -> Vec<u64> {
    let interests = explain(client, user).await.interests;
    interests.iter().map(|interest| interest.pin_id).collect()
}

#[tokio::test]
async fn seeds_join_the_medoids_that_are_drawn_without_them_and_have_quotas_of_their_own() {
    let world = World::built();
    // The history is not blocked, so that the twin knows what is.
    world.build_profiles("catalog", "profiles", false);
    let table = Table::of(&Catalog::open(&world.path("catalog")).expect("a catalog"));
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    for user in 0..USERS {
        let (a, b) = (user * 13 % PINS, (user * 29 + 7) % PINS);
        for (weights, limit) in [((1.0, 0.0), 120), ((0.25, 0.75), 90), ((7.0, 3.0), 400)] {
            let request = v1::RecommendRequest {
                limit,
                ..with_seeds(user, &[(a, weights.0), (b, weights.1)])
            };
            let without = v1::RecommendRequest {
                seeds: vec![],
                ..request.clone()
            };
            let answer = recommend(&mut client, request).await;
            let without = recommend(&mut client, without).await;
            let (seeds, sampled) = answer.medoids.split_at(2);
            assert_eq!(sampled, without.medoids);
            let second = if weights.1 == 0.0 { 1.0 } else { weights.1 };
            for (medoid, (pin, weight)) in seeds.iter().zip([(a, weights.0), (b, second)]) {
                assert_eq!(medoid.origin(), v1::MedoidOrigin::Seed);
                assert_eq!((medoid.pin_id, medoid.weight), (pin, weight));
                assert_eq!(
                    (medoid.importance, medoid.inclusion_probability),
                    (0.0, 1.0)
                );
            }
            let mut blocked = medoids_of(&mut client, user).await;
            blocked.extend([a, b]);
            let brought = check(&answer, &table, &blocked);
            assert_eq!(answer.candidates.len(), limit as usize);
            let total = weights.0 + second + 1.0;
            let importance: f64 = sampled.iter().map(|medoid| medoid.importance).sum();
            let shares = sampled.iter().map(|medoid| medoid.importance / importance);
            let shares = [weights.0, second].into_iter().chain(shares);
            for (brought, share) in brought.iter().zip(shares) {
                let exact = share / total * f64::from(limit);
                // The least of the shares is one, which others make up for.
                assert!((*brought as f64 - exact).abs() <= 2.0, "{brought} {exact}");
            }
        }
    }
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn an_anonymous_visitor_gets_what_is_like_the_seeds() {
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let request = anonymous(&[(7, 1.0), (250, 1.0)]);
    let answer = recommend(&mut client, request.clone()).await;
    assert_eq!(answer.medoids.len(), 2);
    assert_eq!(answer.fallback_reason(), v1::FallbackReason::Unspecified);
    assert!(answer.state_age.is_none() && answer.state_time.is_none());
    assert!(!answer.degraded);
    let similar = v1::SimilarPinsRequest {
        pin_ids: vec![7, 250],
        ..Default::default()
    };
    let similar = client.similar_pins(similar).await.expect("an answer");
    assert_eq!(similar.into_inner().candidates, answer.candidates);
    let bytes = request.encode_to_vec();
    let first = server.call_raw(&bytes).await.expect("an answer");
    assert_eq!(first, server.call_raw(&bytes).await.expect("an answer"));
    // Nothing is drawn, so only the seed that is told differs.
    let other_seed = v1::RecommendRequest {
        seed: Some(6),
        ..request.clone()
    };
    let other = recommend(&mut client, other_seed).await;
    assert_eq!(v1::RecommendResponse { seed: 5, ..other }, answer);

    // A user with seeds alone has no medoids, but still a history.
    let of_user = v1::RecommendRequest {
        user_id: Some(7),
        ..request
    };
    let of_user = recommend(&mut client, of_user).await;
    assert_eq!(of_user.medoids, answer.medoids);
    assert!(of_user.state_time.is_some());
    let history: HashSet<u64> = crate::common::actions()
        .iter()
        .filter(|action| action.user == 7)
        .map(|action| action.pin as u64)
        .collect();
    let is_of_history = |one: &v1::Candidate| history.contains(&one.pin_id);
    assert!(answer.candidates.iter().any(is_of_history));
    assert!(!of_user.candidates.iter().any(is_of_history));
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn seeds_that_the_catalog_lacks_are_reported_and_popular_medoids_stand_for_all_of_them() {
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let mut mixed = with_seeds(1, &[(UNKNOWN, 3.0), (7, 1.0)]);
    mixed.seeds.push(v1::Seed {
        pin_key: Some("tea".to_owned()),
        ..Default::default()
    });
    let mixed = recommend(&mut client, mixed).await;
    let known = recommend(&mut client, with_seeds(1, &[(7, 1.0)])).await;
    assert_eq!(mixed.unknown_seed_pin_ids, [UNKNOWN]);
    assert_eq!(mixed.unknown_seed_pin_keys, ["tea"]);
    let without = v1::RecommendResponse {
        unknown_seed_pin_ids: vec![],
        unknown_seed_pin_keys: vec![],
        ..mixed
    };
    assert_eq!(without, known);

    let none = recommend(&mut client, anonymous(&[(UNKNOWN, 1.0)])).await;
    assert_eq!(
        none.fallback_reason(),
        v1::FallbackReason::SeedsNotInCatalog
    );
    assert_eq!(none.unknown_seed_pin_ids, [UNKNOWN]);
    assert_eq!((none.medoids.len(), none.candidates.len()), (3, 400));
    let mut medoids = none.medoids.iter();
    assert!(medoids.all(|medoid| medoid.origin() == v1::MedoidOrigin::Popular));
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn bad_seeds_are_refused_by_field_alone_and_in_a_batch() {
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let keyed = |key: &str| v1::RecommendRequest {
        seeds: vec![v1::Seed {
            pin_key: Some(key.to_owned()),
            ..seed(7, 1.0)
        }],
        ..ask(1)
    };
    let with_mode = |request, mode: i32| v1::RecommendRequest {
        seed_mode: mode,
        ..request
    };
    let replace = v1::SeedMode::Replace as i32;
    let bad = [
        ("seeds", with_seeds(1, &[(7, 1.0); 21])),
        ("seeds", with_mode(ask(1), replace)),
        ("seeds[1].weight", with_seeds(1, &[(7, 1.0), (8, f64::NAN)])),
        ("seeds[0].weight", with_seeds(1, &[(7, f64::INFINITY)])),
        ("seeds[0].weight", with_seeds(1, &[(7, -0.5)])),
        ("seeds[0].weight", with_seeds(1, &[(7, 2e6)])),
        ("seeds[0].pin_key", keyed("")),
        ("seeds[0].pin_key", keyed("tea")),
        ("seed_mode", with_mode(with_seeds(1, &[(7, 1.0)]), 3)),
        (
            "seeds[0].pin_id",
            v1::RecommendRequest {
                seeds: vec![v1::Seed::default()],
                ..ask(1)
            },
        ),
        ("user_id", with_mode(anonymous(&[(7, 1.0)]), 1)),
        (
            "user_id",
            v1::RecommendRequest {
                require_profile: true,
                ..anonymous(&[(7, 1.0)])
            },
        ),
    ];
    for (field, request) in bad {
        let refused = client.recommend(request.clone()).await.expect_err(field);
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused}");
        let details = refused.get_details_bad_request().expect("a BadRequest");
        assert_eq!(details.field_violations[0].field, field, "{refused}");
        let batch = v1::BatchRecommendRequest {
            requests: vec![anonymous(&[(7, 1.0)]), request],
        };
        let results = client.batch_recommend(batch).await.expect("an answer");
        let results = &results.get_ref().results;
        let outcome = |at: usize| results[at].outcome.clone().expect("an outcome");
        use v1::batch_recommend_result::Outcome;
        assert!(matches!(outcome(0), Outcome::Response(one) if one.candidates.len() == 400));
        assert!(matches!(outcome(1), Outcome::Error(one) if one.message.starts_with(field)));
    }
    let most: Vec<(u64, f64)> = (0..20).map(|pin| (pin, 1e6)).collect();
    let most = v1::RecommendRequest {
        medoids: 20,
        limit: 10,
        ..with_seeds(1, &most)
    };
    let answer = recommend(&mut client, most).await;
    assert!(answer.medoids.len() > 20 && answer.candidates.len() == 10);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn seeds_may_be_called_by_strings() {
    let world = strings::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let by_key = |key: String| v1::Seed {
        pin_key: Some(key),
        ..Default::default()
    };
    let request = v1::RecommendRequest {
        seeds: vec![by_key(pin_key(7)), by_key("no such pin".to_owned())],
        seed_mode: v1::SeedMode::Replace.into(),
        ..Default::default()
    };
    let answer = recommend(&mut client, request).await;
    assert_eq!(answer.unknown_seed_pin_keys, ["no such pin"]);
    assert_eq!(answer.medoids[0].pin_key, pin_key(7));
    assert_eq!(answer.medoids[0].pin_id, PinId::of_key(&pin_key(7)).0);
    assert_eq!(answer.candidates.len(), 400);
    server.stop().await.expect("a clean end");
}
