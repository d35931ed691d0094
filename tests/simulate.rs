//! A simulated world as a person makes and measures one.

#![cfg(feature = "evaluation")]

mod common;

use std::path::Path;

use common::process::{command, path, run, run_as};
use serde_json::Value;

const SMALL: [&str; 8] = [
    "--pins",
    "12000",
    "--users",
    "60",
    "--topics",
    "240",
    "--dimension",
    "32",
];

fn simulate(out: &Path, seed: &str, threads: &str) -> String {
    let mut command = command();
    command
        .args(["simulate", "--out", path(out), "--seed", seed])
        .args(SMALL)
        .env("RAYON_NUM_THREADS", threads);
    run_as(&mut command)
}

#[test]
fn a_seed_makes_the_same_bytes_whatever_the_threads() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = |name: &str, seed: &str, threads: &str| {
        let out = directory.path().join(name);
        let said = simulate(&out, seed, threads);
        assert!(said.contains("12000 pins of 240 topics"), "{said}");
        let names = ["pins.parquet", "actions.parquet", "truth.parquet"];
        names.map(|name| std::fs::read(out.join(name)).expect("a file"))
    };
    let first = files("first", "1", "1");
    assert!(first == files("again", "1", "3"));
    let other = files("other", "2", "1");
    assert!(first.iter().zip(&other).all(|(a, b)| a != b));
}

#[test]
fn a_world_is_measured_and_interests_beat_what_knows_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    simulate(&at("world"), "1", "2");
    let (pins, actions) = (at("world/pins.parquet"), at("world/actions.parquet"));
    let catalog = at("catalog");
    let embedding = ["--embedding-version", "simulated"];
    let build = [
        "catalog",
        "build",
        "--pins",
        path(&pins),
        "--out",
        path(&catalog),
    ];
    run(&[&build[..], &embedding].concat());
    let said = run(&[
        "evaluate",
        "--actions",
        path(&actions),
        "--catalog",
        path(&catalog),
        "--from",
        "2025-12-04",
        "--to",
        "2026-01-01",
        "--every",
        "7",
        "--horizon",
        "7",
        "--limit",
        "30",
        "--models",
        "pinnersage,last_pin,popularity,random",
        "--json",
    ]);
    let reports = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let reports: Vec<Value> = reports.collect();
    let measure = |model: usize, name: &str| reports[model][name].as_f64().expect("a number");
    assert!(measure(0, "relevance") > measure(1, "relevance"), "{said}");
    for name in ["relevance", "recall"] {
        let [interests, popular, random] = [0, 2, 3].map(|model| measure(model, name));
        assert!(interests > 2.0 * popular.max(random), "{name}: {said}");
    }
    // A topic is a category.
    assert!(measure(0, "categories") > 2.0);
    assert!(measure(3, "categories") > 20.0);
}

#[test]
fn what_cannot_be_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let refused = |more: &[&str], part: &str| {
        let output = command()
            .args(["simulate", "--out", path(directory.path())])
            .args(more)
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(part), "{said}");
    };
    refused(&["--pins", "10", "--topics", "11"], "11 topics");
    refused(&["--noise", "1.5"], "not 1.5");
    refused(&["--dimension", "1"], "dimension 1");
    refused(&["--users", "0"], "--users");
    let left = std::fs::read_dir(directory.path()).expect("a directory");
    assert_eq!(left.count(), 0);
}
