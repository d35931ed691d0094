//! The replay as a person runs it, on a small world.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use crate::common;
use crate::common::process::{command, path, refusal, run_command};
use crate::common::{Action, World};
use pinnersage::config::Settings;
use pinnersage::evaluation::DEFAULT_MODELS;
use pinnersage::model::Timestamp;
use pinnersage::store::ProfilesReader;
use serde_json::Value;

const FROM: &str = "2026-02-01";
/// From here on the future is changed, to see that nobody knows it before.
const CHANGE: &str = "2026-02-15";
const DAY: i64 = 86_400;

/// The world with a topic in the titles and a catalog.
fn world() -> World {
    let world = World::files();
    let mut pins = common::pins();
    for pin in &mut pins {
        pin.title = format!("pin (no. {}) (TOPIC {}, SMALL)", pin.id, pin.id % 30);
    }
    common::files::pins(&world.path("pins.parquet"), &pins);
    world.build_catalog("catalog", common::EMBEDDING_VERSION);
    world
}

fn evaluate(world: &World, actions: &str, more: &[&str], threads: &str) -> String {
    let mut command = command(["evaluate", "--actions", path(&world.path(actions))]);
    command
        .args(["--catalog", path(&world.path("catalog"))])
        .args(["--from", FROM, "--to", common::AS_OF, "--limit", "30"])
        .args(more)
        .env("RAYON_NUM_THREADS", threads);
    run_command(&mut command)
}

fn objects(text: &str) -> Vec<Value> {
    let object = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(object).collect()
}

fn lines(path: &Path) -> Vec<Value> {
    objects(&std::fs::read_to_string(path).expect("details"))
}

fn float(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn ids(value: &Value) -> Vec<u64> {
    let ids = value.as_array().expect("a list").iter();
    ids.map(|id| id.as_u64().expect("an id")).collect()
}

fn pins_of(medoids: &Value) -> Vec<u64> {
    let medoids = medoids.as_array().expect("a list").iter();
    medoids
        .map(|medoid| medoid["pin"].as_u64().expect("an id"))
        .collect()
}

fn seconds(date: &str) -> i64 {
    date.parse::<Timestamp>().expect("a date").micros() / 1_000_000
}

#[test]
fn a_line_a_model_says_all_measures_whatever_the_threads() {
    let world = world();
    let run = |threads: &str| {
        let details = world.path(&format!("details-{threads}"));
        let said = evaluate(
            &world,
            "actions.parquet",
            &["--json", "--details", path(&details)],
            threads,
        );
        (said, std::fs::read(details).expect("details"))
    };
    let (said, details) = run("1");
    assert!(
        run("3") == (said.clone(), details),
        "threads change the result"
    );

    let reports = objects(&said);
    assert_eq!(
        reports
            .iter()
            .map(|report| &report["model"])
            .collect::<Vec<_>>(),
        DEFAULT_MODELS
    );
    for report in &reports {
        let within = |value: &Value, name: &str| {
            let interval = value[format!("{name}_interval")]
                .as_array()
                .expect("an interval");
            let (low, high) = (float(&interval[0]), float(&interval[1]));
            assert!(
                low <= float(&value[name]) && float(&value[name]) <= high,
                "{name}: {report}"
            );
            assert!(
                (-1e-9..=31.0).contains(&low) && high <= 31.0,
                "{name}: {report}"
            );
        };
        let of_all = [
            "relevance",
            "recall",
            "diversity",
            "categories",
            "r_precision",
        ];
        of_all.into_iter().for_each(|name| within(report, name));
        within(report, "reciprocal_rank");
        assert!((0.0..=1.0).contains(&float(&report["coverage"])));
        let users = report["users"].as_u64().expect("a number");
        assert!(users > 20 && report["lists"].as_u64().expect("a number") > users);
        let mut parts = (0, 0);
        for segment in ["light", "medium", "heavy"] {
            let segment = &report["segments"][segment];
            within(segment, "relevance");
            within(segment, "recall");
            parts.0 += segment["users"].as_u64().expect("a number");
            parts.1 += segment["actions"].as_u64().expect("a number");
        }
        assert_eq!(Some(parts.0), report["users"].as_u64());
        assert_eq!(Some(parts.1), report["actions"].as_u64());
    }
    let table = evaluate(&world, "actions.parquet", &["--models", "last_pin"], "2");
    assert!(
        table.contains("last_pin") && table.contains("recall %, heavy"),
        "{table}"
    );
}

#[test]
fn measures_follow_from_the_details() {
    let world = world();
    let details = world.path("details");
    let more = ["--json", "--details", path(&details), "--exact"];
    let models = [
        "--models",
        "pinnersage,ward_centroid,popularity",
        "--horizon",
        "3",
    ];
    let said = evaluate(
        &world,
        "actions.parquet",
        &[&more[..], &models].concat(),
        "2",
    );

    let unit = |vector: &[f32]| -> Vec<f64> {
        let norm = vector
            .iter()
            .map(|&x| f64::from(x).powi(2))
            .sum::<f64>()
            .sqrt();
        vector.iter().map(|&x| f64::from(x) / norm).collect()
    };
    let vectors: Vec<Vec<f64>> = common::pins()
        .iter()
        .map(|pin| unit(&pin.embedding))
        .collect();
    let cosine = |a: u64, b: u64| -> f64 {
        let pairs = vectors[a as usize].iter().zip(&vectors[b as usize]);
        pairs.map(|(x, y)| x * y).sum()
    };
    let mut sums: BTreeMap<String, [f64; 6]> = BTreeMap::new();
    let mut covered: HashMap<String, HashSet<u64>> = HashMap::new();
    for line in lines(&details) {
        let model = line["model"].as_str().expect("a name");
        let (targets, pins) = (ids(&line["targets"]), ids(&line["pins"]));
        assert_eq!(line["candidates"], pins.len());
        let near = |target: &&u64| pins.iter().any(|&pin| cosine(**target, pin) >= 0.8);
        let relevant = targets.iter().filter(near).count();
        let recalled = targets
            .iter()
            .filter(|target| pins.contains(target))
            .count();
        assert_eq!(
            (&line["relevant"], &line["recalled"]),
            (&relevant.into(), &recalled.into())
        );
        let (mut distance, mut pairs) = (0.0, 0.0);
        for (at, &a) in pins.iter().enumerate() {
            for &b in &pins[..at] {
                distance += 1.0 - cosine(a, b);
                pairs += 1.0;
            }
        }
        let diversity = distance / pairs;
        assert!(
            (float(&line["diversity"]) - diversity).abs() < 1e-5,
            "{line}"
        );
        if model == "pinnersage" {
            let sampled = pins_of(&line["sampled"]);
            let score = |pin: u64| {
                let cosines = sampled.iter().map(|&medoid| cosine(medoid, pin));
                cosines.fold(f64::NEG_INFINITY, f64::max)
            };
            let negatives = ids(&line["negatives"]);
            let mut reciprocal = 0.0;
            for (target, own) in targets.iter().zip(negatives.chunks(20)) {
                let better = own
                    .iter()
                    .filter(|&&pin| score(pin) > score(*target) + 1e-6);
                // Exact copies share a score.
                let equal = own
                    .iter()
                    .filter(|&&pin| (score(pin) - score(*target)).abs() < 1e-6);
                reciprocal += 1.0 / (1.0 + better.count() as f64 + 0.5 * equal.count() as f64);
            }
            assert!(
                (float(&line["reciprocal"]) - reciprocal).abs() < 1e-9,
                "{line}"
            );
        }
        let topics: HashSet<u64> = pins.iter().map(|pin| pin % 30).collect();
        let of = [targets.len(), relevant, recalled, 1, topics.len()].map(|n| n as f64);
        let sums = sums.entry(model.to_owned()).or_default();
        of.into_iter()
            .chain([diversity])
            .zip(sums)
            .for_each(|(part, sum)| *sum += part);
        covered.entry(model.to_owned()).or_default().extend(pins);
    }
    for report in objects(&said) {
        let model = report["model"].as_str().expect("a name");
        let [actions, relevant, recalled, lists, topics, diversity] = sums[model];
        let close = |name: &str, expected: f64| {
            assert!(
                (float(&report[name]) - expected).abs() < 1e-5,
                "{name}: {report}"
            );
        };
        close("relevance", relevant / actions);
        close("recall", recalled / actions);
        close("diversity", diversity / lists);
        close("categories", topics / lists);
        close(
            "coverage",
            covered[model].len() as f64 / common::PINS as f64,
        );
        assert_eq!(
            (float(&report["actions"]), float(&report["lists"])),
            (actions, lists)
        );
    }
}

#[test]
fn what_is_recommended_before_a_day_does_not_depend_on_what_comes_after() {
    let world = world();
    let change = seconds(CHANGE);
    let changed: Vec<Action> = common::actions()
        .into_iter()
        .map(|action| match action.time < change {
            true => action,
            // Another pin, of another topic, at another hour of the day.
            false => Action {
                pin: (action.pin * 7 + 13) % common::PINS as i64,
                time: action.time / DAY * DAY + (action.time * 31) % DAY,
                ..action
            },
        })
        .collect();
    common::files::actions(&world.path("changed.parquet"), &changed);
    let models = "pinnersage,ward_centroid,kmeans,complete_linkage,last_pin,decay_average,\
                  popularity,random,knn_embed,pinnersage:stale=3:fold_in=on,\
                  pinnersage:popularity=0.5:pages=3:growth=0.5";
    let run = |actions: &str| {
        let details = world.path(&format!("{actions}.details"));
        let more = [
            "--models",
            models,
            "--details",
            path(&details),
            "--repeats",
            "on",
        ];
        evaluate(&world, actions, &more, "2");
        let mut found: BTreeMap<(String, u64, String), Value> = BTreeMap::new();
        for line in lines(&details) {
            let text = |name: &str| line[name].as_str().expect("a text").to_owned();
            let user = line["user"].as_u64().expect("an id");
            found.insert((text("day"), user, text("model")), line);
        }
        found
    };
    let (before, after) = (run("actions.parquet"), run("changed.parquet"));
    let last = format!("{CHANGE}T00:00:00Z");
    let upto = |lines: &BTreeMap<(String, u64, String), Value>| -> Vec<Value> {
        let lines = lines.iter().filter(|((day, ..), _)| *day < last);
        lines.map(|(_, line)| line.clone()).collect()
    };
    assert!(upto(&before).len() > 500);
    assert_eq!(upto(&before), upto(&after));
    // On the day itself answers are the same, and what happens then is not.
    let mut differ = 0;
    for (key, line) in before.iter().filter(|((day, ..), _)| *day == last) {
        let other = &after[key];
        for part in ["medoids", "sampled", "pins"] {
            assert_eq!(line[part], other[part], "{key:?}");
        }
        differ += usize::from(line["targets"] != other["targets"]);
    }
    assert!(differ > 20, "{differ}");
    assert_ne!(before.last_key_value(), after.last_key_value());
}

#[test]
fn interests_are_those_of_a_profile_and_history_is_left_out_of_all() {
    let world = world();
    let details = world.path("details");
    let models = "pinnersage,pinnersage_1,equal_quota,ward_centroid,pinnersage:top=3,\
                  pinnersage:pages=4";
    let more = ["--models", models, "--details", path(&details)];
    evaluate(&world, "actions.parquet", &more, "2");
    let lines = lines(&details);

    let mut params = common::profile_params(true);
    let settings = Settings::load(None).expect("the defaults");
    params.alpha = settings.profiles.alpha;
    params.action_weights = [("save".to_owned(), 1.0), ("click".to_owned(), 1.0)].into();
    let from = FROM.parse().expect("a date");
    world.build_profiles_at("catalog", "profiles", from, &params);
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let profiles: HashMap<u64, _> = profiles.iter().map(|(user, p)| (user.0, p)).collect();

    let actions = common::actions();
    let mut on_the_first_day = 0;
    for lines in lines.chunks(6) {
        let [all, one, equal, centroids, top, paged] = lines else {
            panic!("six models");
        };
        let (user, day) = (all["user"].as_u64().expect("an id"), all["day"].as_str());
        let day = seconds(day.expect("a day"));
        let window = (day - 90 * DAY)..day;
        let acted_on: HashSet<u64> = actions
            .iter()
            .filter(|action| action.user as u64 == user && window.contains(&action.time))
            .map(|action| action.pin as u64)
            .collect();
        for line in lines {
            let seen = ids(&line["pins"]).into_iter().chain(ids(&line["targets"]));
            assert_eq!(
                seen.filter(|pin| acted_on.contains(pin)).count(),
                0,
                "{line}"
            );
            assert_eq!(line["candidates"], 30, "{line}");
        }
        let sampled = pins_of(&all["sampled"]);
        assert_eq!(pins_of(&one["sampled"]), sampled[..1]);
        assert_eq!(equal["sampled"], all["sampled"]);
        assert_eq!(
            centroids["sampled"].as_array().map(Vec::len),
            Some(sampled.len())
        );
        // The first page has the draw of a single list, and no page repeats another.
        let (drawn, pins) = (pins_of(&paged["sampled"]), ids(&paged["pins"]));
        assert_eq!(drawn[..sampled.len()], sampled);
        assert_eq!(drawn.len(), 4 * sampled.len());
        assert_eq!(pins.iter().collect::<HashSet<_>>().len(), 30);
        let most: HashSet<u64> = pins_of(&all["medoids"]).into_iter().take(3).collect();
        assert_eq!(
            pins_of(&top["sampled"]).into_iter().collect::<HashSet<_>>(),
            most
        );
        if day == seconds(FROM) {
            on_the_first_day += 1;
            let medoids = all["medoids"].as_array().expect("a list").iter();
            let medoids = medoids.map(|m| (m["pin"].as_u64(), m["importance"].as_f64()));
            let expected = profiles[&user].medoids.iter();
            let expected = expected.map(|m| (Some(m.pin.0), Some(m.importance)));
            assert_eq!(medoids.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
    }
    assert!(on_the_first_day > 3, "{on_the_first_day}");
}

#[test]
fn what_cannot_be_done_is_named() {
    let world = world();
    let refused = |more: &[&str], parts: &[&str]| {
        let mut evaluate = command([
            "evaluate",
            "--actions",
            path(&world.path("actions.parquet")),
        ]);
        evaluate
            .args(["--catalog", path(&world.path("catalog"))])
            .args(more);
        let said = refusal(&mut evaluate);
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    let period = ["--from", FROM, "--to", common::AS_OF];
    let with = |more: &[&'static str]| [&period[..], more].concat();
    refused(
        &with(&["--models", "pinersage"]),
        &["\"pinersage\"", "ward_centroid"],
    );
    refused(
        &with(&["--models", "kmeans:k=x"]),
        &["k is \"x\"", "from 1 to 1000"],
    );
    refused(
        &with(&["--relevant", "nan"]),
        &["--relevant", "from -1 to 1"],
    );
    refused(&with(&["--limit", "0"]), &["--limit"]);
    refused(
        &["--from", "yesterday", "--to", FROM],
        &["\"yesterday\"", "2017-10-01"],
    );
    refused(
        &["--from", FROM, "--to", FROM],
        &["2026-02-01T00:00:00Z", "before"],
    );
    refused(
        &["--from", "2001-01-01", "--to", "2001-02-01"],
        &["no user acted"],
    );
}

#[test]
fn a_page_holds_everything_and_fetches_nothing() {
    let world = world();
    let page = world.path("report.html");
    let models = "pinnersage,pinnersage_1,popularity,pinnersage:alpha=2";
    let more = ["--models", models, "--html", path(&page)];
    evaluate(&world, "actions.parquet", &more, "2");
    let page = std::fs::read_to_string(page).expect("a page");
    let parts = [
        "<!doctype html>",
        "actions.parquet, 2026-02-01 to 2026-03-01",
        "from 2026-02-01, before 2026-03-01",
        "<code>pinnersage evaluate --actions",
        "prefers-color-scheme: dark",
        "relevance %, heavy",
        "class=\"path\"",
        "</html>",
    ];
    for part in parts {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(
        page.matches("<svg ").count(),
        page.matches("</svg>").count()
    );
    assert_eq!(page.matches("<svg ").count(), 5);
    for fetched in ["http", "<script", "src=", "url(", "@import", "href="] {
        assert!(!page.contains(fetched), "{fetched}");
    }

    let hidden = world.path("<b>&.parquet");
    std::fs::copy(world.path("actions.parquet"), hidden).expect("a copy");
    let page = world.path("escaped.html");
    let more = ["--models", "last_pin", "--html", path(&page)];
    evaluate(&world, "<b>&.parquet", &more, "2");
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("&lt;b&gt;&amp;.parquet") && !page.contains("<b>"));
}
