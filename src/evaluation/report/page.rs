//! The report as a page: one file with its style and its plots, which fetches nothing and
//! runs nothing.

use std::path::{Path, PathBuf};

use super::model_report::{ModelReport, Segment};
use super::plots;
use super::style::STYLE;
use super::svg::escape;
use super::table::Table;
use crate::evaluation::params::EvaluateParams;
use crate::model::Timestamp;

/// The contents of a page.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The files of actions.
    pub actions: &'a [PathBuf],
    /// Directory of the catalog.
    pub catalog: &'a Path,
    /// The command that ran.
    pub command: &'a str,
    /// The parameters of the replay.
    pub params: &'a EvaluateParams,
    /// One report for each of the models.
    pub reports: &'a [ModelReport],
}

/// Renders a page as HTML.
pub fn html(page: &Page<'_>) -> String {
    let Page {
        params, reports, ..
    } = page;
    let title = format!("Replay of {}, {}", data(page.actions), period(params));
    let title = escape(&title);
    let overall = table("95 % intervals over users", &Table::of_models(reports));
    let heads = table(
        "The first candidates, and what filters and reranking do to lists",
        &Table::of_heads(reports),
    );
    let thirds = table(
        "Thirds of the users by their actions in the window",
        &Table::of_thirds(reports),
    );
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         {facts}<h2>All users</h2>\n{overall}{heads}\
         <h2>Relevance</h2>\n<p>Share of the actions near a candidate.</p>\n{relevance}\
         <h2>Recall</h2>\n<p>Share of the actions on a candidate.</p>\n{recall}\
         <h2>Relevance against diversity</h2>\n<p>Models that differ by their number of \
         medoids only are joined.</p>\n{figure}\
         <h2>Light, medium and heavy users</h2>\n{thirds}\
         <h3>Relevance</h3>\n{relevance_of_thirds}<h3>Recall</h3>\n{recall_of_thirds}\
         </body>\n</html>\n",
        facts = facts(page),
        relevance = plots::of_models(reports, "relevance %", ModelReport::relevance_estimate),
        recall = plots::of_models(reports, "recall %", ModelReport::recall_estimate),
        figure = plots::relevance_against_diversity(&params.models, reports),
        relevance_of_thirds = plots::of_thirds(reports, "relevance %", Segment::relevance_estimate),
        recall_of_thirds = plots::of_thirds(reports, "recall %", Segment::recall_estimate),
    )
}

/// The names of `files` without their directories.
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
    let files = page.actions.iter().map(|path| path.display().to_string());
    let files = files.collect::<Vec<_>>().join(", ");
    let catalog = page.catalog.display().to_string();
    let period = format!("from {}, before {}", date(params.from), date(params.to));
    let counts = page.reports.first().map_or_else(String::new, |first| {
        format!(
            "{} users, {} lists, {} actions",
            first.users, first.lists, first.all_actions
        )
    });
    let facts = [
        ("Data", escape(&files)),
        ("Catalog", escape(&catalog)),
        ("Period", escape(&period)),
        ("Judged", escape(&judged(params))),
        ("Judged by", escape(&counts)),
        ("Command", format!("<code>{}</code>", escape(page.command))),
    ];
    let facts = facts.map(|(name, fact)| format!("<dt>{name}</dt><dd>{fact}</dd>\n"));
    format!("<dl>\n{}</dl>\n", facts.concat())
}

/// How answers are judged, in words.
fn judged(params: &EvaluateParams) -> String {
    format!(
        "every {}, by what users did in the {} after; {} candidates a list, relevant from a \
         cosine of {} on; repeats {}; seed {}",
        days(params.every_days),
        days(params.horizon_days),
        params.limit,
        params.relevant,
        if params.repeats { "count" } else { "left out" },
        params.seed,
    )
}

fn days(days: u32) -> String {
    if days == 1 {
        "1 day".to_owned()
    } else {
        format!("{days} days")
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_begins_a_day_is_a_date() {
        let date = |text: &str| super::date(text.parse().expect(text));
        assert_eq!(date("2017-10-01"), "2017-10-01");
        assert_eq!(date("2017-10-01T06:00:00Z"), "2017-10-01T06:00:00Z");
        assert_eq!(data(&["/a/<b>".into(), "c".into()]), "<b>, c");
    }
}
