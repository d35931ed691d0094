//! The plots of the page: measures of each model, and relevance against diversity.

use super::dot_plot::{Row, dot_plot};
use super::model_report::{ModelReport, Segment};
use super::scatter_plot::{Axes, Point, scatter_plot};
use crate::evaluation::metrics::Estimate;
use crate::evaluation::models::{Model, Source};

/// A dot for each model. `measure` is a share, shown in percent.
pub(super) fn of_models(
    reports: &[ModelReport],
    unit: &str,
    measure: fn(&ModelReport) -> Estimate,
) -> String {
    let title = format!("{unit} of each model, with 95 % intervals");
    let rows = rows(reports, |report| vec![measure(report).scaled(100.0)]);
    scrollable(&dot_plot(&title, unit, &["all"], &rows))
}

/// A dot for each model and third of the users. `measure` is a share, shown in percent.
pub(super) fn of_thirds(
    reports: &[ModelReport],
    unit: &str,
    measure: fn(&Segment) -> Estimate,
) -> String {
    let title = format!("{unit} of each model on thirds of the users, with 95 % intervals");
    let estimates = |report: &ModelReport| {
        let thirds = report.segments.thirds();
        thirds.map(|third| measure(third).scaled(100.0)).into()
    };
    let groups = ["light", "medium", "heavy"];
    scrollable(&dot_plot(&title, unit, &groups, &rows(reports, estimates)))
}

fn rows(
    reports: &[ModelReport],
    estimates: impl Fn(&ModelReport) -> Vec<Estimate>,
) -> Vec<Row<'_>> {
    let rows = reports.iter().map(|report| Row {
        label: &report.model,
        estimates: estimates(report),
    });
    rows.collect()
}

/// Relevance against diversity, as in figure 7 of the paper.
pub(super) fn relevance_against_diversity(models: &[Model], reports: &[ModelReport]) -> String {
    let points = reports.iter().map(|report| Point {
        label: &report.model,
        x: report.diversity_estimate(),
        y: report.relevance_estimate().scaled(100.0),
    });
    let points: Vec<Point<'_>> = points.collect();
    let title = "relevance against diversity of each model, with 95 % intervals";
    let axes = Axes {
        x: "diversity",
        y: "relevance %",
    };
    scrollable(&scatter_plot(
        title,
        axes,
        &points,
        &paths_by_medoids(models),
    ))
}

/// Groups of models that differ only by their number of medoids, each as positions ordered
/// by this number.
fn paths_by_medoids(models: &[Model]) -> Vec<Vec<usize>> {
    let are_alike = |a: &Model, b: &Model| {
        let b = Model {
            name: a.name.clone(),
            medoids: a.medoids,
            ..b.clone()
        };
        *a == b && matches!(a.source, Source::Clusters(_))
    };
    let mut paths: Vec<Vec<usize>> = Vec::new();
    for (at, model) in models.iter().enumerate() {
        let path = paths
            .iter_mut()
            .find(|path| are_alike(&models[path[0]], model));
        match path {
            Some(path) => path.push(at),
            None => paths.push(vec![at]),
        }
    }
    paths.retain(|path| path.len() > 1);
    for path in &mut paths {
        path.sort_by_key(|&at| models[at].medoids);
    }
    paths
}

/// A plot that scrolls where the page is narrow.
fn scrollable(svg: &str) -> String {
    format!("<div class=\"wide\">{svg}</div>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_differ_by_medoids_only_are_joined_by_their_number() {
        let names = [
            "pinnersage",
            "last_pin",
            "pinnersage_10",
            "pinnersage_1",
            "ward_centroid",
            "popularity",
        ];
        let models = names.map(|name| name.parse().expect(name));
        assert_eq!(paths_by_medoids(&models), [[3, 0, 2]]);
    }
}
