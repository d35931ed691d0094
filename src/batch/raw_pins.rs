//! Pins of a catalog before it is built: dropping and replacing them.

use std::collections::{HashMap, HashSet};

use super::error::same_hash;
use crate::index::AttributeBuilder;
use crate::model::{AttributeDefinition, EmbeddingError, Embeddings, PinId};

/// One pin of a file.
pub(super) struct RawPin {
    pub(super) id: PinId,
    /// What the caller calls it; none where that is the id.
    pub(super) key: Option<String>,
    pub(super) title: String,
    /// Row of its vector in [`RawPins::vectors`].
    pub(super) row: usize,
    pub(super) quality: Option<f64>,
    /// Bit pattern that near-duplicates share.
    pub(super) signature: Option<u64>,
}

/// All pins that a catalog is built from.
pub(super) struct RawPins {
    /// By ascending id, each once.
    pub(super) pins: Vec<RawPin>,
    pub(super) vectors: Embeddings,
    /// By row, as vectors are.
    pub(super) attributes: AttributeBuilder,
}

impl RawPins {
    /// No pins yet, with vectors of `dimension` components and these attributes.
    pub(super) fn new(
        dimension: usize,
        attributes: &[AttributeDefinition],
    ) -> Result<Self, EmbeddingError> {
        Ok(Self {
            pins: Vec::new(),
            vectors: Embeddings::new(dimension)?,
            attributes: AttributeBuilder::new(attributes.to_vec()),
        })
    }

    /// Drops pins below `min_quality`, and returns how many. A pin without a quality is
    /// below every threshold.
    pub(super) fn drop_low_quality(&mut self, min_quality: f64) -> u64 {
        self.retain(|pin| pin.quality.is_some_and(|quality| quality >= min_quality))
    }

    /// Keeps one of the pins that share a signature, the one of the best quality, then
    /// of the lowest id, and returns how many it dropped.
    pub(super) fn drop_near_duplicates(&mut self) -> u64 {
        let mut best: HashMap<u64, (f64, PinId)> = HashMap::new();
        let quality = |pin: &RawPin| pin.quality.unwrap_or(f64::NEG_INFINITY);
        for pin in &self.pins {
            let Some(signature) = pin.signature else {
                continue;
            };
            let kept = best.entry(signature).or_insert((quality(pin), pin.id));
            // Pins ascend by id, so of equal qualities the first stays.
            if quality(pin) > kept.0 {
                *kept = (quality(pin), pin.id);
            }
        }
        self.retain(|pin| {
            let kept = pin.signature.and_then(|signature| best.get(&signature));
            kept.is_none_or(|&(_, id)| id == pin.id)
        })
    }

    /// Adds the pins of `changed`, or replaces pins with their ids, and returns how many
    /// they are. Vectors of another dimension are an error, and a key that has the id of
    /// another one.
    pub(super) fn upsert(&mut self, changed: RawPins) -> Result<u64, String> {
        let keys: HashMap<PinId, Option<&str>> = changed
            .pins
            .iter()
            .map(|pin| (pin.id, pin.key.as_deref()))
            .collect();
        for pin in &self.pins {
            let replaced_by = keys.get(&pin.id).copied().flatten();
            if let Some(key) = replaced_by.filter(|&key| pin.key.as_deref() != Some(key)) {
                let other = pin.key.as_deref().unwrap_or_default();
                return Err(format!("pins {}", same_hash(key, other)));
            }
        }
        let count = keys.len() as u64;
        self.retain(|pin| !keys.contains_key(&pin.id));
        for pin in changed.pins {
            let vector = changed.vectors.row(pin.row);
            self.vectors.push(vector).map_err(|e| e.to_string())?;
            self.attributes.push(&changed.attributes.row(pin.row));
            let row = self.vectors.len() - 1;
            self.pins.push(RawPin { row, ..pin });
        }
        self.pins.sort_unstable_by_key(|pin| pin.id);
        Ok(count)
    }

    /// Drops the pins with these ids, and returns how many were found.
    pub(super) fn delete(&mut self, ids: &HashSet<PinId>) -> u64 {
        self.retain(|pin| !ids.contains(&pin.id))
    }

    fn retain(&mut self, keep: impl Fn(&RawPin) -> bool) -> u64 {
        let before = self.pins.len();
        self.pins.retain(keep);
        (before - self.pins.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SAME_HASH;

    fn pins(pins: &[(u64, Option<f64>, Option<u64>)]) -> RawPins {
        let mut raw = RawPins::new(2, &[]).expect("a dimension");
        for &(id, quality, signature) in pins {
            raw.vectors.push(&[1.0, id as f32]).expect("a vector");
            raw.attributes.push(&[]);
            raw.pins.push(RawPin {
                id: PinId(id),
                key: None,
                title: String::new(),
                row: raw.vectors.len() - 1,
                quality,
                signature,
            });
        }
        raw
    }

    fn ids(raw: &RawPins) -> Vec<u64> {
        raw.pins.iter().map(|pin| pin.id.0).collect()
    }

    #[test]
    fn pins_of_low_or_no_quality_are_dropped() {
        let mut raw = pins(&[(1, Some(0.5), None), (2, Some(0.4), None), (3, None, None)]);
        assert_eq!(raw.drop_low_quality(0.5), 2);
        assert_eq!(ids(&raw), [1]);
    }

    #[test]
    fn the_best_of_near_duplicates_stays_and_of_equal_ones_the_first() {
        let mut raw = pins(&[
            (1, Some(0.1), Some(7)),
            (2, Some(0.9), Some(7)),
            (3, None, Some(8)),
            (4, None, Some(8)),
            (5, None, None),
            (6, None, None),
        ]);
        assert_eq!(raw.drop_near_duplicates(), 2);
        assert_eq!(ids(&raw), [2, 3, 5, 6]);
    }

    #[test]
    fn changed_pins_replace_those_with_their_ids() {
        let mut raw = pins(&[(1, Some(0.5), None), (4, Some(0.5), None)]);
        let count = raw.upsert(pins(&[(3, None, None), (4, None, None)]));
        assert_eq!(count.expect("equal dimensions"), 2);
        assert_eq!(ids(&raw), [1, 3, 4]);
        assert_eq!(raw.pins[2].quality, None);
        let expected = pins(&[(4, None, None)]);
        assert_eq!(raw.vectors.row(raw.pins[2].row), expected.vectors.row(0));
        assert_eq!(raw.delete(&[PinId(1), PinId(9)].into()), 1);
        assert_eq!(ids(&raw), [3, 4]);
    }

    #[test]
    fn a_changed_pin_with_the_hash_of_another_one_is_refused_by_name() {
        let called = |key: &str| {
            let mut raw = pins(&[(PinId::of_key(key).0, None, None)]);
            raw.pins[0].key = Some(key.to_owned());
            raw
        };
        let [first, second] = SAME_HASH;
        let mut raw = called(first);
        assert_eq!(raw.upsert(called(first)), Ok(1));
        let refused = raw.upsert(called(second)).expect_err("one hash");
        assert!(refused.contains("the same hash"), "{refused}");
        assert!(refused.contains(first) && refused.contains(second));
    }
}
