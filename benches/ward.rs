//! Clustering of one user against the products of all pairs by a matrix library
//! and the linkage of kodama, on one core: `cargo bench --bench ward`.
//!
//! `whole_tree` merges everything, as kodama does; `default_alpha` stops at the
//! default. Both also find medoids and importances, which `products_and_kodama`
//! does not. The points are unit vectors about 20 centers, the same at each run.

use std::hint::black_box;

use divan::Bencher;
use kodama::Method;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2};
use pinnersage::cluster::{ClusterScratch, Params, Point, cluster_points};
use pinnersage::model::{Embeddings, PinId, Timestamp};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

const DIMENSION: usize = 256;
const CENTRES: usize = 20;
const SIZES: [usize; 5] = [50, 100, 300, 1000, 3000];

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES)]
fn whole_tree(bencher: Bencher<'_, '_>, count: usize) {
    ours(bencher, count, f64::MAX);
}

#[divan::bench(args = SIZES)]
fn default_alpha(bencher: Bencher<'_, '_>, count: usize) {
    ours(bencher, count, 4.0);
}

#[divan::bench(args = SIZES)]
fn products_and_kodama(bencher: Bencher<'_, '_>, count: usize) {
    let embeddings = embeddings(count);
    let rows = ArrayView2::from_shape((count, DIMENSION), embeddings.as_slice()).expect("a matrix");
    let mut products = Array2::<f32>::zeros((count, count));
    let mut distances = Vec::new();
    bencher.bench_local(|| {
        general_mat_mul(1.0, &rows, &rows.t(), 0.0, &mut products);
        distances.clear();
        for (i, row) in products.outer_iter().enumerate() {
            let after = row.to_slice().expect("a row")[i + 1..].iter();
            distances.extend(after.map(|product| (2.0 - 2.0 * product).max(0.0).sqrt()));
        }
        kodama::linkage(black_box(&mut distances), count, Method::Ward)
    });
}

fn ours(bencher: Bencher<'_, '_>, count: usize, alpha: f64) {
    let embeddings = embeddings(count);
    let time = Timestamp::from_seconds(1_700_000_000).expect("a time");
    let points: Vec<Point> = (0..count)
        .map(|row| Point {
            row,
            pin: PinId(row as u64),
            time,
            weight: 1.0,
        })
        .collect();
    let params = Params {
        alpha,
        lambda_per_day: 0.01,
    };
    let mut scratch = ClusterScratch::default();
    bencher.bench_local(|| {
        cluster_points(black_box(&points), &embeddings, &params, time, &mut scratch)
    });
}

fn embeddings(count: usize) -> Embeddings {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // The sum of twelve uniform numbers is near enough to a normal one.
    let mut noise = || (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
    let centers: Vec<f32> = (0..CENTRES * DIMENSION).map(|_| noise()).collect();
    let mut embeddings = Embeddings::new(DIMENSION).expect("a dimension");
    for at in 0..count {
        let center = &centers[at % CENTRES * DIMENSION..][..DIMENSION];
        let row: Vec<f32> = center.iter().map(|x| x + 0.7 * noise()).collect();
        embeddings.push(&row).expect("a vector");
    }
    embeddings
}
