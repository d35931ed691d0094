//! From a model to what it hands to the recommender: medoids, or what stands in for
//! them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rand::seq::SliceRandom;

use super::global_clusters::GlobalClusters;
use super::history::History;
use super::kmeans;
use super::linkage::{self, Cut};
use super::models::{Method, Model, ORDINARY, Quota, Representative, Source};
use super::popularity::Ranking;
use super::query_vectors::QueryVector;
use super::seeds::{Purpose, Seeds};
use crate::cluster::{
    self, Cluster, ClusterScratch, Decay, FoldInParams, Params, Point, RecentActions,
    StoredProfile, describe_clusters, fold_in,
};
use crate::index::PinTable;
use crate::kernel;
use crate::model::{Embeddings, Medoid, PinId, RecordedAction, Timestamp};

/// What does not change from user to user.
#[derive(Clone, Copy, Debug)]
pub(super) struct World<'a> {
    pub(super) pins: &'a PinTable,
    /// Those of the settings.
    pub(super) cluster: Params,
    /// Most recent actions that are folded in, and how many of them are clustered.
    pub(super) folded: (usize, usize),
    pub(super) popular: &'a BTreeMap<Timestamp, Ranking>,
    pub(super) cells: &'a GlobalClusters,
    /// Ids for stand-ins.
    pub(super) free_ids: &'a [PinId],
}

/// What a model knows of a user on one day.
#[derive(Debug, Default)]
pub(super) struct Interests<'a> {
    /// All of them, by falling importance.
    pub(super) all: Vec<Medoid>,
    /// Those that may be drawn, as they are handed over.
    pub(super) handed: Vec<Medoid>,
    /// By ascending pin: factors of their weights in the draw.
    pub(super) factors: Vec<(PinId, f64)>,
    /// What stands behind the first of the free ids.
    pub(super) stand_ins: Vec<QueryVector<'a>>,
}

/// A user on one day, with the clusterings that models share.
pub(super) struct Asker<'a, 's> {
    pub(super) world: World<'a>,
    pub(super) history: &'s History,
    pub(super) day: Timestamp,
    pub(super) seeds: Seeds,
    partitions: Vec<(Clustering, Timestamp, Partition)>,
    scratch: &'s mut ClusterScratch,
}

/// Positions of the members of each cluster.
type Partition = Vec<Vec<usize>>;

/// A way to make clusters, with all that decides on them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Clustering {
    Ward { alpha: f64 },
    KMeans { k: usize },
    GlobalClusters { k: usize },
    CompleteLinkage(Cut),
}

impl<'a, 's> Asker<'a, 's> {
    pub(super) fn new(
        world: World<'a>,
        history: &'s History,
        day: Timestamp,
        seeds: Seeds,
        scratch: &'s mut ClusterScratch,
    ) -> Self {
        Self {
            world,
            history,
            day,
            seeds,
            partitions: Vec::new(),
            scratch,
        }
    }

    /// What `model` knows of the user before the day.
    pub(super) fn interests(&mut self, model: &Model) -> Interests<'a> {
        let as_of = self.day.minus_days(f64::from(model.stale_days));
        let points = self.history.window(as_of);
        match model.source {
            Source::Clusters(method) => {
                let clusters = self.clusters(method, model, as_of);
                let mut interests = match model.of {
                    Representative::Medoid => Interests {
                        all: medoids(&clusters, points),
                        ..Interests::default()
                    },
                    Representative::Centroid => self.centroids(&clusters, points),
                };
                if model.fold_in {
                    interests.all = self.folded(&interests.all, model, as_of);
                }
                interests.hand_over(model)
            }
            Source::LastPin => {
                let last = points.last().map(|last| medoid(last.pin, 1.0, last.time));
                Interests {
                    all: last.into_iter().collect(),
                    ..Interests::default()
                }
                .hand_over(model)
            }
            Source::DecayAverage => {
                let decay = Decay {
                    lambda_per_day: self.lambda(model),
                    as_of,
                };
                let weight = |p: &Point| decay.apply(p.weight, p.time);
                let weighted = points.iter().map(|p| (p.row, weight(p)));
                let mean = mean_direction(self.world.pins.vectors(), weighted);
                self.one(mean.map(QueryVector::Vector), as_of, model)
            }
            Source::Popularity => {
                let ranking = self.world.popular.get(&as_of);
                self.one(
                    ranking.map(|r| QueryVector::Ranking(Cow::Borrowed(r))),
                    as_of,
                    model,
                )
            }
            Source::Random => {
                let rng = &mut self.seeds.rng(Purpose::Random);
                let mut order: Vec<u32> = (1..=self.world.pins.ids().len() as u32).collect();
                order.shuffle(rng);
                let greatest = order.len() as f32;
                let scores = order
                    .into_iter()
                    .map(|place| place as f32 / greatest)
                    .collect();
                let ranking = Cow::Owned(Ranking::by(scores));
                self.one(Some(QueryVector::Ranking(ranking)), as_of, model)
            }
        }
    }

    fn lambda(&self, model: &Model) -> f64 {
        model
            .lambda_per_day
            .unwrap_or(self.world.cluster.lambda_per_day)
    }

    fn alpha(&self, model: &Model, as_of: Timestamp) -> f64 {
        let alpha = model.alpha.unwrap_or(self.world.cluster.alpha);
        let actions = self.history.window(as_of).len() as f64;
        match model.growth {
            0.0 => alpha,
            growth => alpha * (actions / ORDINARY).powf(growth),
        }
    }

    /// The interests of a model with a single one.
    fn one(
        &self,
        stand_in: Option<QueryVector<'a>>,
        at: Timestamp,
        model: &Model,
    ) -> Interests<'a> {
        let all = stand_in.iter().zip(self.world.free_ids);
        Interests {
            all: all.map(|(_, &id)| medoid(id, 1.0, at)).collect(),
            stand_ins: stand_in.into_iter().collect(),
            ..Interests::default()
        }
        .hand_over(model)
    }

    fn clusters(&mut self, method: Method, model: &Model, as_of: Timestamp) -> Vec<Cluster> {
        let clustering = match method {
            Method::Ward => Clustering::Ward {
                alpha: self.alpha(model, as_of),
            },
            Method::KMeans(k) => Clustering::KMeans { k },
            Method::GlobalClusters(k) => Clustering::GlobalClusters { k },
            Method::CompleteLinkage => Clustering::CompleteLinkage(match model.alpha {
                Some(alpha) => Cut::At(alpha),
                None => {
                    let alpha = self.world.cluster.alpha;
                    Cut::Into(self.partition(Clustering::Ward { alpha }, as_of).len())
                }
            }),
        };
        let partition = self.partition(clustering, as_of).to_vec();
        describe_clusters(
            partition,
            self.history.window(as_of),
            self.world.pins.vectors(),
            Decay {
                lambda_per_day: self.lambda(model),
                as_of,
            },
            self.scratch,
        )
    }

    /// The clusters of the actions before `as_of`, made once.
    fn partition(&mut self, clustering: Clustering, as_of: Timestamp) -> &[Vec<usize>] {
        let made = self
            .partitions
            .iter()
            .position(|(made, at, _)| (*made, *at) == (clustering, as_of));
        let at = made.unwrap_or_else(|| {
            let (points, vectors) = (self.history.window(as_of), self.world.pins.vectors());
            let partition = match clustering {
                _ if points.is_empty() => Vec::new(),
                Clustering::Ward { alpha } => {
                    cluster::partition_points(points, vectors, alpha, self.scratch)
                }
                Clustering::KMeans { k } => {
                    kmeans::partition(points, vectors, k, &mut self.seeds.rng(Purpose::KMeans))
                }
                Clustering::GlobalClusters { k } => {
                    let cells = &self.world.cells[&k];
                    kmeans::grouped(points.iter().map(|point| cells[point.row] as usize))
                }
                Clustering::CompleteLinkage(cut) => linkage::partition(points, vectors, cut),
            };
            self.partitions.push((clustering, as_of, partition));
            self.partitions.len() - 1
        });
        &self.partitions[at].2
    }

    /// The centroids of `clusters` in place of their medoids, in the same order, so
    /// that draws are the same.
    fn centroids(&self, clusters: &[Cluster], points: &[Point]) -> Interests<'a> {
        let mut pairs: Vec<(Medoid, &Cluster)> = clusters
            .iter()
            .map(|cluster| (cluster::summarize_cluster(cluster, points), cluster))
            .collect();
        pairs.sort_unstable_by(|a, b| Medoid::by_descending_importance(&a.0, &b.0));
        let vectors = self.world.pins.vectors();
        let mut interests = Interests::default();
        for ((medoid, cluster), &id) in pairs.into_iter().zip(self.world.free_ids) {
            let members = cluster
                .members
                .iter()
                .map(|&member| (points[member].row, 1.0));
            let centroid = mean_direction(vectors, members);
            let own = || vectors.row(points[cluster.medoid].row).to_vec();
            interests
                .stand_ins
                .push(QueryVector::Vector(centroid.unwrap_or_else(own)));
            interests.all.push(Medoid { pin: id, ..medoid });
        }
        interests
    }

    /// The profile `stored`, with what the user did since folded in.
    fn folded(&mut self, stored: &[Medoid], model: &Model, as_of: Timestamp) -> Vec<Medoid> {
        let (most, clustered) = self.world.folded;
        let params = FoldInParams {
            cluster: Params {
                alpha: self.alpha(model, as_of),
                lambda_per_day: self.lambda(model),
            },
            clustered,
            // Only positive actions are replayed.
            silenced_by: 0,
        };
        let since = self.history.between(as_of, self.day);
        let since = &since[since.len().saturating_sub(most)..];
        let held = |point: &Point| RecordedAction {
            time: point.time,
            pin: point.pin,
            weight: point.weight,
        };
        let positive: Vec<RecordedAction> = since.iter().map(held).collect();
        // Both come from these points, so each pin is one of theirs.
        let known = [self.history.window(as_of), since];
        let vector_of = |pin: PinId| {
            let point = known
                .iter()
                .copied()
                .flatten()
                .find(|point| point.pin == pin)?;
            Some(self.world.pins.vectors().row(point.row))
        };
        let folded = fold_in(
            StoredProfile {
                medoids: stored,
                as_of,
            },
            RecentActions {
                positive: &positive,
                negative: &[],
            },
            vector_of,
            &params,
            self.scratch,
        );
        let active = folded
            .interests
            .iter()
            .filter(|interest| interest.is_active());
        active.map(|interest| interest.medoid).collect()
    }
}

impl Interests<'_> {
    /// Makes all interests those that are handed over, as `model` wants it.
    fn hand_over(mut self, model: &Model) -> Self {
        self.handed = self.all.clone();
        if model.quota == Quota::Equal {
            // Quotas follow importance alone, draws the factor as well.
            let factors = self
                .handed
                .iter()
                .map(|medoid| (medoid.pin, medoid.importance));
            self.factors = factors.collect();
            self.factors.sort_unstable_by_key(|&(pin, _)| pin);
            self.handed
                .iter_mut()
                .for_each(|medoid| medoid.importance = 1.0);
        }
        self
    }
}

fn medoids(clusters: &[Cluster], points: &[Point]) -> Vec<Medoid> {
    let medoids = clusters
        .iter()
        .map(|cluster| cluster::summarize_cluster(cluster, points));
    let mut medoids: Vec<Medoid> = medoids.collect();
    medoids.sort_unstable_by(Medoid::by_descending_importance);
    medoids
}

fn medoid(pin: PinId, importance: f64, last_action_time: Timestamp) -> Medoid {
    Medoid {
        pin,
        importance,
        last_action_time,
        size: 1,
        reserved: 0,
    }
}

/// The direction of a weighted sum of rows; none when it has none.
fn mean_direction(
    vectors: &Embeddings,
    weighted: impl Iterator<Item = (usize, f64)>,
) -> Option<Vec<f32>> {
    let mut sum = vec![0.0; vectors.dimension()];
    weighted.for_each(|(row, weight)| kernel::add_weighted(&mut sum, vectors.row(row), weight));
    let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
    (norm > f64::MIN_POSITIVE).then(|| sum.iter().map(|x| (x / norm) as f32).collect())
}
