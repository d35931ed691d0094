//! The attributes of the pins of a catalog, by column.
//!
//! ```text
//! attribute_0_words.bin         words of attribute 0, ascending, with their ends in
//! attribute_0_word_ends.bin
//! attribute_0_bitmaps.bin       for each word the pins that have it, as a Roaring bitmap of
//! attribute_0_bitmap_ends.bin   positions (the format of RoaringFormatSpec)
//! attribute_0_codes.bin         for each pin the number of its word
//! attribute_0_code_ends.bin     where the words of a pin end, if it may have several
//! attribute_1_values.bin        for each pin its number; NaN for none
//! attribute_1_order.bin         the positions of the pins that have one, by rising number
//! ```
//!
//! A bool is a keyword that is `false` or `true`. All files are mapped: what no filter asks
//! for takes no memory.

use fixedbitset::FixedBitSet;

use super::attribute_columns::{self, BOOLS, Column};
use super::{AttributeFacts, CatalogManifest};
use crate::model::{AttributeDefinition, Condition, Filter, PinAttributes, Test};
use crate::snapshot::{Reader, SnapshotError, Writer};

/// The attributes of all pins.
#[derive(Debug, Default)]
pub struct AttributeTable {
    definitions: Vec<AttributeDefinition>,
    /// In the order of the definitions.
    columns: Vec<Column>,
    pins: usize,
}

/// An attribute whose files are not what was written.
#[derive(Debug, thiserror::Error)]
#[error("the attribute {attribute:?} is damaged: {reason}")]
pub struct DamagedAttribute {
    /// Name of the attribute.
    pub attribute: String,
    /// What is wrong.
    pub reason: String,
}

impl AttributeTable {
    /// A table of these columns, in the order of `definitions`, over `pins` pins.
    pub(super) fn new(
        definitions: Vec<AttributeDefinition>,
        columns: Vec<Column>,
        pins: usize,
    ) -> Self {
        debug_assert_eq!(definitions.len(), columns.len());
        Self {
            definitions,
            columns,
            pins,
        }
    }

    /// The attributes that pins may have.
    pub fn definitions(&self) -> &[AttributeDefinition] {
        &self.definitions
    }

    /// The facts of all attributes, for the manifest.
    pub fn facts(&self) -> Vec<AttributeFacts> {
        let columns = self.definitions.iter().zip(&self.columns);
        let facts = columns.map(|(definition, column)| AttributeFacts {
            name: definition.name.clone(),
            kind: definition.kind,
            pins: column.present(self.pins).count_ones(..),
            words: column.words(),
        });
        facts.collect()
    }

    /// Bytes of all columns.
    pub fn bytes(&self) -> u64 {
        let bytes = self.columns.iter().map(Column::bytes);
        bytes.sum::<usize>() as u64
    }

    /// Place of the attribute `name` among the definitions.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.definitions.iter().position(|one| one.name == name)
    }

    /// The number of the pin at `position` in the attribute at `place`.
    pub(super) fn number(&self, place: usize, position: usize) -> Option<f64> {
        match self.columns.get(place)? {
            Column::Numbers(column) => column.number(position),
            Column::Words(_) => None,
        }
    }

    /// The first word of the pin at `position` in the attribute at `place`.
    pub(super) fn word(&self, place: usize, position: usize) -> Option<&str> {
        match self.columns.get(place)? {
            Column::Words(column) => column.word(position),
            Column::Numbers(_) => None,
        }
    }

    /// The attributes of the pin at `position`.
    pub fn of_pin(&self, position: usize) -> PinAttributes {
        let columns = self.definitions.iter().zip(&self.columns);
        let values = columns.filter_map(|(definition, column)| {
            let value = column.value(position, definition.kind)?;
            Some((definition.name.clone(), value))
        });
        PinAttributes::new(values)
    }

    /// The positions of the pins that `filter` selects, as bits. A condition on an
    /// attribute that is not here, or is of another type, holds for no pin.
    pub fn select(&self, filter: &Filter) -> Result<FixedBitSet, DamagedAttribute> {
        let mut selected = FixedBitSet::with_capacity(self.pins);
        selected.insert_range(..);
        for condition in &filter.must {
            selected.intersect_with(&self.holding(condition)?);
        }
        for condition in &filter.must_not {
            selected.difference_with(&self.holding(condition)?);
        }
        Ok(selected)
    }

    /// The positions of the pins for which `condition` holds.
    fn holding(&self, condition: &Condition) -> Result<FixedBitSet, DamagedAttribute> {
        let Condition { attribute, test } = condition;
        let column = self.place(attribute).map(|at| &self.columns[at]);
        let damaged = |reason| DamagedAttribute {
            attribute: attribute.clone(),
            reason,
        };
        match (test, column) {
            (Test::Exists(exists), column) => {
                let mut present = match column {
                    Some(column) => column.present(self.pins),
                    None => FixedBitSet::with_capacity(self.pins),
                };
                if !exists {
                    present.toggle_range(..);
                }
                Ok(present)
            }
            (Test::AnyOf(words), Some(Column::Words(column))) => {
                let words = words.iter().map(String::as_str);
                column.having(words, self.pins).map_err(damaged)
            }
            (Test::Is(is), Some(Column::Words(column))) => {
                let word = BOOLS[usize::from(*is)];
                column
                    .having([word].into_iter(), self.pins)
                    .map_err(damaged)
            }
            (Test::Range(range), Some(Column::Numbers(column))) => {
                Ok(column.having(range, self.pins))
            }
            (Test::AnyOf(_) | Test::Is(_) | Test::Range(_), _) => {
                Ok(FixedBitSet::with_capacity(self.pins))
            }
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), SnapshotError> {
        let mut columns = self.columns.iter().enumerate();
        columns.try_for_each(|(at, column)| column.write(writer, at))
    }

    /// Maps the attributes of a catalog, whose files are not checked: see
    /// [`Self::mapped`].
    pub(super) fn read(reader: &Reader<CatalogManifest>) -> Result<Self, SnapshotError> {
        let CatalogManifest {
            pins, attributes, ..
        } = &reader.manifest().facts;
        let columns = attributes.iter().enumerate();
        let columns = columns.map(|(at, facts)| Column::read(reader, at, facts, *pins));
        let columns = columns.collect::<Result<_, _>>()?;
        let definitions = attributes.iter().map(|facts| AttributeDefinition {
            name: facts.name.clone(),
            kind: facts.kind,
        });
        let definitions = definitions.collect();
        Ok(Self::new(definitions, columns, *pins))
    }

    /// Files that are mapped, and not checked when a table is read.
    pub(super) fn mapped(facts: &CatalogManifest) -> impl Iterator<Item = String> {
        let attributes = facts.attributes.iter().enumerate();
        attributes.flat_map(|(at, facts)| attribute_columns::files(at, facts.kind))
    }
}
