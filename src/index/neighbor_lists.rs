//! Neighbor lists made ahead of time: the neighbors of a medoid are known long
//! before a request asks for them, so the answer is looked up.
//!
//! ```text
//! CATALOG/neighbors/<catalog version>/<segment version>/manifest.json
//!     pins.bin    the pins that have a list here, ascending
//!     ids.bin     for each of them its `depth` nearest pins, best first
//!     scores.bin  and the cosines of these
//! ```
//!
//! A list depends on the catalog and the pin only. So lists lie with the
//! catalog, in segments that are written once and never change: a build resumes
//! where it was stopped, and tomorrow's profiles use today's lists.
//!
//! A list holds the ids of pins, not of nodes, and scores in full precision: reading
//! a list touches one stretch of memory, and an answer does not show whether it was
//! read or computed.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::memory::Mapped;
use crate::model::{Neighbor, PinId};
use crate::snapshot::{ManifestFacts, Reader, SnapshotError, Writer};

const PINS: &str = "pins.bin";
const IDS: &str = "ids.bin";
const SCORES: &str = "scores.bin";

/// Facts in the manifest of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborListManifest {
    /// The catalog whose pins are listed.
    pub catalog_version: String,
    /// Neighbors in each list; the pin itself is one of them.
    pub depth: usize,
    /// Number of lists.
    pub lists: usize,
}

impl ManifestFacts for NeighborListManifest {
    const FORMAT: &'static str = "pinnersage-neighbors/1";

    type Before = Self;
}

/// All lists that were made for one catalog.
#[derive(Debug)]
pub struct NeighborLists {
    segments: Vec<Segment>,
    /// Where the deepest list of each pin lies.
    slots: HashMap<PinId, ListSlot>,
}

/// Where a list lies.
#[derive(Clone, Copy, Debug)]
struct ListSlot {
    /// Position of its segment.
    segment: u32,
    /// Its position in the segment.
    row: u32,
}

#[derive(Debug)]
struct Segment {
    reader: Reader<NeighborListManifest>,
    ids: Mapped<PinId>,
    scores: Mapped<f32>,
}

impl NeighborLists {
    /// The directory of the lists for the catalog `version`, which lies in `catalog`.
    pub fn directory(catalog: &Path, version: &str) -> PathBuf {
        let root = if catalog.ends_with(version) {
            catalog.parent().unwrap_or(catalog)
        } else {
            catalog
        };
        root.join("neighbors").join(version)
    }

    /// Bytes of a list of `depth` neighbors.
    pub fn bytes_per_list(depth: usize) -> u64 {
        let neighbor = size_of::<PinId>() + size_of::<f32>();
        (size_of::<PinId>() + depth * neighbor) as u64
    }

    /// Opens all lists in `directory`, which must belong to the catalog `version`;
    /// there may be none. Ids and scores are only mapped:
    /// [`NeighborLists::check_mapped`] checks them.
    pub fn open(directory: &Path, version: &str) -> Result<Self, SnapshotError> {
        let mut lists = Self {
            segments: Vec::new(),
            slots: HashMap::new(),
        };
        for path in Self::segments(directory)? {
            let reader = Reader::<NeighborListManifest>::open(&path)?;
            if reader.manifest().facts.catalog_version != version {
                return Err(reader.invalid_facts("is of another catalog"));
            }
            lists.add_segment(reader)?;
        }
        Ok(lists)
    }

    /// The segments in `directory` by name, whatever the order of the file system is;
    /// there may be none.
    pub fn segments(directory: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(SnapshotError::io(directory)(e)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let name = entry.map_err(SnapshotError::io(directory))?.file_name();
            // A segment that is being written has a name that starts with a dot.
            if !name.as_encoded_bytes().starts_with(b".") {
                paths.push(directory.join(name));
            }
        }
        paths.sort_unstable();
        Ok(paths)
    }

    fn add_segment(&mut self, reader: Reader<NeighborListManifest>) -> Result<(), SnapshotError> {
        let NeighborListManifest { depth, lists, .. } = reader.manifest().facts;
        let pins: Vec<PinId> = reader.read_records(PINS, lists)?;
        let ids = reader.map_records(IDS, lists.saturating_mul(depth))?;
        let scores = reader.map_records(SCORES, lists.saturating_mul(depth))?;
        let segment = self.segments.len() as u32;
        for (pin, row) in pins.into_iter().zip(0..) {
            let is_deep = |old: &ListSlot| self.segments[old.segment as usize].depth() >= depth;
            if !self.slots.get(&pin).is_some_and(is_deep) {
                self.slots.insert(pin, ListSlot { segment, row });
            }
        }
        self.segments.push(Segment {
            reader,
            ids,
            scores,
        });
        Ok(())
    }

    /// The neighbors of `pin`, itself among them, by
    /// [`Neighbor::by_descending_score`].
    pub fn get(&self, pin: PinId) -> Option<impl ExactSizeIterator<Item = Neighbor>> {
        let &ListSlot { segment, row } = self.slots.get(&pin)?;
        let segment = &self.segments[segment as usize];
        let range = row as usize * segment.depth()..(row as usize + 1) * segment.depth();
        let pairs = segment.ids[range.clone()]
            .iter()
            .zip(&segment.scores[range]);
        Some(pairs.map(|(&pin, &score)| Neighbor { pin, score }))
    }

    /// Whether `pin` has a list of at least `depth` neighbors.
    pub fn has_list(&self, pin: PinId, depth: usize) -> bool {
        self.get(pin).is_some_and(|list| list.len() >= depth)
    }

    /// Number of pins that have a list.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no pin has a list.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of all lists.
    pub fn bytes(&self) -> u64 {
        let files = self
            .segments
            .iter()
            .flat_map(|s| &s.reader.manifest().files);
        files.map(|file| file.bytes).sum()
    }

    /// When the oldest segment was written; none when there is none.
    pub fn written_at(&self) -> Option<SystemTime> {
        let times = self.segments.iter().map(|s| s.reader.written_at().ok());
        times.flatten().min()
    }

    /// Checks the files that are only mapped, by reading all of them.
    pub fn check_mapped(&self) -> Result<(), SnapshotError> {
        self.segments.iter().try_for_each(|segment| {
            segment.reader.check(IDS)?;
            segment.reader.check(SCORES)
        })
    }

    /// Writes a segment of `lists`, each with its pin and as long as the others,
    /// by ascending pin.
    pub fn write(
        directory: &Path,
        catalog_version: &str,
        lists: &[(PinId, Vec<Neighbor>)],
    ) -> Result<(), SnapshotError> {
        let depth = lists.first().map_or(0, |(_, list)| list.len());
        debug_assert!(lists.iter().all(|(_, list)| list.len() == depth));
        let all = || lists.iter().flat_map(|(_, list)| list);
        let pins: Vec<PinId> = lists.iter().map(|(pin, _)| *pin).collect();
        let ids: Vec<PinId> = all().map(|neighbor| neighbor.pin).collect();
        let scores: Vec<f32> = all().map(|neighbor| neighbor.score).collect();
        let mut writer = Writer::create(directory)?;
        writer.write(PINS, bytemuck::cast_slice(&pins))?;
        writer.write(IDS, bytemuck::cast_slice(&ids))?;
        writer.write(SCORES, bytemuck::cast_slice(&scores))?;
        writer.seal(NeighborListManifest {
            catalog_version: catalog_version.to_owned(),
            depth,
            lists: lists.len(),
        })?;
        Ok(())
    }
}

impl Segment {
    fn depth(&self) -> usize {
        self.reader.manifest().facts.depth
    }
}
