//! The inner loops over vectors and codes, and the search of a graph of 20,000
//! clustered vectors of 256 dimensions. `pinnersage catalog check` measures a
//! catalog of yours.

use std::hint::black_box;
use std::sync::{Arc, LazyLock};

use divan::Bencher;
use divan::counter::ItemsCount;
use pinnersage::index::{
    Approximate, AttributeTable, Catalog, CatalogManifest, CatalogParts, Exact, GraphParams, Pin,
    PinTable, QuantizedVectors, build_graph,
};
use pinnersage::kernel;
use pinnersage::model::{Embeddings, PinId};
use pinnersage::progress::Progress;
use pinnersage::recommend::Retrieve;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

const PINS: usize = 20_000;
const CLUSTERS: usize = 200;
const DIMENSION: usize = 256;
/// Rows that one call of a kernel is given: the links of a node.
const ROWS: usize = 32;
const K: usize = 100;

static INDEX: LazyLock<Approximate> = LazyLock::new(|| Approximate::new(catalog(), 1));

fn main() {
    divan::main();
}

/// A catalog whose files are gone once it is open.
fn catalog() -> Arc<Catalog> {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let mut uniform = |width: f32| (rng.random::<f32>() - 0.5) * width;
    let centers: Vec<f32> = (0..CLUSTERS * DIMENSION).map(|_| uniform(1.0)).collect();
    let mut vectors = Embeddings::new(DIMENSION).expect("a dimension");
    for pin in 0..PINS {
        let center = &centers[pin % CLUSTERS * DIMENSION..][..DIMENSION];
        let vector: Vec<f32> = center.iter().map(|x| x + uniform(0.6)).collect();
        vectors.push(&vector).expect("a vector");
    }
    let pin = |node: u32| Pin {
        id: PinId(node.into()),
        node,
        title: String::new(),
        key: None,
    };
    let pins: Vec<Pin> = (0..PINS as u32).map(pin).collect();
    let pins = PinTable::new(&pins, vectors);
    let codes = QuantizedVectors::new(pins.vectors()).expect("memory");
    let graph = GraphParams {
        ef_construction: 128,
        seed: 1,
    };
    let stage = Progress::Silent.stage("", PINS as u64);
    let links = build_graph(&codes, graph, &stage).expect("memory");
    let facts = CatalogManifest {
        embedding_version: "bench".to_owned(),
        dimension: DIMENSION,
        read: PINS as u64,
        bad: 0,
        cut_titles: 0,
        low_quality: 0,
        min_quality: None,
        near_duplicates: 0,
        upserted: 0,
        deleted: 0,
        pins: PINS,
        nodes: PINS,
        graph,
        string_ids: false,
        attributes: Vec::new(),
    };
    let directory = tempfile::tempdir().expect("a directory");
    let parts = CatalogParts {
        pins: &pins,
        codes: &codes,
        graph: &links,
        attributes: &AttributeTable::default(),
    };
    Catalog::write(directory.path(), parts, facts).expect("a catalog");
    Arc::new(Catalog::open(directory.path()).expect("a catalog"))
}

#[divan::bench]
fn dot_rows(bencher: Bencher) {
    let rows: Vec<f32> = (0..ROWS * DIMENSION).map(|i| (i % 97) as f32).collect();
    let query: Vec<f32> = (0..DIMENSION).map(|i| i as f32).collect();
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        kernel::dot_rows(black_box(&query), rows.chunks_exact(DIMENSION), &mut out);
    });
}

#[divan::bench]
fn dot_code_rows(bencher: Bencher) {
    let codes: Vec<i8> = (0..ROWS * DIMENSION).map(|i| (i % 97) as i8).collect();
    let query: Vec<i16> = (0..DIMENSION).map(|i| i as i16).collect();
    let positions: Vec<u32> = (0..ROWS as u32).collect();
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        kernel::dot_code_rows(black_box(&query), &codes, &positions, &mut out);
    });
}

#[divan::bench(args = [101, 160, 256])]
fn graph_search(bencher: Bencher, ef: usize) {
    let mut position = 0;
    LazyLock::force(&INDEX);
    bencher.bench_local(|| {
        position = (position + 7_919) % PINS;
        INDEX.nearest(black_box(position), K + 1, ef)
    });
}

#[divan::bench]
fn exact_scan(bencher: Bencher) {
    let mut position = 0;
    LazyLock::force(&INDEX);
    bencher.bench_local(|| {
        position = (position + 7_919) % PINS;
        Exact(&INDEX.catalog().pins).neighbors_of(PinId(position as u64), K + 1, &|_| true)
    });
}
