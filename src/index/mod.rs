//! Retrieval over the pins of one catalogue: the pins themselves, their codes, the
//! graph, and the ways to find neighbours: lists made ahead of time, the walk over
//! the graph, the exact scan. [`Index`] puts them together.

mod approximate;
mod build;
mod codes;
mod delta;
mod exact;
mod exact_lists;
mod facts;
mod graph;
mod lists;
mod lookup;
mod pins;
mod rotation;
mod sketches;
mod walk;

pub use approximate::Approximate;
pub use build::build_graph;
pub use codes::Codes;
pub use delta::{Delta, Layered};
pub use exact::Exact;
pub use exact_lists::exact_lists;
pub use facts::CatalogFacts;
pub use graph::{Graph, GraphParams};
pub use lists::{ListFacts, NeighborLists};
pub use lookup::{Index, IndexParams, Lookups, RetrieveNear, WithoutWalks};
pub use pins::{Pin, PinTable};

use std::path::Path;
use std::time::SystemTime;

use crate::snapshot::{Manifest, Reader, SnapshotError, Writer};

/// A catalogue: everything that is known of the pins of one version.
#[derive(Debug)]
pub struct Catalog {
    reader: Reader<CatalogFacts>,
    /// Ids, vectors and titles.
    pub pins: PinTable,
    /// The vectors in 8 bits.
    pub codes: Codes,
    /// Who is near whom.
    pub graph: Graph,
    /// When it was written, by the clock of the file system.
    pub written_at: SystemTime,
}

impl Catalog {
    /// Opens the catalogue in `path`: reads and checks what a walk needs, and maps
    /// the rest, which [`Catalog::check_mapped`] checks.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let reader = Reader::open(path)?;
        Ok(Self {
            pins: PinTable::read(&reader)?,
            codes: Codes::read(&reader)?,
            graph: Graph::read(&reader)?,
            written_at: reader.written_at()?,
            reader,
        })
    }

    /// Reads and checks the pins of the catalogue in `path`, without what only
    /// retrieval needs.
    pub fn open_pins(path: &Path) -> Result<(Manifest<CatalogFacts>, PinTable), SnapshotError> {
        let reader = Reader::open(path)?;
        check_mapped(&reader)?;
        let pins = PinTable::read(&reader)?;
        Ok((reader.into_manifest(), pins))
    }

    /// What the catalogue states of itself.
    pub fn manifest(&self) -> &Manifest<CatalogFacts> {
        self.reader.manifest()
    }

    /// Checks the files that are only mapped, by reading all of them.
    pub fn check_mapped(&self) -> Result<(), SnapshotError> {
        check_mapped(&self.reader)
    }

    /// Writes `pins`, their `codes` and the `graph` over them as the current
    /// version of the catalogue in `root`.
    pub fn write(
        root: &Path,
        pins: &PinTable,
        codes: &Codes,
        graph: &Graph,
        facts: CatalogFacts,
    ) -> Result<Manifest<CatalogFacts>, SnapshotError> {
        let mut writer = Writer::create(root)?;
        pins.write(&mut writer)?;
        codes.write(&mut writer)?;
        graph.write(&mut writer)?;
        writer.finish(facts)
    }
}

fn check_mapped(reader: &Reader<CatalogFacts>) -> Result<(), SnapshotError> {
    PinTable::MAPPED
        .into_iter()
        .try_for_each(|name| reader.check(name))
}
