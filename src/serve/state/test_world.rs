//! A small catalog and profiles on disk, for unit tests of this folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytesize::ByteSize;
use tempfile::TempDir;

use crate::cluster;
use crate::index::{
    AttributeTable, Catalog, CatalogManifest, CatalogParts, Delta, FilterParams, GraphParams,
    NeighborParams, Pin, PinTable, QuantizedVectors, build_graph,
};
use crate::model::{
    Action, ActionId, ActionKind, ActionWeights, Embeddings, Medoid, PinId, Timestamp, UserId,
};
use crate::progress::Progress;
use crate::serve::state::answer_params::AnswerParams;
use crate::serve::state::changed_pins::ChangedPins;
use crate::serve::state::durable_state::DurableState;
use crate::serve::state::loaded::Loaded;
use crate::serve::state::recent_interests::{FoldInSource, RecentInterests};
use crate::serve::state::snapshot_source::{ServingSource, VersionPair};
use crate::store::{
    ActionCounts, ErasedThrough, HistoryFilter, ProfileManifest, ProfileRecord, ProfilesWriter,
};

use crate::actions::{ActionLimits, ActionParams, Actions, FeedbackParams, UserState};
use crate::durable::Log;

/// The embedding version of everything, unless a test says otherwise.
pub(crate) const MODEL: &str = "model-1";
/// The day on which the profiles were made.
pub(crate) const PROFILE_DAY: i64 = 100;
/// A user with the medoids 1 and 2, whose history has the pins 1, 2 and 3.
pub(crate) const KNOWN_USER: UserId = UserId(7);
/// A user without a profile.
pub(crate) const UNKNOWN_USER: UserId = UserId(8);
/// Limits of recorded actions that no test exceeds.
pub(crate) const LIMITS: ActionLimits = ActionLimits::SAMPLE;
pub(crate) const ANSWERS: AnswerParams = AnswerParams {
    limits: LIMITS,
    feedback: FeedbackParams {
        enabled: false,
        prior: 10.0,
    },
};
/// A key that no pin has, though one has its id: as if two keys had the same hash.
pub(crate) const COLLIDING_KEY: &str = "colliding";
const DIMENSION: usize = 8;

/// Catalogs and profiles in a directory of their own.
pub(crate) struct TestWorld {
    directory: TempDir,
}

impl TestWorld {
    /// A catalog of the pins from 0 to 19, and profiles made from it.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let world = Self { directory };
        world.publish(0..20);
        world
    }

    /// A catalog of 20 pins that are called by strings: [`key_of`] 0 to 19. The last has the
    /// id of [`COLLIDING_KEY`]. The profiles are of other pins.
    pub(crate) fn with_keys() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let world = Self { directory };
        world.publish_keys(0..20);
        world
    }

    /// Publishes a catalog of `pins` that are called by strings, and profiles.
    pub(crate) fn publish_keys(&self, pins: impl Iterator<Item = u64>) -> VersionPair {
        let id = |pin| match pin {
            19 => PinId::of_key(COLLIDING_KEY),
            pin => PinId::of_key(&key_of(pin)),
        };
        self.publish_pins(pins.map(|pin| (id(pin), Some(key_of(pin)), pin)))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn source(&self) -> ServingSource {
        ServingSource {
            catalog: self.path("catalog"),
            profiles: self.path("profiles"),
            ef_search: 20,
            neighbors: NeighborParams {
                depth: 10,
                budget: ByteSize::kib(64),
                cache: ByteSize::kib(64),
            },
            filters: FilterParams {
                cache: ByteSize::kib(64),
            },
            popularity: 0.0,
        }
    }

    /// Publishes a catalog of `pins`, and profiles made from it.
    pub(crate) fn publish(&self, pins: impl Iterator<Item = u64>) -> VersionPair {
        self.publish_pins(pins.map(|pin| (PinId(pin), None, pin)))
    }

    fn publish_pins(
        &self,
        pins: impl Iterator<Item = (PinId, Option<String>, u64)>,
    ) -> VersionPair {
        let catalog = write_catalog(&self.path("catalog"), pins);
        let profiles = write_profiles(&self.path("profiles"), profile_facts(&catalog, MODEL), &[]);
        VersionPair { catalog, profiles }
    }

    /// Publishes profiles of an input that was free of erased users up to then, in which the
    /// user hides these pins.
    pub(crate) fn publish_profiles_without(&self, erased_through: ErasedThrough, hidden: &[PinId]) {
        let facts = ProfileManifest {
            erased_through,
            ..profile_facts("another", MODEL)
        };
        write_profiles(&self.path("profiles"), facts, hidden);
    }

    /// Publishes profiles of another model, which no catalog here fits.
    pub(crate) fn publish_profiles_of_another_model(&self) -> String {
        write_profiles(
            &self.path("profiles"),
            profile_facts("another", "model-2"),
            &[],
        )
    }

    /// Loads what was published last.
    pub(crate) fn load(&self) -> Arc<Loaded> {
        Arc::new(Loaded::open(&self.source()).expect("a good source"))
    }
}

pub(crate) fn action_params() -> ActionParams {
    ActionParams {
        weights: ActionWeights::new([("save".to_owned(), 1.0)].into()),
        limits: LIMITS,
    }
}

/// What a server keeps in `data` since the first day: up to `max_changes` changed pins, and
/// actions that are not archived.
pub(crate) fn durable_state(data: &Path, max_changes: usize) -> DurableState {
    let (log, _) = Log::open(data).expect("a log");
    let log = Arc::new(log);
    let changed_pins = ChangedPins::open(log.clone(), max_changes).expect("changes");
    let (actions, _) = Actions::open(log.clone(), action_params(), day(0)).expect("actions");
    DurableState {
        log,
        actions: Arc::new(actions),
        changed_pins: Arc::new(changed_pins),
        archiver: None,
    }
}

/// The unit vector of a pin.
pub(crate) fn vector_of(pin: u64) -> Vec<f32> {
    let mut vectors = Embeddings::new(DIMENSION).expect("a dimension");
    vectors.push(&components(pin)).expect("a vector");
    vectors.row(0).to_vec()
}

pub(crate) fn title_of(pin: u64) -> String {
    format!("pin {pin}")
}

/// The key of a pin where pins are called by strings.
pub(crate) fn key_of(pin: u64) -> String {
    format!("pin-{pin}")
}

/// Midnight of a day.
pub(crate) fn day(day: i64) -> Timestamp {
    Timestamp::from_seconds(day * 86_400).expect("a day")
}

/// The state of a user who did these things with these pins on these days.
pub(crate) fn user_state(actions: &[(u64, i64, ActionKind)]) -> Arc<UserState> {
    let mut state = UserState::default();
    for (number, &(pin, on, kind)) in (0u128..).zip(actions) {
        let action = Action {
            id: ActionId(number.to_be_bytes()),
            user: KNOWN_USER,
            pin: PinId(pin),
            name: "save".to_owned(),
            time: day(on),
            medoid: None,
            keys: None,
        };
        state.record(&action, kind, &LIMITS);
    }
    Arc::new(state)
}

/// `state` folded into the profile of `user`, where nothing changed.
pub(crate) fn fold(loaded: &Loaded, user: UserId, state: Arc<UserState>) -> Arc<RecentInterests> {
    let profile = loaded.profiles().get(user);
    let source = FoldInSource {
        profiles: loaded.profiles(),
        pins: &loaded.catalog().pins,
        delta: &Arc::new(Delta::new(loaded.catalog().pins.vectors())),
    };
    let scratch = &mut cluster::ClusterScratch::default();
    let folded = RecentInterests::fold(state, profile, source, ANSWERS, scratch);
    Arc::new(folded)
}

/// Vectors of different pins point in different directions.
fn components(pin: u64) -> [f32; DIMENSION] {
    std::array::from_fn(|i| {
        let mixed = (pin + 1).wrapping_mul(2_654_435_761) + i as u64 * 40_503;
        (mixed % 1_009) as f32 - 504.0
    })
}

/// Writes a catalog of pins: the id and the key of each, and the number that its vector and
/// its title are made from.
fn write_catalog(root: &Path, pins: impl Iterator<Item = (PinId, Option<String>, u64)>) -> String {
    let mut vectors = Embeddings::new(DIMENSION).expect("a dimension");
    let mut table = Vec::new();
    for (node, (id, key, pin)) in (0..).zip(pins) {
        vectors.push(&components(pin)).expect("a vector");
        table.push(Pin {
            id,
            node,
            title: title_of(pin),
            key,
        });
    }
    table.sort_unstable_by_key(|pin| pin.id);
    let table = PinTable::new(&table, vectors);
    let codes = QuantizedVectors::new(table.vectors()).expect("memory");
    let params = GraphParams {
        ef_construction: 20,
        seed: 1,
    };
    let stage = Progress::Silent.stage("", 0);
    let graph = build_graph(&codes, params, &stage).expect("memory");
    let facts = CatalogManifest::of_table(&table, MODEL, params);
    let written = Catalog::write(
        root,
        CatalogParts {
            pins: &table,
            codes: &codes,
            graph: &graph,
            attributes: &AttributeTable::default(),
        },
        facts,
    );
    written.expect("a catalog").version
}

fn write_profiles(root: &Path, facts: ProfileManifest, hidden: &[PinId]) -> String {
    let medoid = |pin, importance| Medoid {
        pin: PinId(pin),
        importance,
        last_action_time: day(PROFILE_DAY - 1),
        size: 1,
        dislikes: 0,
    };
    let history = HistoryFilter::encode(&[PinId(1), PinId(2), PinId(3)]);
    let mut writer = ProfilesWriter::create(root, 0).expect("a directory");
    let profile = ProfileRecord {
        user: KNOWN_USER,
        key: String::new(),
        medoids: vec![medoid(1, 2.0), medoid(2, 1.0)],
        history: history.expect("distinct pins"),
        identities: Vec::new(),
        hidden: hidden.to_vec(),
    };
    writer.append(&profile).expect("a profile");
    writer.finish(facts, &[]).expect("profiles").version
}

fn profile_facts(catalog_version: &str, embedding_version: &str) -> ProfileManifest {
    ProfileManifest {
        embedding_version: embedding_version.to_owned(),
        dimension: DIMENSION,
        catalog_version: catalog_version.to_owned(),
        as_of: day(PROFILE_DAY),
        complete_through: day(PROFILE_DAY),
        identified_from: day(PROFILE_DAY),
        oldest_action: None,
        newest_action: None,
        erased_through: ErasedThrough::default(),
        window_days: 90.0,
        alpha: 0.1,
        lambda_per_day: 0.01,
        max_actions: 100,
        action_weights: [("save".to_owned(), 1.0)].into(),
        history_false_positive_rate: Some(1.0 / 256.0),
        string_user_ids: false,
        users: 1,
        medoids: 2,
        actions: ActionCounts::default(),
    }
}
