//! Fold-in: what a user did since the profile was made, in the profile.
//!
//! The clusters of the profile are weighted points at their medoids, as heavy as
//! they have members; the most recent actions are points of weight one; Ward makes
//! clusters of both, with the threshold of the profile. Actions before those only
//! add to the importance of a cluster that they belong to: the one whose medoid is
//! nearest, if Ward would merge the two. Negative actions take from it in the same
//! way.
//!
//! Importances hold at the latest action, and decay is multiplicative, so bringing
//! those of the profile there is exact. Sampling sees only their ratios, which are
//! the same at any moment: no clock is needed.

use super::importance::LEAST;
use super::{Params, Scratch, decayed, medoid, ward};
use crate::kernel;
use crate::model::{Held, Medoid, PinId, Timestamp};

/// How actions are folded in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoldParams {
    /// Those of the profile.
    pub cluster: Params,
    /// Number of most recent actions that are clustered; 20 in the paper.
    pub clustered: usize,
    /// Number of negative actions since its last positive one that silence a
    /// cluster; 0 for never.
    pub silenced_by: usize,
}

/// A profile with recent actions folded in.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// By falling importance, equal importances by pin id.
    pub interests: Vec<Interest>,
    /// The moment at which importances hold: that of the latest action, or the
    /// `as_of` of the profile.
    pub at: Timestamp,
}

/// One interest, and how it came to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interest {
    /// What stands for it; an importance of 0 when negative actions took all.
    pub medoid: Medoid,
    /// Number of clusters of the profile in it.
    pub stored: u32,
    /// Number of recent positive actions in it.
    pub added: u32,
    /// Number of negative actions that lowered its importance.
    pub lowered_by: u32,
    /// Whether it must not be sampled.
    pub silenced: bool,
}

impl Interest {
    /// Whether it can be sampled.
    pub fn is_active(&self) -> bool {
        !self.silenced && self.medoid.importance > 0.0
    }
}

/// An interest on its way, and the vector of its medoid; none when the catalog no
/// longer has it.
struct Draft<'v> {
    interest: Interest,
    vector: Option<&'v [f32]>,
    /// Negative actions since the last positive one.
    disliked: usize,
    /// The latest recent positive action, and what is left of its weight.
    liked: Option<(Timestamp, f64)>,
}

/// The profile `stored`, whose importances hold at `as_of`, with actions since then
/// folded in: `positive` and `negative` ones, both by [`Held::by_time`]. The weight of
/// a negative action is by how much it lowers importance. `vector_of` tells the unit
/// vector of a pin; actions on pins without one are passed over.
pub fn fold_in<'v>(
    (stored, as_of): (&[Medoid], Timestamp),
    (positive, negative): (&[Held], &[Held]),
    vector_of: impl Fn(PinId) -> Option<&'v [f32]>,
    params: &FoldParams,
    scratch: &mut Scratch,
) -> Folded {
    let known = |held: &Held| Some((*held, vector_of(held.pin)?));
    let positive: Vec<(Held, &[f32])> = positive.iter().filter_map(known).collect();
    let negative: Vec<(Held, &[f32])> = negative.iter().filter_map(known).collect();
    let times = positive.iter().chain(&negative).map(|(held, _)| held.time);
    let at = times.fold(as_of, Timestamp::max);
    let lambda = params.cluster.lambda_per_day;
    // One factor for all of them, so that their ratios stay what they were.
    let decay = decayed(1.0, lambda, at.days_since(as_of));
    let stored = stored.iter().map(|&medoid| Draft {
        interest: Interest {
            medoid: Medoid {
                importance: (medoid.importance * decay).max(LEAST),
                ..medoid
            },
            stored: 1,
            added: 0,
            lowered_by: 0,
            silenced: false,
        },
        vector: vector_of(medoid.pin),
        disliked: 0,
        liked: None,
    });
    let (older, newest) = positive.split_at(positive.len().saturating_sub(params.clustered));
    let weight = |held: &Held| decayed(held.weight, lambda, at.days_since(held.time));
    let newest = newest.iter().map(|&(held, vector)| Draft {
        interest: Interest {
            medoid: Medoid {
                pin: held.pin,
                importance: weight(&held).max(LEAST),
                last_action_time: held.time,
                size: 1,
                reserved: 0,
            },
            stored: 0,
            added: 1,
            lowered_by: 0,
            silenced: false,
        },
        vector: Some(vector),
        disliked: 0,
        liked: Some((held.time, weight(&held))),
    });
    let mut drafts = clusters(stored.chain(newest), params.cluster.alpha, scratch);

    let alpha = params.cluster.alpha;
    for (held, vector) in older {
        if let Some(Draft { interest, .. }) = home(&mut drafts, vector, alpha) {
            interest.medoid.importance += weight(held);
            interest.medoid.size = interest.medoid.size.saturating_add(1);
            let last = &mut interest.medoid.last_action_time;
            *last = (*last).max(held.time);
            interest.added += 1;
        }
    }
    for (held, vector) in &negative {
        if let Some(draft) = home(&mut drafts, vector, alpha) {
            let interest = &mut draft.interest;
            // What the user liked later is not taken back by what came before.
            let least = match draft.liked {
                Some((time, weight)) if time > held.time => weight,
                _ => 0.0,
            };
            let left = interest.medoid.importance - weight(held);
            interest.medoid.importance = left.max(least);
            interest.lowered_by += 1;
            draft.disliked += usize::from(held.time > interest.medoid.last_action_time);
        }
    }
    let silenced_by = params.silenced_by;
    let finish = |draft: Draft| Interest {
        silenced: silenced_by > 0 && draft.disliked >= silenced_by,
        ..draft.interest
    };
    let mut interests: Vec<Interest> = drafts.into_iter().map(finish).collect();
    interests.sort_unstable_by(|a, b| Medoid::by_descending_importance(&a.medoid, &b.medoid));
    Folded { interests, at }
}

/// Ward's clusters of `points`, each of which is as heavy as its size; those
/// without a vector stay by themselves.
fn clusters<'v>(
    points: impl Iterator<Item = Draft<'v>>,
    alpha: f64,
    scratch: &mut Scratch,
) -> Vec<Draft<'v>> {
    let Scratch { rows, sizes, ward } = scratch;
    rows.clear();
    sizes.clear();
    let (points, mut drafts): (Vec<_>, Vec<_>) = points.partition(|point| point.vector.is_some());
    for point in &points {
        rows.extend_from_slice(point.vector.unwrap_or_default());
        sizes.push(point.interest.medoid.size);
    }
    let Some(dimension) = rows.len().checked_div(sizes.len()) else {
        return drafts;
    };
    for members in ward::partition(rows, sizes, dimension, alpha, ward) {
        let medoid = &points[medoid::medoid(rows, sizes, dimension, &members)];
        let mut whole = Interest {
            medoid: Medoid {
                importance: 0.0,
                size: 0,
                ..medoid.interest.medoid
            },
            stored: 0,
            added: 0,
            lowered_by: 0,
            silenced: false,
        };
        let mut liked: Option<(Timestamp, f64)> = None;
        for &member in &members {
            let later = points[member].liked;
            if later.map(|(time, _)| time) >= liked.map(|(time, _)| time) {
                liked = later;
            }
            let part = &points[member].interest;
            whole.medoid.importance += part.medoid.importance;
            whole.medoid.size = whole.medoid.size.saturating_add(part.medoid.size);
            let last = &mut whole.medoid.last_action_time;
            *last = (*last).max(part.medoid.last_action_time);
            whole.stored += part.stored;
            whole.added += part.added;
        }
        drafts.push(Draft {
            interest: whole,
            vector: medoid.vector,
            disliked: 0,
            liked,
        });
    }
    drafts
}

/// The cluster that an action on the pin of `vector` belongs to: the one with the
/// nearest medoid, if Ward would merge the two.
fn home<'d, 'v>(
    drafts: &'d mut [Draft<'v>],
    vector: &[f32],
    alpha: f64,
) -> Option<&'d mut Draft<'v>> {
    let distance = |medoid: &[f32]| f64::from(kernel::squared_l2(vector, medoid));
    let distances = drafts
        .iter()
        .enumerate()
        .filter_map(|(at, draft)| Some((distance(draft.vector?), at)));
    let (distance, at) = distances.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let draft = &mut drafts[at];
    let size = f64::from(draft.interest.medoid.size);
    (2.0 * size / (size + 1.0) * distance <= alpha).then_some(draft)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::{Point, profile_of};
    use crate::model::Embeddings;

    const DIMENSION: usize = 6;
    const PARAMS: FoldParams = FoldParams {
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
    ) -> Folded {
        let vector_of = |pin: PinId| {
            let known = pin.0 < embeddings.len() as u64;
            known.then(|| embeddings.row(pin.0 as usize))
        };
        let held = |point: &Point| Held {
            time: point.time,
            pin: point.pin,
            weight: point.weight,
        };
        let positive: Vec<Held> = positive.iter().map(held).collect();
        let negative: Vec<Held> = negative.iter().map(held).collect();
        let scratch = &mut Scratch::default();
        let actions = (&positive[..], &negative[..]);
        fold_in((stored, day(100)), actions, vector_of, &PARAMS, scratch)
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
            let scratch = &mut Scratch::default();
            let stored = profile_of(&old, &embeddings, &PARAMS.cluster, day(100), scratch);
            let folded = fold(&stored, &new, &[], &embeddings);

            let at = new.last().map_or(day(100), |last| last.time);
            prop_assert_eq!(folded.at, at);
            let exact = |point: &Point| decayed(1.0, 0.05, at.days_since(point.time));
            let exact: f64 = old.iter().chain(&new).map(exact).sum();
            let all = folded.interests.iter();
            let importance: f64 = all.clone().map(|i| i.medoid.importance).sum();
            prop_assert!((importance / exact - 1.0).abs() < 1e-12);
            let size: u32 = all.clone().map(|i| i.medoid.size).sum();
            prop_assert_eq!(size as usize, old.len() + new.len());
            let stored_in: u32 = all.clone().map(|i| i.stored).sum();
            prop_assert_eq!(stored_in as usize, stored.len());
            prop_assert_eq!(all.map(|i| i.added as usize).sum::<usize>(), new.len());
        }

        #[test]
        fn recent_actions_alone_are_clustered_as_by_a_batch(
            rows in rows(),
            new in prop::collection::vec((0usize..30, 100i64..103), 1..20),
        ) {
            let embeddings = vectors(&rows);
            let new = sorted(new.into_iter().map(|(row, time)| point(row, time)).collect());
            let folded = fold(&[], &new, &[], &embeddings);
            let scratch = &mut Scratch::default();
            let batch = profile_of(&new, &embeddings, &PARAMS.cluster, folded.at, scratch);
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
            reserved: 0,
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
            (gone.medoid.pin, gone.stored, gone.added),
            (PinId(77), 1, 0)
        );
        assert_eq!(
            (grown.medoid.pin, grown.stored, grown.added),
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
        assert_eq!((new.medoid.pin, new.added), (PinId(2), 20));
        assert_eq!((old.medoid.pin, old.added), (PinId(0), 2));
        let expected = 7.0 * (-0.05f64).exp();
        assert!((old.medoid.importance - expected).abs() < 1e-12);
    }

    #[test]
    fn dislike_lowers_to_zero_and_no_further_and_silences() {
        let stored = [medoid(0, 1.5), medoid(1, 5.0)];
        let first = point(3, 100);
        let once = fold(&stored, &[], &[first], &axes());
        let of = |folded: &Folded, pin| {
            let mut interests = folded.interests.iter();
            *interests
                .find(|i| i.medoid.pin == PinId(pin))
                .expect("an interest")
        };
        assert_eq!(of(&once, 0).medoid.importance, 0.5);
        assert!(of(&once, 0).is_active() && of(&once, 1).lowered_by == 0);
        let twice = fold(&stored, &[], &[first, first], &axes());
        assert_eq!(
            (of(&twice, 0).medoid.importance, of(&twice, 0).lowered_by),
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
