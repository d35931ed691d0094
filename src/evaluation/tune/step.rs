//! The comparison of the values of one parameter.

use crate::evaluation::metrics::Interval;
use crate::evaluation::report::{ModelReport, Table, percent};

/// The values of one parameter, compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Name of the parameter.
    pub name: &'static str,
    /// Its values.
    pub trials: Vec<Trial>,
    /// Position of the present value.
    pub present: usize,
    /// Position of the best value.
    pub best: usize,
    /// Position of the value that is proposed.
    pub chosen: usize,
}

/// One value, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The value.
    pub value: String,
    /// Measures of all candidates in one list.
    pub report: ModelReport,
    /// Measures of as many candidates page by page.
    pub paged: ModelReport,
    /// Geometric mean of relevance and recall, over both.
    pub score: f64,
    /// Interval of the lag of the score behind the best one, in 95 % of the draws.
    pub lag: Interval,
}

impl Step {
    /// The step as a table for people.
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
        let rows = self.trials.iter().enumerate();
        Table {
            columns: columns.map(str::to_owned).into(),
            rows: rows.map(|(at, trial)| self.row(at, trial)).collect(),
        }
    }

    fn row(&self, at: usize, trial: &Trial) -> Vec<String> {
        let [low, high] = trial.lag.map(|end| 100.0 * end);
        vec![
            trial.value.clone(),
            percent(trial.report.relevance_estimate()),
            percent(trial.report.recall_estimate()),
            percent(trial.paged.relevance_estimate()),
            percent(trial.paged.recall_estimate()),
            format!("{:.2}", 100.0 * trial.score),
            format!("[{low:.2}, {high:.2}]"),
            self.marks(at),
        ]
    }

    /// What distinguishes the value `at` this position.
    fn marks(&self, at: usize) -> String {
        let marks = [
            (self.present, "present"),
            (self.best, "best"),
            (self.chosen, "proposed"),
        ];
        let marks = marks.into_iter().filter(|&(position, _)| position == at);
        let marks: Vec<&str> = marks.map(|(_, mark)| mark).collect();
        marks.join(", ")
    }
}
