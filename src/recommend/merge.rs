//! Merging the neighbor lists of the sampled medoids into one ranked list.
//!
//! The result is defined over complete lists, but needs only as much of each as it
//! uses: when a list that was cut short runs dry, [`merge`] names it, and the flow
//! retrieves more.

use std::cmp::Ordering;

use super::merge_params::{MergeParams, MergeStrategy};
use super::neighbor_list::{ListEnd, NeighborList};
use super::pin_set::PinSet;
use super::quota::ROUND;
use super::{bonus, turns};
use crate::model::{Candidate, Neighbor};

/// What a merge comes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum MergeOutcome {
    /// The first candidates, up to the limit; fewer when all lists are exhausted before.
    Done(Vec<Candidate>),
    /// More of this list must be retrieved to tell.
    NeedsMore {
        /// Index of the list.
        list: usize,
    },
}

/// Memory of a merge, for the next.
#[derive(Debug, Default)]
pub(super) struct MergeScratch {
    /// Pins that are among the candidates.
    seen: PinSet,
    /// The list of each turn.
    turns: Vec<u16>,
}

/// Merges `lists`, as far as they were retrieved.
pub(super) fn merge(
    lists: &[NeighborList],
    params: &MergeParams<'_>,
    scratch: &mut MergeScratch,
) -> MergeOutcome {
    scratch.seen.reset(params.limit);
    match params.strategy {
        MergeStrategy::Interleave => interleave(lists, params.limit, scratch),
        MergeStrategy::GlobalTop => merge_global_top(lists, params, &mut scratch.seen),
    }
}

fn interleave(lists: &[NeighborList], limit: usize, scratch: &mut MergeScratch) -> MergeOutcome {
    let MergeScratch { seen, turns } = scratch;
    let mut candidates = Vec::with_capacity(limit);
    let mut rests: Vec<_> = lists.iter().map(|list| list.neighbors.iter()).collect();
    turns::assign_turns(lists.iter().map(|list| list.quota), ROUND, turns);
    // Turns in a row that brought nothing.
    let mut idle = 0;
    for &list in turns.iter().cycle() {
        if candidates.len() == limit || idle == turns.len() {
            break;
        }
        let list = usize::from(list);
        match rests[list].find(|neighbor| seen.insert(neighbor.pin)) {
            Some(neighbor) => {
                candidates.push(candidate(neighbor, list));
                idle = 0;
            }
            None => match lists[list].end {
                // Others take its turn.
                ListEnd::TooFar | ListEnd::CutEmpty | ListEnd::CutShort => idle += 1,
                // It has brought every eligible pin there is: no list can add one.
                ListEnd::Exhausted => break,
                ListEnd::More | ListEnd::NotRetrieved => {
                    return MergeOutcome::NeedsMore { list };
                }
            },
        }
    }
    MergeOutcome::Done(candidates)
}

fn merge_global_top(
    lists: &[NeighborList],
    params: &MergeParams<'_>,
    seen: &mut PinSet,
) -> MergeOutcome {
    let MergeParams { limit, bonus, .. } = *params;
    let is_short = |list: &NeighborList| list.neighbors.len() < limit && list.end.is_open();
    if let Some(list) = lists.iter().position(is_short) {
        return MergeOutcome::NeedsMore { list };
    }
    let mut candidates = Vec::with_capacity(limit);
    let mut rests: Vec<_> = lists.iter().map(|list| &list.neighbors[..]).collect();
    while candidates.len() < limit {
        let heads = rests.iter().enumerate();
        let heads = heads.filter_map(|(list, rest)| Some((list, rest.first()?)));
        // Of equal ones the first.
        let best = heads.reduce(|a, b| match bonus::by_descending_rank(bonus, b.1, a.1) {
            Ordering::Less => b,
            Ordering::Equal | Ordering::Greater => a,
        });
        let Some((list, neighbor)) = best else { break };
        rests[list] = &rests[list][1..];
        if seen.insert(neighbor.pin) {
            candidates.push(candidate(neighbor, list));
        }
    }
    MergeOutcome::Done(candidates)
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

    use crate::recommend::retrieve::Retrieved;

    fn params(strategy: MergeStrategy, limit: usize) -> MergeParams<'static> {
        MergeParams {
            strategy,
            limit,
            min_score: None,
            bonus: None,
        }
    }

    /// A merge in memory that another merge has used; the list of which more is needed.
    fn merge(
        lists: &[NeighborList],
        strategy: MergeStrategy,
        limit: usize,
    ) -> Result<Vec<Candidate>, usize> {
        let mut scratch = MergeScratch::default();
        let merge = |lists: &[NeighborList], params, scratch: &mut MergeScratch| match super::merge(
            lists, params, scratch,
        ) {
            MergeOutcome::Done(candidates) => Ok(candidates),
            MergeOutcome::NeedsMore { list } => Err(list),
        };
        let before = [
            list(&[1, 2, 0], 3, ListEnd::Exhausted),
            list(&[5, 1, 7], 2, ListEnd::Exhausted),
        ];
        let of_before = params(MergeStrategy::Interleave, 4);
        let before = merge(&before, &of_before, &mut scratch);
        assert_eq!(before.map(|candidates| candidates.len()), Ok(4));
        merge(lists, &params(strategy, limit), &mut scratch)
    }

    fn list(pins: &[u64], quota: usize, end: ListEnd) -> NeighborList {
        let score = |at: usize| 1.0 - at as f32 / 100.0;
        let neighbor = |(at, &pin): (usize, &u64)| Neighbor {
            pin: PinId(pin),
            score: score(at),
        };
        let neighbors = pins.iter().enumerate().map(neighbor);
        let mut list = NeighborList::default();
        list.neighbors = neighbors.collect();
        list.end = end;
        list.quota = quota;
        list
    }

    fn pins(candidates: &[Candidate]) -> Vec<(u64, usize)> {
        candidates
            .iter()
            .map(|c| (c.pin.0, c.medoid_index))
            .collect()
    }

    #[test]
    fn lists_take_turns_by_quota_and_a_pin_keeps_its_best_place() {
        let lists = [
            list(&[1, 2, 3, 4], 2, ListEnd::More),
            list(&[1, 5, 6, 7], 1, ListEnd::More),
        ];
        let merged = merge(&lists, MergeStrategy::Interleave, 5).expect("lists are long enough");
        assert_eq!(pins(&merged), [(1, 0), (5, 1), (2, 0), (3, 0), (6, 1)]);
    }

    #[test]
    fn a_dry_list_is_named_and_an_exhausted_one_ends_the_merge() {
        let lists = [
            list(&[1], 1, ListEnd::More),
            list(&[2, 3], 1, ListEnd::More),
        ];
        assert_eq!(merge(&lists, MergeStrategy::Interleave, 3), Err(0));
        // The other list was cut short, but there is no fourth pin to be had.
        let lists = [
            list(&[1, 2, 3], 1, ListEnd::Exhausted),
            list(&[3], 1, ListEnd::More),
        ];
        let merged = merge(&lists, MergeStrategy::Interleave, 2).expect("long enough");
        assert_eq!(pins(&merged), [(1, 0), (3, 1)]);
        let lists = [
            list(&[1, 2, 3], 1, ListEnd::Exhausted),
            list(&[3, 1, 2], 1, ListEnd::Exhausted),
        ];
        let merged = merge(&lists, MergeStrategy::Interleave, 9).expect("all there is");
        assert_eq!(pins(&merged), [(1, 0), (3, 1), (2, 0)]);
        assert_eq!(merge(&[], MergeStrategy::Interleave, 4), Ok(vec![]));
        let lists = [
            list(&[1], 1, ListEnd::Exhausted),
            list(&[1], 1, ListEnd::More),
        ];
        assert_eq!(merge(&lists, MergeStrategy::GlobalTop, 4), Err(1));
    }

    #[test]
    fn lists_that_were_cut_give_their_turns_to_the_others() {
        let mut lists = [
            list(&[1, 2, 3], 1, ListEnd::More),
            list(&[], 2, ListEnd::More),
            list(&[4, 2], 1, ListEnd::More),
        ];
        lists[1].end = ListEnd::NotRetrieved;
        lists.iter_mut().for_each(NeighborList::cut);
        let merged = merge(&lists, MergeStrategy::Interleave, 9).expect("what there is");
        assert_eq!(pins(&merged), [(1, 0), (4, 2), (2, 0), (3, 0)]);
        let merged = merge(&lists, MergeStrategy::GlobalTop, 9).expect("what there is");
        assert_eq!(pins(&merged), [(1, 0), (4, 2), (2, 0), (3, 0)]);
        assert_eq!(lists.map(|list| list.is_answered()), [true, false, true]);
    }

    /// The definition, over complete lists: a table of whose turn it is, made
    /// from exact fractions, and a search for the first pin not yet taken.
    fn naive(lists: &[NeighborList], limit: usize) -> Vec<(u64, usize)> {
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

    fn complete_lists() -> impl Strategy<Value = Vec<NeighborList>> {
        let shuffled = Just((0u64..30).collect::<Vec<_>>()).prop_shuffle();
        let list =
            (shuffled, 1usize..9).prop_map(|(pins, quota)| list(&pins, quota, ListEnd::Exhausted));
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
            let refill = |list: &mut NeighborList, at: usize, depth: usize| {
                let params = params(MergeStrategy::Interleave, limit);
                let _ = list.fill(depth, &params, |depth, out| {
                    out.clear();
                    out.extend(complete[at].neighbors.iter().take(depth));
                    Retrieved::Complete
                });
            };
            cut.iter_mut().enumerate().for_each(|(at, list)| refill(list, at, depth));
            let merged = loop {
                match merge(&cut, MergeStrategy::Interleave, limit) {
                    Ok(merged) => break merged,
                    Err(at) => {
                        let depth = cut[at].next_depth(&params(MergeStrategy::Interleave, limit));
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
            all.sort_by(|(_, a), (_, b)| Neighbor::by_descending_score(a, b));
            all.truncate(limit);
            let expected: Vec<(u64, usize)> = all.iter().map(|(at, n)| (n.pin.0, *at)).collect();
            prop_assert_eq!(pins(&merged), expected);
        }
    }
}
