//! The index on the catalog that ships, with the default settings.

use std::path::PathBuf;
use std::sync::Arc;

use crate::common::catalog_params;
use pinnersage::batch::{CatalogParams, build_catalog};
use pinnersage::config::Settings;
use pinnersage::index::{Approximate, Catalog, Exact, GraphParams};
use pinnersage::model::PinId;
use pinnersage::progress::Progress;
use pinnersage::recommend::Retrieve;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

const QUERIES: usize = 500;

#[test]
fn recall_is_at_least_99_percent_and_filters_hold() {
    let settings = Settings::load(None).expect("the defaults");
    let directory = tempfile::tempdir().expect("a directory");
    let root = env!("CARGO_MANIFEST_DIR");
    let pins: PathBuf = [root, "examples", "complete-journey", "pins.parquet"]
        .iter()
        .collect();
    let params = CatalogParams {
        graph: GraphParams {
            ef_construction: settings.index.ef_construction,
            seed: settings.index.seed,
        },
        ..catalog_params("shipped")
    };
    build_catalog(&[pins], directory.path(), &params, Progress::Silent).expect("a catalog");
    let catalog = Arc::new(Catalog::open(directory.path()).expect("a catalog"));
    let index = Approximate::new(catalog.clone(), settings.index.ef_search);
    let exact = Exact(&catalog.pins);
    let rng = &mut ChaCha8Rng::seed_from_u64(5);

    for (k, barred) in [(100, false), (100, true), (400, false), (400, true)] {
        let mut found = 0;
        for _ in 0..QUERIES {
            let pin = catalog.pins.ids()[rng.random_range(0..catalog.pins.ids().len())];
            // The pin itself is barred, and a third of all pins, or none.
            let third = |other: PinId| barred && other.0.is_multiple_of(3);
            let eligible = |other: PinId| other != pin && !third(other);
            let neighbors = index.neighbors_of(pin, k, &eligible);
            assert_eq!(neighbors.len(), k);
            assert!(
                neighbors
                    .iter()
                    .all(|n| eligible(n.pin) && index.contains(n.pin))
            );
            let mut ids: Vec<PinId> = neighbors.iter().map(|n| n.pin).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), k, "no pin comes twice");
            let truth = exact.neighbors_of(pin, k, &eligible);
            found += truth
                .iter()
                .filter(|t| ids.binary_search(&t.pin).is_ok())
                .count();
        }
        let recall = found as f64 / (QUERIES * k) as f64;
        println!("recall@{k}, a third barred {barred}: {recall:.4}");
        assert!(recall >= 0.99, "recall@{k} is {recall}");
    }
}
