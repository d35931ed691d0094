//! Holds the invariants of `src/lib.rs` that a text can show.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by floor: one uses only modules of lower floors.
const FLOORS: [&[&str]; 8] = [
    &["memory", "setting_rules"],
    &["kernel", "pool"],
    &["model"],
    &[
        "cluster",
        "compare",
        "recommend",
        "durable",
        "metrics",
        "progress",
        "snapshot",
        "wire",
    ],
    &["actions", "index", "store", "telemetry"],
    &["batch", "serve"],
    &["config", "evaluation"],
    &["cli"],
];
/// Modules without I/O, clock, randomness of their own, or logging.
const PURE: [&str; 5] = ["kernel", "model", "cluster", "compare", "recommend"];
const IMPURE: [&str; 14] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "Instant",
    "SystemTime",
    "println!",
    "tracing",
    "metrics",
    "tokio",
    "rand::rng",
    "rand::random",
    "thread_rng",
    "from_os_rng",
];
/// Longest file, without its tests.
const MAX_LINES: usize = 400;

struct Source {
    /// Path below `src`.
    path: String,
    /// First part of the path: the module of the crate that the file belongs to.
    module: String,
    /// The lines before the unit tests, without comments.
    code: Vec<String>,
    /// All lines.
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(source(&root, &path));
            }
        }
    }
    assert!(found.len() > 40, "only {} files were found", found.len());
    found
}

fn source(root: &Path, path: &PathBuf) -> Source {
    let text = fs::read_to_string(path).expect("a source");
    let path = path
        .strip_prefix(root)
        .expect("below src")
        .to_str()
        .expect("a name")
        .to_owned();
    let module = path
        .split(['/', '.'])
        .next()
        .expect("a first part")
        .to_owned();
    let code = text
        .split("#[cfg(test)]")
        .next()
        .expect("a first part")
        .lines();
    let code = code.map(|line| line.split("//").next().expect("a first part").to_owned());
    Source {
        path,
        module,
        code: code.collect(),
        text,
    }
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

#[test]
fn modules_use_only_lower_floors() {
    for source in sources()
        .iter()
        .filter(|source| !["lib", "main"].contains(&&*source.module))
    {
        let own = floor(&source.module).unwrap_or_else(|| panic!("{} has no floor", source.path));
        for line in &source.code {
            for used in line.split("crate::").skip(1) {
                let used = used
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next();
                let used = used.expect("a first part");
                let holds = used == source.module || floor(used).is_some_and(|used| used < own);
                assert!(holds, "{} must not use {used}: {line}", source.path);
            }
        }
    }
}

#[test]
fn the_cores_are_pure() {
    for source in sources()
        .iter()
        .filter(|source| PURE.contains(&&*source.module))
    {
        for line in &source.code {
            let found = IMPURE.iter().find(|&&impure| line.contains(impure));
            assert_eq!(found, None, "{}: {line}", source.path);
        }
    }
}

#[test]
fn names_stay_where_they_belong() {
    let belongs: [(&[&str], &[&str]); 3] = [
        (&["memmap2"], &["memory.rs"]),
        (
            &["tonic", "prost"],
            &["wire.rs", "serve/", "cli/", "telemetry/export.rs"],
        ),
        (&["unsafe"], &["memory.rs"]),
    ];
    for source in sources() {
        for (names, places) in belongs {
            if places.iter().any(|place| source.path.starts_with(place)) {
                continue;
            }
            for line in &source.code {
                let found = names.iter().find(|&&name| line.contains(name));
                assert_eq!(found, None, "{}: {line}", source.path);
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    for source in sources() {
        assert!(
            source.text.starts_with("//!"),
            "{} has no head",
            source.path
        );
        let lines = source.code.len();
        assert!(lines <= MAX_LINES, "{} has {lines} lines", source.path);
    }
}

#[test]
fn every_metric_that_is_named_is_recorded() {
    let sources = sources();
    let names = sources
        .iter()
        .find(|source| source.path == "metrics.rs")
        .expect("the names");
    let constants = names
        .code
        .iter()
        .filter_map(|line| line.strip_prefix("pub const "));
    for name in constants.filter_map(|line| line.split(':').next()) {
        let used = format!("names::{name}");
        let recorded = sources.iter().any(|source| source.text.contains(&used));
        assert!(recorded || name == "BUILD_INFO", "{name} is never recorded");
    }
}
