//! The targets of one request: what each neighbor list is retrieved for, and its share of
//! the candidates.

use super::recommendation::SampledMedoid;
use super::seeds::{Seed, Target};
use crate::model::PinId;

/// The seeds of a request, then its sampled medoids. Each has a neighbor list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Targets<'a> {
    pub(super) seeds: &'a [Seed<'a>],
    pub(super) sampled: &'a [SampledMedoid],
}

impl<'a> Targets<'a> {
    /// Number of lists.
    pub(super) fn len(self) -> usize {
        self.seeds.len() + self.sampled.len()
    }

    /// The target of `list`.
    pub(super) fn get(self, list: usize) -> Target<'a> {
        match self.seeds.get(list) {
            Some(seed) => seed.target,
            None => Target::Pin(self.sampled[list - self.seeds.len()].medoid.pin),
        }
    }

    /// The pins among the targets.
    pub(super) fn pins(self) -> impl Iterator<Item = PinId> + 'a {
        let seeds = self.seeds.iter().filter_map(|seed| match seed.target {
            Target::Pin(pin) => Some(pin),
            Target::Vector(_) => None,
        });
        let sampled = self.sampled.iter();
        seeds.chain(sampled.map(|sampled| sampled.medoid.pin))
    }

    /// The weight of each list, in proportion to which it brings candidates: importances, in
    /// the context of the request. They add up to 1 beside seeds, whose weights are on that
    /// scale.
    pub(super) fn weights(self) -> impl Iterator<Item = f64> + Clone + 'a {
        let importance = |one: &SampledMedoid| one.medoid.importance * one.context_factor;
        let importances = self.sampled.iter().map(importance);
        let scale = if self.seeds.is_empty() {
            1.0
        } else {
            importances.clone().sum()
        };
        let seeds = self.seeds.iter().map(|seed| seed.weight);
        seeds.chain(importances.map(move |importance| importance / scale))
    }
}
