//! The graph of the index: for each node its links to near nodes.
//!
//! One layer. The layers of HNSW bring a query near its answer; here every query
//! is a pin of the catalog, so a walk starts where it is going.

use std::io;

use serde::{Deserialize, Serialize};

use super::CatalogManifest;
use crate::memory::{Pages, prefetch};
use crate::snapshot::{Reader, SnapshotError, Writer};

const FILE: &str = "graph.bin";
/// Most links of a node in a finished graph: two lines of the cache.
pub(super) const LINKS: usize = 32;
/// A walk numbers nodes by 31 bits.
const MOST_NODES: usize = 1 << 31;
/// Fills the places of links that a node does not have.
const NONE: u32 = u32::MAX;

/// With what a graph is built.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphParams {
    /// Number of near nodes considered for the links of each new node: more is
    /// slower to build and better to search. At least 1.
    pub ef_construction: usize,
    /// Seed of the order of insertion.
    pub seed: u64,
}

/// Links of all nodes: `places` for each, its links first.
#[derive(Debug)]
pub struct Graph {
    links: Pages<u32>,
    places: usize,
}

impl Graph {
    /// A graph of `nodes` without links, with `places` for those of each.
    pub(super) fn empty(nodes: usize, places: usize) -> io::Result<Self> {
        if nodes > MOST_NODES {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let mut links = Pages::zeroed(nodes.saturating_mul(places))?;
        links.fill(NONE);
        Ok(Self { links, places })
    }

    /// The nodes that `node` links to.
    pub fn links(&self, node: u32) -> impl Iterator<Item = u32> {
        let links = self.places_of(node).iter().copied();
        links.take_while(|&link| link != NONE)
    }

    /// Replaces the links of `node`: at most as many as it has places.
    pub(super) fn set_links(&mut self, node: u32, links: &[u32]) {
        let begin = node as usize * self.places;
        let (filled, rest) = self.links[begin..begin + self.places].split_at_mut(links.len());
        filled.copy_from_slice(links);
        rest.fill(NONE);
    }

    /// Begins to fetch the links of `node`.
    pub(super) fn prefetch(&self, node: u32) {
        prefetch(self.places_of(node));
    }

    fn places_of(&self, node: u32) -> &[u32] {
        &self.links[node as usize * self.places..][..self.places]
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), SnapshotError> {
        writer.write(FILE, bytemuck::cast_slice(&self.links))
    }

    pub(super) fn read(reader: &Reader<CatalogManifest>) -> Result<Self, SnapshotError> {
        let nodes = reader.manifest().facts.nodes;
        if nodes > MOST_NODES {
            return Err(reader.misstated("there are too many nodes"));
        }
        let links: Pages<u32> = reader.pages(FILE, nodes.saturating_mul(LINKS))?;
        let out_of_range = |&link: &u32| link != NONE && link as usize >= nodes;
        if links.iter().any(out_of_range) {
            return Err(reader.damaged(FILE, "a link is out of range"));
        }
        Ok(Self {
            links,
            places: LINKS,
        })
    }
}
