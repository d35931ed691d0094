//! Surfaces and arms over the wire, in metrics, and over changes of the settings.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::process::{Process, failure, path, run, serve_command};
use crate::common::server::{self, Client, Server, ask, http_get, recommend};
use crate::common::wait::{PATIENCE, wait_until};
use crate::common::{self, World};
use crate::filters::{self, any_of, filter};
use pinnersage::serve::{ReadSurfaces, ServeParams, SurfaceReader, SurfaceSet, SurfaceSource};
use pinnersage::wire::v1;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// German pins for a homefeed, which may be asked for in another number and among others.
const HOMEFEED: &str = r#"{
    "homefeed": {"limit": 30, "max_limit": 60, "medoids": 2, "top_medoids": 1, "merge": "global_top",
        "filter": {"must": [{"attribute": "language", "any_of": ["de"]}]},
        "may_override": ["limit", "filter"]},
    "related": {"limit": 10},
    "ranked": {"limit": 40, "popularity": 0.25, "min_score": 0.1, "diversity": {"strength": 0.25},
        "boosts": [{"weight": 0.5, "decay": {"attribute": "created_at", "half_life": "300days"}},
            {"weight": -0.25, "condition": {"attribute": "safe", "is": false}}],
        "spacing": [{"attribute": "language", "max": 1, "places": 2}]}
}"#;

fn set(json: &str) -> SurfaceSet {
    serde_json::from_str(json).expect(json)
}

/// Parameters of a server with these surfaces.
pub(crate) fn params(json: &str) -> ServeParams {
    ServeParams {
        surfaces: SurfaceSource {
            surfaces: set(json),
            reader: None,
        },
        ..server::params()
    }
}

/// A request of a user that names a surface.
fn on(surface: &str, user: u64) -> v1::RecommendRequest {
    v1::RecommendRequest {
        surface: surface.to_owned(),
        seed: Some(7),
        ..ask(user)
    }
}

fn label<'a>(metadata: &'a MetadataMap, name: &str) -> Option<&'a str> {
    let value = metadata.get(format!("x-pinnersage-{name}"));
    value.map(|value| value.to_str().expect("text"))
}

async fn refusal(client: &mut Client, request: v1::RecommendRequest) -> Status {
    let answer = client.recommend(request).await;
    answer.expect_err("a refusal")
}

/// Asks until the surface refuses: seconds that go by on a slow machine allow further calls.
async fn first_refusal(client: &mut Client, surface: &str) -> Status {
    for _ in 0..100 {
        if let Err(refused) = client.recommend(on(surface, 1)).await {
            return refused;
        }
    }
    panic!("100 calls of {surface} were answered");
}

#[track_caller]
fn assert_field(status: &Status, field: &str, part: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let details = status.get_details_bad_request().expect("a BadRequest");
    assert_eq!(details.field_violations[0].field, field, "{status}");
    assert!(status.message().contains(part), "{status}");
}

#[tokio::test]
async fn a_surface_asks_for_what_the_request_could_have_asked_for_itself() {
    let world = filters::world();
    let server = Server::start_with(&world, params(HOMEFEED)).await;
    let mut client = server.client().await;
    let german = filter(vec![any_of("language", &["de"])]);
    for user in 0..10 {
        let request = v1::RecommendRequest {
            arm: "arm-2.b".to_owned(),
            ..on("homefeed", user)
        };
        let answer = client.recommend(request).await.expect("an answer");
        assert_eq!(label(answer.metadata(), "surface"), Some("homefeed"));
        assert_eq!(label(answer.metadata(), "arm"), Some("arm-2.b"));
        let answer = answer.into_inner();
        let spelled = v1::RecommendRequest {
            limit: 30,
            medoids: 2,
            top_medoids: 1,
            merge_strategy: v1::MergeStrategy::GlobalTop.into(),
            filter: Some(german.clone()),
            seed: Some(7),
            ..ask(user)
        };
        let mut expected = recommend(&mut client, spelled).await;
        assert_eq!((expected.candidates.len(), expected.medoids.len()), (30, 2));
        (expected.surface, expected.arm) = ("homefeed".to_owned(), "arm-2.b".to_owned());
        assert_eq!(answer, expected);
    }
    let like = v1::SimilarPinsRequest {
        pin_ids: vec![7],
        surface: "homefeed".to_owned(),
        ..Default::default()
    };
    let answer = client.similar_pins(like.clone()).await.expect("an answer");
    assert_eq!(label(answer.metadata(), "surface"), Some("homefeed"));
    assert_eq!(label(answer.metadata(), "arm"), None);
    let spelled = v1::SimilarPinsRequest {
        surface: String::new(),
        limit: 30,
        filter: Some(german),
        ..like
    };
    let spelled = client.similar_pins(spelled).await.expect("an answer");
    let mut expected = spelled.into_inner();
    expected.surface = "homefeed".to_owned();
    assert_eq!(answer.into_inner(), expected);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_surface_reranks_as_a_request_does() {
    use v1::boost::By;
    let world = filters::world();
    let server = Server::start_with(&world, params(HOMEFEED)).await;
    let mut client = server.client().await;
    let decay = v1::Decay {
        attribute: "created_at".to_owned(),
        half_life: Some(prost_types::Duration {
            seconds: 300 * 86_400,
            nanos: 0,
        }),
    };
    let unsafe_ones = v1::Condition {
        attribute: "safe".to_owned(),
        test: Some(v1::condition::Test::Is(false)),
    };
    let boosts = [(0.5, By::Decay(decay)), (-0.25, By::Condition(unsafe_ones))];
    let boosts = boosts.map(|(weight, by)| v1::Boost {
        weight,
        by: Some(by),
    });
    let spelled = v1::RecommendRequest {
        limit: 40,
        popularity_weight: Some(0.25),
        min_score: Some(0.1),
        diversity: Some(v1::Diversity {
            strength: 0.25,
            among: 0,
        }),
        boosts: boosts.to_vec(),
        spacing: vec![v1::SpacingRule {
            attribute: "language".to_owned(),
            max: 1,
            places: 2,
        }],
        ..on("", 3)
    };
    let mut expected = recommend(&mut client, spelled).await;
    let plain = recommend(&mut client, on("", 3)).await;
    assert_ne!(expected.candidates[..], plain.candidates[..40]);
    expected.surface = "ranked".to_owned();
    assert_eq!(recommend(&mut client, on("ranked", 3)).await, expected);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn the_messages_that_others_damage_are_good_ones() {
    let world = filters::world();
    let server = Server::start_with(&world, params(HOMEFEED)).await;
    for (method, name) in [
        ("Recommend", "recommend_with_surface"),
        ("SimilarPins", "similar_pins_with_surface"),
    ] {
        let bytes = common::corpus().join(format!("requests/{name}.bin"));
        let bytes = fs::read(bytes).expect("a corpus");
        let path = format!("/pinnersage.v1.RecommendationService/{method}");
        let answer = server.call_method_raw(&path, &bytes).await;
        assert!(!answer.expect("an answer").is_empty());
    }
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn who_names_nothing_is_answered_by_the_same_bytes_as_without_surfaces() {
    let world = filters::world();
    let plain = Server::start(&world).await;
    let with_surfaces = Server::start_with(&world, params(HOMEFEED)).await;
    for user in [1, 7, 999_999] {
        let request = v1::RecommendRequest {
            seed: Some(3),
            ..ask(user)
        };
        let bytes = request.encode_to_vec();
        let expected = plain.call_raw(&bytes).await.expect("an answer");
        let found = with_surfaces.call_raw(&bytes).await.expect("an answer");
        assert_eq!(found, expected);
        let mut client = with_surfaces.client().await;
        let answer = client.recommend(request).await.expect("an answer");
        let names = answer.metadata().keys().map(|key| format!("{key:?}"));
        assert_eq!(
            names.filter(|name| name.contains("x-pinnersage")).count(),
            3
        );
    }
    plain.stop().await.expect("a clean end");
    with_surfaces.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_request_sets_what_its_surface_lets_it_and_the_rest_is_refused_by_field() {
    let world = filters::world();
    let server = Server::start_with(&world, params(HOMEFEED)).await;
    let mut client = server.client().await;
    type Change = fn(&mut v1::RecommendRequest);
    let request = |change: Change| {
        let mut request = on("homefeed", 3);
        change(&mut request);
        request
    };
    let own = recommend(&mut client, request(|r| r.limit = 60)).await;
    assert_eq!(own.candidates.len(), 60);
    let kept: [(&str, Change); 3] = [
        ("medoids", |r| r.medoids = 2),
        ("top_medoids", |r| r.top_medoids = 2),
        ("merge_strategy", |r| r.merge_strategy = 1),
    ];
    for (field, change) in kept {
        let refused = refusal(&mut client, request(change)).await;
        assert_field(&refused, field, "surface homefeed does not let");
    }
    let refused = refusal(&mut client, request(|r| r.limit = 61)).await;
    assert_field(&refused, "limit", "at most 60 may be of surface homefeed");
    let similar = v1::SimilarPinsRequest {
        pin_ids: vec![7],
        limit: 61,
        surface: "homefeed".to_owned(),
        ..Default::default()
    };
    let refused = client.similar_pins(similar).await.expect_err("too many");
    assert_field(&refused, "limit", "at most 60 may be of surface homefeed");
    let refused = refusal(&mut client, on("homefed", 3)).await;
    assert_field(&refused, "surface", "which has homefeed, ranked, related");
    let refused = refusal(&mut client, on("home feed", 3)).await;
    assert_field(&refused, "surface", "1 to 64");
    for arm in ["a b".to_owned(), "\u{e4}".to_owned(), "x".repeat(65)] {
        let request = v1::RecommendRequest { arm, ..ask(3) };
        let refused = refusal(&mut client, request).await;
        assert_field(&refused, "arm", "1 to 64");
    }
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn the_filter_of_the_surface_holds_beside_that_of_the_request() {
    let world = filters::world();
    let server = Server::start_with(&world, params(HOMEFEED)).await;
    let mut client = server.client().await;
    let with_filter = |own: v1::Filter| v1::RecommendRequest {
        filter: Some(own),
        ..on("homefeed", 5)
    };
    let austrian = recommend(
        &mut client,
        with_filter(filter(vec![any_of("countries", &["AT"])])),
    )
    .await;
    assert_eq!(austrian.candidates.len(), 30);
    for candidate in &austrian.candidates {
        let pin = candidate.pin_id;
        assert!(pin % 3 == 0 && pin % 2 == 0 && pin % 11 != 0, "{pin}");
    }
    // Nothing is German and French.
    let french = with_filter(filter(vec![any_of("language", &["fr"])]));
    let none = recommend(&mut client, french).await;
    assert!(none.candidates.is_empty() && none.exhausted);
    // The places of the request's own conditions are those that it knows.
    let unknown = with_filter(filter(vec![
        any_of("countries", &["AT"]),
        any_of("brand", &["x"]),
    ]));
    let refused = refusal(&mut client, unknown).await;
    assert_field(&refused, "filter.must[1].attribute", "brand");
    let many = with_filter(filter(vec![any_of("countries", &["AT"]); 32]));
    let refused = refusal(&mut client, many).await;
    assert_field(&refused, "filter", "32 conditions beside the 1 of surface");
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn each_request_of_a_batch_has_a_surface_of_its_own() {
    use v1::batch_recommend_result::Outcome;
    let surfaces = r#"{"homefeed": {"limit": 30}, "slow": {"rate": 1}, "misfit": {"filter":
        {"must": [{"attribute": "brand", "any_of": ["x"]}]}}}"#;
    let world = filters::world();
    let server = Server::start_with(&world, params(surfaces)).await;
    let mut client = server.client().await;
    let requests = vec![
        on("homefeed", 1),
        v1::RecommendRequest {
            arm: "b".to_owned(),
            ..on("", 2)
        },
        on("nowhere", 3),
        on("slow", 4),
        on("slow", 5),
        on("misfit", 6),
    ];
    let batch = v1::BatchRecommendRequest { requests };
    let answer = client.batch_recommend(batch).await.expect("an answer");
    for name in ["surface", "arm"] {
        assert_eq!(label(answer.metadata(), name), None);
    }
    let outcomes =
        answer
            .into_inner()
            .results
            .into_iter()
            .map(|one| match one.outcome.expect("an outcome") {
                Outcome::Response(answer) => {
                    Ok((answer.candidates.len(), answer.surface, answer.arm))
                }
                Outcome::Error(error) => Err((Code::from(error.code), error)),
            });
    let outcomes: Vec<_> = outcomes.collect();
    let named = |limit: usize, surface: &str, arm: &str| (limit, surface.into(), arm.into());
    assert_eq!(outcomes[0], Ok(named(30, "homefeed", "")));
    assert_eq!(outcomes[1], Ok(named(400, "", "b")));
    assert_eq!(outcomes[3], Ok(named(400, "slow", "")));
    let code = |place: usize| outcomes[place].as_ref().err().map(|(code, _)| *code);
    assert_eq!(code(2), Some(Code::InvalidArgument));
    assert_eq!(code(4), Some(Code::ResourceExhausted));
    assert_eq!(code(5), Some(Code::FailedPrecondition));
    let (_, shed) = outcomes[4].as_ref().expect_err("too often");
    assert!(shed.details[0].type_url.ends_with("RetryInfo"), "{shed:?}");
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_surface_that_is_asked_too_often_says_when_to_come_again() {
    let world = World::built();
    let mut params = params(r#"{"slow": {"rate": 1}, "quick": {}}"#);
    params.overload.rate_burst = 2;
    let server = Server::start_with(&world, params).await;
    let mut client = server.client().await;
    for _ in 0..2 {
        recommend(&mut client, on("slow", 1)).await;
    }
    let refused = first_refusal(&mut client, "slow").await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "the surface is asked too often");
    let retry = refused.get_details_retry_info().expect("when to try again");
    assert!(retry.retry_delay.expect("a time") >= Duration::from_millis(10));
    for _ in 0..5 {
        recommend(&mut client, on("quick", 1)).await;
        recommend(&mut client, ask(1)).await;
    }
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_surface_that_does_not_fit_the_catalog_is_a_precondition_that_fails() {
    // Its pins have no attributes.
    let world = World::built();
    let server = Server::start_with(&world, params(HOMEFEED)).await;
    let mut client = server.client().await;
    let refused = refusal(&mut client, on("homefeed", 1)).await;
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(
        refused.message(),
        "surface homefeed: filter.must[0].attribute: \"language\" is no attribute of the \
         catalog, which has none"
    );
    let answer = recommend(&mut client, on("related", 1)).await;
    assert_eq!(answer.candidates.len(), 10);
    server.stop().await.expect("a clean end");
}

#[tokio::test]
async fn surfaces_change_while_the_server_runs_and_stay_when_they_cannot_be_read() {
    let world = World::built();
    let source: Arc<Mutex<Result<SurfaceSet, String>>> =
        Arc::new(Mutex::new(Ok(set(r#"{"homefeed": {"limit": 30}}"#))));
    let read = source.clone();
    let reader = SurfaceReader::new(move || {
        let surfaces = read.lock().expect("no panic").clone()?;
        let waiting = Vec::new();
        Ok(ReadSurfaces { surfaces, waiting })
    });
    let mut params = params(r#"{"homefeed": {"limit": 20}}"#);
    params.surfaces.reader = Some(reader);
    params.security.auth.reload = Duration::from_millis(1);
    let server = Server::start_with(&world, params).await;
    let mut client = server.client().await;
    let found = async |client: &mut Client| {
        let answer = client.recommend(on("homefeed", 1)).await;
        answer.map(|answer| answer.into_inner().candidates.len())
    };
    let is_read = async || found(&mut client).await.expect("an answer") == 30;
    wait_until("the surfaces of the source", PATIENCE, is_read).await;
    *source.lock().expect("no panic") = Err("the file is damaged".to_owned());
    // Looked at many times meanwhile.
    for _ in 0..50 {
        assert_eq!(found(&mut client).await.expect("an answer"), 30);
    }
    *source.lock().expect("no panic") = Ok(set(r#"{"related": {}}"#));
    let is_gone = async || found(&mut client).await.is_err();
    wait_until("the end of the surface", PATIENCE, is_gone).await;
    let refused = refusal(&mut client, on("homefeed", 1)).await;
    assert_field(&refused, "surface", "which has related");
    server.stop().await.expect("a clean end");
}

/// A server of its own process, whose settings are in a file.
struct Served {
    settings: PathBuf,
    process: Process,
    _world: World,
}

impl Served {
    fn start(text: &str) -> Self {
        let world = filters::world();
        let settings = world.path("settings.toml");
        fs::write(&settings, text).expect("a disk");
        let mut serve = serve_command(&world);
        serve
            .args(["--config", path(&settings)])
            .env("PINNERSAGE__AUTH__RELOAD", "1s");
        Self {
            process: Process::start(&mut serve),
            settings,
            _world: world,
        }
    }

    fn write(&self, text: &str) {
        // At once, so that no half of it is read.
        let new = self.settings.with_extension("new");
        fs::write(&new, text).expect("a disk");
        fs::rename(&new, &self.settings).expect("a disk");
    }
}

#[test]
fn the_file_of_settings_is_read_again_and_what_is_wrong_with_it_is_said_once() {
    let mut served = Served::start("[surfaces.homefeed]\nlimit = 5\n");
    served.write("[surfaces.homefeed]\nlimit = 0\n");
    let refused = served
        .process
        .wait_for("changed settings cannot be used, the old surfaces stay");
    assert_eq!(
        refused["reason"],
        "settings: surfaces.homefeed.limit is 0, but must be from 1 to 2000"
    );
    let url = served.process.url.clone();
    let recommend = |more: &[&str]| {
        let asked = ["recommend", "--user", "3", "--server", &url];
        run([&asked, more].concat())
    };
    let said = recommend(&["--surface", "homefeed", "--arm", "b"]);
    assert!(said.contains("3: 5 candidates"), "{said}");
    assert!(said.contains("\n  surface homefeed, arm b\n"), "{said}");
    served.write(
        "[surfaces.homefeed]\nlimit = 6\nfilter = { must = [{ attribute = \"brand\", exists = \
         true }] }\n[surfaces.related]\nlimit = 4\n[profiles]\nalpha = 9\n",
    );
    let changed = served.process.wait_for("reloaded changed surfaces");
    assert_eq!(changed["surfaces"], "homefeed, related");
    let waiting = served
        .process
        .wait_for("changed settings wait for a restart");
    assert_eq!(waiting["sections"], "profiles");
    let misfit = served
        .process
        .wait_for("a surface does not fit the catalog that is served");
    let reason = misfit["reason"].as_str().expect("a text");
    assert!(
        reason.starts_with("surface homefeed: filter.must[0].attribute: \"brand\""),
        "{reason}"
    );
    let similar = ["similar", "--pin", "7", "--surface", "related", "--json"];
    let said = run([&similar[..], &["--server", &url]].concat());
    assert!(said.contains("\"surface\": \"related\""), "{said}");
    assert_eq!(said.matches("\"pin_id\"").count(), 4, "{said}");
    served.process.stop();
}

#[test]
fn settings_of_surfaces_are_refused_by_key_before_anything_starts() {
    let world = World::files();
    let settings = world.path("settings.toml");
    fs::write(&settings, "[surfaces.homefeed]\nmedoids = 21\n").expect("a disk");
    let mut serve = serve_command(&world);
    let (code, said) = failure(serve.args(["--config", path(&settings)]));
    assert_eq!(code, 64, "{said}");
    assert!(
        said.contains("surfaces.homefeed.medoids is 21, but must be from 1 to 20"),
        "{said}"
    );
}

#[tokio::test]
async fn answers_are_counted_by_surface_and_arm() {
    let text = "[surfaces.homefeed]\nlimit = 5\n[surfaces.slow]\nrate = 1\n\
                [overload]\nrate_burst = 1\n";
    let served = Served::start(text);
    let mut client = RecommendationServiceClient::new(served.process.channel().await);
    for (surface, arm, user) in [
        ("homefeed", "a", 1),
        ("homefeed", "a", 999_999),
        ("homefeed", "", 2),
        ("", "a", 3),
        ("", "", 4),
    ] {
        let request = v1::RecommendRequest {
            arm: arm.to_owned(),
            ..on(surface, user)
        };
        client.recommend(request).await.expect("an answer");
    }
    for arm in 0..150 {
        let request = v1::RecommendRequest {
            arm: format!("one-of-many-{arm}"),
            limit: 1,
            ..ask(5)
        };
        client.recommend(request).await.expect("an answer");
    }
    first_refusal(&mut client, "slow").await;
    let page = http_get(&served.process.ops, "/metrics").await;
    let value = |name: &str, surface: &str, arm: &str| {
        let series = format!("pinnersage_surface_{name}{{surface=\"{surface}\",arm=\"{arm}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&series));
        line.map(|value| value.parse::<u64>().expect("a number"))
    };
    assert_eq!(value("answers_total", "homefeed", "a"), Some(2));
    assert_eq!(value("answers_total", "homefeed", ""), Some(1));
    assert_eq!(value("answers_total", "", "a"), Some(1));
    assert_eq!(value("answers_total", "", ""), None);
    assert_eq!(value("candidates_total", "homefeed", "a"), Some(10));
    assert_eq!(value("fallback_answers_total", "homefeed", "a"), Some(1));
    assert_eq!(value("fallback_answers_total", "homefeed", ""), Some(0));
    assert_eq!(value("degraded_answers_total", "homefeed", "a"), Some(0));
    // The arm `a` was first, so 99 of the 150 others have a label.
    assert_eq!(value("answers_total", "", "one-of-many-98"), Some(1));
    assert_eq!(value("answers_total", "", "one-of-many-99"), None);
    assert_eq!(value("answers_total", "", "other"), Some(51));
    assert!(
        page.contains("pinnersage_surface_shed_total{surface=\"slow\"} 1"),
        "{page}"
    );
    served.process.stop();
}
