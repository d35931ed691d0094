//! `pinnersage evaluate`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::out;
use super::profiles::{Switch, profile_params};
use crate::config::Settings;
use crate::evaluate::{
    DEFAULT_MODELS, EvaluateParams, Model, ModelReport, Page, Table, evaluate, html,
};
use crate::model::Timestamp;
use crate::progress::Progress;
use crate::snapshot::replace_file;

#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// Parquet files of actions, in any order.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    actions: Vec<PathBuf>,
    /// Catalogue whose pins are recommended.
    #[arg(long, value_name = "DIR")]
    catalog: PathBuf,
    /// First day that is judged: 2017-10-01.
    #[arg(long, value_name = "DATE")]
    from: Timestamp,
    /// The day after the last one.
    #[arg(long, value_name = "DATE")]
    to: Timestamp,
    /// Models to compare: `name` or `name:key=value:key=value`, as in
    /// `pinnersage:alpha=8:medoids=5`.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values = DEFAULT_MODELS)]
    models: Vec<Model>,
    /// Candidates in a list.
    #[arg(long, value_name = "N", default_value_t = 400,
          value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// Days for which what a user does counts.
    #[arg(long, value_name = "DAYS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    horizon: u32,
    /// Days from one that is judged to the next.
    #[arg(long, value_name = "DAYS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    every: u32,
    /// Least cosine of a relevant candidate to what the user acted on.
    #[arg(long, value_name = "COSINE", default_value_t = 0.8, value_parser = cosine)]
    relevant: f32,
    /// Recommend and count pins of a user's own window
    /// [default: off where profiles.history_filter is on].
    #[arg(long, value_name = "SWITCH")]
    repeats: Option<Switch>,
    /// Look at every pin instead of walking the graph.
    #[arg(long)]
    exact: bool,
    /// Only so many users, chosen by hash.
    #[arg(long, value_name = "N")]
    users: Option<usize>,
    /// Seed of all draws.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
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
    let (actions, catalog) = (args.actions.clone(), args.catalog.clone());
    let (json, page, resume) = (args.json, args.html.clone(), args.resume.clone());
    if let Some(page) = &page {
        out::check_directory(page)?;
    }
    let mut details = match &args.details {
        Some(path) => {
            let file = File::create(path).with_context(|| path.display().to_string())?;
            Some(BufWriter::new(file))
        }
        None => None,
    };
    let params = params(args, settings);
    let lines = details.as_mut().map(|file| file as &mut dyn Write);
    let (resume, progress) = (resume.as_deref(), Progress::for_stderr());
    let reports = evaluate(&actions, &catalog, &params, lines, resume, progress)?;
    if let Some(mut details) = details {
        details.flush().context("details cannot be written")?;
    }
    if let Some(path) = page {
        let html = html(&Page {
            actions: &actions,
            catalog: &catalog,
            command: &out::command_line(),
            params: &params,
            reports: &reports,
        });
        replace_file(&path, html.as_bytes())?;
    }
    if !json {
        return out::print(&text(&reports));
    }
    for report in &reports {
        out::print(&serde_json::to_string(report)?)?;
    }
    Ok(())
}

/// The reports for a person: first all users, then thirds of them.
fn text(reports: &[ModelReport]) -> String {
    let of_all = reports.first().map_or_else(String::new, |first| {
        format!(
            "{} users, {} lists, {} actions; [95 % intervals over users]\n\n",
            first.users, first.lists, first.actions
        )
    });
    let (models, thirds) = (Table::of_models(reports), Table::of_thirds(reports));
    format!("{of_all}{models}\n{thirds}").trim_end().to_owned()
}

fn params(args: EvaluateArgs, settings: &Settings) -> EvaluateParams {
    let profiles = profile_params(&settings.profiles, args.from);
    EvaluateParams {
        from: args.from,
        to: args.to,
        every_days: args.every,
        horizon_days: args.horizon,
        window_days: profiles.window_days,
        cluster: profiles.cluster,
        max_actions: profiles.max_actions,
        folded: (settings.actions.positive, settings.actions.clustered),
        action_weights: profiles.action_weights,
        repeats: match args.repeats {
            Some(switch) => switch == Switch::On,
            None => !profiles.history_filter,
        },
        models: args.models,
        limit: usize::from(args.limit),
        relevant: args.relevant,
        ef_search: (!args.exact).then_some(settings.index.ef_search),
        users: args.users,
        seed: args.seed,
        memory: profiles.memory,
    }
}

fn cosine(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(cosine) if (-1.0..=1.0).contains(&cosine) => Ok(cosine),
        Ok(_) => Err("must be from -1 to 1".to_owned()),
        Err(error) => Err(format!("{error}")),
    }
}
