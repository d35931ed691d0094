//! `RecommendationService` over the wire.

use std::collections::{HashMap, HashSet};

use crate::common;
use crate::common::server::{Server, ask, explain, recommend};
use crate::common::{PINS, TOPICS, USERS, World};
use pinnersage::index::Catalog;
use pinnersage::model::PinId;
use pinnersage::store::ProfilesReader;
use pinnersage::wire::v1;
use prost::Message;
use tonic::Code;

/// What must hold of every answer.
fn check(answer: &v1::RecommendResponse, limit: usize, catalog: &Catalog) {
    assert_eq!(answer.candidates.len(), limit);
    let pins: HashSet<u64> = answer.candidates.iter().map(|c| c.pin_id).collect();
    assert_eq!(pins.len(), limit, "no pin comes twice");
    for candidate in &answer.candidates {
        let medoid = &answer.medoids[candidate.medoid_index as usize];
        let node = |pin| {
            let place = catalog
                .pins
                .position(PinId(pin))
                .expect("a pin of the catalog");
            catalog.pins.node(place)
        };
        let cosine = catalog
            .pins
            .vectors()
            .cosine(node(candidate.pin_id), node(medoid.pin_id));
        assert_eq!(
            candidate.score, cosine,
            "provenance and score of {}",
            candidate.pin_id
        );
    }
    for medoid in &answer.medoids {
        assert!(!pins.contains(&medoid.pin_id), "no medoid is recommended");
        assert!(medoid.importance > 0.0);
        assert!(medoid.inclusion_probability > 0.0 && medoid.inclusion_probability <= 1.0);
    }
}

#[tokio::test]
async fn every_user_gets_as_many_candidates_as_asked_for() {
    let world = World::built();
    let catalog = Catalog::open(&world.path("catalog")).expect("a catalog");
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let mut acted_on: HashMap<u64, HashSet<u64>> = HashMap::new();
    for action in common::actions() {
        acted_on
            .entry(action.user as u64)
            .or_default()
            .insert(action.pin as u64);
    }
    for (user, profile) in profiles.iter() {
        for strategy in [v1::MergeStrategy::Interleave, v1::MergeStrategy::GlobalTop] {
            let mut request = ask(user.0);
            request.set_merge_strategy(strategy);
            let answer = recommend(&mut client, request).await;
            check(&answer, 400, &catalog);
            assert_eq!(answer.medoids.len(), profile.medoids.len().min(3));
            assert_eq!(answer.fallback_reason(), v1::FallbackReason::Unspecified);
            assert!(!answer.degraded);
            assert_eq!(answer.catalog_version, catalog.manifest().version);
            assert_eq!(answer.profile_version, profiles.manifest().version);
            for candidate in &answer.candidates {
                assert!(
                    !acted_on[&user.0].contains(&candidate.pin_id),
                    "a pin of the history"
                );
                assert_eq!(candidate.title, "", "titles are not asked for");
            }
            for medoid in &answer.medoids {
                let own = profile
                    .medoids
                    .iter()
                    .find(|own| own.pin.0 == medoid.pin_id);
                assert_eq!(own.map(|own| own.importance), Some(medoid.importance));
                assert_eq!(medoid.origin(), v1::MedoidOrigin::Profile);
            }
        }
    }
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn the_most_important_medoids_are_not_left_to_chance_where_that_is_asked_for() {
    let world = World::built();
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let (user, profile) = profiles
        .iter()
        .find(|(_, profile)| profile.medoids.len() >= 5)
        .expect("a user of many interests");
    let mut third = HashSet::new();
    for seed in 0..50 {
        let request = v1::RecommendRequest {
            top_medoids: 2,
            seed: Some(seed),
            ..ask(user.0)
        };
        let answer = client.recommend(request).await.expect("an answer");
        let medoids = &answer.get_ref().medoids;
        for (medoid, top) in medoids.iter().zip(&profile.medoids[..2]) {
            assert_eq!(medoid.pin_id, top.pin.0);
            assert_eq!(medoid.inclusion_probability, 1.0);
        }
        assert!(medoids[2].inclusion_probability < 1.0);
        third.insert(medoids[2].pin_id);
    }
    assert!(third.len() > 1, "the third is drawn");
    let too_many = v1::RecommendRequest {
        top_medoids: 4,
        ..ask(user.0)
    };
    let refused = client.recommend(too_many).await.expect_err("four of three");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("top_medoids"), "{refused}");
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn popularity_counts_beside_nearness_where_the_settings_say_so() {
    const WEIGHT: f32 = 0.2;
    let world = World::built();
    let catalog = Catalog::open(&world.path("catalog")).expect("a catalog");
    let server = Server::start_with_popularity(&world, WEIGHT).await;
    let mut client = server.client().await;
    let mut counts: HashMap<u64, f64> = HashMap::new();
    let mut own = HashSet::new();
    for action in common::actions() {
        *counts.entry(action.pin as u64).or_default() += 1.0;
        if action.user == 7 {
            own.insert(action.pin as u64);
        }
    }
    let most = counts.values().copied().fold(0.0, f64::max);
    let popularity = |pin| {
        counts
            .get(&pin)
            .map_or(0.0, |count| count.ln_1p() / most.ln_1p())
    };
    let request = v1::RecommendRequest {
        limit: 10,
        medoids: 1,
        seed: Some(1),
        ..ask(7)
    };
    let answer = client.recommend(request).await.expect("an answer");
    let answer = answer.get_ref();
    check(answer, 10, &catalog);
    assert_eq!(answer.popularity_weight, WEIGHT);

    // Ten of one medoid, and two more in case of need, among three times as many.
    let row = |pin| {
        let place = catalog.pins.position(PinId(pin)).expect("a pin");
        catalog.pins.node(place)
    };
    let medoid = row(answer.medoids[0].pin_id);
    let cosine = |pin| catalog.pins.vectors().cosine(row(pin), medoid);
    let mut near: Vec<(f32, u64)> = (0..PINS)
        .filter(|pin| !own.contains(pin))
        .map(|pin| (cosine(pin), pin))
        .collect();
    let by_falling = |a: &(f32, u64), b: &(f32, u64)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    near.sort_by(by_falling);
    let nearest: Vec<u64> = near[..10].iter().map(|&(_, pin)| pin).collect();
    let mut ranked: Vec<(f32, u64)> = near[..36]
        .iter()
        .map(|&(cosine, pin)| (cosine + WEIGHT * popularity(pin) as f32, pin))
        .collect();
    ranked.sort_by(by_falling);
    let expected: Vec<u64> = ranked[..10].iter().map(|&(_, pin)| pin).collect();
    let found: Vec<u64> = answer.candidates.iter().map(|c| c.pin_id).collect();
    assert_eq!(found, expected);
    assert_ne!(found, nearest, "popularity makes a difference");
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn limit_is_filled_until_nothing_eligible_is_left() {
    let world = World::built();
    world.build_profiles("catalog", "profiles", false);
    let catalog = Catalog::open(&world.path("catalog")).expect("a catalog");
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let own = client
        .explain_user(v1::ExplainUserRequest {
            user_id: Some(7),
            ..Default::default()
        })
        .await;
    let own: HashSet<u64> = own
        .expect("interests")
        .into_inner()
        .interests
        .iter()
        .map(|i| i.pin_id)
        .collect();
    for excluded in [0u64, 1, 300, 550, 590, PINS] {
        let exclude_pin_ids: Vec<u64> = (0..excluded).collect();
        let eligible = (excluded..PINS).filter(|pin| !own.contains(pin)).count();
        for limit in [1usize, 3, 50, 600] {
            let request = v1::RecommendRequest {
                limit: limit as u32,
                seed: Some(excluded),
                exclude_pin_ids: exclude_pin_ids.clone(),
                ..ask(7)
            };
            let answer = recommend(&mut client, request).await;
            check(&answer, limit.min(eligible), &catalog);
            assert!(
                answer
                    .candidates
                    .iter()
                    .all(|candidate| candidate.pin_id >= excluded)
            );
        }
    }
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn bad_requests_are_refused_by_field() {
    use tonic_types::StatusExt;
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let bad = [
        (
            "limit",
            v1::RecommendRequest {
                limit: 2_001,
                ..ask(1)
            },
        ),
        (
            "medoids",
            v1::RecommendRequest {
                medoids: 21,
                ..ask(1)
            },
        ),
        (
            "exclude_pin_ids",
            v1::RecommendRequest {
                exclude_pin_ids: vec![1; 10_001],
                ..ask(1)
            },
        ),
        (
            "merge_strategy",
            v1::RecommendRequest {
                merge_strategy: 9,
                ..ask(1)
            },
        ),
        ("user_id", v1::RecommendRequest::default()),
    ];
    for (field, request) in bad {
        let status = client.recommend(request).await.expect_err(field);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{}", status.message());
        let details = status.get_details_bad_request().expect("a BadRequest");
        assert_eq!(details.field_violations[0].field, field);
    }
    let request = v1::RecommendRequest {
        freshness_token: b"token".to_vec(),
        ..ask(1)
    };
    let status = client
        .recommend(request)
        .await
        .expect_err("no actions are taken");
    assert_eq!(status.code(), Code::FailedPrecondition);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn an_unknown_user_gets_popular_interests_or_not_found_when_asked_for() {
    let world = World::built();
    let catalog = Catalog::open(&world.path("catalog")).expect("a catalog");
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let answer = recommend(&mut client, ask(u64::MAX)).await;
    check(&answer, 400, &catalog);
    assert_eq!(answer.fallback_reason(), v1::FallbackReason::UnknownUser);
    assert!(
        answer
            .medoids
            .iter()
            .all(|m| m.origin() == v1::MedoidOrigin::Popular)
    );
    let request = v1::RecommendRequest {
        require_profile: true,
        ..ask(u64::MAX)
    };
    let status = client.recommend(request).await.expect_err("no profile");
    assert_eq!(status.code(), Code::NotFound);
    let answer = explain(&mut client, u64::MAX).await;
    assert_eq!(answer.fallback_reason(), v1::FallbackReason::UnknownUser);
    assert!(!answer.interests.is_empty());
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn the_same_seed_and_versions_give_the_same_bytes_after_a_restart() {
    let world = World::built();
    let mut answers: Vec<Vec<u8>> = Vec::new();
    for _ in 0..2 {
        let server = Server::start(&world).await;
        for user in 0..USERS {
            let request = v1::RecommendRequest {
                seed: Some(user * 31),
                ..ask(user)
            };
            let answer = server
                .call_raw(&request.encode_to_vec())
                .await
                .expect("an answer");
            answers.push(answer.to_vec());
        }
        server.stop().await.expect("a clean end");
    }
    let (first, second) = answers.split_at(USERS as usize);
    assert_eq!(first, second);
    assert_ne!(first[0], first[1]);
}

#[tokio::test]
async fn a_seed_that_the_server_drew_repeats_its_answer() {
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let drawn = recommend(&mut client, ask(3)).await;
    let request = v1::RecommendRequest {
        seed: Some(drawn.seed),
        ..ask(3)
    };
    let again = recommend(&mut client, request).await;
    assert_eq!(again, drawn);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_batch_has_an_outcome_for_every_request() {
    use v1::batch_recommend_result::Outcome;
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let good = v1::RecommendRequest {
        seed: Some(5),
        ..ask(2)
    };
    let bad = v1::RecommendRequest {
        limit: 5_000,
        ..ask(2)
    };
    let requests = vec![good.clone(), bad, good.clone()];
    let batch = v1::BatchRecommendRequest { requests };
    let results = client
        .batch_recommend(batch)
        .await
        .expect("an answer")
        .into_inner()
        .results;
    let alone = recommend(&mut client, good).await;
    let outcomes: Vec<Outcome> = results
        .into_iter()
        .filter_map(|result| result.outcome)
        .collect();
    assert_eq!(outcomes[0], Outcome::Response(alone.clone()));
    assert_eq!(outcomes[2], Outcome::Response(alone));
    let Outcome::Error(error) = &outcomes[1] else {
        panic!("{:?}", outcomes[1])
    };
    assert_eq!(error.code, Code::InvalidArgument as i32);
    assert!(error.details[0].type_url.ends_with("google.rpc.BadRequest"));
    // As many requests as a batch may have, with as much as its bytes allow.
    let excluded = v1::RecommendRequest {
        exclude_pin_ids: (0..2_600).collect(),
        ..ask(1)
    };
    let batch = v1::BatchRecommendRequest {
        requests: vec![excluded; 100],
    };
    let results = client
        .batch_recommend(batch)
        .await
        .expect("an answer")
        .into_inner()
        .results;
    assert_eq!(results.len(), 100);
    for requests in [vec![], vec![ask(1); 101]] {
        let batch = v1::BatchRecommendRequest { requests };
        let status = client
            .batch_recommend(batch)
            .await
            .expect_err("a bad batch");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_user_is_explained_by_the_topics_acted_on() {
    let world = World::built();
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    for (user, profile) in profiles.iter() {
        let answer = explain(&mut client, user.0).await;
        let pins: Vec<u64> = answer
            .interests
            .iter()
            .map(|interest| interest.pin_id)
            .collect();
        let expected: Vec<u64> = profile.medoids.iter().map(|medoid| medoid.pin.0).collect();
        assert_eq!(pins, expected);
        for interest in &answer.interests {
            let topic = interest.pin_id % TOPICS as u64;
            assert_eq!(
                interest.title,
                format!("pin {} of topic {topic}", interest.pin_id)
            );
            assert!(interest.in_catalog && interest.size > 0);
        }
        let actions: u32 = answer.interests.iter().map(|interest| interest.size).sum();
        let of_user = common::actions()
            .iter()
            .filter(|a| a.user as u64 == user.0)
            .count();
        assert_eq!(actions as usize, of_user);
    }
    let status = client.explain_user(v1::ExplainUserRequest::default()).await;
    assert_eq!(status.expect_err("no user").code(), Code::InvalidArgument);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn medoids_that_left_the_catalog_are_said_to_be_missing() {
    let world = World::built();
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let (user, profile) = profiles
        .iter()
        .find(|(_, p)| p.medoids.len() > 2)
        .expect("a user");
    let (gone, kept) = profile.medoids.split_first().expect("three medoids");
    let without = |gone: &[u64]| {
        let mut pins = common::pins();
        pins.retain(|pin| !gone.contains(&(pin.id as u64)));
        common::files::pins(&world.path("pins.parquet"), &pins);
        world.build_catalog("catalog", common::EMBEDDING_VERSION);
    };
    without(&[gone.pin.0]);
    let server = Server::start(&world).await;
    let request = v1::RecommendRequest {
        medoids: 20,
        ..ask(user.0)
    };
    let mut client = server.client().await;
    let answer = recommend(&mut client, request.clone()).await;
    assert_eq!(
        answer.degraded_reason(),
        v1::DegradedReason::MedoidsNotInCatalog
    );
    assert!(answer.degraded);
    let mut pins: Vec<u64> = answer.medoids.iter().map(|medoid| medoid.pin_id).collect();
    let mut expected: Vec<u64> = kept.iter().map(|medoid| medoid.pin.0).collect();
    pins.sort_unstable();
    expected.sort_unstable();
    assert_eq!(pins, expected);
    server.stop().await.expect("a clean end");

    let all: Vec<u64> = profile.medoids.iter().map(|medoid| medoid.pin.0).collect();
    without(&all);
    let server = Server::start(&world).await;
    let answer = server
        .client()
        .await
        .recommend(request)
        .await
        .expect("an answer")
        .into_inner();
    assert_eq!(
        answer.fallback_reason(),
        v1::FallbackReason::ProfileNotInCatalog
    );
    assert_eq!(answer.candidates.len(), 400);
    server.stop().await.expect("a clean end");
}
