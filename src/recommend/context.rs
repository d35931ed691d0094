//! The context of a request: a pin near to which the medoids are sampled.

use std::fmt;

use crate::model::{Medoid, PinId};

/// A pin near to which medoids are sampled.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Cosine between the pin and a medoid, in [-1, 1].
    pub cosine: &'a dyn Fn(PinId) -> f32,
    /// Number of medoids, those nearest to the pin, to sample among; at least 1.
    pub medoids: usize,
    /// What nearness is worth: a medoid counts exp(strength * cosine) times its importance.
    /// Finite and at least 0.
    pub strength: f64,
}

/// The medoids nearest to a context pin.
#[derive(Debug)]
pub(super) struct NearMedoids {
    /// In the order in which they were before.
    pub(super) medoids: Vec<Medoid>,
    /// One for each medoid: how many times its importance it counts.
    pub(super) factors: Vec<f64>,
}

impl Context<'_> {
    /// Those of `medoids` to sample among. Of equally near ones the first are taken.
    pub(super) fn nearest(&self, medoids: &[Medoid]) -> NearMedoids {
        let cosine = |medoid: &Medoid| (self.cosine)(medoid.pin);
        let mut near: Vec<(f32, usize)> = medoids.iter().map(cosine).zip(0..).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        near.truncate(self.medoids);
        near.sort_unstable_by_key(|&(_, index)| index);
        let factor = |cosine: f32| libm::exp(self.strength * f64::from(cosine));
        let chosen = near.into_iter();
        let chosen = chosen.map(|(cosine, index)| (medoids[index], factor(cosine)));
        let (medoids, factors) = chosen.unzip();
        NearMedoids { medoids, factors }
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("medoids", &self.medoids)
            .field("strength", &self.strength)
            .finish_non_exhaustive()
    }
}
