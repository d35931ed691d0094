//! Reranking rules over the pins of a catalog, and over those that changed since.

use std::sync::Arc;

use super::selection::Selection;
use super::{Catalog, DamagedAttribute, Delta, DeltaView};
use crate::model::{
    AttributeValue, Boost, BoostBy, Condition, Decay, Filter, PinAttributes, PinId, RerankRules,
    Timestamp, id_of_key,
};
use crate::recommend::{Bonus, Diversity, Rerank, Spacing};

/// What reranking rules say of each pin.
#[derive(Clone, Debug)]
pub struct Reranker<'a> {
    rules: &'a RerankRules,
    catalog: &'a Catalog,
    pins: DeltaView<'a>,
    boosts: Vec<PinBoost<'a>>,
    spacing: Vec<KeywordOf<'a>>,
    /// From which moment ages count, in seconds since 1970.
    now: f64,
}

/// A boost of pins.
#[derive(Clone, Debug)]
struct PinBoost<'a> {
    weight: f32,
    by: PinBoostBy<'a>,
}

#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
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
    /// Evaluates `rules` over `catalog` beside `delta`; ages count from `now`, and `select`
    /// finds the pins of the catalog that a filter selects.
    ///
    /// # Errors
    ///
    /// That of `select`.
    pub fn new(
        rules: &'a RerankRules,
        catalog: &'a Catalog,
        delta: &'a Delta,
        now: Timestamp,
        select: impl Fn(&Filter) -> Result<Arc<Selection>, DamagedAttribute>,
    ) -> Result<Self, DamagedAttribute> {
        let boost = |Boost { weight, by }: &'a Boost| {
            let by = match by {
                BoostBy::Condition(condition) => PinBoostBy::Condition {
                    condition,
                    selection: select(&Filter::of(condition.clone()))?,
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
            rules,
            catalog,
            pins: DeltaView { pins, delta },
            boosts: rules.boosts.iter().map(boost).collect::<Result<_, _>>()?,
            spacing: keywords.collect(),
            now: now.as_seconds(),
        })
    }

    /// The same rules, with ages that count from `now`.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Self {
        Self {
            now: now.as_seconds(),
            ..self.clone()
        }
    }

    /// Calls `then` with the rules in the types of the core. The `popularity` of a pin is in
    /// [0, 1]; `weight` is what it is worth beside nearness.
    pub fn with_rerank<T>(
        &self,
        weight: f32,
        popularity: impl Fn(PinId) -> f32,
        then: impl FnOnce(Rerank<'_>) -> T,
    ) -> T {
        let counts_popularity = weight > 0.0;
        let of_popularity = |pin| match counts_popularity {
            true => weight * popularity(pin),
            false => 0.0,
        };
        let bonus = |pin| of_popularity(pin) + self.boosts_of(pin);
        let counts = counts_popularity || !self.boosts.is_empty();
        let keywords = self.keywords();
        let spacing: Vec<Spacing<'_>> = self
            .rules
            .spacing
            .iter()
            .zip(&keywords)
            .map(|(rule, keyword)| Spacing {
                value: keyword,
                max: rule.max as usize,
                places: rule.places as usize,
            })
            .collect();
        then(Rerank {
            min_score: self.rules.min_score,
            bonus: counts.then(|| Bonus::new(weight + self.max_boosts(), &bonus)),
            spacing: &spacing,
            diversity: self.rules.diversity.map(|rule| Diversity {
                vectors: &self.pins,
                strength: rule.strength,
                among: rule.among as usize,
            }),
        })
    }

    /// The sum of all boosts of `pin`, as a difference of cosines.
    fn boosts_of(&self, pin: PinId) -> f32 {
        if self.boosts.is_empty() {
            return 0.0;
        }
        let Some(place) = self.place(pin) else {
            return 0.0;
        };
        let boosts = self.boosts.iter();
        boosts.fold(0.0, |sum, boost| sum + self.boost_at(boost, &place))
    }

    /// The greatest sum of boosts that a pin could have.
    fn max_boosts(&self) -> f32 {
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
                let attributes = &self.catalog.attributes;
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
                        let attributes = &self.catalog.attributes;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::index::{
        AttributeBuilder, CatalogManifest, CatalogParts, GraphParams, Pin, PinTable,
        QuantizedVectors, build_graph,
    };
    use crate::model::Embeddings;
    use crate::progress::Progress;

    const DAY: f64 = 86_400.0;

    /// Pins 0 to 3: the even ones are of brand a, the others of b, and each is a day older
    /// than the one before. Pin 3 has no attributes.
    fn catalog() -> (tempfile::TempDir, Catalog) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut vectors = Embeddings::new(2).expect("a dimension");
        let definitions = ["brand:keyword", "created_at:timestamp"];
        let definitions = definitions.map(|text| text.parse().expect("a definition"));
        let mut attributes = AttributeBuilder::new(definitions.to_vec());
        let mut pins = Vec::new();
        for pin in 0..4u32 {
            vectors.push(&[1.0, pin as f32]).expect("a vector");
            let brand = ["a", "b"][pin as usize % 2].to_owned();
            let created = (100.0 - f64::from(pin)) * DAY;
            attributes.push(&match pin {
                3 => [None, None],
                _ => [
                    Some(AttributeValue::words(vec![brand])),
                    Some(AttributeValue::Number(created)),
                ],
            });
            pins.push(Pin {
                id: PinId(pin.into()),
                node: pin,
                title: String::new(),
                key: None,
            });
        }
        let pins = PinTable::new(&pins, vectors);
        let graph = GraphParams {
            ef_construction: 8,
            seed: 1,
        };
        let codes = QuantizedVectors::new(pins.vectors()).expect("memory");
        let attributes = attributes.finish(&[0, 1, 2, 3]);
        let facts = CatalogManifest {
            attributes: attributes.facts(),
            ..CatalogManifest::of_table(&pins, "test", graph)
        };
        let parts = CatalogParts {
            pins: &pins,
            codes: &codes,
            graph: &build_graph(&codes, graph, &Progress::Silent.stage("", 0)).expect("memory"),
            attributes: &attributes,
        };
        Catalog::write(directory.path(), parts, facts).expect("a catalog");
        let catalog = Catalog::open(directory.path()).expect("a catalog");
        (directory, catalog)
    }

    fn day(day: i64) -> Timestamp {
        Timestamp::from_seconds(day * DAY as i64).expect("a time")
    }

    #[test]
    fn boosts_add_up_beside_popularity_and_ages_count_from_any_moment() {
        let (_directory, catalog) = catalog();
        let rules: RerankRules = serde_json::from_str(
            r#"{"min_score": 0.25, "boosts": [
                {"weight": 0.5, "condition": {"attribute": "brand", "any_of": ["a"]}},
                {"weight": -0.125, "condition": {"attribute": "brand", "exists": true}},
                {"weight": 1.0, "decay": {"attribute": "created_at", "half_life": "1d"}}]}"#,
        )
        .expect("rules");
        let delta = Delta::new(catalog.pins.vectors());
        let select = |filter: &Filter| {
            Selection::new(filter, &catalog.attributes, &catalog.pins).map(Arc::new)
        };
        let reranker = Reranker::new(&rules, &catalog, &delta, day(100), select);
        let reranker = reranker.expect("an intact catalog");
        let bonuses = |reranker: &Reranker<'_>| {
            let of = |pin| reranker.boosts_of(PinId(pin));
            [0, 1, 2, 3, 99].map(of)
        };
        assert_eq!(bonuses(&reranker), [1.375, 0.375, 0.625, 0.0, 0.0]);
        let later = reranker.at(day(101));
        assert_eq!(bonuses(&later), [0.875, 0.125, 0.5, 0.0, 0.0]);
        assert_eq!(reranker.max_boosts(), 1.5);
        let popularity = |pin: PinId| pin.0 as f32 / 4.0;
        reranker.with_rerank(0.5, popularity, |rerank| {
            assert_eq!(rerank.min_score, Some(0.25));
            let bonus = format!("{:?}", rerank.bonus.expect("a bonus"));
            assert!(bonus.contains("2.0"), "{bonus}");
            assert!(rerank.spacing.is_empty() && rerank.diversity.is_none());
        });
    }

    #[test]
    fn without_rules_and_popularity_nothing_counts_beside_nearness() {
        let (_directory, catalog) = catalog();
        let (rules, delta) = (RerankRules::default(), Delta::new(catalog.pins.vectors()));
        let select = |filter: &Filter| {
            Selection::new(filter, &catalog.attributes, &catalog.pins).map(Arc::new)
        };
        let reranker = Reranker::new(&rules, &catalog, &delta, day(100), select);
        let reranker = reranker.expect("an intact catalog");
        let has_bonus = |weight| reranker.with_rerank(weight, |_| 1.0, |r| r.bonus.is_some());
        assert!(!has_bonus(0.0) && has_bonus(0.5));
    }

    #[test]
    fn spacing_goes_by_the_words_of_pins() {
        let (_directory, catalog) = catalog();
        let rules = r#"{"spacing": [{"attribute": "brand", "max": 1, "places": 3}],
            "diversity": {"strength": 0.5}}"#;
        let rules: RerankRules = serde_json::from_str(rules).expect("rules");
        let delta = Delta::new(catalog.pins.vectors());
        let select = |_: &Filter| unreachable!("no condition");
        let reranker = Reranker::new(&rules, &catalog, &delta, day(100), select);
        let reranker = reranker.expect("an intact catalog");
        reranker.with_rerank(
            0.0,
            |_| 0.0,
            |rerank| {
                let [Spacing { value, max, places }] = rerank.spacing else {
                    panic!("one rule");
                };
                assert_eq!((*max, *places), (1, 3));
                let words = [0, 1, 2, 3, 99].map(|pin| value(PinId(pin)));
                assert!(words[0].is_some() && words[0] == words[2] && words[0] != words[1]);
                assert_eq!(words[3..], [None, None]);
                let diversity = rerank.diversity.expect("a rule");
                assert_eq!((diversity.strength, diversity.among), (0.5, 100));
                assert!(diversity.vectors.vector(PinId(2)).is_some());
            },
        );
    }
}
