//! Tables of measures as cells of text, for a terminal and for a page alike.

use std::fmt;

use super::model_report::{ModelReport, Segment};
use crate::evaluation::metrics::{Estimate, Interval};

/// A table; printed with aligned columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The heads of the columns.
    pub columns: Vec<String>,
    /// Each row has as many cells as there are columns.
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
        Self {
            columns: columns.map(str::to_owned).into(),
            rows: reports.iter().map(row_of_model).collect(),
        }
    }

    /// What filters and reranking do to lists, and to the head of them.
    pub fn of_heads(reports: &[ModelReport]) -> Self {
        let columns = [
            "model",
            "counted actions %",
            "candidates",
            "relevance %, first 50",
            "recall %, first 50",
            "diversity, first 50",
            "crowded %",
            "us a list",
        ];
        Self {
            columns: columns.map(str::to_owned).into(),
            rows: reports.iter().map(row_of_head).collect(),
        }
    }

    /// Relevance and recall over thirds of the users.
    pub fn of_thirds(reports: &[ModelReport]) -> Self {
        let mut columns = vec!["model".to_owned()];
        for measure in ["relevance %", "recall %"] {
            let thirds = ["light", "medium", "heavy"];
            columns.extend(thirds.map(|third| format!("{measure}, {third}")));
        }
        Self {
            columns,
            rows: reports.iter().map(row_of_thirds).collect(),
        }
    }
}

fn row_of_model(report: &ModelReport) -> Vec<String> {
    let categories = report.categories.map(|mean| format!("{mean:.1}"));
    let r_precision = Estimate::new(report.r_precision, report.r_precision_interval);
    let reciprocal_rank = Estimate::new(report.reciprocal_rank, report.reciprocal_rank_interval);
    vec![
        report.model.clone(),
        percent(report.relevance_estimate()),
        percent(report.recall_estimate()),
        number(report.diversity_estimate()),
        categories.unwrap_or_else(|| "-".to_owned()),
        format!("{:.1}", 100.0 * report.coverage),
        percent(r_precision),
        number(reciprocal_rank),
    ]
}

fn row_of_head(report: &ModelReport) -> Vec<String> {
    let head = &report.first_50;
    let counted = report.actions as f64 / report.all_actions.max(1) as f64;
    let optional = |value: Option<f64>, interval: Option<Interval>| {
        let estimate = value.zip(interval);
        estimate.map(|(value, interval)| Estimate::new(value, interval))
    };
    let crowded = optional(report.crowded, report.crowded_interval).map(percent);
    let times = optional(report.microseconds, report.microseconds_interval).map(whole);
    let none = || "-".to_owned();
    vec![
        report.model.clone(),
        format!("{:.1}", 100.0 * counted),
        format!("{:.1}", report.candidates),
        percent(head.relevance_estimate()),
        percent(head.recall_estimate()),
        number(head.diversity_estimate()),
        crowded.unwrap_or_else(none),
        times.unwrap_or_else(none),
    ]
}

fn row_of_thirds(report: &ModelReport) -> Vec<String> {
    let thirds = report.segments.thirds();
    let relevance = thirds.map(Segment::relevance_estimate).map(percent);
    let recall = thirds.map(Segment::recall_estimate).map(percent);
    let mut row = vec![report.model.clone()];
    row.extend(relevance);
    row.extend(recall);
    row
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

/// A share and its interval, in percent.
pub(crate) fn percent(share: Estimate) -> String {
    let Estimate {
        value,
        interval: [low, high],
    } = share.scaled(100.0);
    format!("{value:.2} [{low:.2}, {high:.2}]")
}

fn number(mean: Estimate) -> String {
    let Estimate {
        value,
        interval: [low, high],
    } = mean;
    format!("{value:.3} [{low:.3}, {high:.3}]")
}

fn whole(mean: Estimate) -> String {
    let Estimate {
        value,
        interval: [low, high],
    } = mean;
    format!("{value:.0} [{low:.0}, {high:.0}]")
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
        let half = Estimate::new(0.5, [0.25, 1.0]);
        assert_eq!(percent(half), "50.00 [25.00, 100.00]");
    }
}
