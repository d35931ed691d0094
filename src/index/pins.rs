//! The pins of a catalog: ids, vectors and titles.
//!
//! Pins are ordered by id. Pins with equal vectors share one node, and nodes are
//! in the order of the graph.

use crate::memory::Stored;
use crate::model::{Embeddings, Neighbor, PinId, check_dimension};
use crate::snapshot::{Reader, SnapshotError, Writer};

use super::CatalogManifest;

const IDS: &str = "ids.bin";
const NODES: &str = "nodes.bin";
const VECTORS: &str = "vectors.bin";
const TITLE_ENDS: &str = "title_ends.bin";
const TITLES: &str = "titles.bin";

/// Ids, vectors and titles of all pins.
#[derive(Debug)]
pub struct PinTable {
    /// Ascending.
    ids: Vec<PinId>,
    /// For each pin its node: the row of its vector.
    nodes: Vec<u32>,
    /// One row a node.
    vectors: Embeddings,
    /// Where the title of each pin ends in `titles`.
    title_ends: Stored<u64>,
    titles: Stored<u8>,
    /// The pins of node n are `duplicates[sharer_ends[n - 1]..sharer_ends[n]]`, or
    /// `duplicates[n]` alone, and no ends are kept, when each node has one.
    duplicates: Vec<PinId>,
    sharer_ends: Vec<u32>,
    /// Number of duplicates of each node, as far as 8 bits can tell: a walk asks for
    /// it often, so it has to be small. Empty when each node has one.
    counts: Vec<u8>,
}

/// One pin, before it is in a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// Its id.
    pub id: PinId,
    /// Its node: the row of its vector.
    pub node: u32,
    /// What a person calls it; may be empty.
    pub title: String,
}

impl PinTable {
    /// A table of `pins`, which must be sorted by id, over `vectors` by node.
    pub fn new(pins: &[Pin], vectors: Embeddings) -> Self {
        debug_assert!(pins.is_sorted_by(|a, b| a.id < b.id));
        let mut titles = String::new();
        let title_ends = pins
            .iter()
            .map(|pin| {
                titles.push_str(&pin.title);
                titles.len() as u64
            })
            .collect();
        let ids = pins.iter().map(|pin| pin.id).collect();
        let nodes = pins.iter().map(|pin| pin.node).collect();
        let titles = Stored::Owned(titles.into_bytes());
        Self::assemble(ids, nodes, vectors, Stored::Owned(title_ends), titles)
    }

    fn assemble(
        ids: Vec<PinId>,
        nodes: Vec<u32>,
        vectors: Embeddings,
        title_ends: Stored<u64>,
        titles: Stored<u8>,
    ) -> Self {
        let mut sharer_ends = vec![0u32; vectors.len()];
        nodes
            .iter()
            .for_each(|&node| sharer_ends[node as usize] += 1);
        let counts: Vec<u8> = match sharer_ends.iter().all(|&count| count == 1) {
            true => Vec::new(),
            false => sharer_ends.iter().map(|&n| n.min(255) as u8).collect(),
        };
        let mut end = 0;
        for count in &mut sharer_ends {
            end += *count;
            *count = end;
        }
        // Filled from the back, so that the pins of a node ascend.
        let mut next = sharer_ends.clone();
        let mut duplicates = vec![PinId(0); nodes.len()];
        for (&pin, &node) in ids.iter().zip(&nodes).rev() {
            next[node as usize] -= 1;
            duplicates[next[node as usize] as usize] = pin;
        }
        if counts.is_empty() {
            sharer_ends = Vec::new();
        }
        Self {
            ids,
            nodes,
            vectors,
            title_ends,
            titles,
            duplicates,
            sharer_ends,
            counts,
        }
    }

    /// All ids, ascending.
    pub fn ids(&self) -> &[PinId] {
        &self.ids
    }

    /// Place of a pin in the table.
    pub fn place(&self, pin: PinId) -> Option<usize> {
        self.ids.binary_search(&pin).ok()
    }

    /// Node of the pin at `place`: the row of its vector.
    pub fn node(&self, place: usize) -> usize {
        self.nodes[place] as usize
    }

    /// The vector of a pin.
    pub fn vector(&self, pin: PinId) -> Option<&[f32]> {
        let place = self.place(pin)?;
        Some(self.vectors.row(self.node(place)))
    }

    /// The pins that share `node`, ascending.
    pub fn duplicates(&self, node: usize) -> impl Iterator<Item = PinId> {
        let begin = node
            .checked_sub(1)
            .and_then(|before| self.sharer_ends.get(before));
        let place = match self.sharer_ends.get(node) {
            Some(&end) => begin.map_or(0, |&begin| begin as usize)..end as usize,
            None => node..node + 1,
        };
        self.duplicates[place].iter().copied()
    }

    /// The pins that share `node`, each as a neighbor at `cosine`, which rounding
    /// may have taken out of [-1, 1].
    pub(super) fn neighbors_at(&self, node: usize, cosine: f32) -> impl Iterator<Item = Neighbor> {
        let score = cosine.clamp(-1.0, 1.0);
        self.duplicates(node)
            .map(move |pin| Neighbor { pin, score })
    }

    /// Number of pins that share `node`; 255 may be more.
    pub(super) fn weight(&self, node: usize) -> usize {
        self.counts.get(node).map_or(1, |&count| usize::from(count))
    }

    /// The distinct vectors, one a node.
    pub fn vectors(&self) -> &Embeddings {
        &self.vectors
    }

    /// Title of a pin; empty when it has none or is not here.
    pub fn title(&self, pin: PinId) -> &str {
        let Some(place) = self.place(pin) else {
            return "";
        };
        let begin = place
            .checked_sub(1)
            .map_or(0, |before| self.title_ends[before]);
        let title = self
            .titles
            .get(begin as usize..self.title_ends[place] as usize);
        // What is mapped is checked in the background, so it may be anything here.
        title.map_or("", |bytes| std::str::from_utf8(bytes).unwrap_or_default())
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), SnapshotError> {
        writer.write(IDS, bytemuck::cast_slice(&self.ids))?;
        writer.write(NODES, bytemuck::cast_slice(&self.nodes))?;
        writer.write(VECTORS, bytemuck::cast_slice(self.vectors.as_slice()))?;
        writer.write(TITLE_ENDS, bytemuck::cast_slice(&self.title_ends))?;
        writer.write(TITLES, &self.titles)
    }

    /// Reads the table and checks what the code behind it relies on. Vectors and
    /// titles are only mapped: see [`PinTable::MAPPED`].
    pub(super) fn read(reader: &Reader<CatalogManifest>) -> Result<Self, SnapshotError> {
        let CatalogManifest {
            dimension,
            pins,
            nodes: node_count,
            ..
        } = reader.manifest().facts;
        let check = |holds: bool, name: &str, reason: &str| match holds {
            true => Ok(()),
            false => Err(reader.damaged(name, reason)),
        };
        check_dimension(dimension).map_err(|e| reader.misstated(e.to_string()))?;
        let vectors = reader.map(VECTORS, node_count.saturating_mul(dimension))?;
        let vectors = Embeddings::from_unit_rows(dimension, Stored::Mapped(vectors));
        let ids: Vec<PinId> = reader.exactly(IDS, pins)?;
        check(ids.is_sorted_by(|a, b| a < b), IDS, "the ids do not ascend")?;
        let nodes: Vec<u32> = reader.exactly(NODES, pins)?;
        check(
            nodes.iter().all(|&n| (n as usize) < node_count),
            NODES,
            "a node is out of range",
        )?;
        let title_ends = Stored::Mapped(reader.map(TITLE_ENDS, pins)?);
        let titles = Stored::Mapped(reader.map_all(TITLES)?);
        Ok(Self::assemble(ids, nodes, vectors, title_ends, titles))
    }

    /// The files that are mapped, and not checked when a table is read.
    pub(super) const MAPPED: [&str; 3] = [VECTORS, TITLE_ENDS, TITLES];
}
