//! Reranking rules over the pins of a catalog, and over those that changed since.

use std::sync::Arc;

use super::neighbor_cache::Index;
use super::selection::Selection;
use super::{DamagedAttribute, Delta, DeltaView};
use crate::model::{
    AttributeValue, Boost, BoostBy, Condition, Decay, Filter, PinAttributes, PinId, RerankRules,
    Timestamp, id_of_key,
};

/// What reranking rules say of each pin.
#[derive(Debug)]
pub struct Reranker<'a> {
    index: &'a Index,
    pins: DeltaView<'a>,
    boosts: Vec<PinBoost<'a>>,
    spacing: Vec<KeywordOf<'a>>,
    /// From which moment ages count, in seconds since 1970.
    now: f64,
}

/// A boost of pins.
#[derive(Debug)]
struct PinBoost<'a> {
    weight: f32,
    by: PinBoostBy<'a>,
}

#[derive(Debug)]
enum PinBoostBy<'a> {
    Condition {
        condition: &'a Condition,
        /// The pins of the catalog for which it holds.
        selection: Arc<Selection>,
    },
    Decay {
        decay: &'a Decay,
        /// Place of the attribute among those of the catalog.
        attribute: Option<usize>,
    },
}

/// A keyword of pins.
#[derive(Debug)]
struct KeywordOf<'a> {
    name: &'a str,
    /// Place of the attribute among those of the catalog.
    attribute: Option<usize>,
}

/// Where the attributes of a pin are.
enum PinPlace<'a> {
    /// Position in the table of the catalog.
    InCatalog(usize),
    Upserted(&'a PinAttributes),
}

impl<'a> Reranker<'a> {
    /// Evaluates `rules` over the catalog of `index` beside `delta`; ages count from `now`.
    ///
    /// # Errors
    ///
    /// The files of an attribute are damaged.
    pub fn new(
        rules: &'a RerankRules,
        index: &'a Index,
        delta: &'a Delta,
        now: Timestamp,
    ) -> Result<Self, DamagedAttribute> {
        let catalog = index.catalog();
        let boost = |Boost { weight, by }: &'a Boost| {
            let by = match by {
                BoostBy::Condition(condition) => PinBoostBy::Condition {
                    condition,
                    selection: index.select(&Filter::of(condition.clone()))?,
                },
                BoostBy::Decay(decay) => PinBoostBy::Decay {
                    decay,
                    attribute: catalog.attributes.place(&decay.attribute),
                },
            };
            Ok(PinBoost {
                weight: *weight,
                by,
            })
        };
        let keywords = rules.spacing.iter().map(|rule| KeywordOf {
            name: &rule.attribute,
            attribute: catalog.attributes.place(&rule.attribute),
        });
        let pins = &catalog.pins;
        Ok(Self {
            index,
            pins: DeltaView { pins, delta },
            boosts: rules.boosts.iter().map(boost).collect::<Result<_, _>>()?,
            spacing: keywords.collect(),
            now: now.as_seconds(),
        })
    }

    /// The sum of all boosts of `pin`, as a difference of cosines.
    pub fn bonus(&self, pin: PinId) -> f32 {
        if self.boosts.is_empty() {
            return 0.0;
        }
        let Some(place) = self.place(pin) else {
            return 0.0;
        };
        let boosts = self.boosts.iter();
        boosts.fold(0.0, |sum, boost| sum + self.boost_at(boost, &place))
    }

    /// Whether any boost counts.
    pub fn has_boosts(&self) -> bool {
        !self.boosts.is_empty()
    }

    /// The greatest sum of boosts that a pin could have.
    pub fn max_bonus(&self) -> f32 {
        let weights = self.boosts.iter().map(|boost| boost.weight.max(0.0));
        // In the order of the sum of a pin, whose rounding it bounds.
        weights.fold(0.0, |sum, weight| sum + weight)
    }

    /// For each spacing rule the word of a pin that it goes by, as a number.
    pub fn keywords(&self) -> Vec<impl Fn(PinId) -> Option<u64>> {
        let keywords = self.spacing.iter();
        keywords
            .map(|of| move |pin| self.keyword(of, pin))
            .collect()
    }

    fn keyword(&self, of: &KeywordOf<'_>, pin: PinId) -> Option<u64> {
        let KeywordOf { name, attribute } = of;
        let word = match self.place(pin)? {
            PinPlace::InCatalog(position) => {
                let attributes = &self.index.catalog().attributes;
                attributes.word((*attribute)?, position)?
            }
            PinPlace::Upserted(attributes) => match attributes.get(name)? {
                AttributeValue::Words(words) => words.first()?,
                AttributeValue::Bool(_) | AttributeValue::Number(_) => return None,
            },
        };
        Some(id_of_key(word))
    }

    fn place(&self, pin: PinId) -> Option<PinPlace<'a>> {
        match self.pins.upserted_attributes(pin) {
            Some(attributes) => Some(PinPlace::Upserted(attributes)),
            None => self.pins.pins.position(pin).map(PinPlace::InCatalog),
        }
    }

    fn boost_at(&self, boost: &PinBoost<'_>, place: &PinPlace<'_>) -> f32 {
        match &boost.by {
            PinBoostBy::Condition {
                condition,
                selection,
            } => {
                let holds = match *place {
                    PinPlace::InCatalog(position) => selection.has_position(position),
                    PinPlace::Upserted(attributes) => condition.holds(attributes),
                };
                if holds { boost.weight } else { 0.0 }
            }
            PinBoostBy::Decay { decay, attribute } => {
                let moment = match *place {
                    PinPlace::InCatalog(position) => {
                        let attributes = &self.index.catalog().attributes;
                        attribute.and_then(|at| attributes.number(at, position))
                    }
                    PinPlace::Upserted(attributes) => match attributes.get(&decay.attribute) {
                        Some(AttributeValue::Number(number)) => Some(*number),
                        _ => None,
                    },
                };
                moment.map_or(0.0, |moment| {
                    let age = (self.now - moment).max(0.0);
                    let half_lives = age / decay.half_life.as_secs_f64();
                    (f64::from(boost.weight) * libm::exp2(-half_lives)) as f32
                })
            }
        }
    }
}
