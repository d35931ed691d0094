//! A replay that is stopped and goes on.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::common;
use crate::common::World;
use crate::common::process::{command, path, refusal, run};
use pinnersage::cluster::Params;
use pinnersage::evaluation::{
    EvaluateError, EvaluateParams, FoldInLimits, ModelReport, ReplayFiles, evaluate,
};
use pinnersage::model::Timestamp;
use pinnersage::progress::Progress;

const FROM: &str = "2026-02-01";

fn params() -> EvaluateParams {
    let date = |text: &str| -> Timestamp { text.parse().expect("a date") };
    EvaluateParams {
        from: date(FROM),
        to: date(common::AS_OF),
        every_days: 3,
        horizon_days: 1,
        window_days: 90.0,
        cluster: Params {
            alpha: 1.0,
            lambda_per_day: 0.01,
        },
        max_actions: 3_000,
        fold_in: FoldInLimits {
            recent: 100,
            clustered: 20,
        },
        action_weights: [("save".to_owned(), 1.0), ("click".to_owned(), 1.0)].into(),
        popularity: 0.0,
        repeats: false,
        models: ["pinnersage", "popularity"]
            .map(|name| name.parse().expect("a model"))
            .into(),
        limit: 30,
        relevant: 0.8,
        ef_search: None,
        users: None,
        seed: 1,
        // So little that users come in many parts, each of which is a block.
        memory: 4 * 24 * 100,
        filters: BTreeMap::new(),
        rerank: BTreeMap::new(),
        timing: false,
    }
}

fn replay(
    world: &World,
    details: &mut dyn Write,
    resume: Option<&Path>,
) -> Result<Vec<ModelReport>, EvaluateError> {
    let files = ReplayFiles {
        actions: &[world.path("actions.parquet")],
        catalog: &world.path("catalog"),
        checkpoint: resume,
    };
    evaluate(&files, &params(), Some(details), Progress::Silent)
}

/// A disk that is full after so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.0.checked_sub(bytes.len());
        self.0 = left.ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The files of a directory by name: when and as what they were written.
fn files(directory: &Path) -> BTreeMap<String, (u64, i64, i64)> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let file = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("an entry");
        let data = entry.metadata().expect("a file");
        let written = (data.ino(), data.mtime(), data.mtime_nsec());
        (entry.file_name().into_string().expect("a name"), written)
    };
    entries.map(file).collect()
}

#[test]
fn a_replay_that_was_stopped_goes_on_and_gives_the_same_bytes() {
    let world = World::with_catalog();
    let mut expected = Vec::new();
    let reports = replay(&world, &mut expected, None).expect("a replay");

    let kept = world.path("kept");
    let stopped = replay(&world, &mut Full(expected.len() / 2), Some(&kept));
    assert!(matches!(stopped, Err(EvaluateError::Details(_))));
    let before = files(&kept);
    assert!(before.len() > 4, "{before:?}");

    let mut details = Vec::new();
    let resumed = replay(&world, &mut details, Some(&kept)).expect("the rest");
    assert_eq!(resumed, reports);
    assert!(details == expected, "details differ");
    let after = files(&kept);
    assert!(after.len() > before.len() + 2, "{after:?}");
    for (name, written) in &before {
        assert_eq!(after.get(name), Some(written), "{name} was written again");
    }

    // All of it is there: nothing is written, and the result is the same.
    let mut details = Vec::new();
    let again = replay(&world, &mut details, Some(&kept)).expect("a replay");
    assert_eq!((again, details == expected), (reports, true));
    assert_eq!(files(&kept), after);
}

#[test]
fn a_directory_of_another_replay_is_refused_by_name() {
    let world = World::with_catalog();
    let actions = world.path("actions.parquet");
    let (catalog, kept) = (world.path("catalog"), world.path("kept"));
    let arguments = |more: &[&'static str]| {
        let mut arguments = vec!["evaluate", "--actions", path(&actions)];
        arguments.extend(["--catalog", path(&catalog), "--resume", path(&kept)]);
        arguments.extend([
            "--from",
            FROM,
            "--to",
            common::AS_OF,
            "--every",
            "7",
            "--json",
        ]);
        arguments.extend(["--models", "last_pin,random", "--limit"]);
        arguments.extend(if more.is_empty() { &["30"] } else { more });
        arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let refused = |more: &[&'static str], parts: &[&str]| {
        let said = refusal(&mut command(arguments(more)));
        let named = parts.iter().all(|part| said.contains(part));
        assert!(named && said.contains(path(&kept)), "{said}");
    };
    let own = arguments(&[]);
    let first = run(&own);
    assert_eq!(run(&own), first);
    refused(&["31"], &["limit 30", "is 31 now"]);
    refused(&["30", "--seed", "2"], &["seed 1", "is 2 now"]);
    refused(&["30", "--horizon", "2"], &["horizon 1", "is 2 now"]);
    refused(&["30", "--exact"], &["ef_search", "is null now"]);

    let mut fewer = common::actions();
    fewer.pop();
    common::files::actions(&actions, &fewer);
    refused(&[], &["actions [", "xxh3"]);
}
