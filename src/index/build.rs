//! Building the graph.
//!
//! Nodes are inserted in batches. Each node of a batch walks the graph as it was
//! before the batch, and of the near nodes that it finds links to those that lie
//! in different directions; then they link back. Within a batch nothing depends
//! on the order, so all cores take part and the graph is the same however many
//! there are (the batches are those of ParlayANN, arXiv 2305.04359).
//!
//! Everything is decided from codes, whose sums are whole numbers: the graph is
//! the same on every machine, too.

use std::io;

use rayon::prelude::*;

use super::graph::{Graph, GraphParams, LINKS};
use super::graph_search::{self, Bounds, walk};
use super::quantization::{QuantizedVectors, Query};
use crate::pool::Pool;
use crate::progress::Stage;

/// Places for links while the graph is built. Twice as many as in the end: links
/// back fill them up, and only when they are full are the best chosen anew.
const PLACES: usize = 2 * LINKS;
/// Nodes of the first batch, which are all compared with each other. Later every
/// walk starts at those of them that are nearest to its node: a random thousand
/// is near everything, and comparing with all of it costs a twentieth of a walk.
const FIRST: usize = 1024;
/// How many of them a walk starts at.
const STARTS: usize = 4;
/// A batch holds at most one of this many nodes that are in the graph already:
/// those of one batch do not see each other.
const SHARE: usize = 24;
/// Nodes of the smallest batch.
const LEAST_BATCH: usize = 64;
/// Nodes that a core takes at a time.
const AT_A_TIME: usize = 16;

/// A near node: its cosine to the node that looks for links, and itself.
type Near = (f32, u32);

/// Memory for the choice of the links of one node.
#[derive(Debug, Default)]
struct Scratch {
    walk: graph_search::Scratch,
    query: Query,
    near: Vec<Near>,
    similarities: Vec<i32>,
    /// Those chosen so far, and each made ready for comparing.
    chosen: Vec<u32>,
    queries: Vec<Query>,
}

/// Builds the graph over the nodes of `codes`, whose order must be random, on all
/// cores. Counts the nodes on `stage`.
pub fn build_graph(
    codes: &QuantizedVectors,
    params: GraphParams,
    stage: &Stage,
) -> io::Result<Graph> {
    let nodes = codes.len();
    let scratches = Pool::<Scratch>::default();
    let mut graph = Graph::empty(nodes, PLACES)?;
    let mut begin = 0;
    while begin < nodes {
        let size = match begin {
            0 => FIRST,
            inserted => (inserted / SHARE).max(LEAST_BATCH),
        };
        let end = begin.saturating_add(size).min(nodes);
        let links = links_of(begin as u32..end as u32, &graph, codes, params, &scratches);
        set_all(&mut graph, &links);
        let back = links_back(&links, &graph, codes, &scratches);
        set_all(&mut graph, &back);
        stage.advance((end - begin) as u64);
        begin = end;
    }
    finished(&graph, codes, nodes, &scratches)
}

fn set_all(graph: &mut Graph, links: &[(u32, Vec<u32>)]) {
    for (node, links) in links {
        graph.set_links(*node, links);
    }
}

/// The links of each node of a batch.
fn links_of(
    batch: std::ops::Range<u32>,
    graph: &Graph,
    codes: &QuantizedVectors,
    params: GraphParams,
    scratches: &Pool<Scratch>,
) -> Vec<(u32, Vec<u32>)> {
    let first: Vec<u32> = (0..(FIRST as u32).min(batch.end)).collect();
    let inserted = batch.start as usize;
    let links = |node: u32, scratch: &mut Scratch| {
        codes.query_of(node, &mut scratch.query);
        if inserted == 0 {
            scratch.near_among(&first, node, params.ef_construction, codes);
        } else {
            scratch.near_among(&first, node, STARTS, codes);
            codes.query_walk_of(node, &mut scratch.query);
            let Scratch {
                walk: memory,
                query,
                near,
                ..
            } = scratch;
            let starts = near.iter().map(|&(_, node)| node);
            let bounds = Bounds::of(params.ef_construction);
            let found = walk(
                graph,
                codes,
                query,
                starts,
                bounds,
                |_| 1,
                memory.begin(inserted),
            );
            let cosine = |similarity: i32| similarity as f32 * query.unit;
            let found = found.unwrap_or_default().iter();
            near.clear();
            near.extend(found.map(|found| (cosine(found.similarity), found.node())));
        }
        scratch.choose(codes);
        (node, scratch.chosen.clone())
    };
    let batch = batch.into_par_iter().with_min_len(AT_A_TIME);
    batch
        .map(|node| scratches.with(|scratch| links(node, scratch)))
        .collect()
}

/// The links of all nodes that those of a batch link to, with links back.
fn links_back(
    links: &[(u32, Vec<u32>)],
    graph: &Graph,
    codes: &QuantizedVectors,
    scratches: &Pool<Scratch>,
) -> Vec<(u32, Vec<u32>)> {
    let mut back: Vec<(u32, u32)> = links
        .iter()
        .flat_map(|(from, to)| to.iter().map(|&to| (to, *from)))
        .collect();
    back.par_sort_unstable();
    let groups: Vec<&[(u32, u32)]> = back.chunk_by(|a, b| a.0 == b.0).collect();
    let with_back = |group: &&[(u32, u32)]| {
        let node = group[0].0;
        let mut all: Vec<u32> = graph.links(node).collect();
        for &(_, from) in *group {
            if !all.contains(&from) {
                all.push(from);
            }
        }
        match all.len() > PLACES {
            true => (node, best_of(&all, node, codes, scratches)),
            false => (node, all),
        }
    };
    groups
        .par_iter()
        .with_min_len(AT_A_TIME)
        .map(with_back)
        .collect()
}

/// The graph with no more than [`LINKS`] links a node.
fn finished(
    graph: &Graph,
    codes: &QuantizedVectors,
    nodes: usize,
    scratches: &Pool<Scratch>,
) -> io::Result<Graph> {
    let links = |node: u32| -> Vec<u32> {
        let all: Vec<u32> = graph.links(node).collect();
        match all.len() > LINKS {
            true => best_of(&all, node, codes, scratches),
            false => all,
        }
    };
    let mut finished = Graph::empty(nodes, LINKS)?;
    const BLOCK: usize = 1 << 16;
    for begin in (0..nodes).step_by(BLOCK) {
        let end = (begin + BLOCK).min(nodes);
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

/// The links of `node`, chosen among `all`.
fn best_of(
    all: &[u32],
    node: u32,
    codes: &QuantizedVectors,
    scratches: &Pool<Scratch>,
) -> Vec<u32> {
    scratches.with(|scratch| {
        codes.query_of(node, &mut scratch.query);
        codes.prefetch(all);
        scratch.near_among(all, node, all.len(), codes);
        scratch.choose(codes);
        scratch.chosen.clone()
    })
}

impl Scratch {
    /// Makes `near` the `most` of `nodes` other than `node` that are nearest to the
    /// query, nearest first.
    fn near_among(&mut self, nodes: &[u32], node: u32, most: usize, codes: &QuantizedVectors) {
        codes.dot_each(&self.query, nodes, &mut self.similarities);
        let cosines = self
            .similarities
            .iter()
            .map(|&s| s as f32 * self.query.unit);
        self.near.clear();
        self.near.extend(cosines.zip(nodes.iter().copied()));
        self.near.retain(|&(_, other)| other != node);
        let nearest_first = |a: &Near, b: &Near| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if most < self.near.len() {
            self.near.select_nth_unstable_by(most, nearest_first);
            self.near.truncate(most);
        }
        self.near.sort_unstable_by(nearest_first);
    }

    /// Chooses at most [`LINKS`] of `near`: from the nearest on each one that is
    /// nearer to the node than to all chosen before it (algorithm 4 of the HNSW
    /// paper). A link in a direction that another already leads to is worth little.
    fn choose(&mut self, codes: &QuantizedVectors) {
        self.chosen.clear();
        for &(cosine, near) in &self.near {
            let chosen = self.chosen.len();
            if chosen == LINKS {
                break;
            }
            let queries = &self.queries[..chosen];
            if queries
                .iter()
                .all(|other| codes.cosine(other, near) < cosine)
            {
                if self.queries.len() == chosen {
                    self.queries.push(Query::default());
                }
                codes.query_of(near, &mut self.queries[chosen]);
                self.chosen.push(near);
            }
        }
    }
}
