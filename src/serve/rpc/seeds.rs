//! The seeds of a request, checked against the catalog.

use std::mem;

use super::ids::{self, PinLists};
use crate::model::{Embeddings, PinId};
use crate::recommend::{Seed, SeedMode, Seeds, Target};
use crate::serve::request_limits::{MaxCount, SEEDS};
use crate::serve::state::Serving;
use crate::serve::status::CallError;
use crate::wire::v1;

/// The pins of a call that asks for pins like others.
const QUERY_PINS: PinLists = PinLists {
    ids: "pin_ids",
    keys: "pin_keys",
    max: SEEDS,
};
const QUERY_VECTORS: &str = "vectors";
/// Greatest weight of a seed. The sum of all stays exact enough for the least.
const MAX_WEIGHT: f64 = 1e6;

/// The seeds of a request.
#[derive(Debug, PartialEq)]
pub(crate) struct RequestSeeds {
    mode: SeedMode,
    /// In the order of the request. Once they are checked against the catalog, those that
    /// it has.
    list: Vec<RequestSeed>,
    unknown: UnknownPins,
}

/// Pins that a request names and the catalog lacks, as the request calls them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct UnknownPins {
    pub(crate) ids: Vec<u64>,
    pub(crate) keys: Vec<String>,
}

#[derive(Debug, PartialEq)]
struct RequestSeed {
    target: RequestTarget,
    weight: f64,
    /// Place in the request, from 0, those that are unknown counted.
    place: usize,
}

#[derive(Debug, PartialEq)]
enum RequestTarget {
    /// A pin, with its key where the request calls it by that.
    Pin(PinId, Option<String>),
    /// A unit vector.
    Vector(Vec<f32>),
}

impl RequestSeeds {
    fn new(mode: SeedMode) -> Self {
        Self {
            mode,
            list: Vec::new(),
            unknown: UnknownPins::default(),
        }
    }

    /// The seeds of a request for recommendations, whose mode is the value `mode`.
    pub(crate) fn of_messages(seeds: Vec<v1::Seed>, mode: i32) -> Result<Self, CallError> {
        let mut checked = Self::new(seed_mode(mode)?);
        if checked.mode == SeedMode::Replace && seeds.is_empty() {
            let reason = "is required where seed_mode is REPLACE";
            return Err(CallError::field("seeds", reason));
        }
        SEEDS.check("seeds", seeds.len())?;
        for (at, seed) in seeds.into_iter().enumerate() {
            let path = |field: &str| format!("seeds[{at}].{field}");
            let pin = ids::required_pin(seed.pin_id, seed.pin_key.as_deref(), path)?;
            let weight = checked_weight(seed.weight)
                .map_err(|reason| CallError::field(path("weight"), reason))?;
            checked.push(RequestTarget::Pin(pin, seed.pin_key), weight);
        }
        Ok(checked)
    }

    /// The queries of a call that asks for pins like others: its pins, those by ids first,
    /// then its vectors, which are taken out of it. Each has the same weight. `vectors` are
    /// those of the catalog.
    pub(crate) fn of_queries(
        request: &mut v1::SimilarPinsRequest,
        vectors: &Embeddings,
    ) -> Result<Self, CallError> {
        let (ids, keys) = (
            mem::take(&mut request.pin_ids),
            mem::take(&mut request.pin_keys),
        );
        let queries = mem::take(&mut request.vectors);
        if ids.is_empty() && keys.is_empty() && queries.is_empty() {
            let reason = "is empty, and so are pin_keys and vectors";
            return Err(CallError::field(QUERY_PINS.ids, reason));
        }
        let by_id = ids.len();
        let pins = QUERY_PINS.pins(ids, &keys)?;
        MaxCount::new(SEEDS.max - pins.len(), "vectors beside the pins")
            .check(QUERY_VECTORS, queries.len())?;
        let mut seeds = Self::new(SeedMode::Only);
        let keys = std::iter::repeat_n(None, by_id).chain(keys.into_iter().map(Some));
        for (pin, key) in pins.into_iter().zip(keys) {
            seeds.push(RequestTarget::Pin(pin, key), 1.0);
        }
        for vector in unit_vectors(&queries, vectors)? {
            seeds.push(RequestTarget::Vector(vector), 1.0);
        }
        Ok(seeds)
    }

    fn push(&mut self, target: RequestTarget, weight: f64) {
        let place = self.list.len();
        self.list.push(RequestSeed {
            target,
            weight,
            place,
        });
    }

    /// Sets the pins aside that the catalog lacks.
    pub(crate) fn set_unknown_aside(&mut self, serving: &Serving) {
        let pins = serving.pins();
        for seed in mem::take(&mut self.list) {
            match seed.target {
                RequestTarget::Pin(pin, key) if !pins.contains(pin) => {
                    self.unknown.push(pin, key);
                }
                RequestTarget::Pin(..) | RequestTarget::Vector(_) => self.list.push(seed),
            }
        }
    }

    /// Number of seeds.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is a vector, for which no list is kept.
    pub(crate) fn has_vectors(&self) -> bool {
        let is_vector = |seed: &RequestSeed| matches!(seed.target, RequestTarget::Vector(_));
        self.list.iter().any(is_vector)
    }

    /// Place in the request of the seed of this index.
    pub(crate) fn place(&self, index: usize) -> usize {
        self.list.get(index).map_or(index, |seed| seed.place)
    }

    /// The pins among the seeds, with their weights.
    pub(crate) fn pins(&self) -> impl Iterator<Item = (PinId, f64)> + Clone {
        self.list.iter().filter_map(|seed| match seed.target {
            RequestTarget::Pin(pin, _) => Some((pin, seed.weight)),
            RequestTarget::Vector(_) => None,
        })
    }

    /// The pins that the catalog lacks.
    pub(crate) fn unknown(&self) -> &UnknownPins {
        &self.unknown
    }

    /// How seeds and medoids stand to each other.
    pub(crate) fn mode(&self) -> SeedMode {
        self.mode
    }

    /// The seeds in the type of the core.
    pub(crate) fn list(&self) -> Vec<Seed<'_>> {
        let seeds = self.list.iter();
        seeds
            .map(|seed| Seed {
                target: match &seed.target {
                    RequestTarget::Pin(pin, _) => Target::Pin(*pin),
                    RequestTarget::Vector(vector) => Target::Vector(vector),
                },
                weight: seed.weight,
            })
            .collect()
    }
}

impl UnknownPins {
    fn push(&mut self, pin: PinId, key: Option<String>) {
        match key {
            Some(key) => self.keys.push(key),
            None => self.ids.push(pin.0),
        }
    }

    /// Number of pins.
    pub(crate) fn len(&self) -> usize {
        self.ids.len() + self.keys.len()
    }
}

/// The vectors of a request, normalized. Each must fit those of the catalog.
fn unit_vectors(queries: &[v1::Vector], vectors: &Embeddings) -> Result<Vec<Vec<f32>>, CallError> {
    let mut checked = vectors.empty_like();
    for (at, query) in queries.iter().enumerate() {
        let pushed = checked.push(&query.values);
        pushed.map_err(|e| CallError::field(format!("{QUERY_VECTORS}[{at}]"), e.to_string()))?;
    }
    let rows = 0..checked.len();
    Ok(rows.map(|row| checked.row(row).to_vec()).collect())
}

fn seed_mode(value: i32) -> Result<SeedMode, CallError> {
    match v1::SeedMode::try_from(value) {
        Ok(v1::SeedMode::Unspecified | v1::SeedMode::Join) => Ok(Seeds::NONE.mode),
        Ok(v1::SeedMode::Replace) => Ok(SeedMode::Replace),
        Err(_) => {
            let reason = format!("{value} is no seed mode");
            Err(CallError::field("seed_mode", reason))
        }
    }
}

/// The weight of a seed, where 0 stands for 1.
fn checked_weight(weight: f64) -> Result<f64, String> {
    match weight {
        0.0 => Ok(1.0),
        weight if weight > 0.0 && weight <= MAX_WEIGHT => Ok(weight),
        weight => Err(format!(
            "is {weight}, above 0 and at most {MAX_WEIGHT} may be"
        )),
    }
}
