//! What counts beside nearness: how popular a pin is over all users.
//!
//! The paper ranks the neighbors of a medoid by cosine alone. With a prior they are
//! ranked by cosine + weight * popularity, among a few times as many of the nearest as
//! are wanted: a pin from further away cannot come in, however popular it is.

use std::cmp::Ordering;
use std::fmt;

use crate::model::{Neighbor, PinId};

/// How many times as many neighbors are ranked as are wanted; fewer where a list that
/// was made ahead of time has no more, so that it answers with a prior what it answers
/// without.
pub(super) const REACH: usize = 3;

/// What counts beside nearness.
#[derive(Clone, Copy)]
pub struct PopularityPrior<'a> {
    /// The popularity of a pin, in [0, 1].
    popularity: &'a dyn Fn(PinId) -> f32,
    /// What a popularity of 1 is worth, as a difference of cosines; above 0.
    weight: f32,
}

/// Memory of a ranking, for the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch(Vec<(f32, Neighbor)>);

impl<'a> PopularityPrior<'a> {
    /// What `popularity` is with this weight; none where it weighs nothing.
    pub fn weighing(weight: f32, popularity: &'a dyn Fn(PinId) -> f32) -> Option<Self> {
        (weight > 0.0).then_some(Self { popularity, weight })
    }

    fn of(&self, neighbor: &Neighbor) -> f32 {
        neighbor.score + self.weight * (self.popularity)(neighbor.pin)
    }

    /// Keeps the first `most` of `neighbors`, which come by falling score, by
    /// [`by_falling_rank`], in that order.
    pub(super) fn rank(&self, neighbors: &mut Vec<Neighbor>, most: usize, scratch: &mut Scratch) {
        let Scratch(ranked) = scratch;
        ranked.clear();
        let (nearest, further) = neighbors.split_at(most.min(neighbors.len()));
        ranked.extend(nearest.iter().map(|found| (self.of(found), *found)));
        // What is too far away, were it the most popular one, is not looked up, and what
        // follows is further away.
        let least = ranked
            .iter()
            .map(|&(rank, _)| rank)
            .fold(f32::INFINITY, f32::min);
        let may = |found: &&Neighbor| found.score + self.weight >= least;
        let further = further.iter().take_while(may);
        ranked.extend(further.map(|found| (self.of(found), *found)));
        if (1..ranked.len()).contains(&most) {
            ranked.select_nth_unstable_by(most - 1, by_rank);
            ranked.truncate(most);
        }
        ranked.sort_unstable_by(by_rank);
        neighbors.clear();
        neighbors.extend(ranked.iter().map(|&(_, found)| found));
    }
}

impl fmt::Debug for PopularityPrior<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut prior = f.debug_struct("PopularityPrior");
        prior.field("weight", &self.weight).finish_non_exhaustive()
    }
}

/// By falling rank, which is the score where there is no prior; equal ones by pin id.
pub(super) fn by_falling_rank(
    prior: Option<PopularityPrior<'_>>,
    a: &Neighbor,
    b: &Neighbor,
) -> Ordering {
    match prior {
        Some(prior) => by_rank(&(prior.of(a), *a), &(prior.of(b), *b)),
        None => Neighbor::by_falling_score(a, b),
    }
}

fn by_rank(a: &(f32, Neighbor), b: &(f32, Neighbor)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.pin.cmp(&b.1.pin))
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
            all.sort_by(Neighbor::by_falling_score);
            let mut sorted = all.clone();
            sorted.sort_by(|a, b| by_falling_rank(Some(prior), a, b));
            sorted.truncate(most);
            let mut kept = all;
            prior.rank(&mut kept, most, &mut Scratch::default());
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
            by_falling_rank(Some(prior), &near, &popular)
        };
        assert_eq!(by_falling_rank(None, &near, &popular), Ordering::Less);
        assert_eq!(order(0.1), Ordering::Less);
        assert_eq!(order(0.3), Ordering::Greater);
    }
}
