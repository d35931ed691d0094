//! Proposing settings: values of one parameter after the other are compared by a replay
//! of a validation period.
//!
//! A value is judged by all candidates in one list, as in the paper, and by as many in
//! five parts, as a homefeed asks for them: page after page, each with a draw of its own
//! and without what was shown before. The first favors few and large interests, the
//! second many small ones. The best value has the greatest geometric mean of relevance
//! and recall over both, so that nothing is bought with another. It is proposed only on
//! evidence: of all values whose lag behind it may be chance, by the bootstrap over the
//! same users, the one nearest to the present setting is taken.

use std::path::{Path, PathBuf};

use super::bootstrap::{self, Interval};
use super::measures::Tally;
use super::models::Model;
use super::report::{self, ModelReport};
use super::table::{Table, percent};
use super::{EvaluateError, EvaluateParams, Measured, measure};
use crate::cluster::Params;
use crate::progress::Progress;

/// In how many parts a list is asked for, each way as good as the other.
const PAGES: [usize; 2] = [1, 5];
/// Merge strategies, the default of requests first.
const MERGES: [&str; 2] = ["interleave", "global_top"];

/// Values to compare, beside the present ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Of `profiles.alpha`.
    pub alpha: Vec<f64>,
    /// Of `profiles.lambda_per_day`.
    pub lambda_per_day: Vec<f64>,
}

/// What is proposed, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// For `profiles.alpha`.
    pub alpha: f64,
    /// For `profiles.lambda_per_day`.
    pub lambda_per_day: f64,
    /// For `merge_strategy` of requests.
    pub merge: &'static str,
    /// The parameters in the order in which they were chosen; each with what was chosen
    /// before.
    pub steps: Vec<Step>,
}

/// The values of one parameter, compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The parameter.
    pub name: &'static str,
    /// Its values.
    pub trials: Vec<Trial>,
    /// Place of the present value.
    pub present: usize,
    /// Place of the best one.
    pub best: usize,
    /// Place of the one that is proposed.
    pub chosen: usize,
}

/// One value, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The value.
    pub value: String,
    /// All that was measured of one list.
    pub report: ModelReport,
    /// All that was measured of as many candidates page by page.
    pub paged: ModelReport,
    /// Geometric mean of relevance and recall, over both.
    pub score: f64,
    /// Where the lag of the score behind the best one lies, in 95 % of the draws.
    pub lag: Interval,
}

/// Chooses alpha, then lambda, then the merge strategy, by replays as of
/// [`evaluate`](super::evaluate()). `params` hold the present values; their models are
/// not used.
pub fn tune(
    files: &[PathBuf],
    catalog: &Path,
    params: &EvaluateParams,
    grid: &Grid,
    progress: Progress,
) -> Result<Tuned, EvaluateError> {
    let Params {
        alpha,
        lambda_per_day: lambda,
    } = params.cluster;
    let step = |name, candidates: &[Candidate]| {
        let models = candidates
            .iter()
            .flat_map(|candidate| candidate.models.clone());
        let params = EvaluateParams {
            models: models.collect(),
            ..params.clone()
        };
        let measured = measure(files, catalog, &params, None, None, progress)?;
        Ok::<Step, EvaluateError>(compare(name, candidates, &params.models, &measured))
    };

    let alphas = with(&grid.alpha, alpha);
    let candidates = numbers(&alphas, alpha, |alpha| models(alpha, lambda, MERGES[0]));
    let of_alpha = step("profiles.alpha", &candidates)?;
    let chosen_alpha = alphas[of_alpha.chosen];

    let lambdas = with(&grid.lambda_per_day, lambda);
    let candidates = numbers(&lambdas, lambda, |lambda| {
        models(chosen_alpha, lambda, MERGES[0])
    });
    let of_lambda = step("profiles.lambda_per_day", &candidates)?;
    let chosen_lambda = lambdas[of_lambda.chosen];

    let candidate = |(distance, merge): (f64, &str)| Candidate {
        value: merge.to_owned(),
        models: models(chosen_alpha, chosen_lambda, merge),
        distance,
    };
    let of_merge = step(
        "merge_strategy",
        &[(0.0, MERGES[0]), (1.0, MERGES[1])].map(candidate),
    )?;
    Ok(Tuned {
        alpha: chosen_alpha,
        lambda_per_day: chosen_lambda,
        merge: MERGES[of_merge.chosen],
        steps: vec![of_alpha, of_lambda, of_merge],
    })
}

/// A value to compare.
struct Candidate {
    value: String,
    /// For each of [`PAGES`].
    models: [Model; PAGES.len()],
    /// From the present value, which has 0.
    distance: f64,
}

fn models(alpha: f64, lambda: f64, merge: &str) -> [Model; PAGES.len()] {
    PAGES.map(|pages| {
        let keys = format!("alpha={alpha}:lambda={lambda}:merge={merge}:pages={pages}");
        let name = format!("pinnersage:{keys}");
        name.parse().expect("keys and values that the model has")
    })
}

/// `values` and the `present` one, ascending.
fn with(values: &[f64], present: f64) -> Vec<f64> {
    let mut values = values.to_vec();
    values.push(present);
    values.sort_unstable_by(f64::total_cmp);
    values.dedup();
    values
}

fn numbers(
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

fn compare(
    name: &'static str,
    candidates: &[Candidate],
    models: &[Model],
    measured: &Measured,
) -> Step {
    let users = measured.users.len();
    let score_of = |at: usize, times: &[f64]| {
        let tallies = measured.users.iter().map(|user| &user.tallies[at]);
        score(tallies.zip(times.iter().copied()))
    };
    let scores_by = |times: &[f64]| -> Vec<f64> {
        let ways = |at: usize| (0..PAGES.len()).map(move |way| at * PAGES.len() + way);
        let mean = |at| {
            let product: f64 = ways(at).map(|model| score_of(model, times)).product();
            product.powf(1.0 / PAGES.len() as f64)
        };
        (0..candidates.len()).map(mean).collect()
    };
    let scores = scores_by(&vec![1.0; users]);
    let distances: Vec<f64> = candidates.iter().map(|c| c.distance).collect();
    let best = best(&scores, &distances);
    let lags = bootstrap::intervals_of(users, report::ROUNDS, report::SEED, |times| {
        let scores = scores_by(times);
        scores.iter().map(|score| scores[best] - score).collect()
    });
    let reports = report::report(models, measured);
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
        chosen: chosen(&scores, &lags, &distances),
    }
}

/// The geometric mean of relevance and recall, each user as often as said.
fn score<'a>(tallies: impl Iterator<Item = (&'a Tally, f64)>) -> f64 {
    let (mut actions, mut relevant, mut recalled) = (0.0, 0.0, 0.0);
    for (tally, times) in tallies {
        actions += times * tally.actions;
        relevant += times * tally.relevant;
        recalled += times * tally.recalled;
    }
    f64::sqrt(relevant * recalled) / f64::max(actions, 1.0)
}

/// The place of the greatest score; of equal ones, of that nearest to the present value.
fn best(scores: &[f64], distances: &[f64]) -> usize {
    let places = 0..scores.len();
    let order = |&a: &usize, &b: &usize| {
        let by_score = scores[a].total_cmp(&scores[b]);
        by_score.then(distances[b].total_cmp(&distances[a]))
    };
    places.max_by(order).unwrap_or(0)
}

/// The place nearest to the present value among those whose lag may be none; of equally
/// near ones, that of the greater score.
fn chosen(scores: &[f64], lags: &[Interval], distances: &[f64]) -> usize {
    let places = (0..scores.len()).filter(|&at| lags[at][0] <= 0.0);
    let order = |&a: &usize, &b: &usize| {
        let by_distance = distances[a].total_cmp(&distances[b]);
        by_distance.then(scores[b].total_cmp(&scores[a]))
    };
    places.min_by(order).unwrap_or(0)
}

impl Step {
    /// The step, for people.
    pub fn table(&self) -> Table {
        let columns = [
            self.name,
            "relevance %",
            "recall %",
            "in pages: relevance %",
            "recall %",
            "geometric mean %",
            "behind the best",
            "",
        ];
        let relevance = |report: &ModelReport| percent(report.relevance, report.relevance_interval);
        let recall = |report: &ModelReport| percent(report.recall, report.recall_interval);
        let row = |(at, trial): (usize, &Trial)| {
            let [low, high] = trial.lag.map(|end| 100.0 * end);
            let names = [
                (self.present, "present"),
                (self.best, "best"),
                (self.chosen, "proposed"),
            ];
            let names = names.into_iter().filter(|&(place, _)| place == at);
            let names: Vec<&str> = names.map(|(_, name)| name).collect();
            vec![
                trial.value.clone(),
                relevance(&trial.report),
                recall(&trial.report),
                relevance(&trial.paged),
                recall(&trial.paged),
                format!("{:.2}", 100.0 * trial.score),
                format!("[{low:.2}, {high:.2}]"),
                names.join(", "),
            ]
        };
        Table {
            columns: columns.map(str::to_owned).into(),
            rows: self.trials.iter().enumerate().map(row).collect(),
        }
    }
}

impl Tuned {
    /// A file of settings that says what is proposed, below `head` and what was
    /// measured as comments.
    pub fn settings(&self, head: &str) -> String {
        let tables = self.steps.iter().map(|step| format!("\n{}", step.table()));
        let comment = comment(&format!("{head}\n{}", tables.collect::<String>()));
        format!(
            "{comment}\n[profiles]\nalpha = {:?}\nlambda_per_day = {:?}\n\n\
             # The merge strategy is no setting but a field of each request\n\
             # (`merge_strategy`): {} is proposed for it.\n",
            self.alpha, self.lambda_per_day, self.merge
        )
    }
}

/// `text` as comments of TOML, whatever is in it.
fn comment(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let line = |line: &str| {
        let line: String = line.chars().map(printable).collect();
        format!("{}\n", format!("# {line}").trim_end())
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_value_stays_unless_it_is_evidently_behind() {
        let scores = [0.1, 0.3, 0.32, 0.31];
        let distances = [0.0, 1.0, 3.0, 2.0];
        assert_eq!(best(&scores, &distances), 2);
        let lags = |lows: [f64; 4]| lows.map(|low| [low, 0.4]);
        assert_eq!(
            chosen(&scores, &lags([-0.01, -0.1, 0.0, -0.1]), &distances),
            0
        );
        assert_eq!(
            chosen(&scores, &lags([0.1, -0.1, 0.0, -0.1]), &distances),
            1
        );
        assert_eq!(chosen(&scores, &lags([0.1, 0.1, 0.0, -0.1]), &distances), 3);
        assert_eq!(chosen(&scores, &lags([0.1, 0.1, 0.0, 0.1]), &distances), 2);
        // Equals: the nearer one is best, the better one of equally near ones is chosen.
        assert_eq!(best(&[0.2, 0.2, 0.1], &[1.0, 0.0, 1.0]), 1);
        assert_eq!(chosen(&[0.1, 0.2], &[[0.0, 0.0]; 2], &[1.0, 1.0]), 1);
    }

    #[test]
    fn the_present_value_is_among_those_compared() {
        assert_eq!(with(&[8.0, 1.0], 4.0), [1.0, 4.0, 8.0]);
        assert_eq!(with(&[4.0, 8.0], 4.0), [4.0, 8.0]);
    }

    #[test]
    fn a_comment_stays_one() {
        assert_eq!(comment("a\nb = 1\r[c]\n\nd"), "# a\n# b = 1 [c]\n#\n# d\n");
    }

    #[test]
    fn scores_are_geometric_means_of_ratios() {
        let tally = |actions, relevant, recalled| Tally {
            actions,
            relevant,
            recalled,
            ..Tally::default()
        };
        let tallies = [tally(2.0, 2.0, 1.0), tally(6.0, 0.0, 0.0)];
        let scored = |times: [f64; 2]| score(tallies.iter().zip(times));
        assert_eq!(scored([1.0, 0.0]), f64::sqrt(0.5));
        assert_eq!(scored([1.0, 1.0]), f64::sqrt(2.0) / 8.0);
        assert_eq!(scored([0.0, 0.0]), 0.0);
    }
}
