//! `pinnersage evaluate`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use super::named_json::{Named, UNNAMED};
use super::replay::ReplayArgs;
use super::{output, output_file};
use crate::config::Settings;
use crate::evaluation::{
    DEFAULT_MODELS, EvaluateParams, Model, ModelReport, Page, Table, evaluate, html,
};
use crate::model::{Filter, RerankRules};
use crate::progress::Progress;
use crate::snapshot::replace_file;

#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    #[command(flatten)]
    replay: ReplayArgs,
    /// Models to compare: `name` or `name:key=value:key=value`, as in
    /// `pinnersage:alpha=8:medoids=5`.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values = DEFAULT_MODELS)]
    models: Vec<Model>,
    /// A filter for models to use, as JSON: '{"must": [{"attribute": "brand", "any_of":
    /// ["acme"]}]}'. Every model is compared with and without it. With a name before it, as in
    /// 'acme={...}', only models that say so use it: `pinnersage:filter=acme`.
    #[arg(long, value_name = "[NAME=]JSON")]
    filter: Vec<Named<Filter>>,
    /// Reranking rules, in the same two ways, as JSON: '{"spacing": [{"attribute": "brand",
    /// "max": 2, "places": 10}], "diversity": {"strength": 0.3}}'.
    #[arg(long, value_name = "[NAME=]JSON")]
    rerank: Vec<Named<RerankRules>>,
    /// Measure the time of answers, which differs from run to run.
    #[arg(long)]
    timing: bool,
    /// Write every answer as a line of JSON.
    #[arg(long, value_name = "FILE")]
    details: Option<PathBuf>,
    /// Keep what is done in this directory, and go on with what is kept there when the
    /// same command was stopped.
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Write a page with tables and plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: EvaluateArgs, settings: &Settings) -> anyhow::Result<()> {
    if let Some(page) = &args.html {
        output_file::check_directory(page)?;
    }
    let mut details = match &args.details {
        Some(path) => {
            let file = File::create(path).with_context(|| path.display().to_string())?;
            Some(BufWriter::new(file))
        }
        None => None,
    };
    let (filters, rerank) = (
        by_name("filter", args.filter)?,
        by_name("rerank", args.rerank)?,
    );
    let models = with_twins(args.models, &filters, &rerank);
    let params = EvaluateParams {
        filters,
        rerank,
        timing: args.timing,
        ..args.replay.params(settings, models)
    };
    let lines = details.as_mut().map(|file| file as &mut dyn Write);
    let files = args.replay.files(args.resume.as_deref());
    let reports = evaluate(&files, &params, lines, Progress::for_stderr())?;
    if let Some(mut details) = details {
        details.flush().context("details cannot be written")?;
    }
    if let Some(path) = &args.html {
        let html = html(&Page {
            actions: files.actions,
            catalog: files.catalog,
            command: &output_file::command_line(),
            params: &params,
            reports: &reports,
        });
        replace_file(path, html.as_bytes())?;
    }
    if !args.json {
        return output::print(&text(&reports));
    }
    for report in &reports {
        output::print_json(&serde_json::to_string(report)?)?;
    }
    Ok(())
}

/// What was given to the option `key`, by name.
fn by_name<T>(key: &str, given: Vec<Named<T>>) -> anyhow::Result<BTreeMap<String, T>> {
    let mut by_name = BTreeMap::new();
    for Named { name, value } in given {
        if by_name.contains_key(&name) {
            bail!("--{key} {name:?} is there twice: give each a name of its own, as NAME=JSON");
        }
        by_name.insert(name, value);
    }
    Ok(by_name)
}

/// Each of `models`, followed by the same with the filter and the rules that have no name,
/// unless models say themselves what they use.
fn with_twins(
    models: Vec<Model>,
    filters: &BTreeMap<String, Filter>,
    rerank: &BTreeMap<String, RerankRules>,
) -> Vec<Model> {
    if models.iter().any(Model::is_shaped) {
        return models;
    }
    let filter = filters.contains_key(UNNAMED).then_some(UNNAMED);
    let rerank = rerank.contains_key(UNNAMED).then_some(UNNAMED);
    let twins = models.into_iter().flat_map(|model| {
        let twin = model.shaped(filter, rerank);
        std::iter::once(model).chain(twin)
    });
    twins.collect()
}

/// The reports for a person: first all users, then the heads of lists, then thirds of users.
fn text(reports: &[ModelReport]) -> String {
    let of_all = reports.first().map_or_else(String::new, |first| {
        format!(
            "{} users, {} lists, {} actions; [95 % intervals over users]\n\n",
            first.users, first.lists, first.all_actions
        )
    });
    let (models, thirds) = (Table::of_models(reports), Table::of_thirds(reports));
    let heads = Table::of_heads(reports);
    let text = format!("{of_all}{models}\n{heads}\n{thirds}");
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_gives_every_model_a_twin() {
        let models = |names: &[&str]| -> Vec<Model> {
            let models = names.iter().map(|name| name.parse());
            models.collect::<Result<_, _>>().expect("models")
        };
        let names = |names: &[&str], filters: &[&str], rerank: &[&str]| -> Vec<String> {
            let filters = filters
                .iter()
                .map(|name| ((*name).to_owned(), Filter::default()));
            let rules = RerankRules::default();
            let rerank = rerank
                .iter()
                .map(|name| ((*name).to_owned(), rules.clone()));
            let models = with_twins(models(names), &filters.collect(), &rerank.collect());
            models.iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(&["last_pin"], &[], &[]), ["last_pin"]);
        assert_eq!(
            names(&["last_pin", "popularity"], &["on"], &["on", "a"]),
            [
                "last_pin",
                "last_pin:filter=on:rerank=on",
                "popularity",
                "popularity:filter=on"
            ]
        );
        assert_eq!(names(&["popularity"], &[], &["on"]), ["popularity"]);
        let own = ["last_pin", "last_pin:rerank=a"];
        assert_eq!(names(&own, &["on"], &["on", "a"]), own);
        let named = |name: &str| Named {
            name: name.to_owned(),
            value: 7,
        };
        let twice = by_name("filter", vec![named("a"), named("b"), named("a")]);
        let twice = twice.expect_err("a name").to_string();
        assert!(twice.contains("--filter \"a\" is there twice"), "{twice}");
    }
}
