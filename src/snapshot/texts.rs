//! Texts of pins or users, one after another, in two files.

use super::atomic_write::Writer;
use super::error::SnapshotError;
use super::manifest::ManifestFacts;
use super::read::Reader;
use crate::memory::Stored;

/// Texts by position.
#[derive(Debug)]
pub struct Texts {
    /// Where each text ends in `bytes`.
    ends: Stored<u64>,
    bytes: Stored<u8>,
}

impl Texts {
    /// These texts, in memory.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut bytes = String::new();
        let ends = texts.into_iter().map(|text| {
            bytes.push_str(text);
            bytes.len() as u64
        });
        let ends = Stored::Owned(ends.collect());
        Self {
            ends,
            bytes: Stored::Owned(bytes.into_bytes()),
        }
    }

    /// Maps `count` texts from their files, which are not checked.
    pub fn map<F: ManifestFacts>(
        reader: &Reader<F>,
        ends: &str,
        texts: &str,
        count: usize,
    ) -> Result<Self, SnapshotError> {
        Ok(Self {
            ends: Stored::Mapped(reader.map_records(ends, count)?),
            bytes: Stored::Mapped(reader.map_all_records(texts)?),
        })
    }

    /// Writes the texts to the files of these names.
    pub fn write(&self, writer: &mut Writer, ends: &str, texts: &str) -> Result<(), SnapshotError> {
        writer.write(ends, bytemuck::cast_slice(&self.ends))?;
        writer.write(texts, &self.bytes)
    }

    /// Bytes of the texts and of where they end.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.ends) + self.bytes.len()
    }

    /// The text at `position`; empty when there is none.
    pub fn get(&self, position: usize) -> &str {
        let begin = match position.checked_sub(1) {
            Some(before) => self.ends.get(before),
            None => Some(&0),
        };
        let (Some(&begin), Some(&end)) = (begin, self.ends.get(position)) else {
            return "";
        };
        let text = self.bytes.get(begin as usize..end as usize);
        // Mapped files are checked in the background, so the bytes may be anything here.
        text.map_or("", |bytes| std::str::from_utf8(bytes).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_its_position_and_others_are_empty() {
        let texts = Texts::new(["tea", "", "茶"]);
        let found: Vec<&str> = (0..4).map(|position| texts.get(position)).collect();
        assert_eq!(found, ["tea", "", "茶", ""]);
    }

    #[test]
    fn ends_that_make_no_sense_are_empty_texts() {
        let texts = Texts {
            ends: Stored::Owned(vec![2, 1, 9, u64::MAX]),
            bytes: Stored::Owned("a\u{e9}".as_bytes().to_vec()),
        };
        for position in 0..4 {
            assert_eq!(texts.get(position), "", "{position}");
        }
    }
}
