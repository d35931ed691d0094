//! Tables of measures: cells of text, for a terminal and for a page alike.

use std::fmt;

use super::bootstrap::Interval;
use super::report::ModelReport;

/// A table; printed with aligned columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What stands in each column.
    pub columns: Vec<String>,
    /// As many cells as columns in each.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// All measures over all users.
    pub fn of_models(reports: &[ModelReport]) -> Self {
        let columns = [
            "model",
            "relevance %",
            "recall %",
            "diversity",
            "categories",
            "coverage %",
            "R-precision %",
            "reciprocal rank",
        ];
        let row = |report: &ModelReport| {
            let categories = report.categories.map(|mean| format!("{mean:.1}"));
            vec![
                report.model.clone(),
                percent(report.relevance, report.relevance_interval),
                percent(report.recall, report.recall_interval),
                number(report.diversity, report.diversity_interval),
                categories.unwrap_or_else(|| "-".to_owned()),
                format!("{:.1}", 100.0 * report.coverage),
                percent(report.r_precision, report.r_precision_interval),
                number(report.reciprocal_rank, report.reciprocal_rank_interval),
            ]
        };
        Self {
            columns: columns.map(str::to_owned).into(),
            rows: reports.iter().map(row).collect(),
        }
    }

    /// Relevance and recall over thirds of the users.
    pub fn of_thirds(reports: &[ModelReport]) -> Self {
        let mut columns = vec!["model".to_owned()];
        for measure in ["relevance %", "recall %"] {
            let thirds = ["light", "medium", "heavy"];
            columns.extend(thirds.map(|third| format!("{measure}, {third}")));
        }
        let row = |report: &ModelReport| {
            let thirds = report.segments.thirds();
            let mut row = vec![report.model.clone()];
            row.extend(thirds.map(|third| percent(third.relevance, third.relevance_interval)));
            row.extend(thirds.map(|third| percent(third.recall, third.recall_interval)));
            row
        };
        Self {
            columns,
            rows: reports.iter().map(row).collect(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = || std::iter::once(&self.columns).chain(&self.rows);
        let width = |column: usize| {
            let cells = lines().map(|line| line[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for line in lines() {
            let cells = line.iter().zip(&widths);
            let cells: Vec<String> = cells.map(|(cell, &w)| format!("{cell:<w$}")).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A share and its interval, in hundredths.
pub(super) fn percent(share: f64, [low, high]: Interval) -> String {
    let [share, low, high] = [share, low, high].map(|share| 100.0 * share);
    format!("{share:.2} [{low:.2}, {high:.2}]")
}

fn number(mean: f64, [low, high]: Interval) -> String {
    format!("{mean:.3} [{low:.3}, {high:.3}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let line = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let table = Table {
            columns: line(["a", "b"]),
            rows: vec![line(["één", "x"]), line(["", "longer"])],
        };
        assert_eq!(table.to_string(), "a    b\néén  x\n     longer\n");
        assert_eq!(percent(0.5, [0.25, 1.0]), "50.00 [25.00, 100.00]");
    }
}
