//! The context pin of `Recommend` over the wire: medoids are sampled near it.

use std::collections::HashMap;

use crate::common::server::{Client, Server, ask, explain, recommend};
use crate::common::strings::{self, pin_key, user_key};
use crate::common::twin::Table;
use crate::common::{USERS, World};
use pinnersage::index::Catalog;
use pinnersage::kernel;
use pinnersage::wire::v1;
use tonic::Code;
use tonic_types::StatusExt;

const UNKNOWN: u64 = 10_000;

fn near(user: u64, pin: u64) -> v1::RecommendRequest {
    v1::RecommendRequest {
        seed: Some(5),
        limit: 100,
        context_pin_id: Some(pin),
        ..ask(user)
    }
}

/// The user's medoids with their importances, and their cosines to `pin`, nearest first.
async fn by_nearness(
    client: &mut Client,
    user: u64,
    pin: u64,
    table: &Table,
) -> Vec<(u64, f64, f32)> {
    let interests = explain(client, user).await.interests.into_iter();
    let mut medoids: Vec<_> = interests
        .map(|one| {
            let cosine = kernel::dot(&table.0[&one.pin_id], &table.0[&pin]);
            (one.pin_id, one.importance, cosine)
        })
        .collect();
    medoids.sort_by(|a, b| b.2.total_cmp(&a.2));
    medoids
}

#[tokio::test]
async fn the_interests_nearest_to_the_pin_are_sampled_and_weighed_by_nearness() {
    let world = World::built();
    let table = Table::of(&Catalog::open(&world.path("catalog")).expect("a catalog"));
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    for user in 0..USERS {
        let pin = user * 17 % 580;
        let medoids = by_nearness(&mut client, user, pin, &table).await;
        let one = v1::RecommendRequest {
            context_medoids: 1,
            ..near(user, pin)
        };
        let one = recommend(&mut client, one).await;
        assert_eq!(one.medoids.len(), 1);
        assert_eq!(one.medoids[0].pin_id, medoids[0].0);
        assert_eq!(one.medoids[0].inclusion_probability, 1.0);
        assert_eq!(one.candidates.len(), 100);

        for (strength, asked) in [(5.0, None), (0.0, Some(0.0)), (20.0, Some(20.0))] {
            let request = v1::RecommendRequest {
                medoids: 2,
                context_strength: asked,
                ..near(user, pin)
            };
            let answer = recommend(&mut client, request.clone()).await;
            assert_eq!(answer.medoids.len(), 2.min(medoids.len()));
            let chosen = &medoids[..3.min(medoids.len())];
            let expected: HashMap<u64, f64> = chosen
                .iter()
                .map(|&(pin, importance, cosine)| {
                    (pin, importance * (strength * f64::from(cosine)).exp())
                })
                .collect();
            for medoid in &answer.medoids {
                let weight = expected.get(&medoid.pin_id).expect("one of the nearest");
                assert!((medoid.weight / weight - 1.0).abs() < 1e-9, "{medoid:?}");
            }
            assert!(answer.candidates.iter().all(|one| one.pin_id != pin));
            assert!(!answer.unknown_context_pin);
            assert_eq!(recommend(&mut client, request).await, answer);
        }
    }
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_pin_that_the_catalog_lacks_is_reported_and_changes_nothing() {
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let answer = recommend(&mut client, near(1, UNKNOWN)).await;
    assert!(answer.unknown_context_pin);
    let without = v1::RecommendRequest {
        context_pin_id: None,
        ..near(1, 0)
    };
    let without = recommend(&mut client, without).await;
    let answer = v1::RecommendResponse {
        unknown_context_pin: false,
        ..answer
    };
    assert_eq!(answer, without);

    // Seeds stand beside the medoids that are drawn in the context.
    let seeds = vec![v1::Seed {
        pin_id: Some(9),
        ..Default::default()
    }];
    let with_seeds = v1::RecommendRequest {
        seeds,
        ..near(1, 40)
    };
    let both = recommend(&mut client, with_seeds).await;
    let alone = recommend(&mut client, near(1, 40)).await;
    assert_eq!(both.medoids[1..], alone.medoids);
    let of_seed = both.candidates.iter().filter(|one| one.medoid_index == 0);
    assert_eq!(of_seed.count(), 50);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn bad_contexts_are_refused_by_field() {
    let world = World::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let with_strength = |strength| v1::RecommendRequest {
        context_strength: Some(strength),
        ..near(1, 7)
    };
    let bad = [
        (
            "context_medoids",
            v1::RecommendRequest {
                context_medoids: 21,
                ..near(1, 7)
            },
        ),
        ("context_strength", with_strength(f64::NAN)),
        ("context_strength", with_strength(f64::INFINITY)),
        ("context_strength", with_strength(-1.0)),
        ("context_strength", with_strength(51.0)),
        (
            "context_pin_key",
            v1::RecommendRequest {
                context_pin_key: Some("tea".to_owned()),
                ..near(1, 7)
            },
        ),
        (
            "context_medoids",
            v1::RecommendRequest {
                context_medoids: 2,
                ..ask(1)
            },
        ),
        (
            "context_strength",
            v1::RecommendRequest {
                context_strength: Some(1.0),
                ..ask(1)
            },
        ),
        (
            "context_pin_id",
            v1::RecommendRequest {
                seeds: vec![v1::Seed {
                    pin_id: Some(9),
                    ..Default::default()
                }],
                seed_mode: v1::SeedMode::Replace.into(),
                ..near(1, 7)
            },
        ),
    ];
    for (field, request) in bad {
        let refused = client.recommend(request).await.expect_err(field);
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused}");
        let details = refused.get_details_bad_request().expect("a BadRequest");
        assert_eq!(details.field_violations[0].field, field, "{refused}");
    }
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_context_pin_may_be_called_by_a_string() {
    let world = strings::built();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let by_key = |key: String| v1::RecommendRequest {
        user_key: Some(user_key(1)),
        context_pin_key: Some(key),
        context_medoids: 1,
        ..Default::default()
    };
    let known = recommend(&mut client, by_key(pin_key(7))).await;
    assert_eq!((known.medoids.len(), known.unknown_context_pin), (1, false));
    let unknown = recommend(&mut client, by_key("no such pin".to_owned())).await;
    assert!(unknown.unknown_context_pin && unknown.medoids.len() > 1);
    server.stop().await.expect("a clean end");
}
