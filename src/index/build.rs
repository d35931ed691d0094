//! Building the graph.
//!
//! Nodes are inserted in batches. Each node of a batch searches the graph as it was
//! before the batch, and of the near nodes that it finds links to those that lie
//! in different directions; then they link back. Within a batch nothing depends
//! on the order, so all cores take part and the graph is the same however many
//! there are (the batches are those of ParlayANN, arXiv 2305.04359).
//!
//! Everything is decided from codes, whose sums are whole numbers: the graph is
//! the same on every machine, too.

use std::io;
use std::ops::Range;

use rayon::prelude::*;

use super::GraphParams;
use super::graph::{Graph, MAX_LINKS};
use super::graph_search::{GraphSearch, SearchLimits, SearchScratch};
use super::quantization::{QuantizedVectors, Query};
use crate::pool::Pool;
use crate::progress::Stage;

/// Slots for links while the graph is built. Twice as many as in the end: links
/// back fill them up, and only when they are full are the best chosen anew.
const BUILD_SLOTS: usize = 2 * MAX_LINKS;
/// Nodes of the first batch, which are all compared with each other. Later every
/// search starts at those of them that are nearest to its node: a random thousand
/// is near everything, and comparing with all of it costs a twentieth of a search.
const FIRST_BATCH: usize = 1024;
/// How many of them a search starts at.
const STARTS: usize = 4;
/// A batch holds at most one of this many nodes that are in the graph already:
/// those of one batch do not see each other.
const BATCH_SHARE: usize = 24;
/// Nodes of the smallest batch.
const MIN_BATCH: usize = 64;
/// Nodes that a core takes at a time.
const NODES_PER_TASK: usize = 16;
/// Nodes whose final links are chosen before they are written.
const FINISH_BLOCK: usize = 1 << 16;

/// A node that may become a link.
#[derive(Clone, Copy, Debug)]
struct LinkCandidate {
    /// Cosine to the node that looks for links.
    cosine: f32,
    node: u32,
}

/// The links of one node.
#[derive(Debug)]
struct NodeLinks {
    node: u32,
    links: Vec<u32>,
}

/// Builds the graph over the nodes of `codes`, whose order must be random, on all
/// cores. Counts the nodes on `stage`.
pub fn build_graph(
    codes: &QuantizedVectors,
    params: GraphParams,
    stage: &Stage,
) -> io::Result<Graph> {
    let builder = Builder {
        codes,
        params,
        scratches: Pool::default(),
    };
    let nodes = codes.len();
    let mut graph = Graph::with_slots(nodes, BUILD_SLOTS)?;
    let mut begin = 0;
    while begin < nodes {
        let end = begin.saturating_add(batch_size(begin)).min(nodes);
        let links = builder.links_of_batch(begin as u32..end as u32, &graph);
        set_all(&mut graph, &links);
        let back = builder.link_back(&links, &graph);
        set_all(&mut graph, &back);
        stage.advance((end - begin) as u64);
        begin = end;
    }
    builder.finish(&graph)
}

/// Most nodes of the batch that follows when `inserted` nodes are in the graph.
fn batch_size(inserted: usize) -> usize {
    match inserted {
        0 => FIRST_BATCH,
        inserted => (inserted / BATCH_SHARE).max(MIN_BATCH),
    }
}

fn set_all(graph: &mut Graph, all: &[NodeLinks]) {
    for NodeLinks { node, links } in all {
        graph.set_links(*node, links);
    }
}

/// Chooses links between the nodes of `codes`.
struct Builder<'a> {
    codes: &'a QuantizedVectors,
    params: GraphParams,
    scratches: Pool<LinkScratch>,
}

impl Builder<'_> {
    /// The links of each node of a batch.
    fn links_of_batch(&self, batch: Range<u32>, graph: &Graph) -> Vec<NodeLinks> {
        let first: Vec<u32> = (0..(FIRST_BATCH as u32).min(batch.end)).collect();
        let inserted = batch.start as usize;
        let links = |node: u32, scratch: &mut LinkScratch| {
            self.find_candidates(node, &first, graph, inserted, scratch);
            scratch.choose(self.codes);
            let links = scratch.chosen.clone();
            NodeLinks { node, links }
        };
        let batch = batch.into_par_iter().with_min_len(NODES_PER_TASK);
        batch
            .map(|node| self.scratches.with(|scratch| links(node, scratch)))
            .collect()
    }

    /// Finds the nodes near `node` among the `inserted` ones of `graph`, or among
    /// `first`, the nodes of the first batch, while none are inserted.
    fn find_candidates(
        &self,
        node: u32,
        first: &[u32],
        graph: &Graph,
        inserted: usize,
        scratch: &mut LinkScratch,
    ) {
        let (codes, ef) = (self.codes, self.params.ef_construction);
        codes.prepare_node(node, &mut scratch.query);
        if inserted == 0 {
            scratch.keep_nearest(first, node, ef, codes);
            return;
        }
        scratch.keep_nearest(first, node, STARTS, codes);
        codes.prepare_node_sketch(node, &mut scratch.query);
        let LinkScratch {
            search: memory,
            query,
            candidates,
            ..
        } = scratch;
        let search = GraphSearch {
            graph,
            codes,
            query,
            limits: SearchLimits::with_ef(ef),
        };
        let starts = candidates.iter().map(|candidate| candidate.node);
        let found = search.run(starts, |_| 1, memory.reset(inserted));
        let unit = query.unit;
        // Without limits a search always runs to its end.
        let found = found.unwrap_or_default().iter();
        candidates.clear();
        candidates.extend(found.map(|found| LinkCandidate {
            cosine: found.similarity as f32 * unit,
            node: found.node(),
        }));
    }

    /// The links of all nodes that those of a batch link to, with links back.
    fn link_back(&self, links: &[NodeLinks], graph: &Graph) -> Vec<NodeLinks> {
        let mut back: Vec<(u32, u32)> = links
            .iter()
            .flat_map(|from| from.links.iter().map(|&to| (to, from.node)))
            .collect();
        back.par_sort_unstable();
        let groups: Vec<&[(u32, u32)]> = back.chunk_by(|a, b| a.0 == b.0).collect();
        let with_back = |group: &&[(u32, u32)]| {
            let node = group[0].0;
            let mut links: Vec<u32> = graph.links(node).collect();
            for &(_, from) in *group {
                if !links.contains(&from) {
                    links.push(from);
                }
            }
            let links = self.limit_links(node, links, BUILD_SLOTS);
            NodeLinks { node, links }
        };
        groups
            .par_iter()
            .with_min_len(NODES_PER_TASK)
            .map(with_back)
            .collect()
    }

    /// The graph with no more than [`MAX_LINKS`] links a node.
    fn finish(&self, graph: &Graph) -> io::Result<Graph> {
        let nodes = self.codes.len();
        let links = |node: u32| self.limit_links(node, graph.links(node).collect(), MAX_LINKS);
        let mut finished = Graph::with_slots(nodes, MAX_LINKS)?;
        for begin in (0..nodes).step_by(FINISH_BLOCK) {
            let end = (begin + FINISH_BLOCK).min(nodes);
            let block: Vec<Vec<u32>> = (begin as u32..end as u32)
                .into_par_iter()
                .map(links)
                .collect();
            for (node, links) in (begin as u32..).zip(block) {
                finished.set_links(node, &links);
            }
        }
        Ok(finished)
    }

    /// The `links` of `node`, or the best [`MAX_LINKS`] of them when they are more than
    /// `max_links`.
    fn limit_links(&self, node: u32, links: Vec<u32>, max_links: usize) -> Vec<u32> {
        if links.len() <= max_links {
            return links;
        }
        self.scratches.with(|scratch| {
            self.codes.prepare_node(node, &mut scratch.query);
            self.codes.prefetch(&links);
            scratch.keep_nearest(&links, node, links.len(), self.codes);
            scratch.choose(self.codes);
            scratch.chosen.clone()
        })
    }
}

/// Memory for the choice of the links of one node.
#[derive(Debug, Default)]
struct LinkScratch {
    search: SearchScratch,
    /// The node that looks for links.
    query: Query,
    /// Nearest first.
    candidates: Vec<LinkCandidate>,
    similarities: Vec<i32>,
    /// Candidates chosen so far.
    chosen: Vec<u32>,
    /// Each chosen one made ready for comparing; those behind are only memory.
    chosen_queries: Vec<Query>,
}

impl LinkScratch {
    /// Makes `candidates` the `count` of `nodes` other than `node` that are nearest to
    /// the query, nearest first.
    fn keep_nearest(&mut self, nodes: &[u32], node: u32, count: usize, codes: &QuantizedVectors) {
        codes.dot_nodes(&self.query, nodes, &mut self.similarities);
        let unit = self.query.unit;
        let scored = self.similarities.iter().zip(nodes);
        self.candidates.clear();
        self.candidates
            .extend(scored.map(|(&similarity, &node)| LinkCandidate {
                cosine: similarity as f32 * unit,
                node,
            }));
        self.candidates.retain(|candidate| candidate.node != node);
        let nearest_first = |a: &LinkCandidate, b: &LinkCandidate| {
            b.cosine.total_cmp(&a.cosine).then(a.node.cmp(&b.node))
        };
        if count < self.candidates.len() {
            self.candidates.select_nth_unstable_by(count, nearest_first);
            self.candidates.truncate(count);
        }
        self.candidates.sort_unstable_by(nearest_first);
    }

    /// Chooses at most [`MAX_LINKS`] of the candidates: from the nearest on each one that
    /// is nearer to the node than to all chosen before it (algorithm 4 of the HNSW
    /// paper). A link in a direction that another already leads to is worth little.
    fn choose(&mut self, codes: &QuantizedVectors) {
        self.chosen.clear();
        for &LinkCandidate { cosine, node } in &self.candidates {
            let chosen = self.chosen.len();
            if chosen == MAX_LINKS {
                break;
            }
            let mut queries = self.chosen_queries[..chosen].iter();
            if queries.all(|other| codes.cosine(other, node) < cosine) {
                if self.chosen_queries.len() == chosen {
                    self.chosen_queries.push(Query::default());
                }
                codes.prepare_node(node, &mut self.chosen_queries[chosen]);
                self.chosen.push(node);
            }
        }
    }
}
