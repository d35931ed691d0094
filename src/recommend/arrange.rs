//! The order in which candidates stand beside each other: spacing rules and diversity.
//!
//! Places are filled one after the other, from the merged list. A place belongs to the medoid
//! whose turn it was in the merge, so that diversity leaves the shares of medoids as they are.
//! It goes to the best of the next candidates of that medoid that may stand there; where none
//! of those that are compared is of that medoid, to the best of the others. What stands
//! at a place depends on the merged list alone, so that a shorter answer is the head of a
//! longer one.

use std::collections::{HashMap, VecDeque};

use rustc_hash::FxBuildHasher;

use super::deadline::Deadline;
use super::rerank::{Rerank, Spacing};
use crate::kernel;
use crate::model::Candidate;

/// How far behind the candidates that are compared for a place others are looked for where
/// none of them may stand.
pub(super) const REACH: usize = 2_000;

/// What an arrangement comes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ArrangeOutcome {
    /// The candidates, up to the limit.
    Done(Arranged),
    /// A longer merged list is needed to tell.
    NeedsMore,
}

/// Candidates in the order of their places.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arranged {
    pub(super) candidates: Vec<Candidate>,
    /// Whether there were further candidates, none of which may stand at the next place.
    pub(super) left_out: bool,
    /// Whether time was up, so that the last places go by the merged order.
    pub(super) in_haste: bool,
}

impl Arranged {
    /// The merged order.
    pub(super) fn in_order(candidates: Vec<Candidate>) -> Self {
        Self {
            candidates,
            left_out: false,
            in_haste: false,
        }
    }
}

/// A merged list, as far as it is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Merged<'a> {
    pub(super) candidates: &'a [Candidate],
    /// Whether there are no more.
    pub(super) is_whole: bool,
}

/// Number of candidates of a merged list with which an arrangement of `limit` can begin.
pub(super) fn wanted(rerank: &Rerank<'_>, limit: usize) -> usize {
    let among = rerank.diversity.map_or(1, |diversity| diversity.among);
    let passed_over = if rerank.spacing.is_empty() {
        0
    } else {
        limit / 4
    };
    limit + among - 1 + passed_over
}

/// Greatest number of candidates of a merged list that an arrangement of `limit` looks at.
pub(super) fn most(rerank: &Rerank<'_>, limit: usize) -> usize {
    let among = rerank.diversity.map_or(1, |diversity| diversity.among);
    let reach = if rerank.spacing.is_empty() { 0 } else { REACH };
    limit + among - 1 + reach
}

/// Arranges the candidates of `merged` by the rules of `rerank`, up to `limit` of them.
pub(super) fn arrange<'a>(
    merged: Merged<'a>,
    limit: usize,
    rerank: &'a Rerank<'a>,
    deadline: Deadline<'_>,
) -> ArrangeOutcome {
    let mut spaces: Vec<Space<'_>> = rerank.spacing.iter().map(Space::new).collect();
    let mut waiting = Waiting::new(merged, rerank);
    let mut arranged = Arranged {
        candidates: Vec::with_capacity(limit),
        left_out: false,
        in_haste: false,
    };
    while arranged.candidates.len() < limit {
        arranged.in_haste = arranged.in_haste || deadline.has_passed();
        let among = if arranged.in_haste {
            1
        } else {
            waiting.among()
        };
        let next = match waiting.next(among, most(rerank, arranged.candidates.len() + 1), &spaces) {
            Next::Place(next) => next,
            Next::NeedsMore => return ArrangeOutcome::NeedsMore,
            Next::None => {
                arranged.left_out = !waiting.is_empty();
                break;
            }
        };
        for (space, &value) in spaces.iter_mut().zip(&next.values) {
            space.take(value);
        }
        if !arranged.in_haste {
            waiting.lower_those_like(&next);
        }
        arranged.candidates.push(next.candidate);
    }
    ArrangeOutcome::Done(arranged)
}

/// The candidates that wait for a place.
struct Waiting<'a> {
    merged: Merged<'a>,
    rerank: &'a Rerank<'a>,
    /// Number of candidates of the merged list that came to wait.
    pulled: usize,
    /// In the order of the merged list.
    waiters: Vec<Waiter<'a>>,
    /// The vectors of those that have a place.
    placed: Vec<&'a [f32]>,
}

/// A candidate that waits for a place.
struct Waiter<'a> {
    candidate: Candidate,
    /// Its value for each spacing rule.
    values: Vec<Option<u64>>,
    /// None without diversity.
    vector: Option<&'a [f32]>,
    rank: f32,
    /// Greatest cosine to a candidate that has a place; at least 0.
    likeness: f32,
}

/// Who gets a place.
enum Next<'a> {
    Place(Waiter<'a>),
    /// None of those that may be looked at.
    None,
    NeedsMore,
}

impl<'a> Waiting<'a> {
    fn new(merged: Merged<'a>, rerank: &'a Rerank<'a>) -> Self {
        Self {
            merged,
            rerank,
            pulled: 0,
            waiters: Vec::new(),
            placed: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Number of candidates that are compared for a place.
    fn among(&self) -> usize {
        self.rerank.diversity.map_or(1, |diversity| diversity.among)
    }

    /// Takes out the best of the first `among` that may stand at the next place: of those of
    /// the medoid whose place it is, if there is one. The first `most` of the merged list are
    /// looked at.
    fn next(&mut self, among: usize, most: usize, spaces: &[Space<'_>]) -> Next<'a> {
        let mut best: Option<((bool, f32), usize)> = None;
        let (mut at, mut compared) = (0, 0);
        while compared < among {
            if at == self.waiters.len() {
                match self.merged.candidates.get(self.pulled) {
                    Some(_) if self.pulled == most => break,
                    Some(candidate) => self.pull(candidate),
                    None if self.merged.is_whole || self.pulled == most => break,
                    None => return Next::NeedsMore,
                }
            }
            let waiter = &self.waiters[at];
            let mut rules = spaces.iter().zip(&waiter.values);
            if rules.all(|(space, &value)| space.admits(value)) {
                let worth = (self.has_turn(waiter), self.worth(waiter));
                // Of equal ones the first.
                if best.is_none_or(|(greatest, _)| worth > greatest) {
                    best = Some((worth, at));
                }
                compared += 1;
            }
            at += 1;
        }
        best.map_or(Next::None, |(_, at)| Next::Place(self.waiters.remove(at)))
    }

    /// Whether the next place is that of the medoid of `waiter`.
    fn has_turn(&self, waiter: &Waiter<'_>) -> bool {
        // Every candidate that is neither waiting nor left out has a place.
        let place = self.pulled - self.waiters.len();
        let owner = self.merged.candidates.get(place);
        owner.is_some_and(|owner| owner.medoid_index == waiter.candidate.medoid_index)
    }

    fn worth(&self, waiter: &Waiter<'_>) -> f32 {
        match self.rerank.diversity {
            Some(diversity) => {
                let strength = diversity.strength;
                (1.0 - strength) * waiter.rank - strength * waiter.likeness
            }
            None => 0.0,
        }
    }

    fn pull(&mut self, &candidate: &Candidate) {
        let Candidate { pin, score, .. } = candidate;
        let Rerank {
            bonus,
            spacing,
            diversity,
            ..
        } = self.rerank;
        let vector = diversity.and_then(|diversity| diversity.vectors.vector(pin));
        let cosines = vector.map(|own| self.placed.iter().map(|placed| kernel::dot(own, placed)));
        self.waiters.push(Waiter {
            candidate,
            values: spacing.iter().map(|rule| (rule.value)(pin)).collect(),
            vector,
            rank: bonus.map_or(score, |bonus| bonus.rank(pin, score)),
            likeness: cosines.into_iter().flatten().fold(0.0, f32::max),
        });
        self.pulled += 1;
    }

    /// Notes how alike those that wait are to `placed`, which has got a place.
    fn lower_those_like(&mut self, placed: &Waiter<'a>) {
        let Some(vector) = placed.vector else { return };
        self.placed.push(vector);
        for waiter in &mut self.waiters {
            if let Some(own) = waiter.vector {
                waiter.likeness = waiter.likeness.max(kernel::dot(own, vector));
            }
        }
    }
}

/// The places before the next one, as far as a spacing rule looks back.
struct Space<'a> {
    rule: &'a Spacing<'a>,
    recent: VecDeque<Option<u64>>,
    /// How often each value is among them.
    counts: HashMap<u64, usize, FxBuildHasher>,
}

impl<'a> Space<'a> {
    fn new(rule: &'a Spacing<'a>) -> Self {
        Self {
            rule,
            recent: VecDeque::new(),
            counts: HashMap::default(),
        }
    }

    /// Whether a candidate of this value may stand at the next place.
    fn admits(&self, value: Option<u64>) -> bool {
        let count = value.and_then(|value| self.counts.get(&value));
        count.is_none_or(|&count| count < self.rule.max)
    }

    /// Fills the next place with a candidate of this value.
    fn take(&mut self, value: Option<u64>) {
        if let Some(value) = value {
            *self.counts.entry(value).or_default() += 1;
        }
        self.recent.push_back(value);
        if self.recent.len() == self.rule.places
            && let Some(Some(leaving)) = self.recent.pop_front()
            && let Some(count) = self.counts.get_mut(&leaving)
        {
            *count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::PinId;
    use crate::recommend::rerank::{Diversity, PinVectors};

    /// A pin has the value, the vector and the score of this place in the tables.
    #[derive(Debug)]
    struct Table {
        values: Vec<Option<u64>>,
        vectors: Vec<[f32; 2]>,
        scores: Vec<f32>,
        medoids: Vec<usize>,
    }

    impl PinVectors for Table {
        fn vector(&self, pin: PinId) -> Option<&[f32]> {
            Some(&self.vectors[pin.0 as usize])
        }
    }

    fn table() -> impl Strategy<Value = Table> {
        let pin = (prop::option::of(0u64..4), 0u8..16, 0u8..8, 0usize..3);
        prop::collection::vec(pin, 0..60).prop_map(|pins| Table {
            values: pins.iter().map(|&(value, ..)| value).collect(),
            vectors: pins
                .iter()
                .map(|&(_, angle, ..)| {
                    let angle = f32::from(angle) / 16.0 * std::f32::consts::TAU;
                    [angle.cos(), angle.sin()]
                })
                .collect(),
            scores: pins
                .iter()
                .map(|&(_, _, score, _)| f32::from(score) / 8.0)
                .collect(),
            medoids: pins.iter().map(|pin| pin.3).collect(),
        })
    }

    /// The definition: for each place a look at all candidates that are left.
    fn naive(table: &Table, rule: (usize, usize), diversity: Option<(f32, usize)>) -> Vec<usize> {
        let (max, places) = rule;
        let (strength, among) = diversity.unwrap_or((0.0, 1));
        let mut left: Vec<usize> = (0..table.scores.len()).collect();
        let mut placed: Vec<usize> = Vec::new();
        loop {
            let before = &placed[placed.len().saturating_sub(places - 1)..];
            let same = |pin: usize| {
                let same = before
                    .iter()
                    .filter(|&&other| table.values[other] == table.values[pin]);
                same.count()
            };
            let fits = |&pin: &usize| table.values[pin].is_none() || same(pin) < max;
            let cosine = |a: usize, b: usize| kernel::dot(&table.vectors[a], &table.vectors[b]);
            let worth = |pin: usize| {
                let cosines = placed.iter().map(|&other| cosine(pin, other));
                (1.0 - strength) * table.scores[pin] - strength * cosines.fold(0.0, f32::max)
            };
            let compared = left.iter().copied().filter(|pin| fits(pin)).take(among);
            let owner = table.medoids.get(placed.len());
            let worth = |pin: usize| (owner == Some(&table.medoids[pin]), worth(pin));
            let best = compared.reduce(|a, b| if worth(b) > worth(a) { b } else { a });
            // Without diversity the first.
            let first = left.iter().copied().find(|pin| fits(pin));
            let Some(next) = diversity.map_or(first, |_| best) else {
                return placed;
            };
            left.retain(|&pin| pin != next);
            placed.push(next);
        }
    }

    proptest! {
        #[test]
        fn an_arrangement_equals_its_naive_twin_and_is_the_head_of_a_longer_one(
            table in table(),
            (max, more) in (1usize..4, 1usize..6),
            diversity in prop::option::of((0.1f32..1.0, 1usize..20)),
            (limit, shown) in (1usize..70, 0usize..70),
        ) {
            let value = |pin: PinId| table.values[pin.0 as usize];
            let rule = Spacing { value: &value, max, places: max + more };
            let rules = [rule];
            let rerank = Rerank {
                spacing: &rules,
                diversity: diversity.map(|(strength, among)| Diversity {
                    vectors: &table,
                    strength,
                    among,
                }),
                ..Rerank::NONE
            };
            let candidates: Vec<Candidate> = table
                .scores
                .iter()
                .zip(&table.medoids)
                .zip(0..)
                .map(|((&score, &medoid_index), pin)| Candidate {
                    pin: PinId(pin),
                    score,
                    medoid_index,
                })
                .collect();
            let whole = Merged { candidates: &candidates, is_whole: true };
            let mut expected = naive(&table, (max, max + more), diversity);
            let left_out = expected.len() < limit.min(candidates.len());
            expected.truncate(limit);
            let ArrangeOutcome::Done(arranged) = arrange(whole, limit, &rerank, Deadline::never())
            else {
                panic!("a whole list");
            };
            let pins: Vec<usize> = arranged.candidates.iter().map(|c| c.pin.0 as usize).collect();
            prop_assert_eq!(&pins, &expected);
            prop_assert_eq!(arranged.left_out, left_out);
            // A part of the list is enough, or said not to be.
            let part = Merged {
                candidates: &candidates[..shown.min(candidates.len())],
                is_whole: false,
            };
            match arrange(part, limit, &rerank, Deadline::never()) {
                ArrangeOutcome::Done(of_part) => prop_assert_eq!(of_part, arranged),
                ArrangeOutcome::NeedsMore => prop_assert!(shown < most(&rerank, limit)),
            }
        }
    }

    #[test]
    fn where_no_candidate_within_reach_may_stand_the_list_ends() {
        let value = |pin: PinId| Some(u64::from(pin.0 > 2_005));
        let rules = [Spacing {
            value: &value,
            max: 1,
            places: 2,
        }];
        let rerank = Rerank {
            spacing: &rules,
            ..Rerank::NONE
        };
        let candidates: Vec<Candidate> = (0..3_000)
            .map(|pin| Candidate {
                pin: PinId(pin),
                score: 0.5,
                medoid_index: 0,
            })
            .collect();
        let whole = Merged {
            candidates: &candidates,
            is_whole: true,
        };
        let ArrangeOutcome::Done(arranged) = arrange(whole, 40, &rerank, Deadline::never()) else {
            panic!("a whole list");
        };
        // The second place looks at the candidates up to 2,001.
        assert_eq!(arranged.candidates.len(), 1);
        assert!(arranged.left_out);
    }

    #[test]
    fn what_is_left_when_time_is_up_comes_in_the_merged_order() {
        let alike = Table {
            values: Vec::new(),
            vectors: vec![[1.0, 0.0]; 9],
            scores: Vec::new(),
            medoids: Vec::new(),
        };
        let rerank = Rerank {
            diversity: Some(Diversity {
                vectors: &alike,
                strength: 1.0,
                among: 9,
            }),
            ..Rerank::NONE
        };
        let candidates: Vec<Candidate> = (0..9)
            .map(|pin| Candidate {
                pin: PinId(pin),
                score: 0.5,
                medoid_index: 0,
            })
            .collect();
        let whole = Merged {
            candidates: &candidates,
            is_whole: true,
        };
        let has_passed = || true;
        let ArrangeOutcome::Done(arranged) = arrange(whole, 9, &rerank, Deadline::new(&has_passed))
        else {
            panic!("a whole list");
        };
        assert_eq!(arranged.candidates, candidates);
        assert!(arranged.in_haste);
    }
}
