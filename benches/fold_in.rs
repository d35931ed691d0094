//! Fold-in of a day's 20 actions into a profile, beside clustering all actions
//! again: what a read after a write costs, and what it would.

use divan::{Bencher, black_box};
use pinnersage::cluster::{
    ClusterScratch, FoldInParams, Params, Point, RecentActions, StoredProfile, build_profile,
    fold_in,
};
use pinnersage::model::{Embeddings, Medoid, PinId, RecordedAction, Timestamp};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

const DIMENSION: usize = 256;
const RECENT: usize = 20;
const PARAMS: Params = Params {
    alpha: 1.0,
    lambda_per_day: 0.01,
};

fn main() {
    divan::main();
}

/// Actions about as many centers as there should be clusters, ten on each, and
/// twenty later ones, half of them about centers of their own.
struct User {
    embeddings: Embeddings,
    points: Vec<Point>,
    stored: Vec<Medoid>,
    as_of: Timestamp,
}

fn user(clusters: usize) -> User {
    let rng = &mut ChaCha8Rng::seed_from_u64(clusters as u64);
    let mut vector = |spread: f32| -> Vec<f32> {
        (0..DIMENSION)
            .map(|_| rng.random_range(-spread..spread))
            .collect()
    };
    let centers: Vec<Vec<f32>> = (0..clusters + RECENT / 2).map(|_| vector(1.0)).collect();
    let mut embeddings = Embeddings::new(DIMENSION).expect("a dimension");
    let of_profile = (0..clusters * 10).map(|at| at % clusters);
    let recent = (0..RECENT).map(|at| (at % 2) * (clusters + at / 2));
    for center in of_profile.chain(recent) {
        let noise = vector(0.3);
        let near: Vec<f32> = centers[center]
            .iter()
            .zip(noise)
            .map(|(c, n)| c + n)
            .collect();
        embeddings.push(&near).expect("a vector");
    }
    let time = |row: usize| Timestamp::from_seconds(row as i64 * 3_600).expect("a time");
    let point = |row| Point {
        row,
        pin: PinId(row as u64),
        time: time(row),
        weight: 1.0,
    };
    let points: Vec<Point> = (0..embeddings.len()).map(point).collect();
    let as_of = time(clusters * 10);
    let before = &points[..clusters * 10];
    let stored = build_profile(
        before,
        &embeddings,
        &PARAMS,
        as_of,
        &mut ClusterScratch::default(),
    );
    assert_eq!(stored.len(), clusters);
    User {
        embeddings,
        points,
        stored,
        as_of,
    }
}

#[divan::bench(args = [5, 15, 100])]
fn fold_in_20_actions(bencher: Bencher<'_, '_>, clusters: usize) {
    let User {
        embeddings,
        points,
        stored,
        as_of,
    } = &user(clusters);
    let params = FoldInParams {
        cluster: PARAMS,
        clustered: RECENT,
        silenced_by: 3,
    };
    let recorded = |point: &Point| RecordedAction {
        time: point.time,
        pin: point.pin,
        weight: point.weight,
    };
    let recent: Vec<RecordedAction> = points[clusters * 10..].iter().map(recorded).collect();
    let scratch = &mut ClusterScratch::default();
    bencher.bench_local(|| {
        let vector_of = |pin: PinId| Some(embeddings.row(pin.0 as usize));
        let profile = StoredProfile {
            medoids: stored,
            as_of: *as_of,
        };
        let actions = RecentActions {
            positive: &recent,
            negative: &[],
        };
        fold_in(black_box(profile), actions, vector_of, &params, scratch)
    });
}

#[divan::bench(args = [5, 15, 100])]
fn cluster_all_again(bencher: Bencher<'_, '_>, clusters: usize) {
    let User {
        embeddings,
        points,
        as_of,
        ..
    } = &user(clusters);
    let scratch = &mut ClusterScratch::default();
    bencher.bench_local(|| build_profile(black_box(points), embeddings, &PARAMS, *as_of, scratch));
}
