//! The graph of the index: for each node its links to near nodes.
//!
//! One layer. The layers of HNSW bring a query near its answer; here every query
//! is a pin of the catalog, so a search starts where it is going.

use std::io;

use super::CatalogManifest;
use crate::memory::{Pages, prefetch};
use crate::snapshot::{Reader, SnapshotError, Writer};

const FILE: &str = "graph.bin";
/// Most links of a node in a finished graph: two cache lines.
pub(super) const MAX_LINKS: usize = 32;
/// A search numbers nodes by 31 bits.
const MAX_NODES: usize = 1 << 31;
/// Fills the slots for links that a node does not have.
const NO_LINK: u32 = u32::MAX;

/// Links of all nodes: `slots` for each node, filled from the front.
#[derive(Debug)]
pub struct Graph {
    links: Pages<u32>,
    slots: usize,
}

impl Graph {
    /// A graph of `nodes` nodes without links, with `slots` slots for those of each.
    pub(super) fn with_slots(nodes: usize, slots: usize) -> io::Result<Self> {
        if nodes > MAX_NODES {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let mut links = Pages::zeroed(nodes.saturating_mul(slots))?;
        links.fill(NO_LINK);
        Ok(Self { links, slots })
    }

    /// The nodes that `node` links to.
    pub fn links(&self, node: u32) -> impl Iterator<Item = u32> {
        let links = self.slots_of(node).iter().copied();
        links.take_while(|&link| link != NO_LINK)
    }

    /// Replaces the links of `node`: at most as many as it has slots.
    pub(super) fn set_links(&mut self, node: u32, links: &[u32]) {
        let begin = node as usize * self.slots;
        let (filled, rest) = self.links[begin..begin + self.slots].split_at_mut(links.len());
        filled.copy_from_slice(links);
        rest.fill(NO_LINK);
    }

    /// Begins to fetch the links of `node`.
    pub(super) fn prefetch(&self, node: u32) {
        prefetch(self.slots_of(node));
    }

    fn slots_of(&self, node: u32) -> &[u32] {
        &self.links[node as usize * self.slots..][..self.slots]
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), SnapshotError> {
        writer.write(FILE, bytemuck::cast_slice(&self.links))
    }

    pub(super) fn read(reader: &Reader<CatalogManifest>) -> Result<Self, SnapshotError> {
        let nodes = reader.manifest().facts.nodes;
        if nodes > MAX_NODES {
            return Err(reader.invalid_facts("there are too many nodes"));
        }
        let links: Pages<u32> = reader.read_pages(FILE, nodes.saturating_mul(MAX_LINKS))?;
        let is_out_of_range = |&link: &u32| link != NO_LINK && link as usize >= nodes;
        if links.iter().any(is_out_of_range) {
            return Err(reader.damaged(FILE, "a link is out of range"));
        }
        Ok(Self {
            links,
            slots: MAX_LINKS,
        })
    }
}
