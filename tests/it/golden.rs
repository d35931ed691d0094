//! Clusters, medoids and importances of 40 real users against an independent
//! SciPy reference. `tests/golden/README.md` says how it was made.

use std::fs;
use std::path::PathBuf;

use pinnersage::cluster::{ClusterScratch, Params, Point, build_profile, cluster_points};
use pinnersage::model::{Embeddings, PinId, Timestamp};
use serde::Deserialize;

const DIMENSION: usize = 128;
const NPY_HEADER: usize = 128;

#[derive(Deserialize)]
struct User {
    user: u64,
    now: i64,
    alpha: f64,
    lam: f64,
    items: Vec<usize>,
    ts: Vec<i64>,
    clusters: Vec<Vec<usize>>,
    medoid_pos: Vec<usize>,
    medoid_item: Vec<u64>,
    importance: Vec<f64>,
}

fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name]
        .iter()
        .collect()
}

fn embeddings() -> Embeddings {
    let bytes = fs::read(golden("embeddings.npy")).expect("the golden embeddings");
    let (components, rest) = bytes[NPY_HEADER..].as_chunks::<4>();
    assert!(rest.is_empty());
    let rows: Vec<f32> = components
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    let mut embeddings = Embeddings::new(DIMENSION).expect("a dimension");
    rows.chunks(DIMENSION)
        .for_each(|row| embeddings.push(row).expect("a vector"));
    assert_eq!(
        embeddings.as_slice(),
        rows,
        "unit vectors are kept as they are"
    );
    embeddings
}

#[test]
fn forty_users_agree_with_the_reference() {
    let embeddings = embeddings();
    let users = fs::read_to_string(golden("public.jsonl")).expect("the golden users");
    let mut scratch = ClusterScratch::default();
    let mut checked = 0;
    for line in users.lines() {
        let user: User = serde_json::from_str(line).expect("a golden user");
        let time = |seconds| Timestamp::from_seconds(seconds).expect("a time");
        let point = |(&item, &ts): (&usize, &i64)| Point {
            row: item,
            pin: PinId(item as u64),
            time: time(ts),
            weight: 1.0,
        };
        let points: Vec<Point> = user.items.iter().zip(&user.ts).map(point).collect();
        let params = Params {
            alpha: user.alpha,
            lambda_per_day: user.lam,
        };
        let found = cluster_points(&points, &embeddings, &params, time(user.now), &mut scratch);

        let members: Vec<_> = found
            .iter()
            .map(|cluster| cluster.members.clone())
            .collect();
        assert_eq!(members, user.clusters, "clusters of user {}", user.user);
        let medoids: Vec<_> = found.iter().map(|cluster| cluster.medoid).collect();
        assert_eq!(medoids, user.medoid_pos, "medoids of user {}", user.user);
        for (cluster, expected) in found.iter().zip(&user.importance) {
            let error = (cluster.importance / expected - 1.0).abs();
            assert!(
                error < 1e-9,
                "importance of user {}: off by {error:e}",
                user.user
            );
        }

        let profile = build_profile(&points, &embeddings, &params, time(user.now), &mut scratch);
        assert!(profile.is_sorted_by(|a, b| a.importance >= b.importance));
        let mut pins: Vec<u64> = profile.iter().map(|medoid| medoid.pin.0).collect();
        let mut expected = user.medoid_item;
        pins.sort_unstable();
        expected.sort_unstable();
        assert_eq!(pins, expected, "profile of user {}", user.user);
        checked += 1;
    }
    assert_eq!(checked, 40);
}
