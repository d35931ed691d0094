//! From what became of each user to one row a model.

use serde::Serialize;

use super::Measured;
use super::bootstrap::{Column, Interval, intervals, ratio};
use super::measures::Tally;
use super::models::Model;

/// Times that users are drawn anew.
pub(super) const ROUNDS: usize = 1_000;
/// Seed of these draws: fixed, so that two replays differ by what they replayed.
pub(super) const SEED: u64 = 1;

/// One model, measured. Intervals are of 95 %, by the bootstrap over users.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelReport {
    /// Its name, as it was asked for.
    pub model: String,
    /// Share of the target actions near a candidate.
    pub relevance: f64,
    /// Where that lies.
    pub relevance_interval: Interval,
    /// Share of the target actions on a candidate.
    pub recall: f64,
    /// Where that lies.
    pub recall_interval: Interval,
    /// Mean over the lists of the mean cosine distance of two candidates.
    pub diversity: f64,
    /// Where that lies.
    pub diversity_interval: Interval,
    /// Mean number of distinct categories in a list; none where no title has one.
    pub categories: Option<f64>,
    /// Where that lies.
    pub categories_interval: Option<Interval>,
    /// Share of the catalog that was recommended to anybody.
    pub coverage: f64,
    /// Of as many best ones as there are targets on a day, among these and their
    /// negatives: the share that are targets.
    pub r_precision: f64,
    /// Where that lies.
    pub r_precision_interval: Interval,
    /// Mean of one over the rank of a target among its negatives.
    pub reciprocal_rank: f64,
    /// Where that lies.
    pub reciprocal_rank_interval: Interval,
    /// Users who were asked for.
    pub users: usize,
    /// Lists of candidates.
    pub lists: u64,
    /// Target actions.
    pub actions: u64,
    /// The same for thirds of the users.
    pub segments: Segments,
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
    pub(super) fn thirds(&self) -> [&Segment; 3] {
        [&self.light, &self.medium, &self.heavy]
    }
}

/// One model, measured on a third of the users.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Segment {
    /// See [`ModelReport::relevance`].
    pub relevance: f64,
    /// Where that lies.
    pub relevance_interval: Interval,
    /// See [`ModelReport::recall`].
    pub recall: f64,
    /// Where that lies.
    pub recall_interval: Interval,
    /// Users in it.
    pub users: usize,
    /// Their target actions.
    pub actions: u64,
}

/// Sums of a user whose ratio is a measure.
type Part = fn(&Tally) -> (f64, f64);

const RELEVANCE: Part = |tally| (tally.relevant, tally.actions);
const RECALL: Part = |tally| (tally.recalled, tally.actions);
const DIVERSITY: Part = |tally| (tally.diversity, tally.lists);
const CATEGORIES: Part = |tally| (tally.categories, tally.lists);
const R_PRECISION: Part = |tally| (tally.precise, tally.actions);
const RECIPROCAL_RANK: Part = |tally| (tally.reciprocal, tally.actions);

/// One row for each of `models`, in their order.
pub(super) fn report(models: &[Model], measured: &Measured) -> Vec<ModelReport> {
    let Measured {
        users,
        covered,
        pins,
        has_categories,
    } = measured;
    let row = |(at, model): (usize, &Model)| {
        let tallies: Vec<&Tally> = users.iter().map(|user| &user.tallies[at]).collect();
        let parts = [
            RELEVANCE,
            RECALL,
            DIVERSITY,
            CATEGORIES,
            R_PRECISION,
            RECIPROCAL_RANK,
        ];
        let [relevance, recall, diversity, categories, precision, rank] = ratios(&tallies, parts);
        let categories = has_categories.then_some(categories);
        let third = |third: usize| {
            let bound = |third: usize| tallies.len() * third / 3;
            segment(&tallies[bound(third)..bound(third + 1)])
        };
        ModelReport {
            model: model.name.clone(),
            relevance: relevance.0,
            relevance_interval: relevance.1,
            recall: recall.0,
            recall_interval: recall.1,
            diversity: diversity.0,
            diversity_interval: diversity.1,
            categories: categories.map(|(mean, _)| mean),
            categories_interval: categories.map(|(_, interval)| interval),
            coverage: covered[at].count() as f64 / (*pins).max(1) as f64,
            r_precision: precision.0,
            r_precision_interval: precision.1,
            reciprocal_rank: rank.0,
            reciprocal_rank_interval: rank.1,
            users: tallies.len(),
            lists: tallies.iter().map(|tally| tally.lists as u64).sum(),
            actions: actions(&tallies),
            segments: Segments {
                light: third(0),
                medium: third(1),
                heavy: third(2),
            },
        }
    };
    models.iter().enumerate().map(row).collect()
}

fn segment(tallies: &[&Tally]) -> Segment {
    let [relevance, recall] = ratios(tallies, [RELEVANCE, RECALL]);
    Segment {
        relevance: relevance.0,
        relevance_interval: relevance.1,
        recall: recall.0,
        recall_interval: recall.1,
        users: tallies.len(),
        actions: actions(tallies),
    }
}

fn actions(tallies: &[&Tally]) -> u64 {
    tallies.iter().map(|tally| tally.actions as u64).sum()
}

/// Each measure and its interval.
fn ratios<const N: usize>(tallies: &[&Tally], parts: [Part; N]) -> [(f64, Interval); N] {
    let columns = parts.map(|part| -> Column { tallies.iter().map(|tally| part(tally)).collect() });
    let intervals = intervals(&columns, ROUNDS, SEED);
    std::array::from_fn(|at| (ratio(&columns[at]), intervals[at]))
}
