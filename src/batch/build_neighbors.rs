//! Computing neighbor lists ahead of time, for the pins that are medoids.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;

use super::error::BatchError;
use crate::index::{Approximate, Catalog, NeighborLists, NeighborParams, PinTable, exact_lists};
use crate::model::{Neighbor, PinId};
use crate::progress::Progress;
use crate::store::ProfilesReader;

/// Lists in a segment: what is lost at most when a build is stopped.
const SEGMENT: usize = 4096;
/// Catalogs of more nodes get their lists by graph searches: an exact scan costs more
/// there than a search that misses one neighbor in some hundred.
const EXACT_NODES: usize = 2_000_000;
/// Nodes that such a search expands, for each neighbor of a list.
const SEARCH_EFFORT: usize = 4;

/// Outcome for the list of each medoid pin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighborCounts {
    /// Pins of the catalog that are medoids.
    pub medoid_pins: usize,
    /// Pins that had a list already.
    pub kept: usize,
    /// Pins that got a list.
    pub made: usize,
    /// Pins that got no list, because the budget is spent.
    pub over_budget: usize,
}

/// Computes the lists that the profiles in `profiles` need and the catalog in `catalog`
/// does not have yet, as far as the budget goes. The medoids that most users share come
/// first. A build that was stopped is resumed.
pub fn build_neighbors(
    catalog: &Path,
    profiles: &Path,
    params: NeighborParams,
    progress: Progress,
) -> Result<NeighborCounts, BatchError> {
    let opened = Catalog::open(catalog)?;
    opened.check_mapped()?;
    let version = opened.manifest().version.clone();
    let directory = NeighborLists::directory(catalog, &version);
    let lists = NeighborLists::open(&directory, &version)?;
    let depth = params.depth.min(opened.pins.ids().len());

    let positions = positions_by_descending_share(&ProfilesReader::open(profiles)?, &opened.pins);
    let ids = opened.pins.ids();
    let lacks = |position: &usize| !lists.has_list(ids[*position], depth);
    let mut missing: Vec<usize> = positions.iter().copied().filter(lacks).collect();
    let kept = positions.len() - missing.len();
    let budget = params.budget.as_u64();
    let room = budget.saturating_sub(lists.bytes()) / NeighborLists::bytes_per_list(depth);
    let lacking = missing.len();
    missing.truncate(usize::try_from(room).unwrap_or(usize::MAX));
    drop(lists);

    let stage = progress.stage("neighbor lists", missing.len() as u64);
    let index = Approximate::new(opened.into(), 1);
    for segment in missing.chunks(SEGMENT) {
        let mut segment = segment.to_vec();
        segment.sort_unstable();
        let found = compute_lists(&index, &segment, depth);
        let pins = segment
            .iter()
            .map(|&position| index.catalog().pins.ids()[position]);
        let lists: Vec<(PinId, Vec<Neighbor>)> = pins.zip(found).collect();
        NeighborLists::write(&directory, &version, &lists)?;
        stage.advance(lists.len() as u64);
    }
    Ok(NeighborCounts {
        medoid_pins: positions.len(),
        kept,
        made: missing.len(),
        over_budget: lacking - missing.len(),
    })
}

/// The positions of the medoids of all users, those that most of them share first,
/// then by id, which is the order of the table.
fn positions_by_descending_share(profiles: &ProfilesReader, pins: &PinTable) -> Vec<usize> {
    let mut users_of: HashMap<PinId, usize> = HashMap::new();
    for (_, profile) in profiles.iter() {
        for medoid in profile.medoids {
            *users_of.entry(medoid.pin).or_default() += 1;
        }
    }
    let known = users_of
        .into_iter()
        .filter_map(|(pin, users)| Some((Reverse(users), pins.position(pin)?)));
    let mut known: Vec<(Reverse<usize>, usize)> = known.collect();
    known.sort_unstable();
    known.into_iter().map(|(_, position)| position).collect()
}

fn compute_lists(index: &Approximate, positions: &[usize], depth: usize) -> Vec<Vec<Neighbor>> {
    if index.catalog().pins.vectors().len() <= EXACT_NODES {
        return exact_lists(index.catalog(), positions, depth);
    }
    let search = |&position: &usize| {
        let list = index.nearest(position, depth, depth * SEARCH_EFFORT);
        if list.len() == depth {
            return vec![list];
        }
        // Too little of the graph can be reached from here.
        exact_lists(index.catalog(), &[position], depth)
    };
    positions.par_iter().flat_map_iter(search).collect()
}
