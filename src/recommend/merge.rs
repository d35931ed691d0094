//! Merging the neighbour lists of the sampled medoids into one ranked list.
//!
//! The result is defined over complete lists, but asks only for as much of each
//! as it uses: when a list that was cut short runs dry, [`merge`] names it, and
//! the flow retrieves more.

use std::collections::HashSet;

use crate::model::{Candidate, Neighbor, PinId};

/// How lists become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeStrategy {
    /// Lists take turns in proportion to their quotas (smooth weighted
    /// round-robin), so that each fills its quota, and its places are spread
    /// evenly. A pin that another list brought already costs no turn.
    Interleave,
    /// All lists as one, by falling score.
    GlobalTop,
}

/// The neighbours of one sampled medoid, as far as they were retrieved.
#[derive(Clone, Debug)]
pub(super) struct List {
    /// By falling score.
    neighbors: Vec<Neighbor>,
    /// Whether the index has no further eligible pin.
    exhausted: bool,
    quota: usize,
}

impl List {
    /// A list of which nothing was retrieved yet.
    pub(super) fn new(quota: usize) -> Self {
        Self {
            neighbors: Vec::new(),
            exhausted: false,
            quota,
        }
    }

    /// How many neighbours to retrieve next.
    pub(super) fn next_depth(&self, strategy: MergeStrategy, limit: usize) -> usize {
        match (strategy, self.neighbors.len()) {
            (MergeStrategy::GlobalTop, _) => limit,
            // Some of a list's pins come from other lists as well; an eighth
            // more than the quota spares most answers a second retrieval.
            (MergeStrategy::Interleave, 0) => self.quota + self.quota / 8 + 1,
            (MergeStrategy::Interleave, retrieved) => retrieved * 2,
        }
    }

    /// Replaces what was retrieved by the answer to a retrieval of `depth`.
    pub(super) fn fill(&mut self, depth: usize, neighbors: Vec<Neighbor>) {
        self.exhausted = neighbors.len() < depth;
        self.neighbors = neighbors;
    }
}

/// The first `limit` candidates, fewer when all lists are exhausted before; or
/// the list of which more is needed to tell.
pub(super) fn merge(
    lists: &[List],
    strategy: MergeStrategy,
    limit: usize,
) -> Result<Vec<Candidate>, usize> {
    match strategy {
        MergeStrategy::Interleave => interleave(lists, limit),
        MergeStrategy::GlobalTop => global_top(lists, limit),
    }
}

fn interleave(lists: &[List], limit: usize) -> Result<Vec<Candidate>, usize> {
    let mut candidates = Vec::with_capacity(limit);
    let mut seen: HashSet<PinId> = HashSet::with_capacity(limit);
    let mut rests: Vec<_> = lists.iter().map(|list| list.neighbors.iter()).collect();
    let mut turns = Turns::new(lists.iter().map(|list| list.quota));
    while candidates.len() < limit {
        let Some(at) = turns.next() else { break };
        match rests[at].find(|neighbor| seen.insert(neighbor.pin)) {
            Some(neighbor) => candidates.push(candidate(neighbor, at)),
            // It has brought every eligible pin there is: nobody can add one.
            None if lists[at].exhausted => break,
            None => return Err(at),
        }
    }
    Ok(candidates)
}

/// Smooth weighted round-robin: at each turn every list gains its weight, the
/// richest one moves and pays the sum of the weights. Over a round of that many
/// turns each list moves as often as its weight says.
struct Turns {
    /// Weight and credit of each list; a weight of 0 never moves.
    lists: Vec<(i64, i64)>,
}

impl Turns {
    fn new(quotas: impl Iterator<Item = usize>) -> Self {
        let weight = |quota| i64::try_from(quota).unwrap_or(i64::MAX);
        Self {
            lists: quotas.map(|quota| (weight(quota), 0)).collect(),
        }
    }

    /// Whose turn it is; of equally rich ones the first.
    fn next(&mut self) -> Option<usize> {
        let total: i64 = self.lists.iter().map(|(weight, _)| weight).sum();
        self.lists
            .iter_mut()
            .for_each(|(weight, credit)| *credit += *weight);
        let movers = (0..self.lists.len()).filter(|&at| self.lists[at].0 > 0);
        let at = movers.reduce(|a, b| {
            if self.lists[b].1 > self.lists[a].1 {
                b
            } else {
                a
            }
        })?;
        self.lists[at].1 -= total;
        Some(at)
    }
}

fn global_top(lists: &[List], limit: usize) -> Result<Vec<Candidate>, usize> {
    let short = |list: &List| list.neighbors.len() < limit && !list.exhausted;
    if let Some(at) = lists.iter().position(short) {
        return Err(at);
    }
    let mut all: Vec<(usize, &Neighbor)> = lists
        .iter()
        .enumerate()
        .flat_map(|(at, list)| list.neighbors.iter().map(move |neighbor| (at, neighbor)))
        .collect();
    all.sort_by(|(a_at, a), (b_at, b)| Neighbor::by_falling_score(a, b).then(a_at.cmp(b_at)));
    let mut seen = HashSet::with_capacity(limit);
    let unseen = all
        .into_iter()
        .filter(|(_, neighbor)| seen.insert(neighbor.pin));
    Ok(unseen
        .take(limit)
        .map(|(at, neighbor)| candidate(neighbor, at))
        .collect())
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

    fn list(pins: &[u64], quota: usize, exhausted: bool) -> List {
        let score = |at: usize| 1.0 - at as f32 / 100.0;
        let neighbor = |(at, &pin): (usize, &u64)| Neighbor {
            pin: PinId(pin),
            score: score(at),
        };
        List {
            neighbors: pins.iter().enumerate().map(neighbor).collect(),
            exhausted,
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
            let mut cut: Vec<List> = complete.iter().map(|list| List::new(list.quota)).collect();
            let refill = |list: &mut List, at: usize, depth: usize| {
                list.fill(depth, complete[at].neighbors.iter().copied().take(depth).collect());
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
