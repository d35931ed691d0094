//! Building catalogs and profiles: what is counted, what is written, and that
//! equal inputs give equal bytes.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common;
use crate::common::files::{columns, ids, texts, vectors};
use crate::common::{World, catalog_params, profile_input, profile_params, version_directory};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, Float64Array, TimestampMillisecondArray, UInt64Array};
use bytesize::ByteSize;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pinnersage::batch::{
    BatchError, CatalogParams, ProfileInput, build_catalog, build_profiles, export_profiles,
};
use pinnersage::cluster::{ClusterScratch, Point, build_profile};
use pinnersage::index::{Catalog, CatalogManifest};
use pinnersage::model::{PinId, Timestamp};
use pinnersage::progress::Progress;
use pinnersage::store::{ActionCounts, ProfilesReader};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

fn bytes_of(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let version = version_directory(directory);
    fs::read_dir(version)
        .expect("a version")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            (
                path.file_name().expect("a name").into(),
                fs::read(path).expect("a file"),
            )
        })
        .collect()
}

#[test]
fn equal_actions_give_equal_bytes_in_any_order_and_any_memory() {
    let world = World::built();
    let expected = bytes_of(&world.path("profiles"));
    assert_eq!(expected.len(), 8);

    let mut actions = common::actions();
    actions.shuffle(&mut ChaCha8Rng::seed_from_u64(4));
    let (first, second) = actions.split_at(actions.len() / 3);
    common::files::actions(&world.path("first.parquet"), first);
    common::files::actions(&world.path("second.parquet"), second);
    let files = [world.path("first.parquet"), world.path("second.parquet")];
    let mut params = profile_params(true);
    // A few actions at a time: many partitions.
    params.memory = ByteSize::b(1_000);
    let (catalog, again) = (world.path("catalog"), world.path("again"));
    build_profiles(
        &profile_input(&files, &catalog),
        &again,
        &params,
        Progress::Silent,
    )
    .expect("profiles");
    assert_eq!(bytes_of(&again), expected);
}

#[test]
fn profiles_are_what_the_core_makes_of_each_user() {
    let world = World::built();
    let catalog = Catalog::open(&world.path("catalog")).expect("a catalog");
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let params = profile_params(true);
    let as_of = common::AS_OF.parse().expect("a date");
    let mut actions = common::actions();
    actions.sort_by_key(|action| (action.time, action.pin));
    let mut checked = 0;
    for (user, profile) in profiles.iter() {
        let own: Vec<_> = actions.iter().filter(|a| a.user as u64 == user.0).collect();
        let point = |action: &&common::Action| {
            let pin = PinId(action.pin as u64);
            Point {
                row: catalog
                    .pins
                    .node(catalog.pins.position(pin).expect("a pin")),
                pin,
                time: Timestamp::from_seconds(action.time).expect("a time"),
                weight: params.action_weights[action.name],
            }
        };
        let points: Vec<Point> = own.iter().map(point).collect();
        let vectors = catalog.pins.vectors();
        let scratch = &mut ClusterScratch::default();
        let expected = build_profile(&points, vectors, &params.cluster(), as_of, scratch);
        assert_eq!(profile.medoids, expected);
        let history = profile.history().expect("a history filter");
        assert!(points.iter().all(|point| history.contains(point.pin)));
        checked += 1;
    }
    assert_eq!(checked, common::USERS);
}

#[test]
fn every_action_is_used_or_counted_by_its_reason() {
    let world = World::built();
    let as_of = common::AS_OF.parse::<Timestamp>().expect("a date").micros() / 1_000_000;
    let day = 86_400;
    let rows = [
        (1, as_of - 1, "save"),        // the last moment of the window
        (2, as_of - 90 * day, "save"), // the first one
        (3, as_of - 90 * day - 1, "save"),
        (4, as_of, "save"),
        (5, as_of + day, "click"),
        (6, as_of - day, "zoom"),
        (7, as_of - day, "zoom"),
        (8, as_of - day, "hide"),
        (100_000, as_of - day, "save"),
        (9, as_of - 2 * day, "click"),
        (10, as_of - 3 * day, "save"),
    ];
    let actions = rows.map(|(pin, time, name)| common::Action {
        user: 1,
        pin,
        time,
        name,
    });
    common::files::actions(&world.path("actions.parquet"), &actions);
    let mut params = profile_params(true);
    params.max_actions = 3;
    let files = [world.path("actions.parquet")];
    let (catalog, out) = (world.path("catalog"), world.path("profiles"));
    let built = build_profiles(
        &profile_input(&files, &catalog),
        &out,
        &params,
        Progress::Silent,
    );
    let counts = built.expect("profiles").facts.actions;
    assert_eq!((counts.used, counts.cut), (3, 1));
    assert_eq!(
        (counts.before_window, counts.after_as_of, counts.unknown_pin),
        (1, 2, 1)
    );
    assert_eq!(
        counts.unknown_action,
        [("hide".to_owned(), 1), ("zoom".to_owned(), 2)].into()
    );
    assert_eq!(counts.read(), 11);
    let profiles = ProfilesReader::open(&out).expect("profiles");
    let (_, profile) = profiles.iter().next().expect("a user");
    let history = profile.history().expect("a history filter");
    // The three most recent ones are kept.
    assert!([1, 9, 10].iter().all(|&pin| history.contains(PinId(pin))));
}

#[test]
fn a_build_without_any_profile_fails_and_says_why() {
    let world = World::built();
    let before = version_directory(&world.path("profiles"));
    let files = [world.path("actions.parquet")];
    let (catalog, out) = (world.path("catalog"), world.path("profiles"));
    let input = ProfileInput {
        as_of: "2001-01-01".parse().expect("a date"),
        ..profile_input(&files, &catalog)
    };
    let built = build_profiles(&input, &out, &profile_params(true), Progress::Silent);
    let Err(BatchError::NoProfiles(counts)) = built else {
        panic!("{built:?}");
    };
    assert_eq!(counts.after_as_of, common::actions().len() as u64);
    assert_eq!(version_directory(&out), before);
}

#[test]
fn only_so_many_unknown_names_are_listed() {
    let mut counts = ActionCounts::default();
    for name in 0..250 {
        counts.refuse_action(&name.to_string());
        counts.refuse_action("0");
    }
    assert_eq!(counts.unknown_action.len(), 100);
    assert_eq!(counts.unknown_action["0"], 251);
    assert_eq!(counts.unknown_action_unlisted, 150);
    assert_eq!(counts.refused(), 500);
}

#[test]
fn actions_without_names_are_saves_and_times_may_be_of_any_unit() {
    let world = World::built();
    let as_of = common::AS_OF.parse::<Timestamp>().expect("a date");
    let millis = as_of.micros() / 1_000 - 1;
    let times = TimestampMillisecondArray::from(vec![millis]).with_timezone("UTC");
    let users: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
    let named = vec![
        ("user_id", users),
        ("pin_id", ids([5])),
        ("time", Arc::new(times) as _),
    ];
    columns(&world.path("actions.parquet"), named);
    world.build_profiles("catalog", "profiles", false);
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let (user, profile) = profiles.iter().next().expect("a user");
    assert_eq!(user.0, u64::MAX);
    assert_eq!(profile.medoids[0].last_action_time.micros(), millis * 1_000);
    assert!(
        (profile.medoids[0].importance - 1.0).abs() < 1e-6,
        "a save weighs 1"
    );
    assert!(profile.history().is_none());
}

fn catalog_of(world: &World, min_quality: Option<f64>) -> (CatalogManifest, Catalog) {
    let params = CatalogParams {
        min_quality,
        ..catalog_params("x")
    };
    let out = world.path("catalog");
    let built = build_catalog(
        &[world.path("pins.parquet")],
        &out,
        &params,
        Progress::Silent,
    );
    let facts = built.expect("a catalog").facts;
    (facts, Catalog::open(&out).expect("a catalog"))
}

#[test]
fn low_quality_and_near_duplicates_are_dropped_and_counted() {
    let world = World::files();
    let vector = [1.0f32, 2.0];
    let qualities = vec![Some(0.9), Some(0.8), Some(0.9), Some(0.1), None, Some(0.7)];
    let signatures = vec![Some(77), Some(77), Some(77), Some(88), None, Some(88)];
    let named = vec![
        ("pin_id", ids([30, 20, 10, 40, 50, 60])),
        ("embedding", vectors([&vector[..]; 6])),
        (
            "quality",
            Arc::new(Float64Array::from(qualities)) as ArrayRef,
        ),
        (
            "signature",
            Arc::new(UInt64Array::from(signatures)) as ArrayRef,
        ),
    ];
    columns(&world.path("pins.parquet"), named);

    let (facts, catalog) = catalog_of(&world, None);
    // Of 77 the best are 30 and 10, of which 10 is the lower id; of 88 it is 60.
    assert_eq!(catalog.pins.ids(), [10, 50, 60].map(PinId));
    assert_eq!(
        (facts.read, facts.low_quality, facts.near_duplicates),
        (6, 0, 3)
    );
    assert_eq!(facts.nodes, 1, "equal vectors share a node");
    assert_eq!(
        catalog.pins.duplicates(0).collect::<Vec<_>>(),
        [10, 50, 60].map(PinId)
    );

    let (facts, catalog) = catalog_of(&world, Some(0.5));
    assert_eq!(catalog.pins.ids(), [10, 60].map(PinId));
    assert_eq!((facts.low_quality, facts.near_duplicates), (2, 2));
}

#[test]
fn a_catalog_keeps_titles_and_a_single_pin_is_one() {
    let world = World::files();
    let named = vec![
        ("pin_id", ids([3])),
        ("embedding", vectors([&[3.0f32, 4.0][..]])),
        ("title", texts(["Käse & Brot"])),
    ];
    columns(&world.path("pins.parquet"), named);
    let (_, catalog) = catalog_of(&world, None);
    assert_eq!(catalog.pins.title(PinId(3)), "Käse & Brot");
    assert_eq!(catalog.pins.title(PinId(4)), "");
    assert_eq!(catalog.pins.vectors().row(0), [0.6, 0.8]);
}

#[test]
fn an_export_holds_what_the_profiles_hold() {
    let world = World::built();
    let out = world.path("profiles.parquet");
    let counts =
        export_profiles(&world.path("profiles"), None, &out, Progress::Silent).expect("a file");
    assert_eq!(counts.users, common::USERS);
    let profiles = ProfilesReader::open(&world.path("profiles")).expect("profiles");
    let expected: HashMap<u64, _> = profiles.iter().map(|(user, p)| (user.0, p)).collect();
    let as_of = profiles.manifest().facts.as_of.micros();

    let file = File::open(out).expect("a file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .expect("Parquet")
        .build();
    let mut seen = 0;
    for batch in reader.expect("a reader") {
        let batch = batch.expect("a batch");
        let column = |name: &str| batch.column_by_name(name).expect("a column");
        let users = column("user_id").as_primitive::<UInt64Type>();
        let times = column("as_of").as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let medoids = column("medoids").as_list::<i32>().value(row);
            let medoids = medoids.as_struct();
            let own = expected[&users.value(row)].medoids;
            assert_eq!((times.value(row), medoids.len()), (as_of, own.len()));
            let field = |name: &str| medoids.column_by_name(name).expect("a field");
            for (at, medoid) in own.iter().enumerate() {
                let pin = field("pin_id").as_primitive::<UInt64Type>().value(at);
                let importance = field("importance").as_primitive::<Float64Type>().value(at);
                let size = field("size").as_primitive::<UInt32Type>().value(at);
                let last = field("last_action_time").as_primitive::<TimestampMicrosecondType>();
                assert_eq!((pin, importance), (medoid.pin.0, medoid.importance));
                assert_eq!(
                    (size, last.value(at)),
                    (medoid.size, medoid.last_action_time.micros())
                );
            }
            seen += 1;
        }
    }
    assert_eq!(seen, common::USERS);
}
