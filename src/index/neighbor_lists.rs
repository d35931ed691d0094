//! Neighbor lists made ahead of time: what the neighbors of a medoid are is
//! known long before anybody asks, so the answer is looked up.
//!
//! ```text
//! CATALOG/neighbors/<catalog version>/<segment version>/manifest.json
//!     pins.bin    the pins that have a list here, ascending
//!     ids.bin     for each of them its `depth` nearest pins, best first
//!     scores.bin  and the cosines of these
//! ```
//!
//! A list depends on the catalog and the pin only. So lists lie with the
//! catalog, in segments that are written once and never change: building them
//! goes on where it was stopped, and tomorrow's profiles use today's lists.
//!
//! Ids are those of pins and not of nodes, and scores are whole: reading a list
//! touches one place of memory, and an answer does not show whether it was read
//! or computed.

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

/// The facts in the manifest of a segment.
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
}

/// All lists that were made for one catalog.
#[derive(Debug)]
pub struct NeighborLists {
    segments: Vec<Segment>,
    /// For each pin the deepest list it has: segment and place in it.
    places: HashMap<PinId, (u32, u32)>,
}

#[derive(Debug)]
struct Segment {
    reader: Reader<NeighborListManifest>,
    ids: Mapped<PinId>,
    scores: Mapped<f32>,
}

impl NeighborLists {
    /// Where the lists of the catalog `version`, which lies in `catalog`, are.
    pub fn directory(catalog: &Path, version: &str) -> PathBuf {
        let root = match catalog.ends_with(version) {
            true => catalog.parent().unwrap_or(catalog),
            false => catalog,
        };
        root.join("neighbors").join(version)
    }

    /// Bytes of a list of `depth` neighbors.
    pub fn bytes_of(depth: usize) -> u64 {
        let neighbor = size_of::<PinId>() + size_of::<f32>();
        (size_of::<PinId>() + depth * neighbor) as u64
    }

    /// Opens all lists in `directory`, which must be of the catalog `version`;
    /// there may be none. Ids and scores are only mapped:
    /// [`NeighborLists::check_mapped`] checks them.
    pub fn open(directory: &Path, version: &str) -> Result<Self, SnapshotError> {
        let mut lists = Self {
            segments: Vec::new(),
            places: HashMap::new(),
        };
        for path in Self::segments(directory)? {
            let reader = Reader::<NeighborListManifest>::open(&path)?;
            if reader.manifest().facts.catalog_version != version {
                return Err(reader.misstated("is of another catalog"));
            }
            lists.add(reader)?;
        }
        Ok(lists)
    }

    /// The segments in `directory`, in an order of their own, whatever that of the
    /// file system is; there may be none.
    pub fn segments(directory: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(SnapshotError::io(directory)(e)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let name = entry.map_err(SnapshotError::io(directory))?.file_name();
            // A segment that is being written has a name with a point.
            if !name.as_encoded_bytes().starts_with(b".") {
                paths.push(directory.join(name));
            }
        }
        paths.sort_unstable();
        Ok(paths)
    }

    fn add(&mut self, reader: Reader<NeighborListManifest>) -> Result<(), SnapshotError> {
        let NeighborListManifest { depth, lists, .. } = reader.manifest().facts;
        let pins: Vec<PinId> = reader.exactly(PINS, lists)?;
        let ids = reader.map(IDS, lists.saturating_mul(depth))?;
        let scores = reader.map(SCORES, lists.saturating_mul(depth))?;
        let segment = self.segments.len() as u32;
        for (pin, place) in pins.into_iter().zip(0..) {
            let deeper = |&(old, _): &(u32, u32)| self.segments[old as usize].depth() >= depth;
            if !self.places.get(&pin).is_some_and(deeper) {
                self.places.insert(pin, (segment, place));
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
        let &(segment, place) = self.places.get(&pin)?;
        let segment = &self.segments[segment as usize];
        let range = place as usize * segment.depth()..(place as usize + 1) * segment.depth();
        let pairs = segment.ids[range.clone()]
            .iter()
            .zip(&segment.scores[range]);
        Some(pairs.map(|(&pin, &score)| Neighbor { pin, score }))
    }

    /// Whether `pin` has a list of at least `depth` neighbors.
    pub fn has(&self, pin: PinId, depth: usize) -> bool {
        self.get(pin).is_some_and(|list| list.len() >= depth)
    }

    /// Number of pins that have a list.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no pin has one.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of all lists.
    pub fn bytes(&self) -> u64 {
        let files = self
            .segments
            .iter()
            .flat_map(|s| &s.reader.manifest().files);
        files.map(|file| file.bytes).sum()
    }

    /// When the oldest of them were written; none when there are none.
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
