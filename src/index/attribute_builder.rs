//! Collecting the attributes of pins for a table.

use rustc_hash::FxHashMap;

use roaring::RoaringBitmap;

use super::attribute_columns::{BOOLS, Column, NO_WORD, NumberColumn, WordColumn};
use super::attribute_table::AttributeTable;
use crate::memory::Stored;
use crate::model::{AttributeDefinition, AttributeKind, AttributeValue};
use crate::snapshot::Texts;

/// Attributes of rows, which become those of pins when it is known which rows stay.
#[derive(Clone, Debug)]
pub struct AttributeBuilder {
    definitions: Vec<AttributeDefinition>,
    /// In the order of the definitions.
    columns: Vec<RowColumn>,
}

/// The values of one attribute, by row.
#[derive(Clone, Debug)]
enum RowColumn {
    Words {
        /// Words in the order in which they came.
        words: Vec<String>,
        codes_by_word: FxHashMap<String, u32>,
        /// The codes of row r end at `ends[r]`.
        ends: Vec<u64>,
        codes: Vec<u32>,
    },
    /// NaN for none.
    Numbers(Vec<f64>),
}

impl AttributeBuilder {
    /// No rows yet, of these attributes.
    pub fn new(definitions: Vec<AttributeDefinition>) -> Self {
        let columns = definitions.iter().map(|definition| {
            if definition.kind.is_number() {
                return RowColumn::Numbers(Vec::new());
            }
            RowColumn::Words {
                words: Vec::new(),
                codes_by_word: FxHashMap::default(),
                ends: Vec::new(),
                codes: Vec::new(),
            }
        });
        Self {
            columns: columns.collect(),
            definitions,
        }
    }

    /// The attributes.
    pub fn definitions(&self) -> &[AttributeDefinition] {
        &self.definitions
    }

    /// The first attribute with more than `max` different words.
    pub fn with_more_words_than(&self, max: usize) -> Option<&AttributeDefinition> {
        let has_more = |column: &RowColumn| match column {
            RowColumn::Words { words, .. } => words.len() > max,
            RowColumn::Numbers(_) => false,
        };
        let at = self.columns.iter().position(has_more)?;
        self.definitions.get(at)
    }

    /// Appends a row: a value for each attribute, which must be of its type, or none.
    pub fn push(&mut self, values: &[Option<AttributeValue>]) {
        debug_assert_eq!(values.len(), self.columns.len());
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value.as_ref());
        }
    }

    /// The values of `row`, as [`Self::push`] takes them.
    pub fn row(&self, row: usize) -> Vec<Option<AttributeValue>> {
        let columns = self.definitions.iter().zip(&self.columns);
        let value = |(definition, column): (&AttributeDefinition, &RowColumn)| match column {
            RowColumn::Numbers(values) => {
                let value = values.get(row).filter(|value| !value.is_nan());
                value.map(|&value| AttributeValue::Number(value))
            }
            RowColumn::Words { words, .. } => {
                let codes = column.codes_of(row).iter();
                let mut own = codes.map(|&code| words[code as usize].clone());
                if definition.kind == AttributeKind::Bool {
                    return own
                        .next()
                        .map(|word| AttributeValue::Bool(word == BOOLS[1]));
                }
                let own: Vec<String> = own.collect();
                (!own.is_empty()).then(|| AttributeValue::words(own))
            }
        };
        columns.map(value).collect()
    }

    /// The table of the pins that stand in `rows`, in this order.
    pub fn finish(&self, rows: &[usize]) -> AttributeTable {
        let columns = self.definitions.iter().zip(&self.columns);
        let columns = columns.map(|(definition, column)| match column {
            RowColumn::Numbers(values) => number_column(values, rows),
            RowColumn::Words { words, .. } => {
                let has_several = definition.kind == AttributeKind::Keywords;
                word_column(words, |row| column.codes_of(row), has_several, rows)
            }
        });
        AttributeTable::new(self.definitions.clone(), columns.collect(), rows.len())
    }
}

impl RowColumn {
    fn push(&mut self, value: Option<&AttributeValue>) {
        match self {
            Self::Numbers(values) => values.push(match value {
                // Minus zero and zero are one number to a range.
                Some(AttributeValue::Number(number)) => number + 0.0,
                _ => f64::NAN,
            }),
            Self::Words {
                words,
                codes_by_word,
                ends,
                codes,
            } => {
                let mut push = |word: &str| {
                    let code = codes_by_word.get(word).copied().unwrap_or_else(|| {
                        let code = words.len() as u32;
                        words.push(word.to_owned());
                        codes_by_word.insert(word.to_owned(), code);
                        code
                    });
                    codes.push(code);
                };
                match value {
                    Some(AttributeValue::Words(own)) => own.iter().for_each(|word| push(word)),
                    Some(AttributeValue::Bool(own)) => push(BOOLS[usize::from(*own)]),
                    Some(AttributeValue::Number(_)) | None => {}
                }
                ends.push(codes.len() as u64);
            }
        }
    }

    /// Codes of the words of `row`, in the order in which words came.
    fn codes_of(&self, row: usize) -> &[u32] {
        let Self::Words { ends, codes, .. } = self else {
            return &[];
        };
        let begin = row.checked_sub(1).map_or(0, |before| ends[before]);
        &codes[begin as usize..ends[row] as usize]
    }
}

fn number_column(values: &[f64], rows: &[usize]) -> Column {
    let values: Vec<f64> = rows.iter().map(|&row| values[row]).collect();
    let mut order: Vec<u32> = (0..values.len() as u32)
        .filter(|&position| !values[position as usize].is_nan())
        .collect();
    order.sort_by(|&a, &b| values[a as usize].total_cmp(&values[b as usize]));
    Column::Numbers(NumberColumn {
        values: Stored::Owned(values),
        order: Stored::Owned(order),
    })
}

/// The column of those of `words` that pins of `rows` have.
fn word_column<'a>(
    words: &[String],
    codes_of: impl Fn(usize) -> &'a [u32],
    has_several: bool,
    rows: &[usize],
) -> Column {
    let mut bitmaps = vec![RoaringBitmap::new(); words.len()];
    for (position, &row) in (0..).zip(rows) {
        for &code in codes_of(row) {
            bitmaps[code as usize].insert(position);
        }
    }
    let mut used: Vec<usize> = (0..words.len())
        .filter(|&word| !bitmaps[word].is_empty())
        .collect();
    used.sort_unstable_by_key(|&word| &words[word]);
    let mut new_codes = vec![NO_WORD; words.len()];
    for (new, &word) in (0..).zip(&used) {
        new_codes[word] = new;
    }
    let (mut bytes, mut bitmap_ends) = (Vec::new(), Vec::new());
    for &word in &used {
        bitmaps[word].optimize();
        // Writing to memory does not fail.
        let _ = bitmaps[word].serialize_into(&mut bytes);
        bitmap_ends.push(bytes.len() as u64);
    }
    let (mut codes, mut code_ends) = (Vec::new(), Vec::new());
    for &row in rows {
        let begin = codes.len();
        codes.extend(codes_of(row).iter().map(|&code| new_codes[code as usize]));
        codes[begin..].sort_unstable();
        if !has_several && codes.len() == begin {
            codes.push(NO_WORD);
        }
        code_ends.push(codes.len() as u64);
    }
    Column::Words(WordColumn {
        words: Texts::new(used.iter().map(|&word| words[word].as_str())),
        count: used.len(),
        bitmap_ends: Stored::Owned(bitmap_ends),
        bitmaps: Stored::Owned(bytes),
        codes: Stored::Owned(codes),
        code_ends: has_several.then_some(Stored::Owned(code_ends)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Condition, Filter, PinAttributes, Range, Test};

    fn definitions() -> Vec<AttributeDefinition> {
        [
            "language:keyword",
            "countries:keywords",
            "safe:bool",
            "price:float",
        ]
        .map(|text| text.parse().expect("a definition"))
        .to_vec()
    }

    fn word() -> impl Strategy<Value = String> {
        "[a-d]{1,2}"
    }

    fn row() -> impl Strategy<Value = Vec<Option<AttributeValue>>> {
        let language = word().prop_map(|word| AttributeValue::words(vec![word]));
        let countries = prop::collection::vec(word(), 1..4).prop_map(AttributeValue::words);
        let safe = any::<bool>().prop_map(AttributeValue::Bool);
        let price = (-3..3i32).prop_map(|price| AttributeValue::Number(f64::from(price) / 2.0));
        let option = prop::option::of::<BoxedStrategy<AttributeValue>>;
        (
            option(language.boxed()),
            option(countries.boxed()),
            option(safe.boxed()),
            option(price.boxed()),
        )
            .prop_map(|(a, b, c, d)| vec![a, b, c, d])
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let bound = || prop::option::of((-4..4i32).prop_map(|bound| f64::from(bound) / 2.0));
        let words = |name: &'static str| {
            let words = prop::collection::vec(word(), 0..4);
            words.prop_map(move |words| (name, Test::any_of(words)))
        };
        let range = (bound(), bound(), any::<[bool; 2]>());
        let range = range.prop_map(|(low, high, [with_low, with_high])| {
            let range = Range {
                gte: low.filter(|_| with_low),
                gt: low.filter(|_| !with_low),
                lte: high.filter(|_| with_high),
                lt: high.filter(|_| !with_high),
            };
            ("price", Test::Range(range))
        });
        let names = prop::sample::select(vec!["language", "countries", "safe", "price"]);
        prop_oneof![
            words("language"),
            words("countries"),
            range,
            any::<bool>().prop_map(|is| ("safe", Test::Is(is))),
            (names, any::<bool>()).prop_map(|(name, exists)| (name, Test::Exists(exists))),
        ]
        .prop_map(|(name, test)| Condition {
            attribute: name.to_owned(),
            test,
        })
    }

    fn named(values: &[Option<AttributeValue>]) -> PinAttributes {
        let named = definitions().into_iter().zip(values);
        PinAttributes::new(
            named.filter_map(|(definition, value)| Some((definition.name, value.clone()?))),
        )
    }

    proptest! {
        #[test]
        fn a_table_selects_what_a_look_at_each_pin_does(
            rows in prop::collection::vec(row(), 0..60),
            must in prop::collection::vec(condition(), 0..3),
            must_not in prop::collection::vec(condition(), 0..3),
            kept in prop::collection::vec(any::<bool>(), 60),
        ) {
            let mut builder = AttributeBuilder::new(definitions());
            rows.iter().for_each(|row| builder.push(row));
            let kept: Vec<usize> = (0..rows.len()).rev().filter(|&row| kept[row]).collect();
            let table = builder.finish(&kept);
            let filter = Filter { must, must_not };
            let selected = table.select(&filter).expect("an intact table");
            for (position, &row) in kept.iter().enumerate() {
                let attributes = named(&rows[row]);
                prop_assert_eq!(builder.row(row), &rows[row][..]);
                prop_assert_eq!(&table.of_pin(position), &attributes);
                prop_assert_eq!(selected.contains(position), filter.selects(&attributes));
            }
            prop_assert_eq!(selected.len(), kept.len());
        }
    }
}
