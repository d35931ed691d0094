//! The online core. [`recommend`] is the whole flow:
//! look up -> sample -> retrieve -> merge.
//!
//! Pure but for the two seams that the shell fills: [`Retrieve`], where the
//! index answers, and [`Watch`], where stages are timed. Randomness is passed
//! in, and nothing depends on a clock.

mod ladder;
mod merge;
mod quota;
mod sample;

pub use ladder::{Fallback, Origin};
pub use merge::MergeStrategy;

use rand::Rng;

use crate::model::{Candidate, Medoid, Neighbor, PinId};

/// The seam between the flow and an index over the pins of one catalogue.
pub trait Retrieve {
    /// Whether the catalogue has `pin`.
    fn contains(&self, pin: PinId) -> bool;

    /// The `k` pins nearest to `pin` among those for which `eligible` holds, by
    /// [`Neighbor::by_falling_score`]. Fewer only when the catalogue has no more
    /// of them. `pin` itself is a pin like any other; the catalogue must have it.
    fn neighbors(&self, pin: PinId, k: usize, eligible: &dyn Fn(PinId) -> bool) -> Vec<Neighbor>;
}

/// A stage of the flow, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding medoids to sample from.
    Lookup,
    /// Drawing medoids.
    Sample,
    /// Asking the index.
    Retrieve,
    /// Making one list of several.
    Merge,
}

/// The seam where the shell times the stages.
pub trait Watch {
    /// Runs `work`, which is a part of `stage`, and returns what it returns.
    fn stage<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T;
}

/// What is known of the user who asks.
#[derive(Clone, Copy, Debug)]
pub struct Interests<'a> {
    /// The user's medoids by falling importance; none for an unknown user.
    pub profile: Option<&'a [Medoid]>,
    /// The most important medoids over all users, for those without a profile.
    pub popular: &'a [Medoid],
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Number of candidates; at least 1.
    pub limit: usize,
    /// Number of medoids to sample; at least 1.
    pub medoids: usize,
    /// How lists become one.
    pub strategy: MergeStrategy,
    /// Pins that must not be returned.
    pub excluded: &'a [PinId],
}

/// A medoid that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampledMedoid {
    /// The medoid.
    pub medoid: Medoid,
    /// Probability with which a draw of this size includes it.
    pub inclusion_probability: f64,
}

/// The answer, and why it is this one.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// Best first, no pin twice.
    pub candidates: Vec<Candidate>,
    /// In the order in which they were drawn.
    pub sampled: Vec<SampledMedoid>,
    /// Where the medoids come from.
    pub origin: Origin,
    /// Why they are not the user's own.
    pub fallback: Option<Fallback>,
    /// Whether medoids of the profile are missing from the catalogue.
    pub medoids_missing: bool,
}

/// Candidates for one user.
///
/// `in_history` tells whether the user acted on a pin; such pins are not
/// returned. The answer is a function of the arguments and of the numbers that
/// `rng` draws: one for each medoid that could be sampled.
pub fn recommend(
    interests: Interests<'_>,
    in_history: &dyn Fn(PinId) -> bool,
    request: &Request<'_>,
    index: &dyn Retrieve,
    rng: &mut impl Rng,
    watch: &impl Watch,
) -> Recommendation {
    let found = watch.stage(Stage::Lookup, || {
        ladder::climb(interests, |pin| index.contains(pin))
    });
    let sampled = watch.stage(Stage::Sample, || {
        sample_medoids(&found.medoids, request, rng)
    });
    let barred = barred_pins(interests.profile, &sampled, request.excluded);
    let eligible = |pin: PinId| barred.binary_search(&pin).is_err() && !in_history(pin);

    let quotas = quota::quotas(sampled.iter().map(|s| s.medoid.importance), request.limit);
    let mut lists: Vec<merge::List> = quotas.into_iter().map(merge::List::new).collect();
    let mut starved: Vec<usize> = (0..lists.len()).collect();
    let candidates = loop {
        watch.stage(Stage::Retrieve, || {
            for &at in &starved {
                let depth = lists[at].next_depth(request.strategy, request.limit);
                let pin = sampled[at].medoid.pin;
                lists[at].fill(depth, index.neighbors(pin, depth, &eligible));
            }
        });
        match watch.stage(Stage::Merge, || {
            merge::merge(&lists, request.strategy, request.limit)
        }) {
            Ok(candidates) => break candidates,
            Err(list) => starved = vec![list],
        }
    };
    Recommendation {
        candidates,
        sampled,
        origin: found.origin,
        fallback: found.fallback,
        medoids_missing: found.medoids_missing,
    }
}

fn sample_medoids(
    medoids: &[Medoid],
    request: &Request<'_>,
    rng: &mut impl Rng,
) -> Vec<SampledMedoid> {
    let weights: Vec<f64> = medoids.iter().map(|medoid| medoid.importance).collect();
    sample::sample(&weights, request.medoids, rng)
        .into_iter()
        .map(|draw| SampledMedoid {
            medoid: medoids[draw.index],
            inclusion_probability: draw.inclusion_probability,
        })
        .collect()
}

/// The user's own medoids, the sampled ones and the exclusions of the request,
/// sorted.
fn barred_pins(
    profile: Option<&[Medoid]>,
    sampled: &[SampledMedoid],
    excluded: &[PinId],
) -> Vec<PinId> {
    let own = profile.unwrap_or_default().iter().map(|medoid| medoid.pin);
    let drawn = sampled.iter().map(|sampled| sampled.medoid.pin);
    let mut barred: Vec<PinId> = own.chain(drawn).chain(excluded.iter().copied()).collect();
    barred.sort_unstable();
    barred
}
