//! Retrieval over the pins of one catalogue: the pins themselves, the graph, and
//! the two ways to find neighbours, the walk over the graph and the exact scan.

mod exact;
mod facts;
mod graph;
mod hnsw;
mod pins;
mod walk;

pub use exact::Exact;
pub use facts::CatalogFacts;
pub use graph::{Graph, GraphParams};
pub use hnsw::Hnsw;
pub use pins::{Pin, PinTable};

use std::path::Path;
use std::time::SystemTime;

use crate::snapshot::{Manifest, Reader, SnapshotError, Writer};

/// A catalogue: everything that is known of the pins of one version.
#[derive(Debug)]
pub struct Catalog {
    /// What the catalogue states of itself.
    pub manifest: Manifest<CatalogFacts>,
    /// Ids, vectors and titles.
    pub pins: PinTable,
    /// Who is near whom.
    pub graph: Graph,
    /// When it was written, by the clock of the file system.
    pub written_at: SystemTime,
}

impl Catalog {
    /// Reads and checks the catalogue in `path`.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let reader = Reader::open(path)?;
        let pins = PinTable::read(&reader)?;
        let graph = Graph::read(&reader, pins.vectors().len())?;
        let written_at = reader.written_at()?;
        Ok(Self {
            manifest: reader.into_manifest(),
            pins,
            graph,
            written_at,
        })
    }

    /// Reads and checks the pins of the catalogue in `path`, without the graph,
    /// which only retrieval needs.
    pub fn open_pins(path: &Path) -> Result<(Manifest<CatalogFacts>, PinTable), SnapshotError> {
        let reader = Reader::open(path)?;
        let pins = PinTable::read(&reader)?;
        Ok((reader.into_manifest(), pins))
    }

    /// Writes `pins` and `graph` as the current version of the catalogue in `root`.
    pub fn write(
        root: &Path,
        pins: &PinTable,
        graph: &Graph,
        facts: CatalogFacts,
    ) -> Result<Manifest<CatalogFacts>, SnapshotError> {
        let mut writer = Writer::create(root)?;
        pins.write(&mut writer)?;
        graph.write(&mut writer)?;
        writer.finish(facts)
    }
}
