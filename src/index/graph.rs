//! The graph of the index: for each node its links to near nodes.
//!
//! Built by instant-distance, which is named in this file only. Of its graph the
//! bottom layer is kept: every query is a pin of the catalogue, so a walk starts
//! at its own node and needs no layers to come near.

use indicatif::ProgressBar;
use instant_distance::{Builder, Heuristic, Point};
use serde::{Deserialize, Serialize, Serializer};

use super::CatalogFacts;
use crate::kernel;
use crate::model::Embeddings;
use crate::snapshot::{Reader, SnapshotError, Writer};

const FILE: &str = "graph.bin";
/// Links of a node in the bottom layer of instant-distance.
const LINKS: usize = 64;
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

/// Links of all nodes: `LINKS` places a node, its links first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    links: Vec<u32>,
}

impl Graph {
    /// Builds the graph of `vectors` on all cores.
    ///
    /// Also returns the order of the nodes: `order[n]` is the row in `vectors` of
    /// node n. Moves `bar` to the number of vectors.
    pub fn build(
        vectors: &Embeddings,
        params: GraphParams,
        bar: ProgressBar,
    ) -> Result<(Self, Vec<usize>), postcard::Error> {
        let points = (0..vectors.len())
            .map(|row| Row(vectors.row(row)))
            .collect();
        let (hnsw, ids) = Builder::default()
            .ef_construction(params.ef_construction)
            .select_heuristic(Some(Heuristic {
                extend_candidates: false,
                keep_pruned: false,
            }))
            .ml(UPPER_SHARE)
            .seed(params.seed)
            .progress(bar)
            .build_hnsw(points);
        let mut order = vec![0; ids.len()];
        ids.iter()
            .enumerate()
            .for_each(|(row, id)| order[id.into_inner() as usize] = row);
        Ok((
            Self {
                links: bottom_layer(&hnsw)?,
            },
            order,
        ))
    }

    /// The nodes that `node` links to.
    pub fn links(&self, node: usize) -> &[u32] {
        let places = &self.links[node * LINKS..(node + 1) * LINKS];
        &places[..places.partition_point(|&link| link != NONE)]
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), SnapshotError> {
        writer.write(FILE, bytemuck::cast_slice(&self.links))
    }

    pub(super) fn read(reader: &Reader<CatalogFacts>, nodes: usize) -> Result<Self, SnapshotError> {
        let places = nodes.saturating_mul(LINKS);
        let links: Vec<u32> = reader.exactly(FILE, places)?;
        if links
            .iter()
            .any(|&link| link != NONE && link as usize >= nodes)
        {
            return Err(reader.damaged(FILE, "a link is out of range"));
        }
        let (nodes, _) = links.as_chunks::<LINKS>();
        if !nodes
            .iter()
            .all(|places| places.is_sorted_by_key(|&link| link == NONE))
        {
            return Err(reader.damaged(FILE, "a link comes after an unused place"));
        }
        Ok(Self { links })
    }
}

/// Share of the nodes of a layer that are in the next upper one too. Small,
/// because upper layers serve here only while the graph is built.
const UPPER_SHARE: f32 = 1.0 / 32.0;

/// A vector as instant-distance sees it.
#[derive(Clone)]
struct Row<'a>(&'a [f32]);

impl Point for Row<'_> {
    fn distance(&self, other: &Self) -> f32 {
        kernel::squared_l2(self.0, other.0)
    }
}

/// instant-distance shows its links only through serde; its vectors we have.
impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ().serialize(serializer)
    }
}

/// Takes the bottom layer out of the serialised form of the graph, which is, in
/// this order: ef_search, the points (each nothing, see [`Row`]), the nodes of the
/// bottom layer with `LINKS` links each, the upper layers.
fn bottom_layer(hnsw: &instant_distance::Hnsw<Row<'_>>) -> Result<Vec<u32>, postcard::Error> {
    let bytes = postcard::to_allocvec(hnsw)?;
    let (_ef_search, rest) = postcard::take_from_bytes::<usize>(&bytes)?;
    let (_points, rest) = postcard::take_from_bytes::<usize>(rest)?;
    let (nodes, mut rest) = postcard::take_from_bytes::<usize>(rest)?;
    let mut links = Vec::with_capacity(nodes * LINKS);
    for _ in 0..nodes * LINKS {
        let (link, after) = postcard::take_from_bytes::<u32>(rest)?;
        links.push(link);
        rest = after;
    }
    Ok(links)
}
