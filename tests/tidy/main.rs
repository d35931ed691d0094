//! Holds the invariants of `src/lib.rs` and the limits of size that a text can show.
//!
//! A failing check lists every offender, not only the first. What Clippy can hold (clocks
//! and hashers, for one) stands in `clippy.toml`.

mod functions;
mod imports;
mod source;

use functions::{Function, functions};
use imports::{circles, imports};
use source::{Source, sources};

/// Modules by floor, bottom first: a module uses only modules of lower floors.
const FLOORS: [&[&str]; 8] = [
    &["memory", "metrics", "setting_rules", "terminal"],
    &["kernel", "pool"],
    &["model"],
    &[
        "cluster",
        "compare",
        "recommend",
        "durable",
        "progress",
        "snapshot",
        "wire",
    ],
    &["actions", "archive", "index", "store", "telemetry"],
    &["batch", "serve"],
    &["config", "evaluation"],
    &["cli"],
];

/// Files and folders of `src/serve`, bottom first. A file that is not named, such as
/// `mod.rs`, stands above all of them.
const SERVE_FLOORS: [&str; 10] = [
    "params",
    "status",
    "request_limits",
    "security",
    "middleware",
    "overload",
    "surfaces",
    "state",
    "rpc",
    "transport",
];
/// A status names who the caller is, and uses nothing else that stands above it.
const SERVE_EXCEPTIONS: [(&str, &str); 1] = [("serve/status.rs", "serve/security/identity.rs")];

/// Paths without I/O, clock, randomness of their own, or logging.
const PURE: [&str; 6] = [
    "kernel/",
    "model/",
    "cluster/",
    "compare.rs",
    "recommend/",
    "evaluation/simulate/",
];
/// The one file of them that writes.
const NOT_PURE: [&str; 1] = ["evaluation/simulate/files.rs"];
const IMPURE: [&str; 12] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "println!",
    "tracing",
    "metrics",
    "tokio",
    "rand::rng",
    "rand::random",
    "thread_rng",
    "from_os_rng",
];

/// Names, and the paths that may contain them.
const BELONGS: [(&[&str], &[&str]); 3] = [
    (&["memmap2"], &["memory.rs"]),
    (
        &["tonic", "prost"],
        &["wire.rs", "wire/", "serve/", "cli/", "telemetry/export.rs"],
    ),
    (&["unsafe"], &["memory.rs"]),
];

/// Longest file, without its tests.
const MAX_FILE_LINES: usize = 400;
/// Longest function, from its signature to its closing brace.
const MAX_FUNCTION_LINES: usize = 60;
const MAX_MEDIAN_LINES: usize = 8;
const MAX_P90_LINES: usize = 28;
/// Most parameters of a function, beside `self`.
const MAX_PARAMETERS: usize = 5;

/// Fails with all offenders.
fn assert_none(offenders: impl IntoIterator<Item = String>, rule: &str) {
    let offenders: Vec<String> = offenders.into_iter().collect();
    assert!(offenders.is_empty(), "{rule}:\n{}", offenders.join("\n"));
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

#[test]
fn modules_use_only_lower_floors() {
    let offenders = imports(&sources()).into_iter().filter_map(|import| {
        let from = import.from.split(['/', '.']).next().expect("a first part");
        let is_lower = match (floor(from), floor(&import.module)) {
            (Some(from), Some(to)) => to < from,
            _ => false,
        };
        let is_allowed = is_lower || from == import.module;
        (!is_allowed).then(|| format!("{} uses {}", import.from, import.path))
    });
    assert_none(offenders, "modules must use lower floors only");
}

/// Floor of a file inside `src/serve`.
fn serve_floor(path: &str) -> Option<usize> {
    let inner = path.strip_prefix("serve/")?;
    let name = inner.split(['/', '.']).next().expect("a first part");
    let floor = SERVE_FLOORS.iter().position(|&floor| floor == name);
    Some(floor.unwrap_or(SERVE_FLOORS.len()))
}

#[test]
fn folders_of_the_server_use_only_lower_floors() {
    let offenders = imports(&sources()).into_iter().filter_map(|import| {
        let (from, to) = (serve_floor(&import.from)?, serve_floor(&import.to)?);
        let is_exception = SERVE_EXCEPTIONS.contains(&(&import.from, &import.to));
        let is_allowed = to <= from || is_exception;
        (!is_allowed).then(|| format!("{} uses {} of {}", import.from, import.path, import.to))
    });
    assert_none(offenders, "folders of serve must use lower floors only");
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let imports = imports(&sources());
    assert!(imports.len() > 200, "only {} imports", imports.len());
    assert_none(circles(&imports), "files must not import each other");
}

#[test]
fn the_cores_are_pure() {
    let sources = sources();
    let is_pure = |source: &&Source| {
        let is_below = |path: &&str| source.path.starts_with(*path);
        PURE.iter().any(is_below) && !NOT_PURE.contains(&&*source.path)
    };
    let offenders = sources.iter().filter(is_pure).flat_map(|source| {
        let is_impure = |line: &&String| IMPURE.iter().any(|name| line.contains(name));
        let lines = source.code.iter().filter(is_impure);
        lines.map(|line| format!("{}: {line}", source.path))
    });
    assert_none(offenders, "the cores must be pure");
}

#[test]
fn names_stay_where_they_belong() {
    let mut offenders = Vec::new();
    for source in sources() {
        for (names, paths) in BELONGS {
            if paths.iter().any(|path| source.path.starts_with(path)) {
                continue;
            }
            let has_name = |line: &&String| names.iter().any(|name| line.contains(name));
            let lines = source.code.iter().filter(has_name);
            offenders.extend(lines.map(|line| format!("{}: {line}", source.path)));
        }
    }
    assert_none(offenders, "names must stay where they belong");
}

#[test]
fn every_file_says_what_it_is() {
    let sources = sources();
    let headless = sources
        .iter()
        .filter(|source| !source.text.starts_with("//! "));
    let offenders = headless.map(|source| source.path.clone());
    assert_none(offenders, "a file must begin with a //! head");
}

/// The command line prints an error and all its sources, so an error whose message has its
/// source says it twice.
#[test]
fn errors_say_their_sources_once() {
    let has_source = |lines: &[&str]| {
        let field = |line: &str| line.trim_start().starts_with("source:");
        let is_source = |line: &str| line.contains("#[from]") || line.contains("#[source]");
        lines.iter().any(|line| field(line) || is_source(line))
    };
    let mut offenders = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let names = line.contains("{source") || line.contains("{0");
            // The fields of a variant stand right below its message.
            let below: Vec<&str> = lines[at + 1..]
                .iter()
                .take(8)
                .take_while(|line| !line.contains("#[error"))
                .copied()
                .collect();
            if line.contains("#[error(\"") && names && has_source(&below) {
                offenders.push(format!("{}: {line}", source.path));
            }
        }
    }
    assert_none(
        offenders,
        "the message of an error must not have its source",
    );
}

#[test]
fn files_are_short() {
    let sources = sources();
    let long = sources
        .iter()
        .filter(|source| source.lines() > MAX_FILE_LINES);
    let offenders = long.map(|source| format!("{}: {} lines", source.path, source.lines()));
    assert_none(offenders, "a file has too many lines before its tests");
}

/// All functions of the crate, shortest first.
fn all_functions() -> Vec<Function> {
    let mut found: Vec<Function> = sources().iter().flat_map(functions).collect();
    assert!(found.len() > 500, "only {} functions", found.len());
    found.sort_by_key(|function| function.lines);
    found
}

#[test]
fn functions_are_short() {
    let functions = all_functions();
    let long = functions
        .iter()
        .filter(|function| function.lines > MAX_FUNCTION_LINES);
    let offenders = long.map(|function| format!("{}: {} lines", function.name, function.lines));
    assert_none(offenders, "a function is too long");
    let median = functions[functions.len() / 2].lines;
    let p90 = functions[functions.len() * 9 / 10].lines;
    assert!(median <= MAX_MEDIAN_LINES, "the median has {median} lines");
    assert!(p90 <= MAX_P90_LINES, "the 90th percentile has {p90} lines");
}

#[test]
fn signatures_are_short() {
    let functions = all_functions();
    let long = functions
        .iter()
        .filter(|function| function.parameters > MAX_PARAMETERS);
    let offenders =
        long.map(|function| format!("{}: {} parameters", function.name, function.parameters));
    assert_none(offenders, "a function has too many parameters");
}

#[test]
fn every_metric_that_is_named_is_recorded() {
    let sources = sources();
    let (definitions, users): (Vec<&Source>, Vec<&Source>) = sources
        .iter()
        .partition(|source| source.path.starts_with("metrics"));
    let lines = definitions.iter().flat_map(|source| &source.code);
    let constants = lines.filter_map(|line| line.trim_start().strip_prefix("pub const "));
    let names = constants.filter_map(|line| line.split(':').next());
    // The line of the macro that defines all of them names none.
    let names: Vec<&str> = names.filter(|name| !name.starts_with('$')).collect();
    assert!(names.len() >= 20, "only {} metrics", names.len());
    // What the program is, is recorded where the recorder is installed.
    let recorded_elsewhere = names.iter().filter(|&&name| name != "BUILD_INFO");
    let unused = recorded_elsewhere.filter(|name| !users.iter().any(|user| user.has_word(name)));
    let offenders = unused.map(|&name| name.to_owned());
    assert_none(offenders, "a metric is never recorded");
}
