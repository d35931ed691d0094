//! The report as a page: one file with its style and its plots, that fetches nothing
//! and runs nothing.

use std::path::{Path, PathBuf};

use super::EvaluateParams;
use super::models::{Model, Source};
use super::report::{ModelReport, Segment};
use super::svg::{self, Mark, Point, Row, escape};
use super::table::Table;
use crate::model::Timestamp;

/// Colors hold for both schemes and for people who see few of them.
const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1e23; --soft: #5b6470; --ground: #ffffff;
  --rule: #d9dde3; --shade: #f4f6f8; --g0: #1f6fb4; --g1: #c2620c; --g2: #2a8250; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --soft: #9aa4b0;
  --ground: #14171b; --rule: #333a43; --shade: #1d2127; --g0: #6bb1f0; --g1: #f0a050;
  --g2: #66c791; } }
body { margin: 2rem auto; padding: 0 1.2rem; max-width: 80rem; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt, p, caption { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code, td:first-child { font-family: ui-monospace, 'DejaVu Sans Mono', monospace; font-size: .9em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; white-space: nowrap; }
caption { text-align: left; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--rule);
  font-variant-numeric: tabular-nums; }
tbody tr:hover { background: var(--shade); }
svg { display: block; width: 100%; min-width: 40rem; max-width: 60rem; }
text { fill: var(--ink); font: 12px ui-monospace, 'DejaVu Sans Mono', monospace; }
.tick, .axis { fill: var(--soft); } .middle { text-anchor: middle; } .end { text-anchor: end; }
.label { paint-order: stroke; stroke: var(--ground); stroke-width: 3px; }
line { stroke: var(--rule); } .whisker { stroke-width: 2; } .thin { stroke-width: 1; opacity: .55; }
.path { stroke: var(--g0); stroke-width: 2; stroke-dasharray: 5 4; opacity: .6; }
.leader { stroke: var(--soft); }
.g0 { stroke: var(--g0); fill: var(--g0); } .g1 { stroke: var(--g1); fill: var(--g1); }
.g2 { stroke: var(--g2); fill: var(--g2); }
";

/// What a page is about.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The files of actions.
    pub actions: &'a [PathBuf],
    /// The catalog.
    pub catalog: &'a Path,
    /// What was run.
    pub command: &'a str,
    /// How it was replayed.
    pub params: &'a EvaluateParams,
    /// What came out, one for each of the models.
    pub reports: &'a [ModelReport],
}

/// The page, as HTML.
pub fn html(page: &Page<'_>) -> String {
    let Page {
        params, reports, ..
    } = page;
    let title = format!("Replay of {}, {}", data(page.actions), period(params));
    let title = escape(&title);
    let overall = table("95 % intervals over users", &Table::of_models(reports));
    let thirds = table(
        "Thirds of the users by their actions in the window",
        &Table::of_thirds(reports),
    );
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         {facts}<h2>All users</h2>\n{overall}\
         <h2>Relevance</h2>\n<p>Share of the actions near a candidate.</p>\n{relevance}\
         <h2>Recall</h2>\n<p>Share of the actions on a candidate.</p>\n{recall}\
         <h2>Relevance against diversity</h2>\n<p>Models that differ by their number of \
         medoids only are joined.</p>\n{figure}\
         <h2>Light, medium and heavy users</h2>\n{thirds}\
         <h3>Relevance</h3>\n{relevance_of_thirds}<h3>Recall</h3>\n{recall_of_thirds}\
         </body>\n</html>\n",
        facts = facts(page),
        relevance = of_all(reports, "relevance %", |r| (
            r.relevance,
            r.relevance_interval
        )),
        recall = of_all(reports, "recall %", |r| (r.recall, r.recall_interval)),
        figure = figure(&params.models, reports),
        relevance_of_thirds = of_thirds(reports, "relevance %", |third| {
            (third.relevance, third.relevance_interval)
        }),
        recall_of_thirds = of_thirds(reports, "recall %", |third| {
            (third.recall, third.recall_interval)
        }),
    )
}

/// The names of `files`, without their directories.
fn data(files: &[PathBuf]) -> String {
    let name = |path: &PathBuf| match path.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => path.display().to_string(),
    };
    files.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn period(params: &EvaluateParams) -> String {
    format!("{} to {}", date(params.from), date(params.to))
}

/// A date where `moment` begins a day.
fn date(moment: Timestamp) -> String {
    let text = moment.to_string();
    let date = text.strip_suffix("T00:00:00Z");
    date.unwrap_or(&text).to_owned()
}

fn facts(page: &Page<'_>) -> String {
    let params = page.params;
    let days = |days: u32| match days {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    let files = page.actions.iter().map(|path| path.display().to_string());
    let judged = format!(
        "every {}, by what users did in the {} after; {} candidates a list, relevant from a \
         cosine of {} on; repeats {}; seed {}",
        days(params.every_days),
        days(params.horizon_days),
        params.limit,
        params.relevant,
        if params.repeats { "count" } else { "left out" },
        params.seed,
    );
    let judged_by = page.reports.first().map_or_else(String::new, |first| {
        format!(
            "{} users, {} lists, {} actions",
            first.users, first.lists, first.actions
        )
    });
    let facts = [
        ("Data", escape(&files.collect::<Vec<_>>().join(", "))),
        ("Catalog", escape(&page.catalog.display().to_string())),
        (
            "Period",
            escape(&format!(
                "from {}, before {}",
                date(params.from),
                date(params.to)
            )),
        ),
        ("Judged", escape(&judged)),
        ("Judged by", escape(&judged_by)),
        ("Command", format!("<code>{}</code>", escape(page.command))),
    ];
    let facts = facts.map(|(name, fact)| format!("<dt>{name}</dt><dd>{fact}</dd>\n"));
    format!("<dl>\n{}</dl>\n", facts.concat())
}

fn table(caption: &str, table: &Table) -> String {
    let line = |cells: &[String], tag: &str| {
        let cells = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows = table.rows.iter().map(|row| line(row, "td"));
    format!(
        "<div class=\"wide\"><table>\n<caption>{}</caption>\n<thead>{}</thead>\n<tbody>\n{}\
         </tbody>\n</table></div>\n",
        escape(caption),
        line(&table.columns, "th"),
        rows.collect::<String>(),
    )
}

/// A dot for each model.
fn of_all(reports: &[ModelReport], unit: &str, measure: fn(&ModelReport) -> Mark) -> String {
    let about = format!("{unit} of each model, with 95 % intervals");
    let rows = rows(reports, |report| vec![hundredths(measure(report))]);
    wide(&svg::dots(&about, unit, &["all"], &rows))
}

/// A dot for each model and third of the users.
fn of_thirds(reports: &[ModelReport], unit: &str, measure: fn(&Segment) -> Mark) -> String {
    let about = format!("{unit} of each model on thirds of the users, with 95 % intervals");
    let marks = |report: &ModelReport| {
        let thirds = report.segments.thirds();
        thirds.map(|third| hundredths(measure(third))).into()
    };
    let groups = ["light", "medium", "heavy"];
    wide(&svg::dots(&about, unit, &groups, &rows(reports, marks)))
}

fn rows(reports: &[ModelReport], marks: impl Fn(&ModelReport) -> Vec<Mark>) -> Vec<Row<'_>> {
    let rows = reports.iter().map(|report| Row {
        label: &report.model,
        marks: marks(report),
    });
    rows.collect()
}

/// The paper's figure 7.
fn figure(models: &[Model], reports: &[ModelReport]) -> String {
    fn point(report: &ModelReport) -> Point<'_> {
        Point {
            label: &report.model,
            x: (report.diversity, report.diversity_interval),
            y: hundredths((report.relevance, report.relevance_interval)),
        }
    }
    let points: Vec<Point<'_>> = reports.iter().map(point).collect();
    let about = "relevance against diversity of each model, with 95 % intervals";
    let units = ("diversity", "relevance %");
    wide(&svg::scatter(about, units, &points, &by_medoids(models)))
}

/// Places of models that differ by their number of medoids only, by this number.
fn by_medoids(models: &[Model]) -> Vec<Vec<usize>> {
    let alike = |a: &Model, b: &Model| {
        let b = Model {
            name: a.name.clone(),
            medoids: a.medoids,
            ..b.clone()
        };
        *a == b && matches!(a.source, Source::Clusters(_))
    };
    let mut paths: Vec<Vec<usize>> = Vec::new();
    for (at, model) in models.iter().enumerate() {
        match paths.iter_mut().find(|path| alike(&models[path[0]], model)) {
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

fn hundredths((share, interval): Mark) -> Mark {
    (100.0 * share, interval.map(|end| 100.0 * end))
}

fn wide(svg: &str) -> String {
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
        assert_eq!(by_medoids(&models), [[3, 0, 2]]);
    }

    #[test]
    fn a_moment_that_begins_a_day_is_a_date() {
        let date = |text: &str| super::date(text.parse().expect(text));
        assert_eq!(date("2017-10-01"), "2017-10-01");
        assert_eq!(date("2017-10-01T06:00:00Z"), "2017-10-01T06:00:00Z");
        assert_eq!(data(&["/a/<b>".into(), "c".into()]), "<b>, c");
    }
}
