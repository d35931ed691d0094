//! The replays of a validation period: alpha, then lambda, then the merge strategy.

use super::compare::{Candidate, PAGES, compare};
use super::step::Step;
use super::tuned::Tuned;
use crate::cluster::Params;
use crate::evaluation::error::EvaluateError;
use crate::evaluation::models::Model;
use crate::evaluation::params::{EvaluateParams, ReplayFiles};
use crate::evaluation::replay::replay;
use crate::progress::Progress;

/// Merge strategies, the default of requests first.
const MERGES: [&str; 2] = ["interleave", "global_top"];

/// Values to compare beside the present ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Values of `profiles.alpha`.
    pub alpha: Vec<f64>,
    /// Values of `profiles.lambda_per_day`.
    pub lambda_per_day: Vec<f64>,
}

/// Chooses alpha, then lambda, then the merge strategy, by replays as in
/// [`evaluate`](super::super::evaluate()). `params` hold the present values; their models
/// are not used.
pub fn tune(
    files: &ReplayFiles<'_>,
    params: &EvaluateParams,
    grid: &Grid,
    progress: Progress,
) -> Result<Tuned, EvaluateError> {
    let validation = Validation {
        files,
        params,
        progress,
    };
    let Params {
        alpha,
        lambda_per_day: lambda,
    } = params.cluster;

    let alphas = with_present(&grid.alpha, alpha);
    let trials = candidates(&alphas, alpha, |alpha| models(alpha, lambda, MERGES[0]));
    let alpha_step = validation.compare("profiles.alpha", &trials)?;
    let alpha = alphas[alpha_step.chosen];

    let lambdas = with_present(&grid.lambda_per_day, lambda);
    let trials = candidates(&lambdas, lambda, |lambda| models(alpha, lambda, MERGES[0]));
    let lambda_step = validation.compare("profiles.lambda_per_day", &trials)?;
    let lambda = lambdas[lambda_step.chosen];

    let candidate = |(distance, merge): (f64, &str)| Candidate {
        value: merge.to_owned(),
        models: models(alpha, lambda, merge),
        distance,
    };
    let trials = [(0.0, MERGES[0]), (1.0, MERGES[1])].map(candidate);
    let merge_step = validation.compare("merge_strategy", &trials)?;
    Ok(Tuned {
        alpha,
        lambda_per_day: lambda,
        merge: MERGES[merge_step.chosen],
        steps: vec![alpha_step, lambda_step, merge_step],
    })
}

/// The period that all values are measured on.
struct Validation<'a> {
    files: &'a ReplayFiles<'a>,
    params: &'a EvaluateParams,
    progress: Progress,
}

impl Validation<'_> {
    /// Replays the models of all `candidates` at once.
    fn compare(&self, name: &'static str, candidates: &[Candidate]) -> Result<Step, EvaluateError> {
        let models = candidates.iter();
        let models = models.flat_map(|candidate| candidate.models.clone());
        let params = EvaluateParams {
            models: models.collect(),
            ..self.params.clone()
        };
        let measured = replay(self.files, &params, None, self.progress)?;
        Ok(compare(name, candidates, &params.models, &measured))
    }
}

fn models(alpha: f64, lambda: f64, merge: &str) -> [Model; PAGES.len()] {
    PAGES.map(|pages| {
        let keys = format!("alpha={alpha}:lambda={lambda}:merge={merge}:pages={pages}");
        let name = format!("pinnersage:{keys}");
        name.parse().expect("keys and values that the model has")
    })
}

/// `values` and the `present` one, ascending.
fn with_present(values: &[f64], present: f64) -> Vec<f64> {
    let mut values = values.to_vec();
    values.push(present);
    values.sort_unstable_by(f64::total_cmp);
    values.dedup();
    values
}

fn candidates(
    values: &[f64],
    present: f64,
    models: impl Fn(f64) -> [Model; PAGES.len()],
) -> Vec<Candidate> {
    let candidate = |&value: &f64| Candidate {
        value: value.to_string(),
        models: models(value),
        distance: (value - present).abs(),
    };
    values.iter().map(candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_value_is_among_those_compared() {
        assert_eq!(with_present(&[8.0, 1.0], 4.0), [1.0, 4.0, 8.0]);
        assert_eq!(with_present(&[4.0, 8.0], 4.0), [4.0, 8.0]);
    }
}
