//! The pins of a catalog: ids, keys, vectors and titles.
//!
//! Pins are ordered by id. Pins with equal vectors share one node, and nodes are
//! in the order of the graph.

use crate::memory::Stored;
use crate::model::{Embeddings, Neighbor, PinId, check_dimension};
use crate::snapshot::{Reader, SnapshotError, Texts, Writer};

use super::CatalogManifest;
use super::id_buckets::IdBuckets;

const IDS: &str = "ids.bin";
const NODES: &str = "nodes.bin";
const VECTORS: &str = "vectors.bin";
const TITLE_ENDS: &str = "title_ends.bin";
const TITLES: &str = "titles.bin";
const KEY_ENDS: &str = "key_ends.bin";
const KEYS: &str = "keys.bin";

/// Ids, keys, vectors and titles of all pins.
#[derive(Debug)]
pub struct PinTable {
    /// Ascending.
    ids: Vec<PinId>,
    id_buckets: IdBuckets,
    /// For each pin its node: the row of its vector.
    nodes: Vec<u32>,
    /// One row a node.
    vectors: Embeddings,
    titles: Texts,
    /// The strings whose hashes are the ids; none where the ids are numbers of the caller.
    keys: Option<Texts>,
    /// The pins of node n are `duplicates[duplicate_ends[n - 1]..duplicate_ends[n]]`. When
    /// each node has one pin it is `duplicates[n]`, and no ends are kept.
    duplicates: Vec<PinId>,
    duplicate_ends: Vec<u32>,
    /// Number of pins of each node, at most 255: a search reads it often, so it has to be
    /// small. Empty when each node has one pin.
    multiplicities: Vec<u8>,
}

/// One pin on its way into a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// Its id.
    pub id: PinId,
    /// Its node: the row of its vector.
    pub node: u32,
    /// A title for people; may be empty.
    pub title: String,
    /// What the caller calls it; none where that is the id.
    pub key: Option<String>,
}

impl PinTable {
    /// A table of `pins`, which must be sorted by id, over `vectors` by node. Either all
    /// of them have a key, or none.
    pub fn new(pins: &[Pin], vectors: Embeddings) -> Self {
        debug_assert!(pins.is_sorted_by(|a, b| a.id < b.id));
        let ids = pins.iter().map(|pin| pin.id).collect();
        let nodes = pins.iter().map(|pin| pin.node).collect();
        let titles = Texts::new(pins.iter().map(|pin| pin.title.as_str()));
        let keys: Option<Vec<&str>> = pins.iter().map(|pin| pin.key.as_deref()).collect();
        let keys = keys.filter(|keys| !keys.is_empty()).map(Texts::new);
        Self::from_columns(ids, nodes, vectors, titles, keys)
    }

    fn from_columns(
        ids: Vec<PinId>,
        nodes: Vec<u32>,
        vectors: Embeddings,
        titles: Texts,
        keys: Option<Texts>,
    ) -> Self {
        let mut duplicate_ends = vec![0u32; vectors.len()];
        for &node in &nodes {
            duplicate_ends[node as usize] += 1;
        }
        let multiplicities: Vec<u8> = if duplicate_ends.iter().all(|&pins| pins == 1) {
            Vec::new()
        } else {
            duplicate_ends.iter().map(|&n| n.min(255) as u8).collect()
        };
        let mut end = 0;
        for count in &mut duplicate_ends {
            end += *count;
            *count = end;
        }
        let duplicates = group_by_node(&ids, &nodes, duplicate_ends.clone());
        if multiplicities.is_empty() {
            duplicate_ends = Vec::new();
        }
        Self {
            id_buckets: IdBuckets::new(&ids),
            ids,
            nodes,
            vectors,
            titles,
            keys,
            duplicates,
            duplicate_ends,
            multiplicities,
        }
    }

    /// All ids, ascending.
    pub fn ids(&self) -> &[PinId] {
        &self.ids
    }

    /// Position of a pin in the table.
    pub fn position(&self, pin: PinId) -> Option<usize> {
        self.id_buckets.position(pin, &self.ids)
    }

    /// Node of the pin at `position`: the row of its vector.
    pub fn node(&self, position: usize) -> usize {
        self.nodes[position] as usize
    }

    /// The vector of a pin.
    pub fn vector(&self, pin: PinId) -> Option<&[f32]> {
        let position = self.position(pin)?;
        Some(self.vectors.row(self.node(position)))
    }

    /// The pins that share `node`, ascending.
    pub fn duplicates(&self, node: usize) -> impl Iterator<Item = PinId> {
        let begin = node
            .checked_sub(1)
            .and_then(|before| self.duplicate_ends.get(before));
        let range = match self.duplicate_ends.get(node) {
            Some(&end) => begin.map_or(0, |&begin| begin as usize)..end as usize,
            None => node..node + 1,
        };
        self.duplicates[range].iter().copied()
    }

    /// The pins that share `node`, each as a neighbor at `cosine`, which rounding
    /// may have taken out of [-1, 1].
    pub(super) fn neighbors_of_node(
        &self,
        node: usize,
        cosine: f32,
    ) -> impl Iterator<Item = Neighbor> {
        let score = cosine.clamp(-1.0, 1.0);
        self.duplicates(node)
            .map(move |pin| Neighbor { pin, score })
    }

    /// Whether some pins share a node.
    pub(super) fn has_duplicates(&self) -> bool {
        !self.multiplicities.is_empty()
    }

    /// Number of pins that share `node`, at most 255.
    pub(super) fn multiplicity(&self, node: usize) -> usize {
        let multiplicity = self.multiplicities.get(node);
        multiplicity.map_or(1, |&pins| usize::from(pins))
    }

    /// The distinct vectors, one a node.
    pub fn vectors(&self) -> &Embeddings {
        &self.vectors
    }

    /// Title of a pin; empty when it has none or is not here.
    pub fn title(&self, pin: PinId) -> &str {
        let position = self.position(pin);
        position.map_or("", |position| self.titles.get(position))
    }

    /// Whether pins have keys.
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Key of a pin; none when it has none or is not here.
    pub fn key(&self, pin: PinId) -> Option<&str> {
        let keys = self.keys.as_ref()?;
        Some(keys.get(self.position(pin)?))
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<(), SnapshotError> {
        writer.write(IDS, bytemuck::cast_slice(&self.ids))?;
        writer.write(NODES, bytemuck::cast_slice(&self.nodes))?;
        writer.write(VECTORS, bytemuck::cast_slice(self.vectors.as_slice()))?;
        self.titles.write(writer, TITLE_ENDS, TITLES)?;
        match &self.keys {
            Some(keys) => keys.write(writer, KEY_ENDS, KEYS),
            None => Ok(()),
        }
    }

    /// Reads the table and checks everything that later code relies on. Vectors, titles
    /// and keys are only mapped: see [`PinTable::mapped`].
    pub(super) fn read(reader: &Reader<CatalogManifest>) -> Result<Self, SnapshotError> {
        let CatalogManifest {
            dimension,
            pins,
            nodes: node_count,
            string_ids,
            ..
        } = reader.manifest().facts;
        check_dimension(dimension).map_err(|e| reader.invalid_facts(e.to_string()))?;
        let vectors = reader.map_records(VECTORS, node_count.saturating_mul(dimension))?;
        let vectors = Embeddings::from_unit_rows(dimension, Stored::Mapped(vectors));
        let ids: Vec<PinId> = reader.read_records(IDS, pins)?;
        if !ids.is_sorted_by(|a, b| a < b) {
            return Err(reader.damaged(IDS, "the ids do not ascend"));
        }
        let nodes: Vec<u32> = reader.read_records(NODES, pins)?;
        if nodes.iter().any(|&node| node as usize >= node_count) {
            return Err(reader.damaged(NODES, "a node is out of range"));
        }
        let titles = Texts::map(reader, TITLE_ENDS, TITLES, pins)?;
        let keys = string_ids.then(|| Texts::map(reader, KEY_ENDS, KEYS, pins));
        let keys = keys.transpose()?;
        Ok(Self::from_columns(ids, nodes, vectors, titles, keys))
    }

    /// Files that are mapped, and not checked when a table is read.
    pub(super) fn mapped(facts: &CatalogManifest) -> &'static [&'static str] {
        const WITH_KEYS: [&str; 5] = [VECTORS, TITLE_ENDS, TITLES, KEY_ENDS, KEYS];
        if facts.string_ids {
            &WITH_KEYS
        } else {
            &WITH_KEYS[..3]
        }
    }
}

/// The pins by their nodes, and those of one node by ascending id. The pins of node n end
/// at `ends[n]`.
fn group_by_node(ids: &[PinId], nodes: &[u32], ends: Vec<u32>) -> Vec<PinId> {
    let mut next = ends;
    let mut grouped = vec![PinId(0); nodes.len()];
    // Filled from the back, so that the pins of a node ascend.
    for (&pin, &node) in ids.iter().zip(nodes).rev() {
        let slot = &mut next[node as usize];
        *slot -= 1;
        grouped[*slot as usize] = pin;
    }
    grouped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A table of one pin for each of `nodes`, whose ids are odd, over that many nodes.
    fn table(nodes: &[u32], count: usize) -> PinTable {
        let mut vectors = Embeddings::new(2).expect("a dimension");
        for node in 0..count {
            let vector = [1.0, node as f32];
            vectors.push(&vector).expect("a vector");
        }
        let pins: Vec<Pin> = (0..)
            .zip(nodes)
            .map(|(position, &node)| Pin {
                id: PinId(2 * position + 1),
                node,
                title: "x".repeat(position as usize % 3),
                key: None,
            })
            .collect();
        PinTable::new(&pins, vectors)
    }

    proptest! {
        #[test]
        fn a_table_answers_like_a_scan_of_its_pins(
            shared in prop::collection::vec(0u32..8, 0..40),
        ) {
            // Every node has a pin at least.
            let nodes: Vec<u32> = (0..8).chain(shared).collect();
            let table = table(&nodes, 8);
            for node in 0..8 {
                let expected: Vec<PinId> = nodes
                    .iter()
                    .zip(table.ids())
                    .filter(|&(&of, _)| of == node)
                    .map(|(_, &pin)| pin)
                    .collect();
                prop_assert_eq!(table.multiplicity(node as usize), expected.len());
                let found: Vec<PinId> = table.duplicates(node as usize).collect();
                prop_assert_eq!(found, expected);
            }
            for (position, &node) in nodes.iter().enumerate() {
                let pin = PinId(2 * position as u64 + 1);
                prop_assert_eq!(table.position(pin), Some(position));
                prop_assert_eq!(table.node(position), node as usize);
                prop_assert_eq!(table.vector(pin), Some(table.vectors().row(node as usize)));
                prop_assert_eq!(table.title(pin), "x".repeat(position % 3));
                let unknown = PinId(2 * position as u64);
                prop_assert_eq!(table.position(unknown), None);
                prop_assert_eq!(table.vector(unknown), None);
                prop_assert_eq!(table.title(unknown), "");
            }
        }
    }

    #[test]
    fn a_node_of_very_many_pins_counts_as_255() {
        let table = table(&[0; 300], 1);
        assert_eq!(table.multiplicity(0), 255);
        assert_eq!(table.duplicates(0).count(), 300);
    }

    #[test]
    fn scores_of_duplicates_are_cosines() {
        let table = table(&[0, 1, 0], 2);
        let neighbors: Vec<Neighbor> = table.neighbors_of_node(0, 1.000_1).collect();
        let expected = [1, 5].map(|pin| Neighbor {
            pin: PinId(pin),
            score: 1.0,
        });
        assert_eq!(neighbors, expected);
    }
}
