//! Fold-in: brings a profile up to date with what the user did since it was made.
//!
//! The clusters of the profile are weighted points at their medoids, as heavy as
//! they have members; the most recent actions are points of weight one; Ward makes
//! clusters of both, with the threshold of the profile. Actions before those only
//! add to the importance of the cluster that they belong to: the one whose medoid is
//! nearest, if Ward would merge the two. Negative actions take from it in the same
//! way, as they do in a batch.
//!
//! Importances hold at the latest action, and decay is multiplicative, so bringing
//! those of the profile there is exact. Sampling sees only their ratios, which are
//! the same at any moment: no clock is needed.

use super::assign::assign_cluster;
use super::decay::Decay;
use super::draft::{Draft, EmbeddedAction};
use super::interest::Interest;
use super::lower::lower;
use super::medoid::find_medoid;
use super::params::Params;
use super::scratch::ClusterScratch;
use super::ward;
use crate::model::{Medoid, PinId, RecordedAction, Timestamp};

/// Parameters of a fold-in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoldInParams {
    /// Those of the profile.
    pub cluster: Params,
    /// Number of most recent actions that are clustered; 20 in the paper.
    pub clustered: usize,
    /// Number of negative actions since its last positive one that silence a
    /// cluster; 0 for never.
    pub silenced_by: usize,
}

/// A profile as the batch made it.
#[derive(Clone, Copy, Debug)]
pub struct StoredProfile<'a> {
    /// By descending importance.
    pub medoids: &'a [Medoid],
    /// The moment at which importances hold.
    pub as_of: Timestamp,
}

/// Actions of the user since then, each list by [`RecordedAction::by_time`].
#[derive(Clone, Copy, Debug)]
pub struct RecentActions<'a> {
    /// They add importance.
    pub positive: &'a [RecordedAction],
    /// They take importance away.
    pub negative: &'a [RecordedAction],
}

/// A profile with recent actions folded in.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldInResult {
    /// By descending importance, equal importances by pin id.
    pub interests: Vec<Interest>,
    /// The moment at which importances hold: that of the latest action, or the
    /// `as_of` of the profile.
    pub as_of: Timestamp,
}

/// Folds `actions` into `profile`. `vector_of` returns the unit vector of a pin; actions
/// on pins without one are skipped.
pub fn fold_in<'v>(
    profile: StoredProfile<'_>,
    actions: RecentActions<'_>,
    vector_of: impl Fn(PinId) -> Option<&'v [f32]>,
    params: &FoldInParams,
    scratch: &mut ClusterScratch,
) -> FoldInResult {
    let positive = embed(actions.positive, &vector_of);
    let negative = embed(actions.negative, &vector_of);
    let Params {
        alpha,
        lambda_per_day,
    } = params.cluster;
    let decay = Decay {
        lambda_per_day,
        as_of: latest_time(profile.as_of, &positive, &negative),
    };
    let (older, newest) = positive.split_at(positive.len().saturating_sub(params.clustered));
    // One factor for the whole profile, so that the ratios of importances stay.
    let decay_factor = decay.apply(1.0, profile.as_of);
    let stored = profile.medoids.iter();
    let stored =
        stored.map(|&medoid| Draft::from_profile(medoid, decay_factor, vector_of(medoid.pin)));
    let newest = newest
        .iter()
        .map(|&action| Draft::from_action(action, decay));
    let mut drafts = cluster_drafts(stored.chain(newest), alpha, scratch);
    for EmbeddedAction { action, vector } in older {
        if let Some(draft) = assign_cluster(&mut drafts, vector, alpha) {
            draft.add_positive(action, decay);
        }
    }
    lower(&mut drafts, &negative, alpha, decay);
    FoldInResult {
        interests: finish(drafts, params.silenced_by),
        as_of: decay.as_of,
    }
}

fn embed<'v>(
    actions: &[RecordedAction],
    vector_of: impl Fn(PinId) -> Option<&'v [f32]>,
) -> Vec<EmbeddedAction<'v>> {
    let embed = |&action: &RecordedAction| {
        let vector = vector_of(action.pin)?;
        Some(EmbeddedAction { action, vector })
    };
    actions.iter().filter_map(embed).collect()
}

fn latest_time(
    as_of: Timestamp,
    positive: &[EmbeddedAction<'_>],
    negative: &[EmbeddedAction<'_>],
) -> Timestamp {
    let all = positive.iter().chain(negative);
    all.map(|embedded| embedded.action.time)
        .fold(as_of, Timestamp::max)
}

/// Ward's clusters of `drafts`, each of which is as heavy as its size. A draft without a
/// vector stays by itself.
fn cluster_drafts<'v>(
    drafts: impl Iterator<Item = Draft<'v>>,
    alpha: f64,
    scratch: &mut ClusterScratch,
) -> Vec<Draft<'v>> {
    let ClusterScratch { rows, sizes, ward } = scratch;
    rows.clear();
    sizes.clear();
    let (points, mut clusters): (Vec<_>, Vec<_>) = drafts.partition(|draft| draft.vector.is_some());
    for point in &points {
        rows.extend_from_slice(point.vector.unwrap_or_default());
        sizes.push(point.interest.medoid.size);
    }
    let Some(dimension) = rows.len().checked_div(sizes.len()) else {
        return clusters;
    };
    for members in ward::partition(rows, sizes, dimension, alpha, ward) {
        let medoid = &points[find_medoid(rows, sizes, dimension, &members)];
        let members = members.iter().map(|&member| &points[member]);
        clusters.push(Draft::union(medoid, members));
    }
    clusters
}

fn finish(drafts: Vec<Draft<'_>>, silenced_by: usize) -> Vec<Interest> {
    let finished = drafts
        .into_iter()
        .map(|draft| draft.into_interest(silenced_by));
    let mut interests: Vec<Interest> = finished.collect();
    interests.sort_unstable_by(|a, b| Medoid::by_descending_importance(&a.medoid, &b.medoid));
    interests
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::{Point, build_profile};
    use crate::model::Embeddings;

    const DIMENSION: usize = 6;
    const PARAMS: FoldInParams = FoldInParams {
        cluster: Params {
            alpha: 1.0,
            lambda_per_day: 0.05,
        },
        clustered: 20,
        silenced_by: 2,
    };

    fn day(day: i64) -> Timestamp {
        Timestamp::from_seconds(day * 86_400).expect("a day")
    }

    fn vectors(rows: &[[f32; DIMENSION]]) -> Embeddings {
        let mut embeddings = Embeddings::new(DIMENSION).expect("a dimension");
        for row in rows {
            embeddings.push(row).expect("a vector");
        }
        embeddings
    }

    /// The pin of a row has its number.
    fn point(row: usize, time: i64) -> Point {
        Point {
            row,
            pin: PinId(row as u64),
            time: day(time),
            weight: 1.0,
        }
    }

    fn sorted(mut points: Vec<Point>) -> Vec<Point> {
        points.sort_by_key(|point| (point.time, point.pin));
        points
    }

    fn fold(
        stored: &[Medoid],
        positive: &[Point],
        negative: &[Point],
        embeddings: &Embeddings,
    ) -> FoldInResult {
        let vector_of = |pin: PinId| {
            let known = pin.0 < embeddings.len() as u64;
            known.then(|| embeddings.row(pin.0 as usize))
        };
        let recorded = |point: &Point| RecordedAction {
            time: point.time,
            pin: point.pin,
            weight: point.weight,
        };
        let positive: Vec<RecordedAction> = positive.iter().map(recorded).collect();
        let negative: Vec<RecordedAction> = negative.iter().map(recorded).collect();
        let scratch = &mut ClusterScratch::default();
        let profile = StoredProfile {
            medoids: stored,
            as_of: day(100),
        };
        let actions = RecentActions {
            positive: &positive,
            negative: &negative,
        };
        fold_in(profile, actions, vector_of, &PARAMS, scratch)
    }

    fn rows() -> impl Strategy<Value = Vec<[f32; DIMENSION]>> {
        prop::collection::vec(prop::array::uniform6(0.05f32..1.0), 30)
    }

    proptest! {
        #[test]
        fn nothing_is_lost_but_by_decay_and_dislike(
            rows in rows(),
            old in prop::collection::vec((0usize..30, 10i64..100), 1..40),
            new in prop::collection::vec((0usize..30, 100i64..103), 0..20),
        ) {
            let embeddings = vectors(&rows);
            let old = sorted(old.into_iter().map(|(row, time)| point(row, time)).collect());
            let new = sorted(new.into_iter().map(|(row, time)| point(row, time)).collect());
            let scratch = &mut ClusterScratch::default();
            let stored = build_profile(&old, &embeddings, &PARAMS.cluster, day(100), scratch);
            let folded = fold(&stored, &new, &[], &embeddings);

            let at = new.last().map_or(day(100), |last| last.time);
            prop_assert_eq!(folded.as_of, at);
            let exact = |point: &Point| Decay { lambda_per_day: 0.05, as_of: at }.apply(1.0, point.time);
            let exact: f64 = old.iter().chain(&new).map(exact).sum();
            let all = folded.interests.iter();
            let importance: f64 = all.clone().map(|i| i.medoid.importance).sum();
            prop_assert!((importance / exact - 1.0).abs() < 1e-12);
            let size: u32 = all.clone().map(|i| i.medoid.size).sum();
            prop_assert_eq!(size as usize, old.len() + new.len());
            let stored_in: u32 = all.clone().map(|i| i.profile_clusters).sum();
            prop_assert_eq!(stored_in as usize, stored.len());
            prop_assert_eq!(all.map(|i| i.recent_actions as usize).sum::<usize>(), new.len());
        }

        #[test]
        fn recent_actions_alone_are_clustered_as_by_a_batch(
            rows in rows(),
            new in prop::collection::vec((0usize..30, 100i64..103), 1..20),
        ) {
            let embeddings = vectors(&rows);
            let new = sorted(new.into_iter().map(|(row, time)| point(row, time)).collect());
            let folded = fold(&[], &new, &[], &embeddings);
            let scratch = &mut ClusterScratch::default();
            let batch = build_profile(&new, &embeddings, &PARAMS.cluster, folded.as_of, scratch);
            prop_assert_eq!(folded.interests.len(), batch.len());
            for (folded, batch) in folded.interests.iter().zip(&batch) {
                let importance = folded.medoid.importance / batch.importance;
                prop_assert!((importance - 1.0).abs() < 1e-12);
            }
            let pins = |medoids: &mut dyn Iterator<Item = PinId>| {
                let mut pins: Vec<PinId> = medoids.collect();
                pins.sort_unstable();
                pins
            };
            let of_folded = pins(&mut folded.interests.iter().map(|i| i.medoid.pin));
            prop_assert_eq!(of_folded, pins(&mut batch.iter().map(|medoid| medoid.pin)));
        }
    }

    /// Three directions, and a pin near each.
    fn axes() -> Embeddings {
        let mut rows = [[0.0; DIMENSION]; 6];
        for axis in 0..3 {
            rows[axis][axis] = 1.0;
            rows[axis + 3][axis] = 1.0;
            rows[axis + 3][5] = 0.1;
        }
        vectors(&rows)
    }

    fn medoid(pin: u64, importance: f64) -> Medoid {
        Medoid {
            pin: PinId(pin),
            importance,
            last_action_time: day(90),
            size: 4,
            dislikes: 0,
        }
    }

    #[test]
    fn the_heavier_medoid_stays_and_what_is_not_in_the_catalog_is_kept() {
        let stored = [medoid(77, 9.0), medoid(0, 5.0)];
        let folded = fold(&stored, &[point(3, 100)], &[], &axes());
        let [gone, grown] = folded.interests[..] else {
            panic!("{folded:?}")
        };
        assert_eq!(
            (gone.medoid.pin, gone.profile_clusters, gone.recent_actions),
            (PinId(77), 1, 0)
        );
        assert_eq!(
            (
                grown.medoid.pin,
                grown.profile_clusters,
                grown.recent_actions
            ),
            (PinId(0), 1, 1)
        );
        assert_eq!((grown.medoid.size, grown.medoid.importance), (5, 6.0));
        assert_eq!(grown.medoid.last_action_time, day(100));
    }

    #[test]
    fn actions_before_the_clustered_ones_count_where_they_belong() {
        let stored = [medoid(0, 5.0)];
        // Two on the interest and one elsewhere, before twenty on a third.
        let mut positive = vec![point(0, 100), point(3, 100), point(1, 100)];
        positive.extend((0..20).map(|_| point(2, 101)));
        let folded = fold(&stored, &positive, &[], &axes());
        let [new, old] = folded.interests[..] else {
            panic!("{folded:?}")
        };
        assert_eq!((new.medoid.pin, new.recent_actions), (PinId(2), 20));
        assert_eq!((old.medoid.pin, old.recent_actions), (PinId(0), 2));
        let expected = 7.0 * (-0.05f64).exp();
        assert!((old.medoid.importance - expected).abs() < 1e-12);
    }

    #[test]
    fn dislike_lowers_to_zero_and_no_further_and_silences() {
        let stored = [medoid(0, 1.5), medoid(1, 5.0)];
        let first = point(3, 100);
        let once = fold(&stored, &[], &[first], &axes());
        let of = |folded: &FoldInResult, pin| {
            let mut interests = folded.interests.iter();
            *interests
                .find(|i| i.medoid.pin == PinId(pin))
                .expect("an interest")
        };
        assert_eq!(of(&once, 0).medoid.importance, 0.5);
        assert!(of(&once, 0).is_active() && of(&once, 1).negative_actions == 0);
        let twice = fold(&stored, &[], &[first, first], &axes());
        assert_eq!(
            (
                of(&twice, 0).medoid.importance,
                of(&twice, 0).negative_actions
            ),
            (0.0, 2)
        );
        assert!(of(&twice, 0).silenced && !of(&twice, 0).is_active());
        // What it liked later is not taken back by what it disliked before.
        let back = fold(&stored, &[point(0, 101)], &[first; 5], &axes());
        assert!(of(&back, 0).is_active());
        assert_eq!(of(&back, 0).medoid.importance, 1.0);
        // One that belongs to no interest takes from none.
        let elsewhere = fold(&stored, &[], &[point(2, 100)], &axes());
        assert_eq!(of(&elsewhere, 0).medoid.importance, 1.5);
    }
}
