//! Where the catalog and the profiles lie on disk, and which versions of them exist.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::index::{FilterParams, NeighborLists, NeighborParams};
use crate::snapshot::{self, SnapshotError};

/// Location of a catalog and of profiles, and how the catalog is searched.
#[derive(Clone, Debug)]
pub struct ServingSource {
    /// The catalog.
    pub catalog: PathBuf,
    /// The profiles.
    pub profiles: PathBuf,
    /// Nodes of the graph that a search finds at least.
    pub ef_search: usize,
    /// Lists that answer without a search.
    pub neighbors: NeighborParams,
    /// What filters select.
    pub filters: FilterParams,
    /// What the popularity of a pin is worth beside its nearness, as a difference of
    /// cosines; 0 for nearness alone.
    pub popularity: f32,
}

/// The versions of a catalog and of profiles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionPair {
    pub(crate) catalog: String,
    pub(crate) profiles: String,
}

/// What is published, down to the files that a server would open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishedState {
    pub(crate) versions: VersionPair,
    /// Segments of the neighbor lists of that catalog.
    pub(crate) neighbor_lists: Vec<PathBuf>,
}

impl ServingSource {
    /// The source that holds only these versions of this one.
    pub(crate) fn at(&self, versions: &VersionPair) -> Self {
        Self {
            catalog: self.catalog.join(&versions.catalog),
            profiles: self.profiles.join(&versions.profiles),
            ef_search: self.ef_search,
            neighbors: self.neighbors,
            filters: self.filters,
            popularity: self.popularity,
        }
    }

    /// Whether both paths are single versions, not directories of versions.
    pub(crate) fn is_single_pair(&self) -> bool {
        is_single_version(&self.catalog) && is_single_version(&self.profiles)
    }

    /// Whether one of the paths is a single version, so that there is none to change to.
    pub(crate) fn has_single_version(&self) -> bool {
        is_single_version(&self.catalog) || is_single_version(&self.profiles)
    }

    /// The published versions; none where one of the paths is a single version.
    pub(crate) fn published(&self) -> Result<Option<VersionPair>, SnapshotError> {
        let catalog = snapshot::current_version(&self.catalog)?;
        let profiles = snapshot::current_version(&self.profiles)?;
        Ok(catalog
            .zip(profiles)
            .map(|(catalog, profiles)| VersionPair { catalog, profiles }))
    }

    /// What is published now; none where that cannot be read.
    pub(crate) fn scan(&self) -> Option<PublishedState> {
        let versions = self.published().ok()??;
        let lists = NeighborLists::directory(&self.catalog, &versions.catalog);
        let neighbor_lists = NeighborLists::segments(&lists).ok()?;
        Some(PublishedState {
            versions,
            neighbor_lists,
        })
    }
}

fn is_single_version(path: &Path) -> bool {
    matches!(snapshot::current_version(path), Ok(None))
}
