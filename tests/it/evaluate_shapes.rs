//! What filters and reranking cost, as a replay tells it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

use crate::common::process::{command, path, refusal, run, run_command};
use crate::common::server::Server;
use crate::common::{self, AS_OF, PINS, World};
use crate::filters;
use pinnersage::model::Timestamp;
use serde_json::Value;

const GERMAN_OR_FRENCH: &str = r#"{"must": [{"attribute": "language", "any_of": ["de", "fr"]}]}"#;
const SPACED: &str = r#"{"spacing": [{"attribute": "language", "max": 1, "places": 2}]}"#;

fn evaluation(world: &World, catalog: &str, more: &[&str]) -> Command {
    let mut command = command(["evaluate", "--from", "2026-02-20", "--to", AS_OF]);
    command
        .args(["--actions", path(&world.path("actions.parquet"))])
        .args(["--catalog", path(&world.path(catalog))])
        .args(more);
    command
}

fn lines(text: &str) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(line).collect()
}

fn ids(value: &Value) -> Vec<u64> {
    let ids = value.as_array().expect("a list").iter();
    ids.map(|id| id.as_u64().expect("an id")).collect()
}

fn float(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// The lines of details, by model.
fn by_model(details: &Path) -> BTreeMap<String, Vec<Value>> {
    let text = std::fs::read_to_string(details).expect("details");
    let mut models: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines(&text) {
        let model = line["model"].as_str().expect("a name").to_owned();
        models.entry(model).or_default().push(line);
    }
    models
}

fn reports(said: &str) -> HashMap<String, Value> {
    let named = |report: Value| (report["model"].as_str().expect("a name").to_owned(), report);
    lines(said).into_iter().map(named).collect()
}

#[test]
fn a_model_is_compared_with_its_twin_among_the_pins_that_its_filter_selects() {
    let world = filters::world();
    let details = world.path("details");
    let is_wanted = |pin: &u64| matches!(filters::language(*pin), Some("de" | "fr"));
    for exact in [&["--exact"][..], &[]] {
        let models = "pinnersage,decay_average:pages=2,popularity";
        let more = [
            &["--models", models, "--limit", "80", "--json"][..],
            &["--filter", GERMAN_OR_FRENCH, "--rerank", SPACED],
            &["--details", path(&details)],
            exact,
        ];
        let said = run_command(&mut evaluation(&world, "catalog", &more.concat()));
        let (reports, lines) = (reports(&said), by_model(&details));
        assert_eq!(reports.len(), 6, "{said}");
        for (model, twin) in [
            ("pinnersage", ":filter=on:rerank=on"),
            ("decay_average:pages=2", ":filter=on:rerank=on"),
            ("popularity", ":filter=on"),
        ] {
            let twin = format!("{model}{twin}");
            let (of_all, of_few) = (&reports[model], &reports[&twin]);
            let (mut counted, mut recalled, mut candidates, mut all) = (0, 0, 0, 0);
            assert_eq!(lines[model].len(), lines[&twin].len());
            for (with_all, line) in lines[model].iter().zip(&lines[&twin]) {
                let (pins, targets) = (ids(&line["pins"]), ids(&line["targets"]));
                assert!(pins.iter().all(is_wanted), "{line}");
                assert!(ids(&line["negatives"]).iter().all(is_wanted), "{line}");
                let expected = ids(&with_all["targets"]).into_iter();
                assert_eq!(targets, expected.filter(is_wanted).collect::<Vec<_>>());
                // Both go by the same draw.
                assert_eq!(with_all["sampled"], line["sampled"]);
                let head = &pins[..pins.len().min(50)];
                recalled += targets.iter().filter(|&pin| head.contains(pin)).count();
                counted += targets.len();
                candidates += pins.len();
                all += ids(&with_all["targets"]).len();
            }
            assert!(counted < all);
            assert_eq!(of_few["actions"], counted);
            assert_eq!(of_few["all_actions"], all);
            assert_eq!(
                (&of_all["actions"], &of_all["all_actions"]),
                (&all.into(), &all.into())
            );
            let near = |value: &Value, expected: f64| {
                assert!((float(value) - expected).abs() < 1e-9, "{value} {expected}");
            };
            near(
                &of_few["first_50"]["recall"],
                recalled as f64 / counted as f64,
            );
            near(
                &of_few["candidates"],
                candidates as f64 / lines[&twin].len() as f64,
            );
            assert!(float(&of_few["coverage"]) > float(&of_all["coverage"]) / 2.0);
            assert!(of_few["microseconds"].is_null());
        }
        // Rules space what they rerank, and nothing else.
        let crowded = |model: &str| float(&reports[model]["crowded"]);
        assert_eq!(crowded("pinnersage:filter=on:rerank=on"), 0.0);
        assert!(crowded("pinnersage") > 0.1 && crowded("popularity:filter=on") > 0.1);
    }
}

#[test]
fn named_rules_stand_side_by_side_whatever_the_threads_and_may_be_timed() {
    let world = filters::world();
    let more = [
        "--models",
        "pinnersage,pinnersage:rerank=spaced,pinnersage:rerank=diverse,last_pin:filter=few",
        "--rerank",
        &format!("spaced={SPACED}"),
        "--rerank",
        r#"diverse={"diversity": {"strength": 0.9, "among": 100}}"#,
        "--filter",
        &format!("few={GERMAN_OR_FRENCH}"),
        "--limit",
        "60",
    ];
    let run = |threads: &str, and: &[&str]| {
        let mut evaluation = evaluation(&world, "catalog", &[&more[..], and].concat());
        run_command(evaluation.env("RAYON_NUM_THREADS", threads))
    };
    let said = run("1", &["--json"]);
    assert_eq!(said, run("3", &["--json"]));
    let of = reports(&said);
    let diversity = |model: &str| float(&of[model]["first_50"]["diversity"]);
    assert!(diversity("pinnersage:rerank=diverse") > diversity("pinnersage") + 0.02);
    assert_eq!(float(&of["pinnersage:rerank=spaced"]["crowded"]), 0.0);

    let timed = reports(&run("2", &["--json", "--timing"]));
    for (model, report) in &timed {
        assert!(float(&report["microseconds"]) > 0.0, "{report}");
        assert_eq!(report["recall"], of[model]["recall"]);
    }
    let table = run("2", &["--timing"]);
    assert!(
        table.contains("us a list") && table.contains("crowded %"),
        "{table}"
    );

    let resumed = world.path("resumed");
    let resume = ["--json", "--resume", path(&resumed)];
    assert_eq!(run("2", &resume), said);
    assert_eq!(run("2", &resume), said);
    let mut other = more;
    other[7] = r#"few={"must": []}"#;
    let mut other = evaluation(&world, "catalog", &[&other[..], &resume].concat());
    let said = refusal(&mut other);
    assert!(said.contains("filters"), "{said}");
}

#[test]
fn ages_of_boosts_count_from_the_day_of_the_list() {
    let world = filters::world();
    let details = world.path("details");
    let rules = r#"{"boosts": [{"weight": 0.5, "decay": {"attribute": "created_at",
        "half_life": "10 days"}}]}"#;
    let limit = PINS.to_string();
    let more = [
        "--models",
        "last_pin:rerank=new",
        "--limit",
        &limit,
        "--exact",
    ];
    let rules = format!("new={rules}");
    let out = ["--rerank", &rules, "--details", path(&details)];
    run_command(&mut evaluation(
        &world,
        "catalog",
        &[&more[..], &out].concat(),
    ));
    let unit = |vector: &[f32]| -> Vec<f64> {
        let squares = vector.iter().map(|&x| f64::from(x).powi(2));
        let norm = squares.sum::<f64>().sqrt();
        vector.iter().map(|&x| f64::from(x) / norm).collect()
    };
    let pins = common::pins();
    let vectors: Vec<Vec<f64>> = pins.iter().map(|pin| unit(&pin.embedding)).collect();
    let mut days = Vec::new();
    for line in &by_model(&details)["last_pin:rerank=new"] {
        let text = line["day"].as_str().expect("a day");
        let day: Timestamp = text.parse().expect("a day");
        let medoid = line["sampled"][0]["pin"].as_u64().expect("a pin") as usize;
        let rank = |pin: u64| {
            let pairs = vectors[pin as usize].iter().zip(&vectors[medoid]);
            let cosine: f64 = pairs.map(|(a, b)| a * b).sum();
            let created: Timestamp = format!("2026-01-{:02}", 1 + pin % 28)
                .parse()
                .expect("a day");
            let age = (day.micros() - created.micros()) as f64 / 86_400e6;
            cosine + 0.5 * (-age / 10.0).exp2()
        };
        let ranks: Vec<f64> = ids(&line["pins"]).into_iter().map(rank).collect();
        assert!(ranks.len() > 500);
        assert!(ranks.is_sorted_by(|a, b| *a > b - 1e-5), "{ranks:?}");
        days.push(text.to_owned());
    }
    days.sort_unstable();
    days.dedup();
    assert!(days.len() > 5, "{days:?}");
}

#[test]
fn what_does_not_fit_is_refused_by_name_before_anything_starts() {
    let world = filters::world();
    std::fs::remove_file(world.path("actions.parquet")).expect("a file");
    let with = |models: &str, option: &str, json: &str| {
        refusal(&mut evaluation(
            &world,
            "catalog",
            &["--models", models, option, json],
        ))
    };
    let unknown = r#"{"must": [{"attribute": "color", "any_of": ["red"]}]}"#;
    let crowded = r#"a={"spacing": [{"attribute": "price", "max": 1, "places": 2}]}"#;
    let popular = r#"a={"popularity_weight": 0.5}"#;
    for (models, option, json, parts) in [
        (
            "pinnersage",
            "--filter",
            unknown,
            ["filter \"on\"", "must[0].attribute"],
        ),
        (
            "pinnersage:rerank=a",
            "--rerank",
            crowded,
            ["rerank \"a\"", "spacing[0].attribute"],
        ),
        (
            "pinnersage",
            "--rerank",
            popular,
            ["no model uses rerank \"a\"", "pinnersage:rerank=a"],
        ),
        (
            "pinnersage:rerank=b",
            "--rerank",
            popular,
            ["pinnersage:rerank=b", "there is no rerank \"b\""],
        ),
        (
            "last_pin:popularity=1:rerank=a",
            "--rerank",
            popular,
            ["last_pin:popularity=1:rerank=a", "popularity_weight"],
        ),
        (
            "pinnersage",
            "--rerank",
            r#"{"diversity": {}}"#,
            ["--rerank", "strength"],
        ),
    ] {
        let said = with(models, option, json);
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_command_line_asks_with_rules() {
    let world = filters::world();
    let server = Server::start(&world).await;
    let url = server.url();
    let languages = |said: &str| -> Vec<Option<&'static str>> {
        let answer: Value = serde_json::from_str(said).expect("JSON");
        let candidates = answer["candidates"].as_array().expect("a list").iter();
        let pins = candidates.map(|one| one["pin_id"].as_u64().expect("an id"));
        pins.map(filters::language).collect()
    };
    for call in [
        &["recommend", "--user", "7", "--seed", "1"][..],
        &["similar", "--pin", "7"],
    ] {
        let call = [call, &["--limit", "40", "--json", "--server", &url]].concat();
        let with = |rules: &str| run([&call[..], &["--rerank", rules]].concat());
        let repeats = |said: &str| {
            let languages = languages(said);
            let pairs = languages.windows(2);
            pairs
                .filter(|pair| pair[0].is_some() && pair[0] == pair[1])
                .count()
        };
        assert!(repeats(&run(call.clone())) > 0);
        assert_eq!(repeats(&with(SPACED)), 0);
        let german = r#"{"boosts": [{"weight": 2, "condition": {"attribute": "language",
            "any_of": ["de"]}}]}"#;
        assert_eq!(languages(&with(german))[0], Some("de"));
        let said = with(r#"{"min_score": 1}"#);
        assert!(said.contains("EXHAUSTED_REASON_MIN_SCORE"), "{said}");
    }
    server.stop().await.expect("a clean end");
}
