//! The values of one attribute of all pins, in the shape in which filters ask for them.

use std::ops::Range;

use fixedbitset::FixedBitSet;
use roaring::RoaringBitmap;

use super::attribute_facts::AttributeFacts;
use super::catalog_manifest::CatalogManifest;
use crate::memory::Stored;
use crate::model::{AttributeKind, AttributeValue};
use crate::snapshot::{Reader, SnapshotError, Texts, Writer};

/// The code of a pin without a word.
pub(super) const NO_WORD: u32 = u32::MAX;
/// The words of a bool.
pub(super) const BOOLS: [&str; 2] = ["false", "true"];

/// The values of one attribute.
#[derive(Debug)]
pub(super) enum Column {
    Words(WordColumn),
    Numbers(NumberColumn),
}

/// The values of an attribute that are words.
#[derive(Debug)]
pub(super) struct WordColumn {
    /// Ascending.
    pub(super) words: Texts,
    /// Number of words.
    pub(super) count: usize,
    /// The bitmap of word w ends at `bitmap_ends[w]` of `bitmaps`.
    pub(super) bitmap_ends: Stored<u64>,
    pub(super) bitmaps: Stored<u8>,
    /// Numbers of the words of all pins, [`NO_WORD`] for a pin without one.
    pub(super) codes: Stored<u32>,
    /// Where the codes of each pin end; none where each has one.
    pub(super) code_ends: Option<Stored<u64>>,
}

/// The values of an attribute that are numbers.
#[derive(Debug)]
pub(super) struct NumberColumn {
    /// By position; NaN for none.
    pub(super) values: Stored<f64>,
    /// Positions of the pins that have a value, by rising value.
    pub(super) order: Stored<u32>,
}

/// The files of words; the last where pins may have several.
const WORD_PARTS: [&str; 6] = [
    "word_ends",
    "words",
    "bitmap_ends",
    "bitmaps",
    "codes",
    "code_ends",
];

/// The files of numbers.
const NUMBER_PARTS: [&str; 2] = ["values", "order"];

/// Name of a file of the attribute number `at`.
fn file(at: usize, part: &str) -> String {
    format!("attribute_{at}_{part}.bin")
}

/// The files of the attribute number `at`, of this type.
pub(super) fn files(at: usize, kind: AttributeKind) -> impl Iterator<Item = String> {
    let parts: &[&str] = match kind {
        AttributeKind::Int | AttributeKind::Float | AttributeKind::Timestamp => &NUMBER_PARTS,
        AttributeKind::Keyword | AttributeKind::Bool => &WORD_PARTS[..5],
        AttributeKind::Keywords => &WORD_PARTS,
    };
    parts.iter().map(move |part| file(at, part))
}

impl Column {
    /// Number of different words; 0 for numbers.
    pub(super) fn words(&self) -> usize {
        match self {
            Self::Words(column) => column.count,
            Self::Numbers(_) => 0,
        }
    }

    /// Bytes of all its files.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Words(column) => {
                let ends = column.code_ends.as_ref();
                let ends = ends.map_or(0, |ends| size_of_val(&**ends));
                let bitmaps = size_of_val(&*column.bitmap_ends) + column.bitmaps.len();
                column.words.bytes() + bitmaps + size_of_val(&*column.codes) + ends
            }
            Self::Numbers(NumberColumn { values, order }) => {
                size_of_val(&**values) + size_of_val(&**order)
            }
        }
    }

    /// Writes the attribute number `at`.
    pub(super) fn write(&self, writer: &mut Writer, at: usize) -> Result<(), SnapshotError> {
        match self {
            Self::Words(column) => column.write(writer, at),
            Self::Numbers(NumberColumn { values, order }) => {
                let [value_file, order_file] = NUMBER_PARTS.map(|part| file(at, part));
                writer.write(&value_file, bytemuck::cast_slice(values))?;
                writer.write(&order_file, bytemuck::cast_slice(order))
            }
        }
    }

    /// Maps the attribute number `at` of `pins` pins.
    pub(super) fn read(
        reader: &Reader<CatalogManifest>,
        at: usize,
        facts: &AttributeFacts,
        pins: usize,
    ) -> Result<Self, SnapshotError> {
        if !facts.kind.is_number() {
            return WordColumn::read(reader, at, facts, pins).map(Self::Words);
        }
        let [value_file, order_file] = NUMBER_PARTS.map(|part| file(at, part));
        Ok(Self::Numbers(NumberColumn {
            values: Stored::Mapped(reader.map_records(&value_file, pins)?),
            order: Stored::Mapped(reader.map_records(&order_file, facts.pins)?),
        }))
    }

    /// The value of the pin at `position`; none where it has none.
    pub(super) fn value(&self, position: usize, kind: AttributeKind) -> Option<AttributeValue> {
        match self {
            Self::Numbers(column) => column.number(position).map(AttributeValue::Number),
            Self::Words(column) => {
                let codes = column.codes_of(position);
                let mut words = codes.map(|code| column.words.get(code as usize).to_owned());
                if kind == AttributeKind::Bool {
                    return words
                        .next()
                        .map(|word| AttributeValue::Bool(word == BOOLS[1]));
                }
                let words: Vec<String> = words.collect();
                (!words.is_empty()).then_some(AttributeValue::Words(words))
            }
        }
    }

    /// The positions of the pins, of `pins`, that have a value.
    pub(super) fn present(&self, pins: usize) -> FixedBitSet {
        match self {
            Self::Words(column) => {
                let mut present = FixedBitSet::with_capacity(pins);
                let with_word = |&position: &usize| column.codes_of(position).next().is_some();
                present.extend((0..pins).filter(with_word));
                present
            }
            Self::Numbers(column) => bits_of(&column.order, pins),
        }
    }
}

impl WordColumn {
    /// The first word of the pin at `position`; none where it has none.
    pub(super) fn word(&self, position: usize) -> Option<&str> {
        let code = self.codes_of(position).next()?;
        Some(self.words.get(code as usize))
    }

    /// The numbers of the words of the pin at `position`, ascending.
    fn codes_of(&self, position: usize) -> impl Iterator<Item = u32> {
        let range = match &self.code_ends {
            None => position..position + 1,
            Some(ends) => range_of(ends, position),
        };
        let codes = self.codes.get(range).unwrap_or_default();
        codes.iter().copied().filter(|&code| code != NO_WORD)
    }

    /// The positions of the pins, of `pins`, that have one of `words`.
    pub(super) fn having<'w>(
        &self,
        words: impl Iterator<Item = &'w str>,
        pins: usize,
    ) -> Result<FixedBitSet, String> {
        let mut having = FixedBitSet::with_capacity(pins);
        for word in words {
            if let Some(code) = self.code_of(word) {
                let positions = self.bitmap(code)?;
                // Mapped files are checked in the background, so there may be anything.
                let positions = positions.iter().map(|position| position as usize);
                having.extend(positions.take_while(|&position| position < pins));
            }
        }
        Ok(having)
    }

    /// The number of `word`; none where no pin has it.
    fn code_of(&self, word: &str) -> Option<usize> {
        let (mut begin, mut end) = (0, self.count);
        while begin < end {
            let middle = begin.midpoint(end);
            match self.words.get(middle).cmp(word) {
                std::cmp::Ordering::Less => begin = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => end = middle,
            }
        }
        None
    }

    fn bitmap(&self, code: usize) -> Result<RoaringBitmap, String> {
        let bytes = self.bitmaps.get(range_of(&self.bitmap_ends, code));
        let bytes = bytes.ok_or("its bitmaps end early")?;
        RoaringBitmap::deserialize_from(bytes).map_err(|e| e.to_string())
    }

    fn write(&self, writer: &mut Writer, at: usize) -> Result<(), SnapshotError> {
        let [word_ends, words, bitmap_ends, bitmaps, codes, code_ends] =
            WORD_PARTS.map(|part| file(at, part));
        self.words.write(writer, &word_ends, &words)?;
        writer.write(&bitmap_ends, bytemuck::cast_slice(&self.bitmap_ends))?;
        writer.write(&bitmaps, &self.bitmaps)?;
        writer.write(&codes, bytemuck::cast_slice(&self.codes))?;
        match &self.code_ends {
            Some(ends) => writer.write(&code_ends, bytemuck::cast_slice(ends)),
            None => Ok(()),
        }
    }

    fn read(
        reader: &Reader<CatalogManifest>,
        at: usize,
        facts: &AttributeFacts,
        pins: usize,
    ) -> Result<Self, SnapshotError> {
        let [word_ends, words, bitmap_ends, bitmaps, codes, code_ends] =
            WORD_PARTS.map(|part| file(at, part));
        let has_several = facts.kind == AttributeKind::Keywords;
        Ok(Self {
            words: Texts::map(reader, &word_ends, &words, facts.words)?,
            count: facts.words,
            bitmap_ends: Stored::Mapped(reader.map_records(&bitmap_ends, facts.words)?),
            bitmaps: Stored::Mapped(reader.map_all_records(&bitmaps)?),
            codes: Stored::Mapped(if has_several {
                reader.map_all_records(&codes)?
            } else {
                reader.map_records(&codes, pins)?
            }),
            code_ends: if has_several {
                Some(Stored::Mapped(reader.map_records(&code_ends, pins)?))
            } else {
                None
            },
        })
    }
}

impl NumberColumn {
    /// The number of the pin at `position`; none where it has none.
    pub(super) fn number(&self, position: usize) -> Option<f64> {
        let value = *self.values.get(position)?;
        (!value.is_nan()).then_some(value)
    }

    /// The positions of the pins, of `pins`, whose number is in `range`.
    pub(super) fn having(&self, range: &crate::model::Range, pins: usize) -> FixedBitSet {
        // Damaged files may name pins that are not there.
        let value = |&position: &u32| self.values.get(position as usize).copied();
        let is_below = |number: f64| {
            range.gte.is_some_and(|bound| number < bound)
                || range.gt.is_some_and(|bound| number <= bound)
        };
        let begin = self
            .order
            .partition_point(|position| value(position).is_some_and(is_below));
        let rest = &self.order[begin..];
        let is_within = |number: f64| range.contains(number);
        let end = rest.partition_point(|position| value(position).is_some_and(is_within));
        bits_of(&rest[..end], pins)
    }
}

/// The range of the item `at`, where each ends at its place in `ends`.
fn range_of(ends: &[u64], at: usize) -> Range<usize> {
    let end = |at: usize| ends.get(at).map_or(0, |&end| end as usize);
    at.checked_sub(1).map_or(0, end)..end(at)
}

/// The bits of `positions` that are below `pins`.
fn bits_of(positions: &[u32], pins: usize) -> FixedBitSet {
    let mut bits = FixedBitSet::with_capacity(pins);
    let positions = positions.iter().map(|&position| position as usize);
    positions
        .filter(|&position| position < pins)
        .for_each(|position| bits.insert(position));
    bits
}
