//! What negative actions take from interests, in a batch as in a fold-in.

use super::assign::assign_cluster;
use super::decay::Decay;
use super::draft::{Draft, EmbeddedAction};
use super::point::Point;
use super::profile::{Cluster, summarize_cluster};
use crate::model::{Embeddings, Medoid, RecordedAction};

/// Takes each of the `negative` actions, by time, from the importance of the draft that it
/// belongs to.
pub(super) fn lower(
    drafts: &mut [Draft<'_>],
    negative: &[EmbeddedAction<'_>],
    alpha: f64,
    decay: Decay,
) {
    for EmbeddedAction { action, vector } in negative {
        if let Some(draft) = assign_cluster(drafts, vector, alpha) {
            draft.add_negative(action, decay);
        }
    }
}

/// What the batch lowers.
#[derive(Clone, Copy, Debug)]
pub struct NegativeActions<'a> {
    /// Sorted by time and then by pin id; their weights are what they take away.
    pub points: &'a [Point],
    /// Greatest Ward distance at which one belongs to a cluster, in squared units.
    pub alpha: f64,
}

/// The profile of `clusters` of `points`, from which `negative` actions take importance:
/// medoids by descending importance.
pub fn lower_clusters(
    clusters: &[Cluster],
    points: &[Point],
    negative: NegativeActions<'_>,
    embeddings: &Embeddings,
    decay: Decay,
) -> Vec<Medoid> {
    let draft = |cluster: &Cluster| {
        let vector = embeddings.row(points[cluster.medoid].row);
        let last = cluster.members.last().copied().unwrap_or(cluster.medoid);
        let medoid = summarize_cluster(cluster, points);
        Draft::from_cluster(medoid, &points[last], vector, decay)
    };
    let mut drafts: Vec<Draft<'_>> = clusters.iter().map(draft).collect();
    let embed = |point: &Point| EmbeddedAction {
        action: RecordedAction {
            time: point.time,
            pin: point.pin,
            weight: point.weight,
        },
        vector: embeddings.row(point.row),
    };
    let actions: Vec<EmbeddedAction<'_>> = negative.points.iter().map(embed).collect();
    lower(&mut drafts, &actions, negative.alpha, decay);
    let mut medoids: Vec<Medoid> = drafts.into_iter().map(Draft::into_medoid).collect();
    medoids.sort_unstable_by(Medoid::by_descending_importance);
    medoids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{
        ClusterScratch, FoldInParams, Params, RecentActions, StoredProfile, cluster_points, fold_in,
    };
    use crate::model::{PinId, Timestamp};

    const PARAMS: Params = Params {
        alpha: 1.0,
        lambda_per_day: 0.05,
    };

    fn day(day: i64) -> Timestamp {
        Timestamp::from_seconds(day * 86_400).expect("a day")
    }

    fn point(row: usize, time: i64) -> Point {
        Point {
            row,
            pin: PinId(row as u64),
            time: day(time),
            weight: 1.0,
        }
    }

    /// A vector for each of three axes.
    fn axes() -> Embeddings {
        let mut embeddings = Embeddings::new(8).expect("a dimension");
        for axis in 0..3 {
            let mut row = [0.0; 8];
            row[axis] = 1.0;
            embeddings.push(&row).expect("a vector");
        }
        embeddings
    }

    fn batch(positive: &[Point], negative: &[Point]) -> Vec<Medoid> {
        let (embeddings, as_of) = (axes(), day(100));
        let scratch = &mut ClusterScratch::default();
        let clusters = cluster_points(positive, &embeddings, &PARAMS, as_of, scratch);
        let decay = Decay {
            lambda_per_day: PARAMS.lambda_per_day,
            as_of,
        };
        let negative = NegativeActions {
            points: negative,
            alpha: PARAMS.alpha,
        };
        lower_clusters(&clusters, positive, negative, &embeddings, decay)
    }

    fn of(medoids: &[Medoid], pin: u64) -> Medoid {
        let found = medoids.iter().find(|medoid| medoid.pin == PinId(pin));
        *found.expect("an interest")
    }

    #[test]
    fn a_batch_lowers_as_a_fold_in_of_the_same_actions_does() {
        let positive = [point(0, 90), point(0, 91), point(1, 92), point(0, 96)];
        let negative = [point(0, 93), point(1, 94), point(1, 95), point(0, 97)];
        let lowered = batch(&positive, &negative);
        let recorded = |points: &[Point]| -> Vec<RecordedAction> {
            let recorded = points.iter().map(|point| RecordedAction {
                time: point.time,
                pin: point.pin,
                weight: point.weight,
            });
            recorded.collect()
        };
        let embeddings = axes();
        let folded = fold_in(
            StoredProfile {
                medoids: &[],
                as_of: day(100),
            },
            RecentActions {
                positive: &recorded(&positive),
                negative: &recorded(&negative),
            },
            |pin| Some(embeddings.row(pin.0 as usize)),
            &FoldInParams {
                cluster: PARAMS,
                clustered: 20,
                silenced_by: 2,
            },
            &mut ClusterScratch::default(),
        );
        for interest in &folded.interests {
            let medoid = of(&lowered, interest.medoid.pin.0);
            assert_eq!(medoid.dislikes, interest.medoid.dislikes);
            assert_eq!(medoid.is_silenced(2), interest.silenced);
            assert_eq!(medoid.is_active(2), interest.is_active());
        }
        assert_eq!((of(&lowered, 0).dislikes, of(&lowered, 1).dislikes), (1, 2));
        assert!(of(&lowered, 1).is_used_up() && !of(&lowered, 0).is_used_up());
    }

    #[test]
    fn silencing_goes_on_where_the_batch_stopped_and_ends_with_a_save() {
        let lowered = batch(&[point(0, 90), point(1, 90)], &[point(0, 95)]);
        let embeddings = axes();
        let fold = |positive: &[RecordedAction], negative: &[RecordedAction]| {
            let profile = StoredProfile {
                medoids: &lowered,
                as_of: day(100),
            };
            let actions = RecentActions { positive, negative };
            let params = FoldInParams {
                cluster: PARAMS,
                clustered: 20,
                silenced_by: 2,
            };
            let vector_of = |pin: PinId| Some(embeddings.row(pin.0 as usize));
            let folded = fold_in(
                profile,
                actions,
                vector_of,
                &params,
                &mut ClusterScratch::default(),
            );
            let mut interests = folded.interests.into_iter();
            interests.find(|interest| interest.medoid.pin == PinId(0))
        };
        let action = |time| RecordedAction {
            time: day(time),
            pin: PinId(0),
            weight: 0.1,
        };
        let twice = fold(&[], &[action(101)]).expect("an interest");
        assert!(twice.silenced && twice.medoid.dislikes == 2);
        let liked = fold(&[action(102)], &[action(101)]).expect("an interest");
        assert!(!liked.silenced && liked.medoid.dislikes == 0);
    }

    #[test]
    fn without_negative_actions_a_profile_is_that_of_its_clusters() {
        let positive = [point(0, 90), point(1, 92), point(0, 96)];
        let scratch = &mut ClusterScratch::default();
        let plain = crate::cluster::build_profile(&positive, &axes(), &PARAMS, day(100), scratch);
        assert_eq!(batch(&positive, &[]), plain);
    }
}
