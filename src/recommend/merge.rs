//! Merging the neighbor lists of the sampled medoids into one ranked list.
//!
//! The result is defined over complete lists, but asks only for as much of each
//! as it uses: when a list that was cut short runs dry, [`merge`] names it, and
//! the flow retrieves more.

use std::cmp::Ordering;

use super::pin_set::PinSet;
use super::popularity_prior::{self, PopularityPrior};
use super::retrieve::Retrieved;
use crate::model::{Candidate, Neighbor};

/// How lists become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeStrategy {
    /// Lists take turns in proportion to their quotas (smooth weighted
    /// round-robin), so that each fills its quota, and its places are spread
    /// evenly. A pin that another list brought already costs no turn.
    Interleave,
    /// All lists as one, by falling score, or by what a [`PopularityPrior`] makes of it.
    GlobalTop,
}

/// The neighbors of one sampled medoid, as far as they were retrieved.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    /// By [`popularity_prior::by_falling_rank`].
    neighbors: Vec<Neighbor>,
    /// Where the next retrieval goes, for it may come to nothing.
    next: Vec<Neighbor>,
    ranking: popularity_prior::Scratch,
    end: End,
    quota: usize,
}

/// What comes after the last neighbor of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// Nothing was retrieved yet.
    #[default]
    Unanswered,
    /// More, if it is retrieved.
    Open,
    /// Nothing: the index has no further eligible pin.
    Exhausted,
    /// Nothing, for time is up; true when something was retrieved before.
    Cut(bool),
}

impl List {
    /// Makes it a list of which nothing was retrieved yet.
    pub(super) fn reset(&mut self, quota: usize) {
        self.neighbors.clear();
        self.end = End::Unanswered;
        self.quota = quota;
    }

    /// Whether anything was retrieved.
    pub(super) fn is_answered(&self) -> bool {
        !matches!(self.end, End::Unanswered | End::Cut(false))
    }

    /// Ends the list here, as time is up.
    pub(super) fn cut(&mut self) {
        match self.end {
            End::Unanswered => self.end = End::Cut(false),
            End::Open => self.end = End::Cut(true),
            End::Exhausted | End::Cut(_) => {}
        }
    }

    /// How many neighbors to retrieve next.
    pub(super) fn next_depth(&self, strategy: MergeStrategy, limit: usize) -> usize {
        match (strategy, self.neighbors.len()) {
            (MergeStrategy::GlobalTop, _) => limit,
            // Some of a list's pins come from other lists as well; an eighth
            // more than the quota spares most answers a second retrieval.
            (MergeStrategy::Interleave, 0) => self.quota + self.quota / 8 + 1,
            (MergeStrategy::Interleave, retrieved) => retrieved * 2,
        }
    }

    /// Replaces what was retrieved by the first `depth` neighbors that `retrieve` writes,
    /// which is told how many it may bring, unless time was up before it was done.
    pub(super) fn fill(
        &mut self,
        depth: usize,
        prior: Option<PopularityPrior<'_>>,
        strategy: MergeStrategy,
        retrieve: impl FnOnce(usize, &mut Vec<Neighbor>) -> Retrieved,
    ) -> Retrieved {
        // Lists that compete for every place are deep as they are.
        let deeper = prior.is_some() && strategy == MergeStrategy::Interleave;
        let wanted = if deeper {
            depth * popularity_prior::REACH
        } else {
            depth
        };
        let retrieved = retrieve(wanted, &mut self.next);
        if retrieved != Retrieved::OutOfTime {
            std::mem::swap(&mut self.neighbors, &mut self.next);
            self.end = match self.neighbors.len() < depth {
                true => End::Exhausted,
                false => End::Open,
            };
            if let Some(prior) = prior {
                prior.rank(&mut self.neighbors, depth, &mut self.ranking);
            }
        }
        retrieved
    }
}

/// Memory of a merge, for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Pins that are among the candidates.
    seen: PinSet,
    /// Whose turn it is, one turn after another.
    turns: Vec<u16>,
}

/// The first `limit` candidates, fewer when all lists are exhausted before; or
/// the list of which more is needed to tell.
pub(super) fn merge(
    lists: &[List],
    strategy: MergeStrategy,
    limit: usize,
    prior: Option<PopularityPrior<'_>>,
    scratch: &mut Scratch,
) -> Result<Vec<Candidate>, usize> {
    scratch.seen.reset(limit);
    match strategy {
        MergeStrategy::Interleave => interleave(lists, limit, scratch),
        MergeStrategy::GlobalTop => global_top(lists, limit, prior, &mut scratch.seen),
    }
}

fn interleave(
    lists: &[List],
    limit: usize,
    scratch: &mut Scratch,
) -> Result<Vec<Candidate>, usize> {
    let Scratch { seen, turns } = scratch;
    let mut candidates = Vec::with_capacity(limit);
    let mut rests: Vec<_> = lists.iter().map(|list| list.neighbors.iter()).collect();
    take_turns(lists, limit, turns);
    // A turn brings one candidate, so there are as many turns as candidates; but for
    // lists that were cut, whose turns the others take in further rounds.
    loop {
        let before = candidates.len();
        for &at in turns.iter().take(limit - before) {
            let at = usize::from(at);
            match rests[at].find(|neighbor| seen.insert(neighbor.pin)) {
                Some(neighbor) => candidates.push(candidate(neighbor, at)),
                None => match lists[at].end {
                    End::Cut(_) => {}
                    // It has brought every eligible pin there is: nobody can add one.
                    End::Exhausted => return Ok(candidates),
                    End::Open | End::Unanswered => return Err(at),
                },
            }
        }
        if candidates.len() == limit || candidates.len() == before {
            return Ok(candidates);
        }
    }
}

/// Bits of a credit that name its list.
const PLACE: u32 = 16;
const PLACE_MASK: i64 = (1 << PLACE) - 1;
/// Lists of a usual request. For no more than these the credits stay in
/// registers, which is four times as fast.
const FEW: usize = 4;

/// Whose turn it is, `turns` times. A list with a quota of 0 has none.
///
/// Smooth weighted round-robin: at each turn every list gains its weight, the
/// richest one, of equally rich ones the first, moves and pays the sum of the
/// weights. Over a round of that many turns each list moves as often as its
/// weight says.
fn take_turns(lists: &[List], turns: usize, order: &mut Vec<u16>) {
    debug_assert!(lists.len() as i64 <= PLACE_MASK);
    order.clear();
    if lists.iter().all(|list| list.quota == 0) {
        return;
    }
    order.resize(turns, 0);
    let weights = lists.iter().map(|list| (list.quota as i64) << PLACE);
    if lists.len() <= FEW {
        let mut few = [0; FEW];
        few.iter_mut()
            .zip(weights)
            .for_each(|(few, weight)| *few = weight);
        turn(few, [0; FEW], order);
    } else {
        turn(weights.collect::<Vec<_>>(), vec![0; lists.len()], order);
    }
}

/// Fills `order`. Weights are above the bits of [`PLACE`].
fn turn(weights: impl AsRef<[i64]>, mut credits: impl AsMut<[i64]>, order: &mut [u16]) {
    let (weights, credits) = (weights.as_ref(), credits.as_mut());
    // The lowest bits of a credit are the complement of its list's place, so that
    // the greatest credit is that of the first of the richest, and names it: no
    // branch that the processor could not foresee is needed to find it.
    for (at, (weight, credit)) in (0..).zip(weights.iter().zip(&mut *credits)) {
        // Never the richest, and no difference to it overflows.
        let poor = i64::MIN / 2;
        *credit = if *weight > 0 { PLACE_MASK - at } else { poor };
    }
    let total: i64 = weights.iter().sum();
    for turn in order {
        let mut richest = i64::MIN;
        for (credit, weight) in credits.iter_mut().zip(weights) {
            *credit += *weight;
            richest = richest.max(*credit);
        }
        for credit in &mut *credits {
            // All ones but for the richest; a comparison would become a branch.
            let poorer = (*credit - richest) >> (i64::BITS - 1);
            *credit -= total & !poorer;
        }
        *turn = (PLACE_MASK - (richest & PLACE_MASK)) as u16;
    }
}

fn global_top(
    lists: &[List],
    limit: usize,
    prior: Option<PopularityPrior<'_>>,
    seen: &mut PinSet,
) -> Result<Vec<Candidate>, usize> {
    let is_open = |list: &List| matches!(list.end, End::Open | End::Unanswered);
    let short = |list: &List| list.neighbors.len() < limit && is_open(list);
    if let Some(at) = lists.iter().position(short) {
        return Err(at);
    }
    let mut candidates = Vec::with_capacity(limit);
    let mut rests: Vec<_> = lists.iter().map(|list| &list.neighbors[..]).collect();
    while candidates.len() < limit {
        let heads = rests.iter().enumerate();
        let heads = heads.filter_map(|(at, rest)| Some((at, rest.first()?)));
        // Of equal ones the first.
        let best = heads.reduce(
            |a, b| match popularity_prior::by_falling_rank(prior, b.1, a.1) {
                Ordering::Less => b,
                Ordering::Equal | Ordering::Greater => a,
            },
        );
        let Some((at, neighbor)) = best else { break };
        rests[at] = &rests[at][1..];
        if seen.insert(neighbor.pin) {
            candidates.push(candidate(neighbor, at));
        }
    }
    Ok(candidates)
}

fn candidate(neighbor: &Neighbor, medoid_index: usize) -> Candidate {
    Candidate {
        pin: neighbor.pin,
        score: neighbor.score,
        medoid_index,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::PinId;

    /// A merge in memory that another merge has used.
    fn merge(
        lists: &[List],
        strategy: MergeStrategy,
        limit: usize,
    ) -> Result<Vec<Candidate>, usize> {
        let mut scratch = Scratch::default();
        let before = [list(&[1, 2, 0], 3, true), list(&[5, 1, 7], 2, true)];
        let before = super::merge(&before, MergeStrategy::Interleave, 4, None, &mut scratch);
        assert_eq!(before.map(|candidates| candidates.len()), Ok(4));
        super::merge(lists, strategy, limit, None, &mut scratch)
    }

    fn list(pins: &[u64], quota: usize, exhausted: bool) -> List {
        let score = |at: usize| 1.0 - at as f32 / 100.0;
        let neighbor = |(at, &pin): (usize, &u64)| Neighbor {
            pin: PinId(pin),
            score: score(at),
        };
        List {
            neighbors: pins.iter().enumerate().map(neighbor).collect(),
            next: Vec::new(),
            ranking: popularity_prior::Scratch::default(),
            end: match exhausted {
                true => End::Exhausted,
                false => End::Open,
            },
            quota,
        }
    }

    fn pins(candidates: &[Candidate]) -> Vec<(u64, usize)> {
        candidates
            .iter()
            .map(|c| (c.pin.0, c.medoid_index))
            .collect()
    }

    #[test]
    fn lists_take_turns_by_quota_and_a_pin_keeps_its_best_place() {
        let lists = [list(&[1, 2, 3, 4], 2, false), list(&[1, 5, 6, 7], 1, false)];
        let merged = merge(&lists, MergeStrategy::Interleave, 5).expect("lists are long enough");
        assert_eq!(pins(&merged), [(1, 0), (5, 1), (2, 0), (3, 0), (6, 1)]);
    }

    #[test]
    fn a_dry_list_is_named_and_an_exhausted_one_ends_the_merge() {
        let lists = [list(&[1], 1, false), list(&[2, 3], 1, false)];
        assert_eq!(merge(&lists, MergeStrategy::Interleave, 3), Err(0));
        // The other list was cut short, but there is no fourth pin to be had.
        let lists = [list(&[1, 2, 3], 1, true), list(&[3], 1, false)];
        let merged = merge(&lists, MergeStrategy::Interleave, 2).expect("long enough");
        assert_eq!(pins(&merged), [(1, 0), (3, 1)]);
        let lists = [list(&[1, 2, 3], 1, true), list(&[3, 1, 2], 1, true)];
        let merged = merge(&lists, MergeStrategy::Interleave, 9).expect("all there is");
        assert_eq!(pins(&merged), [(1, 0), (3, 1), (2, 0)]);
        assert_eq!(merge(&[], MergeStrategy::Interleave, 4), Ok(vec![]));
        let lists = [list(&[1], 1, true), list(&[1], 1, false)];
        assert_eq!(merge(&lists, MergeStrategy::GlobalTop, 4), Err(1));
    }

    #[test]
    fn lists_that_were_cut_give_their_turns_to_the_others() {
        let mut lists = [
            list(&[1, 2, 3], 1, false),
            list(&[], 2, false),
            list(&[4, 2], 1, false),
        ];
        lists[1].end = End::Unanswered;
        lists.iter_mut().for_each(List::cut);
        let merged = merge(&lists, MergeStrategy::Interleave, 9).expect("what there is");
        assert_eq!(pins(&merged), [(1, 0), (4, 2), (2, 0), (3, 0)]);
        let merged = merge(&lists, MergeStrategy::GlobalTop, 9).expect("what there is");
        assert_eq!(pins(&merged), [(1, 0), (4, 2), (2, 0), (3, 0)]);
        assert_eq!(lists.map(|list| list.is_answered()), [true, false, true]);
    }

    /// The definition, over complete lists: a table of whose turn it is, made
    /// from exact fractions, and a search for the first pin not yet taken.
    fn naive(lists: &[List], limit: usize) -> Vec<(u64, usize)> {
        let mut merged: Vec<(u64, usize)> = Vec::new();
        let mut credit = vec![0i64; lists.len()];
        while merged.len() < limit {
            let weight = |at: usize| lists[at].quota as i64;
            let total: i64 = (0..lists.len()).map(weight).sum();
            (0..lists.len()).for_each(|at| credit[at] += weight(at));
            let best = (0..lists.len())
                .filter(|&at| weight(at) > 0)
                .max_by_key(|&at| (credit[at], std::cmp::Reverse(at)));
            let Some(at) = best else { break };
            credit[at] -= total;
            let taken = |pin: u64| merged.iter().any(|&(other, _)| other == pin);
            let next = lists[at]
                .neighbors
                .iter()
                .map(|n| n.pin.0)
                .find(|&pin| !taken(pin));
            match next {
                Some(pin) => merged.push((pin, at)),
                None => break,
            }
        }
        merged
    }

    fn complete_lists() -> impl Strategy<Value = Vec<List>> {
        let shuffled = Just((0u64..30).collect::<Vec<_>>()).prop_shuffle();
        let list = (shuffled, 1usize..9).prop_map(|(pins, quota)| list(&pins, quota, true));
        prop::collection::vec(list, 1..5)
    }

    proptest! {
        #[test]
        fn interleave_equals_its_naive_twin(lists in complete_lists(), limit in 1usize..40) {
            let merged = merge(&lists, MergeStrategy::Interleave, limit).expect("all exhausted");
            prop_assert_eq!(pins(&merged), naive(&lists, limit));
            prop_assert_eq!(merged.len(), limit.min(30));
        }

        #[test]
        fn lists_cut_short_give_the_same_once_they_are_deep_enough(
            complete in complete_lists(), limit in 1usize..40, depth in 1usize..10,
        ) {
            let expected = merge(&complete, MergeStrategy::Interleave, limit).expect("all exhausted");
            let mut cut = complete.clone();
            cut.iter_mut().zip(&complete).for_each(|(list, complete)| list.reset(complete.quota));
            let refill = |list: &mut List, at: usize, depth: usize| {
                let _ = list.fill(depth, None, MergeStrategy::Interleave, |depth, out| {
                    out.clear();
                    out.extend(complete[at].neighbors.iter().take(depth));
                    Retrieved::InFull
                });
            };
            cut.iter_mut().enumerate().for_each(|(at, list)| refill(list, at, depth));
            let merged = loop {
                match merge(&cut, MergeStrategy::Interleave, limit) {
                    Ok(merged) => break merged,
                    Err(at) => {
                        let depth = cut[at].next_depth(MergeStrategy::Interleave, limit);
                        refill(&mut cut[at], at, depth);
                    }
                }
            };
            prop_assert_eq!(merged, expected);
        }

        #[test]
        fn global_top_equals_sort_and_dedup(lists in complete_lists(), limit in 1usize..40) {
            let merged = merge(&lists, MergeStrategy::GlobalTop, limit).expect("all exhausted");
            let mut all: Vec<(usize, Neighbor)> = Vec::new();
            for (at, list) in lists.iter().enumerate() {
                for neighbor in &list.neighbors {
                    match all.iter_mut().find(|(_, other)| other.pin == neighbor.pin) {
                        Some(other) if other.1.score < neighbor.score => *other = (at, *neighbor),
                        Some(_) => {}
                        None => all.push((at, *neighbor)),
                    }
                }
            }
            all.sort_by(|(_, a), (_, b)| Neighbor::by_falling_score(a, b));
            all.truncate(limit);
            let expected: Vec<(u64, usize)> = all.iter().map(|(at, n)| (n.pin.0, *at)).collect();
            prop_assert_eq!(pins(&merged), expected);
        }
    }
}
