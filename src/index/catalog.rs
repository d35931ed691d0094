//! One version of a catalog: pins, quantized vectors and graph, opened together.

use std::path::Path;
use std::time::SystemTime;

use super::{AttributeTable, CatalogManifest, Graph, PinTable, QuantizedVectors};
use crate::snapshot::{Reader, SnapshotError, SnapshotManifest, Writer};

/// One version of a catalog.
#[derive(Debug)]
pub struct Catalog {
    reader: Reader<CatalogManifest>,
    /// Ids, vectors and titles.
    pub pins: PinTable,
    /// The vectors in 8 bits.
    pub codes: QuantizedVectors,
    /// Links between near nodes.
    pub graph: Graph,
    /// What filters go by.
    pub attributes: AttributeTable,
    /// When it was written, by the clock of the file system.
    pub written_at: SystemTime,
}

/// What a version of a catalog is written from.
#[derive(Clone, Copy, Debug)]
pub struct CatalogParts<'a> {
    /// Ids, vectors and titles.
    pub pins: &'a PinTable,
    /// The vectors in 8 bits.
    pub codes: &'a QuantizedVectors,
    /// Links between near nodes.
    pub graph: &'a Graph,
    /// What filters go by; of as many pins, or none at all.
    pub attributes: &'a AttributeTable,
}

impl Catalog {
    /// Opens the catalog in `path`: reads and checks what a graph search needs, and maps
    /// the rest, which [`Catalog::check_mapped`] checks.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let reader = Reader::open(path)?;
        Ok(Self {
            pins: PinTable::read(&reader)?,
            codes: QuantizedVectors::read(&reader)?,
            graph: Graph::read(&reader)?,
            attributes: AttributeTable::read(&reader)?,
            written_at: reader.written_at()?,
            reader,
        })
    }

    /// Reads and checks the pins of the catalog in `path`, without codes and graph.
    pub fn open_pins(
        path: &Path,
    ) -> Result<(SnapshotManifest<CatalogManifest>, PinTable), SnapshotError> {
        let reader = Reader::open(path)?;
        check_mapped(&reader)?;
        let pins = PinTable::read(&reader)?;
        Ok((reader.into_manifest(), pins))
    }

    /// The manifest of the catalog.
    pub fn manifest(&self) -> &SnapshotManifest<CatalogManifest> {
        self.reader.manifest()
    }

    /// Checks the files that are only mapped, by reading all of them.
    pub fn check_mapped(&self) -> Result<(), SnapshotError> {
        check_mapped(&self.reader)
    }

    /// Writes `parts` as the current version of the catalog in `root`.
    pub fn write(
        root: &Path,
        parts: CatalogParts<'_>,
        facts: CatalogManifest,
    ) -> Result<SnapshotManifest<CatalogManifest>, SnapshotError> {
        let mut writer = Writer::create(root)?;
        parts.pins.write(&mut writer)?;
        parts.codes.write(&mut writer)?;
        parts.graph.write(&mut writer)?;
        parts.attributes.write(&mut writer)?;
        writer.finish(facts)
    }
}

fn check_mapped(reader: &Reader<CatalogManifest>) -> Result<(), SnapshotError> {
    let facts = &reader.manifest().facts;
    PinTable::mapped(facts)
        .iter()
        .try_for_each(|name| reader.check(name))?;
    AttributeTable::mapped(facts).try_for_each(|name| reader.check(&name))
}
