//! A small world of pins and actions, its catalog and profiles, and a server.

pub(crate) mod engine;
pub(crate) mod files;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
pub(crate) mod log;
pub(crate) mod nats;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod server;
pub(crate) mod strings;
pub(crate) mod twin;
pub(crate) mod wait;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use pinnersage::batch::{
    AttributeColumns, AttributeLimits, BadRowParams, CatalogParams, ChangeFiles, Duplicates,
    NegativeLimits, ProfileInput, ProfileParams, TextIds, build_catalog, build_profiles,
};
use pinnersage::index::GraphParams;
use pinnersage::model::Timestamp;
use pinnersage::progress::Progress;
use pinnersage::store::ErasedThrough;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

pub(crate) const DIMENSION: usize = 16;
pub(crate) const TOPICS: usize = 30;
pub(crate) const PINS: u64 = 600;
pub(crate) const USERS: u64 = 40;
/// Pins from this id on are exact copies of the pin ten below.
pub(crate) const FIRST_COPY: u64 = 590;
pub(crate) const EMBEDDING_VERSION: &str = "test-16";
pub(crate) const AS_OF: &str = "2026-03-01";
const NO_BAD_ROWS: BadRowParams = BadRowParams {
    max: 0,
    report: None,
};
static NOBODY_ERASED: ErasedThrough = ErasedThrough {
    stated: None,
    by_log: BTreeMap::new(),
};
const DAY: i64 = 86_400;

/// A world on disk: files of pins and actions, catalog and profiles.
pub(crate) struct World {
    pub(crate) directory: TempDir,
}

impl World {
    /// The files only.
    pub(crate) fn files() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let world = Self { directory };
        files::pins(&world.path("pins.parquet"), &pins());
        files::actions(&world.path("actions.parquet"), &actions());
        world
    }

    /// The files and the catalog.
    pub(crate) fn with_catalog() -> Self {
        let world = Self::files();
        world.build_catalog("catalog", EMBEDDING_VERSION);
        world
    }

    /// The files, and what is built from them.
    pub(crate) fn built() -> Self {
        let world = Self::with_catalog();
        world.build_profiles("catalog", "profiles", true);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn build_catalog(&self, name: &str, embedding_version: &str) {
        let params = catalog_params(embedding_version);
        let pins = [self.path("pins.parquet")];
        build_catalog(&pins, &self.path(name), &params, Progress::Silent).expect("a catalog");
    }

    pub(crate) fn build_profiles(&self, catalog: &str, name: &str, history_filter: bool) {
        self.build_profiles_with(catalog, name, &profile_params(history_filter));
    }

    pub(crate) fn build_profiles_with(&self, catalog: &str, name: &str, params: &ProfileParams) {
        self.build_profiles_at(catalog, name, AS_OF.parse().expect("a date"), params);
    }

    pub(crate) fn build_profiles_at(
        &self,
        catalog: &str,
        name: &str,
        as_of: Timestamp,
        params: &ProfileParams,
    ) {
        let actions = [self.path("actions.parquet")];
        let (catalog, out) = (self.path(catalog), self.path(name));
        let input = ProfileInput {
            as_of,
            ..profile_input(&actions, &catalog)
        };
        build_profiles(&input, &out, params, Progress::Silent).expect("profiles");
    }
}

pub(crate) fn profile_input<'a>(actions: &'a [PathBuf], catalog: &'a Path) -> ProfileInput<'a> {
    ProfileInput {
        actions,
        catalog,
        text_ids: TextIds::Auto,
        as_of: AS_OF.parse().expect("a date"),
        complete_through: None,
        erased_users: None,
        erased_through: &NOBODY_ERASED,
        duplicates: Duplicates::Drop,
        bad_rows: &NO_BAD_ROWS,
        negative: NegativeLimits {
            most_recent: 20,
            silenced_by: 3,
        },
    }
}

pub(crate) fn catalog_params(embedding_version: &str) -> CatalogParams {
    CatalogParams {
        embedding_version: embedding_version.to_owned(),
        min_quality: None,
        attributes: AttributeColumns::default(),
        attribute_limits: AttributeLimits {
            max_attributes: 8,
            max_words: 1_000,
            max_bytes: ByteSize::mib(1),
        },
        changes: ChangeFiles::default(),
        text_ids: TextIds::Auto,
        bad_rows: BadRowParams::default(),
        graph: GraphParams {
            ef_construction: 100,
            seed: 1,
        },
    }
}

pub(crate) fn profile_params(history_filter: bool) -> ProfileParams {
    ProfileParams {
        window_days: 90.0,
        alpha: 1.0,
        lambda_per_day: 0.01,
        max_actions: 3_000,
        action_weights: [("save".to_owned(), 1.0), ("click".to_owned(), 0.5)].into(),
        history_filter,
        late_actions: Duration::from_secs(8 * 86_400),
        max_input_lag: Duration::from_secs(3_600),
        memory: ByteSize::mib(64),
    }
}

/// One row of a file of pins.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    pub(crate) id: i64,
    pub(crate) embedding: Vec<f32>,
    pub(crate) title: String,
}

/// One row of a file of actions; time in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub(crate) user: i64,
    pub(crate) pin: i64,
    pub(crate) time: i64,
    pub(crate) name: &'static str,
}

/// Pin p belongs to topic p % 30.
pub(crate) fn pins() -> Vec<Pin> {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let mut vector = |spread: f32| -> Vec<f32> {
        (0..DIMENSION)
            .map(|_| rng.random_range(-spread..spread))
            .collect()
    };
    let topics: Vec<Vec<f32>> = (0..TOPICS).map(|_| vector(1.0)).collect();
    let mut pins: Vec<Pin> = Vec::new();
    for id in 0..PINS {
        let topic = &topics[id as usize % TOPICS];
        let noise = vector(0.2);
        let embedding = match id {
            FIRST_COPY.. => pins[id as usize - 10].embedding.clone(),
            _ => topic.iter().zip(noise).map(|(t, n)| t + n).collect(),
        };
        pins.push(Pin {
            id: id as i64,
            embedding,
            title: format!("pin {id} of topic {}", id % 30),
        });
    }
    pins
}

/// User u acted on 3 to 5 topics, 10 to 60 times in all.
pub(crate) fn actions() -> Vec<Action> {
    let rng = &mut ChaCha8Rng::seed_from_u64(2);
    let as_of = AS_OF.parse::<Timestamp>().expect("a date").micros() / 1_000_000;
    let mut actions = Vec::new();
    for user in 0..USERS as i64 {
        let topics: Vec<i64> = (0..rng.random_range(3..=5))
            .map(|_| rng.random_range(0..TOPICS as i64))
            .collect();
        for _ in 0..rng.random_range(10..=60) {
            let topic = topics[rng.random_range(0..topics.len())];
            let pin = topic + TOPICS as i64 * rng.random_range(0..PINS as i64 / TOPICS as i64);
            let time = as_of - 1 - rng.random_range(0..89 * DAY);
            let name = if rng.random_range(0..4) == 0 {
                "click"
            } else {
                "save"
            };
            actions.push(Action {
                user,
                pin,
                time,
                name,
            });
        }
    }
    actions
}

/// The version directory that `CURRENT` of `root` names.
pub(crate) fn version_directory(root: &Path) -> PathBuf {
    let current = std::fs::read_to_string(root.join("CURRENT")).expect("a current version");
    root.join(current.trim_end())
}

/// The corpus: requests, and files of every format that was ever written.
pub(crate) fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}
