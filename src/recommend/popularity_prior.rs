//! The popularity prior: pins that are popular over all users rank higher.
//!
//! The paper ranks the neighbors of a medoid by cosine alone. With a prior they are
//! ranked by cosine + weight * popularity, among a few times as many of the nearest as
//! are needed: a pin from further away cannot come in, however popular it is.

use std::cmp::Ordering;
use std::fmt;

use crate::model::{Neighbor, PinId};

/// Number of neighbors that are ranked for each one that is needed. Fewer are ranked
/// where a list that was made ahead of time has no more, so that the same lists suffice
/// with a prior and without.
pub(super) const DEPTH_FACTOR: usize = 3;

/// Popularity that counts beside nearness.
#[derive(Clone, Copy)]
pub struct PopularityPrior<'a> {
    /// The popularity of a pin, in [0, 1].
    popularity: &'a dyn Fn(PinId) -> f32,
    /// Gain in rank of a popularity of 1, as a difference of cosines; above 0.
    weight: f32,
}

/// Memory of a ranking, for the next.
#[derive(Clone, Debug, Default)]
pub(super) struct RankScratch(Vec<RankedNeighbor>);

/// A neighbor and its rank: cosine + weight * popularity.
#[derive(Clone, Copy, Debug)]
struct RankedNeighbor {
    rank: f32,
    neighbor: Neighbor,
}

impl<'a> PopularityPrior<'a> {
    /// A prior of `popularity`, in [0, 1], with `weight`; none when the weight is not
    /// above 0.
    pub fn new(weight: f32, popularity: &'a dyn Fn(PinId) -> f32) -> Option<Self> {
        (weight > 0.0).then_some(Self { popularity, weight })
    }

    fn rank_of(&self, neighbor: &Neighbor) -> RankedNeighbor {
        RankedNeighbor {
            rank: neighbor.score + self.weight * (self.popularity)(neighbor.pin),
            neighbor: *neighbor,
        }
    }

    /// Sorts `neighbors`, which come by descending score, by [`by_descending_rank`], and
    /// keeps the first `count`.
    pub(super) fn rank(
        &self,
        neighbors: &mut Vec<Neighbor>,
        count: usize,
        scratch: &mut RankScratch,
    ) {
        let RankScratch(ranked) = scratch;
        ranked.clear();
        let (nearest, further) = neighbors.split_at(count.min(neighbors.len()));
        ranked.extend(nearest.iter().map(|found| self.rank_of(found)));
        let ranks = ranked.iter().map(|found| found.rank);
        let min_rank = ranks.fold(f32::INFINITY, f32::min);
        // A neighbor that would be too far away even as the most popular pin is not
        // looked up. Those behind it are further away still.
        let may_enter = |found: &&Neighbor| found.score + self.weight >= min_rank;
        let further = further.iter().take_while(may_enter);
        ranked.extend(further.map(|found| self.rank_of(found)));
        if (1..ranked.len()).contains(&count) {
            ranked.select_nth_unstable_by(count - 1, RankedNeighbor::by_descending_rank);
            ranked.truncate(count);
        }
        ranked.sort_unstable_by(RankedNeighbor::by_descending_rank);
        neighbors.clear();
        neighbors.extend(ranked.iter().map(|found| found.neighbor));
    }
}

impl fmt::Debug for PopularityPrior<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut prior = f.debug_struct("PopularityPrior");
        prior.field("weight", &self.weight).finish_non_exhaustive()
    }
}

/// By descending rank, which is the score where there is no prior; equal ones by pin id.
pub(super) fn by_descending_rank(
    prior: Option<PopularityPrior<'_>>,
    a: &Neighbor,
    b: &Neighbor,
) -> Ordering {
    match prior {
        Some(prior) => RankedNeighbor::by_descending_rank(&prior.rank_of(a), &prior.rank_of(b)),
        None => Neighbor::by_descending_score(a, b),
    }
}

impl RankedNeighbor {
    fn by_descending_rank(a: &Self, b: &Self) -> Ordering {
        let by_pin = || a.neighbor.pin.cmp(&b.neighbor.pin);
        b.rank.total_cmp(&a.rank).then_with(by_pin)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_kept_is_the_head_of_a_full_sort(
            scores in prop::collection::vec((0u8..9, 0u8..5), 0..60),
            most in 1usize..70,
            weight in 0.1f32..3.0,
        ) {
            let popularity = |pin: PinId| f32::from(scores[pin.0 as usize].1) / 4.0;
            let prior = PopularityPrior { popularity: &popularity, weight };
            let neighbor = |(pin, &(score, _)): (u64, &(u8, u8))| Neighbor {
                pin: PinId(pin),
                score: f32::from(score) / 8.0,
            };
            let mut all: Vec<Neighbor> = (0..).zip(&scores).map(neighbor).collect();
            all.sort_by(Neighbor::by_descending_score);
            let mut sorted = all.clone();
            sorted.sort_by(|a, b| by_descending_rank(Some(prior), a, b));
            sorted.truncate(most);
            let mut kept = all;
            prior.rank(&mut kept, most, &mut RankScratch::default());
            prop_assert_eq!(kept, sorted);
        }
    }

    #[test]
    fn popularity_is_worth_its_weight_and_no_more() {
        let near = Neighbor {
            pin: PinId(1),
            score: 0.9,
        };
        let popular = Neighbor {
            pin: PinId(2),
            score: 0.7,
        };
        let popularity = |pin| if pin == PinId(2) { 1.0 } else { 0.0 };
        let order = |weight| {
            let prior = PopularityPrior {
                popularity: &popularity,
                weight,
            };
            by_descending_rank(Some(prior), &near, &popular)
        };
        assert_eq!(by_descending_rank(None, &near, &popular), Ordering::Less);
        assert_eq!(order(0.1), Ordering::Less);
        assert_eq!(order(0.3), Ordering::Greater);
    }
}
