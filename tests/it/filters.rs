//! Attributes and filters over the wire and at the command line.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::fs;

use crate::common::process::run;
use crate::common::server::{Server, ask, recommend};
use crate::common::{self, EMBEDDING_VERSION, PINS, Pin, World, catalog_params};
use pinnersage::batch::{
    AttributeColumns, AttributeLimits, CatalogParams, ChangeFiles, build_catalog,
};
use pinnersage::index::Catalog;
use pinnersage::model::AttributeDefinition;
use pinnersage::progress::Progress;
use pinnersage::wire::v1;
use tonic::Code;
use tonic_types::StatusExt;

const ATTRIBUTES: [&str; 5] = [
    "language:keyword",
    "countries:keywords",
    "safe:bool",
    "price:float",
    "created_at:timestamp",
];

fn definitions() -> Vec<AttributeDefinition> {
    let definitions = ATTRIBUTES.iter().map(|text| text.parse());
    definitions.collect::<Result<_, _>>().expect("definitions")
}

/// Languages by turns, of which the pins divisible by 11 have none.
pub(crate) fn language(pin: u64) -> Option<&'static str> {
    (!pin.is_multiple_of(11)).then(|| ["de", "fr", "en"][pin as usize % 3])
}

fn price(pin: u64) -> f64 {
    (pin % 50) as f64 / 2.0
}

/// `pins` as JSON Lines, with attributes.
pub(crate) fn lines(pins: &[Pin]) -> String {
    let mut text = String::new();
    for pin in pins {
        let id = pin.id as u64;
        let line = serde_json::json!({
            "pin_id": id,
            "embedding": pin.embedding,
            "title": pin.title,
            "language": language(id),
            "countries": if id.is_multiple_of(2) { vec!["DE", "AT"] } else { vec!["FR"] },
            "safe": !id.is_multiple_of(5),
            "price": price(id),
            "created_at": format!("2026-01-{:02}", 1 + id % 28),
        });
        writeln!(text, "{line}").expect("memory");
    }
    text
}

/// Parameters of a catalog with these attributes.
pub(crate) fn params() -> CatalogParams {
    CatalogParams {
        attributes: AttributeColumns::These(definitions()),
        ..catalog_params(EMBEDDING_VERSION)
    }
}

/// A world whose pins have attributes.
pub(crate) fn world() -> World {
    let world = World::files();
    let pins = world.path("pins.jsonl");
    fs::write(&pins, lines(&common::pins())).expect("a file");
    build_catalog(&[pins], &world.path("catalog"), &params(), Progress::Silent).expect("a catalog");
    world.build_profiles("catalog", "profiles", true);
    world
}

pub(crate) fn any_of(attribute: &str, words: &[&str]) -> v1::Condition {
    let values = words.iter().map(|&word| word.to_owned()).collect();
    condition(attribute, v1::condition::Test::AnyOf(v1::Words { values }))
}

fn below(attribute: &str, bound: f64) -> v1::Condition {
    let range = v1::Range {
        lt: Some(bound),
        ..Default::default()
    };
    condition(attribute, v1::condition::Test::Range(range))
}

fn condition(attribute: &str, test: v1::condition::Test) -> v1::Condition {
    v1::Condition {
        attribute: attribute.to_owned(),
        test: Some(test),
    }
}

pub(crate) fn filter(must: Vec<v1::Condition>) -> v1::Filter {
    v1::Filter {
        must,
        must_not: Vec::new(),
    }
}

fn pins_of(answer: &v1::RecommendResponse) -> Vec<u64> {
    answer.candidates.iter().map(|c| c.pin_id).collect()
}

#[tokio::test]
async fn every_candidate_meets_the_filter_and_there_are_as_many_as_can_be() {
    let world = world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let is_wanted = |pin: u64| {
        matches!(language(pin), Some("de" | "fr")) && price(pin) < 20.0 && !pin.is_multiple_of(5)
    };
    let wanted = v1::Filter {
        must: vec![any_of("language", &["fr", "de"]), below("price", 20.0)],
        must_not: vec![condition("safe", v1::condition::Test::Is(false))],
    };
    let eligible = (0..PINS).filter(|&pin| is_wanted(pin)).count();
    for user in 0..10 {
        let request = v1::RecommendRequest {
            limit: 100,
            seed: Some(user),
            filter: Some(wanted.clone()),
            ..ask(user)
        };
        let answer = recommend(&mut client, request.clone()).await;
        assert_eq!(answer.candidates.len(), 100);
        assert!(pins_of(&answer).into_iter().all(is_wanted));
        assert!(!answer.exhausted);
        assert_eq!(answer, recommend(&mut client, request.clone()).await);
        // More than there are: all of them but for what the user must not see.
        let all = v1::RecommendRequest {
            limit: 2_000,
            ..request
        };
        let answer = recommend(&mut client, all).await;
        assert!((eligible / 2 + 1..=eligible).contains(&answer.candidates.len()));
        assert!(pins_of(&answer).into_iter().all(is_wanted));
        assert!(answer.exhausted);
        assert_eq!(answer.exhausted_reason(), v1::ExhaustedReason::Filter);
    }
    // Those who are unknown fall back, and see no other pins for that.
    let request = v1::RecommendRequest {
        limit: 50,
        filter: Some(wanted),
        ..ask(999_999)
    };
    let answer = recommend(&mut client, request).await;
    assert_eq!(answer.fallback_reason(), v1::FallbackReason::UnknownUser);
    assert_eq!(answer.candidates.len(), 50);
    assert!(pins_of(&answer).into_iter().all(is_wanted));
}

#[tokio::test]
async fn without_conditions_a_filter_changes_nothing() {
    let world = world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let seeded = || v1::RecommendRequest {
        seed: Some(7),
        ..ask(3)
    };
    let plain = recommend(&mut client, seeded()).await;
    let request = v1::RecommendRequest {
        filter: Some(v1::Filter::default()),
        ..seeded()
    };
    assert_eq!(recommend(&mut client, request).await, plain);
    // One that every pin meets may find them in another way, but finds the same.
    let every = condition("price", v1::condition::Test::Exists(true));
    let request = v1::RecommendRequest {
        filter: Some(filter(vec![every])),
        ..seeded()
    };
    let answer = recommend(&mut client, request).await;
    let set =
        |answer: &v1::RecommendResponse| -> HashSet<u64> { pins_of(answer).into_iter().collect() };
    assert_eq!(set(&answer).len(), set(&plain).len());
    assert!(set(&answer).intersection(&set(&plain)).count() * 100 >= 98 * set(&plain).len());
}

#[tokio::test]
async fn bad_filters_are_refused_by_their_field() {
    use v1::condition::Test;
    let world = world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let no_test = v1::Condition {
        attribute: "price".to_owned(),
        test: None,
    };
    let both = v1::Range {
        gt: Some(1.0),
        gte: Some(1.0),
        ..Default::default()
    };
    let many: Vec<String> = (0..1_001).map(|word| word.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let cases = [
        ("filter", vec![any_of("language", &["de"]); 33]),
        ("filter.must[0]", vec![no_test]),
        (
            "filter.must[1].attribute",
            vec![below("price", 1.0), below("prize", 1.0)],
        ),
        ("filter.must[0].range", vec![below("language", 1.0)]),
        ("filter.must[0].any_of", vec![any_of("safe", &["true"])]),
        (
            "filter.must[0].is",
            vec![condition("price", Test::Is(true))],
        ),
        (
            "filter.must[0].any_of.values",
            vec![any_of("language", &[])],
        ),
        (
            "filter.must[0].any_of.values",
            vec![any_of("language", &many)],
        ),
        (
            "filter.must[0].any_of.values[1]",
            vec![any_of("language", &["de", &"x".repeat(257)])],
        ),
        ("filter.must[0].range.lt", vec![below("price", f64::NAN)]),
        (
            "filter.must[0].range.gt",
            vec![condition("price", Test::Range(both))],
        ),
    ];
    for (field, conditions) in cases {
        let request = v1::RecommendRequest {
            filter: Some(filter(conditions)),
            ..ask(1)
        };
        let status = client.recommend(request).await.expect_err(field);
        assert_eq!(status.code(), Code::InvalidArgument);
        let violations = status.get_details_bad_request().expect("details");
        assert_eq!(violations.field_violations[0].field, field);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn upserted_pins_have_attributes_that_reach_the_next_catalog() {
    use v1::attribute::Value;
    let world = world();
    let server = Server::start_recording(&world).await;
    let mut client = server.client().await;
    let mut pins = server.pin_client().await;
    let listed = client.list_attributes(v1::ListAttributesRequest {}).await;
    let listed = listed.expect("an answer").into_inner();
    let names: Vec<&str> = listed
        .attributes
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["language", "countries", "safe", "price", "created_at"]
    );
    assert_eq!(listed.attributes[0].words, 3);
    assert_eq!(listed.attributes[1].r#type(), v1::AttributeType::Keywords);
    let with_language = (0..PINS).filter(|&pin| language(pin).is_some()).count();
    assert_eq!(listed.attributes[0].pins, with_language as u64);

    let attribute = |name: &str, value: Value| v1::Attribute {
        name: name.to_owned(),
        value: Some(value),
    };
    let plain = recommend(&mut client, ask(2)).await;
    let near = plain.medoids[0].pin_id;
    let new = v1::Pin {
        pin_id: Some(10_000),
        embedding: common::pins()[near as usize].embedding.clone(),
        attributes: vec![
            attribute("language", Value::Keyword("is".to_owned())),
            attribute("price", Value::Number(3.5)),
        ],
        ..Default::default()
    };
    let bad = [
        (
            "pins[0].attributes[0].name",
            attribute("brand", Value::Flag(true)),
        ),
        (
            "pins[0].attributes[0]",
            attribute("price", Value::Flag(true)),
        ),
        (
            "pins[0].attributes[0]",
            attribute("price", Value::Number(f64::NAN)),
        ),
    ];
    for (field, attribute) in bad {
        let pin = v1::Pin {
            attributes: vec![attribute],
            ..new.clone()
        };
        let request = v1::UpsertPinsRequest { pins: vec![pin] };
        let status = pins.upsert_pins(request).await.expect_err(field);
        let violations = status.get_details_bad_request().expect("details");
        assert_eq!(violations.field_violations[0].field, field);
    }
    let request = v1::UpsertPinsRequest { pins: vec![new] };
    pins.upsert_pins(request).await.expect("upserted");
    let icelandic = v1::RecommendRequest {
        filter: Some(filter(vec![any_of("language", &["is"])])),
        medoids: 20,
        ..ask(2)
    };
    let answer = recommend(&mut client, icelandic.clone()).await;
    assert_eq!(pins_of(&answer), [10_000]);
    assert!(answer.exhausted);

    let changes = world.path("changes");
    let said = run([
        "catalog",
        "changes",
        "--out",
        &changes.display().to_string(),
        "--server",
        &server.url(),
    ]);
    assert!(said.starts_with("1 pins upserted"), "{said}");
    server.stop().await.expect("a clean end");
    let params = CatalogParams {
        changes: ChangeFiles::in_directory(&changes),
        ..params()
    };
    let files = [world.path("pins.jsonl")];
    build_catalog(&files, &world.path("catalog"), &params, Progress::Silent).expect("a catalog");
    let catalog = Catalog::open(&world.path("catalog")).expect("a catalog");
    let position = catalog.pins.position(pinnersage::model::PinId(10_000));
    let attributes = catalog.attributes.of_pin(position.expect("the new pin"));
    let names: BTreeSet<&str> = attributes.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["language", "price"].into());
    let server = Server::start(&world).await;
    let answer = recommend(&mut server.client().await, icelandic).await;
    assert_eq!(pins_of(&answer), [10_000]);
}

#[test]
fn limits_refuse_a_build_by_name() {
    let world = World::files();
    let pins = world.path("pins.jsonl");
    fs::write(&pins, lines(&common::pins())).expect("a file");
    let refused = |limits: AttributeLimits, columns: AttributeColumns| {
        let params = CatalogParams {
            attributes: columns,
            attribute_limits: limits,
            ..params()
        };
        let files = [pins.clone()];
        let built = build_catalog(&files, &world.path("none"), &params, Progress::Silent);
        built.expect_err("a refusal").to_string()
    };
    let limits = params().attribute_limits;
    let these = || AttributeColumns::These(definitions());
    let few = AttributeLimits {
        max_attributes: 4,
        ..limits
    };
    let expected = "attributes: 5 attributes, where attributes.max_attributes is 4";
    assert_eq!(refused(few, these()), expected);
    let few = AttributeLimits {
        max_words: 2,
        ..limits
    };
    let said = refused(few, these());
    let expected =
        "attributes: language has more than 2 different words, which attributes.max_words";
    assert!(said.starts_with(expected), "{said}");
    let few = AttributeLimits {
        max_bytes: bytesize::ByteSize::kib(1),
        ..limits
    };
    assert!(refused(few, these()).contains("attributes.max_bytes is 1.0 KiB"));
    let auto = refused(limits, AttributeColumns::Auto);
    assert!(
        auto.contains("has no types for --attributes auto"),
        "{auto}"
    );
    let one_word = AttributeColumns::These(vec!["countries:keyword".parse().expect("one")]);
    assert!(refused(limits, one_word).contains("countries is a list or an object"));
    let title = AttributeColumns::These(vec!["title:keyword".parse().expect("one")]);
    let expected = "attributes: the column title says something else of a pin";
    assert_eq!(refused(limits, title), expected);
    let missing = AttributeColumns::These(vec!["brand:keyword".parse().expect("one")]);
    assert!(refused(limits, missing).contains("column brand is missing"));
}

#[tokio::test]
async fn an_answer_without_anything_to_search_from_says_nothing_of_the_filter() {
    let world = world();
    let server = Server::start(&world).await;
    let mut client = server.client().await;
    let similar = |pin: u64| v1::SimilarPinsRequest {
        pin_ids: vec![pin],
        limit: 5,
        filter: Some(filter(vec![any_of("language", &["fr"])])),
        ..Default::default()
    };
    let answer = client.similar_pins(similar(7)).await.expect("an answer");
    let answer = answer.into_inner();
    assert_eq!(answer.candidates.len(), 5);
    let is_french = |one: &v1::Candidate| language(one.pin_id) == Some("fr");
    assert!(answer.candidates.iter().all(is_french));
    let answer = client
        .similar_pins(similar(999_999))
        .await
        .expect("an answer");
    let answer = answer.into_inner();
    assert_eq!(answer.unknown_pin_ids, [999_999]);
    assert!(answer.candidates.is_empty() && !answer.exhausted);
}

#[tokio::test]
async fn attributes_of_a_pin_have_a_greatest_size() {
    let world = world();
    let server = Server::start_recording(&world).await;
    let mut pins = server.pin_client().await;
    let words = (0..100).map(|word| format!("{word:0>100}")).collect();
    let attribute = v1::Attribute {
        name: "countries".to_owned(),
        value: Some(v1::attribute::Value::Keywords(v1::Words { values: words })),
    };
    let pin = v1::Pin {
        pin_id: Some(10_001),
        embedding: common::pins()[3].embedding.clone(),
        attributes: vec![attribute],
        ..Default::default()
    };
    let request = v1::UpsertPinsRequest { pins: vec![pin] };
    let status = pins.upsert_pins(request).await.expect_err("too many bytes");
    let violations = status.get_details_bad_request().expect("details");
    assert_eq!(violations.field_violations[0].field, "pins[0].attributes");
}
