//! Comparing the values of one parameter by one replay.

use super::choose::{best, propose};
use super::step::{Step, Trial};
use crate::evaluation::metrics::{MeasureSums, bootstrap_intervals};
use crate::evaluation::models::Model;
use crate::evaluation::replay::Measured;
use crate::evaluation::report::report;

/// Numbers of parts in which a list is requested. Each way counts as much as the other.
pub(super) const PAGES: [usize; 2] = [1, 5];

/// A value to compare.
pub(super) struct Candidate {
    pub(super) value: String,
    /// One model for each of [`PAGES`].
    pub(super) models: [Model; PAGES.len()],
    /// Distance from the present value, which has 0.
    pub(super) distance: f64,
}

/// Compares `candidates` by a replay of `models`, which are all of theirs in order.
pub(super) fn compare(
    name: &'static str,
    candidates: &[Candidate],
    models: &[Model],
    measured: &Measured,
) -> Step {
    let users = measured.users.len();
    let scores_of = |times: &[f64]| -> Vec<f64> {
        let candidates = 0..candidates.len();
        candidates
            .map(|at| mean_score(measured, at, times))
            .collect()
    };
    let scores = scores_of(&vec![1.0; users]);
    let distances: Vec<f64> = candidates.iter().map(|c| c.distance).collect();
    let best = best(&scores, &distances);
    let lags = bootstrap_intervals(users, |times| {
        let scores = scores_of(times);
        scores.iter().map(|score| scores[best] - score).collect()
    });
    let reports = report(models, measured);
    let reports = reports.as_chunks::<{ PAGES.len() }>().0;
    let trials = candidates.iter().zip(reports).zip(scores.iter().zip(&lags));
    let trials = trials.map(|((candidate, [report, paged]), (&score, &lag))| Trial {
        value: candidate.value.clone(),
        report: report.clone(),
        paged: paged.clone(),
        score,
        lag,
    });
    Step {
        name,
        trials: trials.collect(),
        present: distances.iter().position(|&d| d == 0.0).unwrap_or(best),
        best,
        chosen: propose(&scores, &lags, &distances),
    }
}

/// The geometric mean over [`PAGES`] of the scores of the candidate `at` this position.
/// `times` says how often each user counts.
fn mean_score(measured: &Measured, at: usize, times: &[f64]) -> f64 {
    let models = (0..PAGES.len()).map(|way| at * PAGES.len() + way);
    let scores = models.map(|model| {
        let users = measured.users.iter().map(|user| &user.sums[model]);
        score(users.zip(times.iter().copied()))
    });
    let product: f64 = scores.product();
    product.powf(1.0 / PAGES.len() as f64)
}

/// The geometric mean of relevance and recall. Each user counts as often as said.
fn score<'a>(users: impl Iterator<Item = (&'a MeasureSums, f64)>) -> f64 {
    let (mut actions, mut relevant, mut recalled) = (0.0, 0.0, 0.0);
    for (sums, times) in users {
        actions += times * sums.actions;
        relevant += times * sums.relevant;
        recalled += times * sums.recalled;
    }
    f64::sqrt(relevant * recalled) / f64::max(actions, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_geometric_means_of_ratios() {
        let sums = |actions, relevant, recalled| MeasureSums {
            actions,
            relevant,
            recalled,
            ..MeasureSums::default()
        };
        let users = [sums(2.0, 2.0, 1.0), sums(6.0, 0.0, 0.0)];
        let scored = |times: [f64; 2]| score(users.iter().zip(times));
        assert_eq!(scored([1.0, 0.0]), f64::sqrt(0.5));
        assert_eq!(scored([1.0, 1.0]), f64::sqrt(2.0) / 8.0);
        assert_eq!(scored([0.0, 0.0]), 0.0);
    }
}
