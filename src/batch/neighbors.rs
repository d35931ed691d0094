//! Making neighbor lists ahead of time, for the pins that are medoids.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;

use super::BatchError;
use crate::index::{Approximate, Catalog, NeighborLists, NeighborParams, PinTable, exact_lists};
use crate::model::{Neighbor, PinId};
use crate::progress::Progress;
use crate::store::ProfilesReader;

/// Lists in a segment: what is lost at most when a build is stopped.
const SEGMENT: usize = 4096;
/// Catalogs of more nodes get their lists by walks: to look at every pin costs
/// more there than a walk that misses one neighbor in some hundred.
const EXACT_NODES: usize = 2_000_000;
/// Nodes that such a walk expands, for each neighbor of a list.
const WALK_EFFORT: usize = 4;

/// What became of the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighborCounts {
    /// Pins of the catalog that are medoids.
    pub medoid_pins: usize,
    /// Had a list already.
    pub kept: usize,
    /// Got one.
    pub made: usize,
    /// Got none, because the budget is spent.
    pub over_budget: usize,
}

/// Makes the lists that the profiles in `profiles` need and the catalog in
/// `catalog` does not have yet: of the medoids that most users share first, as far
/// as the budget goes. Stopped, it goes on where it was.
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

    let places = by_falling_share(&ProfilesReader::open(profiles)?, &opened.pins);
    let ids = opened.pins.ids();
    let lacks = |place: &usize| !lists.has(ids[*place], depth);
    let mut missing: Vec<usize> = places.iter().copied().filter(lacks).collect();
    let kept = places.len() - missing.len();
    let budget = params.budget.as_u64();
    let room = budget.saturating_sub(lists.bytes()) / NeighborLists::bytes_of(depth);
    let wanted = missing.len();
    missing.truncate(usize::try_from(room).unwrap_or(usize::MAX));
    drop(lists);

    let stage = progress.stage("neighbor lists", missing.len() as u64);
    let index = Approximate::new(opened.into(), 1);
    for segment in missing.chunks(SEGMENT) {
        let mut segment = segment.to_vec();
        segment.sort_unstable();
        let found = lists_of(&index, &segment, depth);
        let pins = segment
            .iter()
            .map(|&place| index.catalog().pins.ids()[place]);
        let lists: Vec<(PinId, Vec<Neighbor>)> = pins.zip(found).collect();
        NeighborLists::write(&directory, &version, &lists)?;
        stage.advance(lists.len() as u64);
    }
    Ok(NeighborCounts {
        medoid_pins: places.len(),
        kept,
        made: missing.len(),
        over_budget: wanted - missing.len(),
    })
}

/// The places of the medoids of all users, those that most of them share first,
/// then by id, which is the order of the table.
fn by_falling_share(profiles: &ProfilesReader, pins: &PinTable) -> Vec<usize> {
    let mut users_of: HashMap<PinId, usize> = HashMap::new();
    for (_, profile) in profiles.iter() {
        for medoid in profile.medoids {
            *users_of.entry(medoid.pin).or_default() += 1;
        }
    }
    let known = users_of
        .into_iter()
        .filter_map(|(pin, users)| Some((Reverse(users), pins.place(pin)?)));
    let mut known: Vec<(Reverse<usize>, usize)> = known.collect();
    known.sort_unstable();
    known.into_iter().map(|(_, place)| place).collect()
}

fn lists_of(index: &Approximate, places: &[usize], depth: usize) -> Vec<Vec<Neighbor>> {
    if index.catalog().pins.vectors().len() <= EXACT_NODES {
        return exact_lists(index.catalog(), places, depth);
    }
    let walk = |&place: &usize| {
        let list = index.nearest(place, depth, depth * WALK_EFFORT);
        match list.len() == depth {
            true => vec![list],
            // Too little of the graph can be reached from here.
            false => exact_lists(index.catalog(), &[place], depth),
        }
    };
    places.par_iter().flat_map_iter(walk).collect()
}
