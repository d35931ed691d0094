//! Partitions of a user's actions, made once for all models that share them.

use super::global_clusters::GlobalClusters;
use super::kmeans;
use super::linkage::{self, Cut};
use crate::cluster::{self, Point};
use crate::evaluation::seeds::{Purpose, Seeds};
use crate::model::{Embeddings, Timestamp};

/// Positions of the members of each cluster.
pub(super) type Partition = Vec<Vec<usize>>;

/// A way to make clusters, with all parameters that decide on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Clustering {
    Ward { alpha: f64 },
    KMeans { k: usize },
    GlobalClusters { k: usize },
    CompleteLinkage(Cut),
}

/// What clusterings read beside the actions.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClusteringInput<'a> {
    pub(super) vectors: &'a Embeddings,
    pub(super) global_clusters: &'a GlobalClusters,
    pub(super) seeds: Seeds,
}

impl Clustering {
    fn partition(
        self,
        points: &[Point],
        input: ClusteringInput<'_>,
        scratch: &mut cluster::Scratch,
    ) -> Partition {
        let vectors = input.vectors;
        match self {
            _ if points.is_empty() => Vec::new(),
            Self::Ward { alpha } => cluster::partition_of(points, vectors, alpha, scratch),
            Self::KMeans { k } => {
                kmeans::partition(points, vectors, k, &mut input.seeds.rng(Purpose::KMeans))
            }
            Self::GlobalClusters { k } => {
                let cells = &input.global_clusters[&k];
                kmeans::group_by_cluster(points.iter().map(|point| cells[point.row] as usize))
            }
            Self::CompleteLinkage(cut) => linkage::partition(points, vectors, cut),
        }
    }
}

/// The partitions of one user on one day.
#[derive(Debug, Default)]
pub(super) struct PartitionCache(Vec<CachedPartition>);

#[derive(Debug)]
struct CachedPartition {
    clustering: Clustering,
    as_of: Timestamp,
    partition: Partition,
}

impl PartitionCache {
    /// The partition of `points`, which are the actions before `as_of`.
    pub(super) fn get_or_make(
        &mut self,
        clustering: Clustering,
        as_of: Timestamp,
        points: &[Point],
        input: ClusteringInput<'_>,
        scratch: &mut cluster::Scratch,
    ) -> &Partition {
        let is_same = |made: &CachedPartition| (made.clustering, made.as_of) == (clustering, as_of);
        let position = self.0.iter().position(is_same).unwrap_or_else(|| {
            self.0.push(CachedPartition {
                clustering,
                as_of,
                partition: clustering.partition(points, input, scratch),
            });
            self.0.len() - 1
        });
        &self.0[position].partition
    }
}
