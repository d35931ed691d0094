//! From a model and a history to interests: medoids, or query vectors in their place.

use std::borrow::Cow;

use rand::seq::SliceRandom;

use super::clustering::{Clustering, ClusteringInput, Partition, PartitionCache};
use super::context::ModelContext;
use super::interests::{ModelInterests, medoids, single_medoid};
use super::linkage::Cut;
use super::model::{Method, Model, Representative, Source};
use super::popularity::Ranking;
use super::query_vectors::QueryVector;
use crate::cluster::{
    Cluster, ClusterScratch, Decay, FoldInParams, Params, Point, RecentActions, StoredProfile,
    describe_clusters, fold_in, summarize_cluster,
};
use crate::evaluation::history::History;
use crate::evaluation::seeds::{Purpose, Seeds};
use crate::kernel;
use crate::model::{Embeddings, Medoid, PinId, RecordedAction, Timestamp};

/// Number of actions at which alpha is unchanged, whatever its growth.
const TYPICAL_ACTIONS: f64 = 100.0;

/// Builds the interests of one user on one day, model by model.
#[derive(Debug)]
pub(crate) struct InterestBuilder<'a, 's> {
    context: ModelContext<'a>,
    history: &'s History,
    day: Timestamp,
    seeds: Seeds,
    partitions: PartitionCache,
    scratch: &'s mut ClusterScratch,
}

impl<'a, 's> InterestBuilder<'a, 's> {
    pub(crate) fn new(
        context: ModelContext<'a>,
        history: &'s History,
        day: Timestamp,
        seeds: Seeds,
        scratch: &'s mut ClusterScratch,
    ) -> Self {
        Self {
            context,
            history,
            day,
            seeds,
            partitions: PartitionCache::default(),
            scratch,
        }
    }

    /// The interests that `model` derives from the actions before the day.
    pub(crate) fn build(&mut self, model: &Model) -> ModelInterests<'a> {
        let as_of = self.day.minus_days(f64::from(model.stale_days));
        let interests = match model.source {
            Source::Clusters(method) => self.interests_from_clusters(method, model, as_of),
            Source::LastPin => self.interest_in_last_pin(as_of),
            Source::DecayAverage => {
                self.interest_in_query(self.decayed_average(model, as_of), as_of)
            }
            Source::Popularity => self.interest_in_query(self.popularity(as_of), as_of),
            Source::Random => self.interest_in_query(Some(self.random_ranking()), as_of),
        };
        interests.with_quota(model.quota)
    }

    fn interests_from_clusters(
        &mut self,
        method: Method,
        model: &Model,
        as_of: Timestamp,
    ) -> ModelInterests<'a> {
        let clusters = self.clusters(method, model, as_of);
        let points = self.history.window(as_of);
        let mut interests = match model.representative {
            Representative::Medoid => ModelInterests::from_medoids(medoids(&clusters, points)),
            Representative::Centroid => self.centroids(&clusters, points),
        };
        if model.fold_in {
            interests.all = self.fold_in(&interests.all, model, as_of);
        }
        interests
    }

    fn interest_in_last_pin(&self, as_of: Timestamp) -> ModelInterests<'a> {
        let last = self.history.window(as_of).last();
        let last = last.map(|last| single_medoid(last.pin, last.time));
        ModelInterests::from_medoids(last.into_iter().collect())
    }

    /// The interests of a model with a single query, or none.
    fn interest_in_query(
        &self,
        query: Option<QueryVector<'a>>,
        as_of: Timestamp,
    ) -> ModelInterests<'a> {
        let ids = query.iter().zip(self.context.free_ids);
        ModelInterests {
            all: ids.map(|(_, &id)| single_medoid(id, as_of)).collect(),
            queries: query.into_iter().collect(),
            ..ModelInterests::default()
        }
    }

    fn decayed_average(&self, model: &Model, as_of: Timestamp) -> Option<QueryVector<'a>> {
        let decay = Decay {
            lambda_per_day: self.lambda(model),
            as_of,
        };
        let weight = |point: &Point| decay.apply(point.weight, point.time);
        let points = self.history.window(as_of).iter();
        let weighted = points.map(|point| (point.row, weight(point)));
        mean_direction(self.context.pins.vectors(), weighted).map(QueryVector::Vector)
    }

    fn popularity(&self, as_of: Timestamp) -> Option<QueryVector<'a>> {
        let ranking = self.context.rankings.get(&as_of)?;
        Some(QueryVector::Ranking(Cow::Borrowed(ranking)))
    }

    fn random_ranking(&self) -> QueryVector<'a> {
        let rng = &mut self.seeds.rng(Purpose::Random);
        let mut order: Vec<u32> = (1..=self.context.pins.ids().len() as u32).collect();
        order.shuffle(rng);
        let max = order.len() as f32;
        let scores = order.into_iter().map(|rank| rank as f32 / max).collect();
        QueryVector::Ranking(Cow::Owned(Ranking::from_scores(scores)))
    }

    fn lambda(&self, model: &Model) -> f64 {
        let default = self.context.cluster.lambda_per_day;
        model.lambda_per_day.unwrap_or(default)
    }

    fn alpha(&self, model: &Model, as_of: Timestamp) -> f64 {
        let alpha = model.alpha.unwrap_or(self.context.cluster.alpha);
        if model.growth == 0.0 {
            return alpha;
        }
        let actions = self.history.window(as_of).len() as f64;
        alpha * (actions / TYPICAL_ACTIONS).powf(model.growth)
    }

    fn clusters(&mut self, method: Method, model: &Model, as_of: Timestamp) -> Vec<Cluster> {
        let clustering = self.clustering(method, model, as_of);
        let partition = self.partition(clustering, as_of).clone();
        describe_clusters(
            partition,
            self.history.window(as_of),
            self.context.pins.vectors(),
            Decay {
                lambda_per_day: self.lambda(model),
                as_of,
            },
            self.scratch,
        )
    }

    fn clustering(&mut self, method: Method, model: &Model, as_of: Timestamp) -> Clustering {
        match method {
            Method::Ward => Clustering::Ward {
                alpha: self.alpha(model, as_of),
            },
            Method::KMeans(k) => Clustering::KMeans { k },
            Method::GlobalClusters(k) => Clustering::GlobalClusters { k },
            Method::CompleteLinkage => {
                let cut = model.alpha.map(Cut::At);
                Clustering::CompleteLinkage(cut.unwrap_or_else(|| self.cut_like_ward(as_of)))
            }
        }
    }

    /// The cut that leaves as many clusters as Ward makes.
    fn cut_like_ward(&mut self, as_of: Timestamp) -> Cut {
        let alpha = self.context.cluster.alpha;
        Cut::Into(self.partition(Clustering::Ward { alpha }, as_of).len())
    }

    /// The clusters of the actions before `as_of`.
    fn partition(&mut self, clustering: Clustering, as_of: Timestamp) -> &Partition {
        let input = ClusteringInput {
            vectors: self.context.pins.vectors(),
            global_clusters: self.context.global_clusters,
            seeds: self.seeds,
        };
        let points = self.history.window(as_of);
        self.partitions
            .get_or_make(clustering, as_of, points, input, self.scratch)
    }

    /// The centroids of `clusters` in place of their medoids. They keep the order of the
    /// medoids, so that draws are the same.
    fn centroids(&self, clusters: &[Cluster], points: &[Point]) -> ModelInterests<'a> {
        let mut pairs: Vec<(Medoid, &Cluster)> = clusters
            .iter()
            .map(|cluster| (summarize_cluster(cluster, points), cluster))
            .collect();
        pairs.sort_unstable_by(|a, b| Medoid::by_descending_importance(&a.0, &b.0));
        let vectors = self.context.pins.vectors();
        let mut interests = ModelInterests::default();
        for ((medoid, cluster), &id) in pairs.into_iter().zip(self.context.free_ids) {
            let centroid = centroid(cluster, points, vectors);
            interests.queries.push(QueryVector::Vector(centroid));
            interests.all.push(Medoid { pin: id, ..medoid });
        }
        interests
    }

    /// The profile `stored` as of `as_of`, with the actions since then folded in.
    fn fold_in(&mut self, stored: &[Medoid], model: &Model, as_of: Timestamp) -> Vec<Medoid> {
        let limits = self.context.fold_in;
        let params = FoldInParams {
            cluster: Params {
                alpha: self.alpha(model, as_of),
                lambda_per_day: self.lambda(model),
            },
            clustered: limits.clustered,
            // Only positive actions are replayed.
            silenced_by: 0,
        };
        let since = self.history.between(as_of, self.day);
        let since = &since[since.len().saturating_sub(limits.recent)..];
        let positive: Vec<RecordedAction> = since.iter().map(held).collect();
        // Stored and recent pins come from these points, so each pin is one of theirs.
        let known = [self.history.window(as_of), since];
        let vectors = self.context.pins.vectors();
        let vector_of = |pin: PinId| {
            let mut points = known.iter().copied().flatten();
            points
                .find(|point| point.pin == pin)
                .map(|point| vectors.row(point.row))
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
        let interests = folded.interests.iter();
        let active = interests.filter(|interest| interest.is_active());
        active.map(|interest| interest.medoid).collect()
    }
}

fn held(point: &Point) -> RecordedAction {
    RecordedAction {
        time: point.time,
        pin: point.pin,
        weight: point.weight,
    }
}

/// The direction of the mean of the members of `cluster`. Members that cancel out have
/// none; then it is that of the medoid.
fn centroid(cluster: &Cluster, points: &[Point], vectors: &Embeddings) -> Vec<f32> {
    let members = cluster.members.iter();
    let rows = members.map(|&member| (points[member].row, 1.0));
    mean_direction(vectors, rows)
        .unwrap_or_else(|| vectors.row(points[cluster.medoid].row).to_vec())
}

/// The direction of a weighted sum of rows; none when the sum is 0.
fn mean_direction(
    vectors: &Embeddings,
    weighted: impl Iterator<Item = (usize, f64)>,
) -> Option<Vec<f32>> {
    let mut sum = vec![0.0; vectors.dimension()];
    weighted.for_each(|(row, weight)| kernel::add_weighted(&mut sum, vectors.row(row), weight));
    let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
    (norm > f64::MIN_POSITIVE).then(|| sum.iter().map(|x| (x / norm) as f32).collect())
}
