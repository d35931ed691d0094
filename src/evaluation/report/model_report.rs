//! The measures of each model, from the sums of each user.

use serde::Serialize;

use crate::evaluation::metrics::{Column, Estimate, Interval, MeasureSums, Ratio, estimate_ratios};
use crate::evaluation::models::Model;
use crate::evaluation::replay::Measured;

/// The measures of one model. Intervals hold 95 % of a bootstrap over users.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelReport {
    /// Its name, as it was written.
    pub model: String,
    /// Share of the counted target actions near a candidate.
    pub relevance: f64,
    /// Interval of it.
    pub relevance_interval: Interval,
    /// Share of the counted target actions on a candidate.
    pub recall: f64,
    /// Interval of it.
    pub recall_interval: Interval,
    /// Mean over the lists of the mean cosine distance of two candidates.
    pub diversity: f64,
    /// Interval of it.
    pub diversity_interval: Interval,
    /// Mean number of distinct categories in a list; none where no title has one.
    pub categories: Option<f64>,
    /// Interval of it.
    pub categories_interval: Option<Interval>,
    /// Share of the catalog, or of what the filter selects of it, that was recommended to
    /// anybody.
    pub coverage: f64,
    /// Share of targets among the best of the targets of a day and their negatives, as
    /// many as there are targets.
    pub r_precision: f64,
    /// Interval of it.
    pub r_precision_interval: Interval,
    /// Mean of one over the rank of a target among its negatives.
    pub reciprocal_rank: f64,
    /// Interval of it.
    pub reciprocal_rank_interval: Interval,
    /// Users who were judged.
    pub users: usize,
    /// Lists of candidates.
    pub lists: u64,
    /// Target actions that count: those on pins that the filter of the model selects.
    pub actions: u64,
    /// Target actions, whatever the filter.
    pub all_actions: u64,
    /// Mean number of candidates in a list.
    pub candidates: f64,
    /// Interval of it.
    pub candidates_interval: Interval,
    /// The same measures of the first 50 candidates.
    pub first_50: Head,
    /// Share of the candidates that break a spacing rule of any model: which stand, with the
    /// places before them, among more of their word than the rule allows. None without rules.
    pub crowded: Option<f64>,
    /// Interval of it.
    pub crowded_interval: Option<Interval>,
    /// Mean time of an answer, in microseconds; none where it was not measured.
    pub microseconds: Option<f64>,
    /// Interval of it.
    pub microseconds_interval: Option<Interval>,
    /// Relevance and recall for thirds of the users.
    pub segments: Segments,
}

/// The measures of the first 50 candidates of the lists of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Head {
    /// See [`ModelReport::relevance`].
    pub relevance: f64,
    /// Interval of it.
    pub relevance_interval: Interval,
    /// See [`ModelReport::recall`].
    pub recall: f64,
    /// Interval of it.
    pub recall_interval: Interval,
    /// See [`ModelReport::diversity`].
    pub diversity: f64,
    /// Interval of it.
    pub diversity_interval: Interval,
}

/// Thirds of the users by their mean number of actions in the window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Segments {
    /// Those with the fewest.
    pub light: Segment,
    /// Those between.
    pub medium: Segment,
    /// Those with the most.
    pub heavy: Segment,
}

impl Segments {
    /// From light to heavy.
    pub(crate) fn thirds(&self) -> [&Segment; 3] {
        [&self.light, &self.medium, &self.heavy]
    }
}

/// The measures of one model on a third of the users.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Segment {
    /// See [`ModelReport::relevance`].
    pub relevance: f64,
    /// Interval of it.
    pub relevance_interval: Interval,
    /// See [`ModelReport::recall`].
    pub recall: f64,
    /// Interval of it.
    pub recall_interval: Interval,
    /// Users in it.
    pub users: usize,
    /// Their target actions.
    pub actions: u64,
}

impl ModelReport {
    /// Relevance with its interval.
    pub(crate) fn relevance_estimate(&self) -> Estimate {
        Estimate::new(self.relevance, self.relevance_interval)
    }

    /// Recall with its interval.
    pub(crate) fn recall_estimate(&self) -> Estimate {
        Estimate::new(self.recall, self.recall_interval)
    }

    /// Diversity with its interval.
    pub(crate) fn diversity_estimate(&self) -> Estimate {
        Estimate::new(self.diversity, self.diversity_interval)
    }
}

impl Head {
    /// Relevance with its interval.
    pub(crate) fn relevance_estimate(&self) -> Estimate {
        Estimate::new(self.relevance, self.relevance_interval)
    }

    /// Recall with its interval.
    pub(crate) fn recall_estimate(&self) -> Estimate {
        Estimate::new(self.recall, self.recall_interval)
    }

    /// Diversity with its interval.
    pub(crate) fn diversity_estimate(&self) -> Estimate {
        Estimate::new(self.diversity, self.diversity_interval)
    }
}

impl Segment {
    /// Relevance with its interval.
    pub(crate) fn relevance_estimate(&self) -> Estimate {
        Estimate::new(self.relevance, self.relevance_interval)
    }

    /// Recall with its interval.
    pub(crate) fn recall_estimate(&self) -> Estimate {
        Estimate::new(self.recall, self.recall_interval)
    }
}

/// A measure as a ratio of sums.
type Measure = fn(&MeasureSums) -> Ratio;

const RELEVANCE: Measure = |sums| per_action(sums, sums.relevant);
const RECALL: Measure = |sums| per_action(sums, sums.recalled);
const DIVERSITY: Measure = |sums| per_list(sums, sums.diversity);
const CATEGORIES: Measure = |sums| per_list(sums, sums.categories);
const R_PRECISION: Measure = |sums| per_action(sums, sums.precise);
const RECIPROCAL_RANK: Measure = |sums| per_action(sums, sums.reciprocal);
const CANDIDATES: Measure = |sums| per_list(sums, sums.candidates);
const HEAD_RELEVANCE: Measure = |sums| per_action(sums, sums.head_relevant);
const HEAD_RECALL: Measure = |sums| per_action(sums, sums.head_recalled);
const HEAD_DIVERSITY: Measure = |sums| per_list(sums, sums.head_diversity);
const CROWDED: Measure = |sums| Ratio {
    numerator: sums.crowded,
    denominator: sums.candidates,
};
const MICROSECONDS: Measure = |sums| per_list(sums, 1e6 * sums.seconds);

fn per_action(sums: &MeasureSums, numerator: f64) -> Ratio {
    Ratio {
        numerator,
        denominator: sums.actions,
    }
}

fn per_list(sums: &MeasureSums, numerator: f64) -> Ratio {
    Ratio {
        numerator,
        denominator: sums.lists,
    }
}

/// One report for each of `models`, in their order.
pub(crate) fn report(models: &[Model], measured: &Measured) -> Vec<ModelReport> {
    let models = models.iter().enumerate();
    models
        .map(|(at, model)| model_report(at, model, measured))
        .collect()
}

/// The report of the model that is the one `at` this position.
fn model_report(at: usize, model: &Model, measured: &Measured) -> ModelReport {
    let users = measured.users.iter();
    let users: Vec<&MeasureSums> = users.map(|user| &user.sums[at]).collect();
    let [relevance, recall, diversity] = estimate(&users, [RELEVANCE, RECALL, DIVERSITY]);
    let [r_precision, reciprocal_rank] = estimate(&users, [R_PRECISION, RECIPROCAL_RANK]);
    let [categories, candidates] = estimate(&users, [CATEGORIES, CANDIDATES]);
    let [crowded, microseconds] = estimate(&users, [CROWDED, MICROSECONDS]);
    let categories = measured.has_categories.then_some(categories);
    let crowded = measured.has_spacing.then_some(crowded);
    let microseconds = measured.has_times.then_some(microseconds);
    ModelReport {
        model: model.name.clone(),
        relevance: relevance.value,
        relevance_interval: relevance.interval,
        recall: recall.value,
        recall_interval: recall.interval,
        diversity: diversity.value,
        diversity_interval: diversity.interval,
        categories: categories.map(|estimate| estimate.value),
        categories_interval: categories.map(|estimate| estimate.interval),
        coverage: measured.covered[at].count() as f64 / measured.pins[at].max(1) as f64,
        r_precision: r_precision.value,
        r_precision_interval: r_precision.interval,
        reciprocal_rank: reciprocal_rank.value,
        reciprocal_rank_interval: reciprocal_rank.interval,
        users: users.len(),
        lists: users.iter().map(|sums| sums.lists as u64).sum(),
        actions: count_actions(&users),
        all_actions: users.iter().map(|sums| sums.all_actions as u64).sum(),
        candidates: candidates.value,
        candidates_interval: candidates.interval,
        first_50: head(&users),
        crowded: crowded.map(|estimate| estimate.value),
        crowded_interval: crowded.map(|estimate| estimate.interval),
        microseconds: microseconds.map(|estimate| estimate.value),
        microseconds_interval: microseconds.map(|estimate| estimate.interval),
        segments: segments(&users),
    }
}

fn head(users: &[&MeasureSums]) -> Head {
    let measures = [HEAD_RELEVANCE, HEAD_RECALL, HEAD_DIVERSITY];
    let [relevance, recall, diversity] = estimate(users, measures);
    Head {
        relevance: relevance.value,
        relevance_interval: relevance.interval,
        recall: recall.value,
        recall_interval: recall.interval,
        diversity: diversity.value,
        diversity_interval: diversity.interval,
    }
}

/// Measures thirds of `users`, who are ordered by rising activity.
fn segments(users: &[&MeasureSums]) -> Segments {
    let bound = |thirds: usize| users.len() * thirds / 3;
    Segments {
        light: segment(&users[..bound(1)]),
        medium: segment(&users[bound(1)..bound(2)]),
        heavy: segment(&users[bound(2)..]),
    }
}

fn segment(users: &[&MeasureSums]) -> Segment {
    let [relevance, recall] = estimate(users, [RELEVANCE, RECALL]);
    Segment {
        relevance: relevance.value,
        relevance_interval: relevance.interval,
        recall: recall.value,
        recall_interval: recall.interval,
        users: users.len(),
        actions: count_actions(users),
    }
}

fn count_actions(users: &[&MeasureSums]) -> u64 {
    users.iter().map(|sums| sums.actions as u64).sum()
}

/// Estimates each of `measures`.
fn estimate<const N: usize>(users: &[&MeasureSums], measures: [Measure; N]) -> [Estimate; N] {
    let columns = measures.map(|measure| -> Column {
        let ratios = users.iter().map(|sums| measure(sums));
        ratios.collect()
    });
    let estimates = estimate_ratios(&columns);
    std::array::from_fn(|at| estimates[at])
}
