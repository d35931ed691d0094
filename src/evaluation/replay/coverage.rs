//! The pins that were recommended to anybody: a set that many threads add to.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Pins of a word of the set.
const WORD_BITS: u32 = u64::BITS;

/// A set of pins by slot, the position in the order of their ids.
#[derive(Debug)]
pub(crate) struct CoveredPins(Vec<AtomicU64>);

/// A word of the set that is not empty. Checkpoints hold it as `[index, bits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u64)", into = "(u32, u64)")]
pub(super) struct CoveredWord {
    pub(super) index: u32,
    pub(super) bits: u64,
}

impl From<(u32, u64)> for CoveredWord {
    fn from((index, bits): (u32, u64)) -> Self {
        Self { index, bits }
    }
}

impl From<CoveredWord> for (u32, u64) {
    fn from(word: CoveredWord) -> Self {
        (word.index, word.bits)
    }
}

impl CoveredPins {
    /// The empty set over `pins` pins.
    pub(super) fn empty(pins: usize) -> Self {
        let words = pins.div_ceil(WORD_BITS as usize);
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// Adds the pin in `slot`.
    pub(super) fn insert(&self, slot: u32) {
        let bit = 1 << (slot % WORD_BITS);
        // Only sums over all threads are read, after they have ended.
        self.0[(slot / WORD_BITS) as usize].fetch_or(bit, Ordering::Relaxed);
    }

    /// The words that are not empty.
    pub(super) fn words(&self) -> Vec<CoveredWord> {
        let bits = self.0.iter().map(|word| word.load(Ordering::Relaxed));
        let words = (0..).zip(bits).map(CoveredWord::from);
        words.filter(|word| word.bits != 0).collect()
    }

    /// Adds [`CoveredPins::words`] of a set over as many pins. Words beyond them are
    /// ignored.
    pub(super) fn merge(&self, words: &[CoveredWord]) {
        for word in words {
            if let Some(merged) = self.0.get(word.index as usize) {
                merged.fetch_or(word.bits, Ordering::Relaxed);
            }
        }
    }

    /// Number of pins in the set.
    pub(crate) fn count(&self) -> usize {
        let ones = |word: &AtomicU64| word.load(Ordering::Relaxed).count_ones() as usize;
        self.0.iter().map(ones).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_carry_a_set_into_another_one() {
        let (first, second) = (CoveredPins::empty(130), CoveredPins::empty(130));
        let _ = [0, 63, 129, 129].map(|slot| first.insert(slot));
        let _ = [63, 64].map(|slot| second.insert(slot));
        second.merge(&first.words());
        assert_eq!((first.count(), second.count()), (3, 4));
        let text = serde_json::to_string(&first.words()).expect("JSON");
        assert_eq!(text, format!("[[0,{}],[2,2]]", 1 + (1u64 << 63)));
        let words: Vec<CoveredWord> = serde_json::from_str(&text).expect("words");
        assert_eq!(words, first.words());
        let beyond = CoveredWord { index: 3, bits: 1 };
        second.merge(&[beyond]);
        assert_eq!(second.count(), 4);
    }
}
