//! Bonuses: what counts beside nearness, such as the popularity of a pin.
//!
//! The paper ranks the neighbors of a medoid by cosine alone. With a bonus they are
//! ranked by cosine + bonus, among a few times as many of the nearest as are needed: a pin
//! from further away cannot come in, however great its bonus is.

use std::cmp::Ordering;
use std::fmt;

use crate::model::{Neighbor, PinId};

/// Number of neighbors that are ranked for each one that is needed. Fewer are ranked
/// where a list that was made ahead of time has no more, so that the same lists suffice
/// with a bonus and without.
pub(super) const DEPTH_FACTOR: usize = 3;

/// What is added to the cosine of a pin when neighbors are ranked.
#[derive(Clone, Copy)]
pub struct Bonus<'a> {
    /// The bonus of a pin, as a difference of cosines: finite and at most `max`.
    of: &'a dyn Fn(PinId) -> f32,
    max: f32,
}

/// Memory of a ranking, for the next.
#[derive(Clone, Debug, Default)]
pub(super) struct RankScratch(Vec<RankedNeighbor>);

/// A neighbor and its rank: cosine + bonus.
#[derive(Clone, Copy, Debug)]
struct RankedNeighbor {
    rank: f32,
    neighbor: Neighbor,
}

impl<'a> Bonus<'a> {
    /// The bonus `of` a pin, as a difference of cosines. It is finite, and at most `max`.
    pub fn new(max: f32, of: &'a dyn Fn(PinId) -> f32) -> Self {
        Self { of, max }
    }

    fn rank_of(&self, neighbor: &Neighbor) -> RankedNeighbor {
        RankedNeighbor {
            rank: self.rank(neighbor.pin, neighbor.score),
            neighbor: *neighbor,
        }
    }

    /// The rank of `pin`, whose cosine is `score`.
    pub(super) fn rank(&self, pin: PinId, score: f32) -> f32 {
        score + (self.of)(pin)
    }

    /// Sorts `neighbors`, which come by descending score, by [`by_descending_rank`], and
    /// keeps the first `count`.
    pub(super) fn sort(
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
        // A neighbor that would be too far away even with the greatest bonus is not
        // looked up. Those behind it are further away still.
        let may_enter = |found: &&Neighbor| found.score + self.max >= min_rank;
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

impl fmt::Debug for Bonus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bonus = f.debug_struct("Bonus");
        bonus.field("max", &self.max).finish_non_exhaustive()
    }
}

/// By descending rank, which is the score where there is no bonus; equal ones by pin id.
pub(super) fn by_descending_rank(bonus: Option<Bonus<'_>>, a: &Neighbor, b: &Neighbor) -> Ordering {
    match bonus {
        Some(bonus) => RankedNeighbor::by_descending_rank(&bonus.rank_of(a), &bonus.rank_of(b)),
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
            let of = |pin: PinId| weight * (f32::from(scores[pin.0 as usize].1) / 4.0 - 0.5);
            let bonus = Bonus::new(weight / 2.0, &of);
            let neighbor = |(pin, &(score, _)): (u64, &(u8, u8))| Neighbor {
                pin: PinId(pin),
                score: f32::from(score) / 8.0,
            };
            let mut all: Vec<Neighbor> = (0..).zip(&scores).map(neighbor).collect();
            all.sort_by(Neighbor::by_descending_score);
            let mut sorted = all.clone();
            sorted.sort_by(|a, b| by_descending_rank(Some(bonus), a, b));
            sorted.truncate(most);
            let mut kept = all;
            bonus.sort(&mut kept, most, &mut RankScratch::default());
            prop_assert_eq!(kept, sorted);
        }
    }

    #[test]
    fn a_bonus_is_worth_what_it_is_and_no_more() {
        let near = Neighbor {
            pin: PinId(1),
            score: 0.9,
        };
        let liked = Neighbor {
            pin: PinId(2),
            score: 0.7,
        };
        let order = |weight| {
            let of = |pin| if pin == PinId(2) { weight } else { 0.0 };
            by_descending_rank(Some(Bonus::new(weight, &of)), &near, &liked)
        };
        assert_eq!(by_descending_rank(None, &near, &liked), Ordering::Less);
        assert_eq!(order(0.1), Ordering::Less);
        assert_eq!(order(0.3), Ordering::Greater);
    }
}
