//! `pinnersage evaluate`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::replay::ReplayArgs;
use super::{output, output_file};
use crate::config::Settings;
use crate::evaluation::{DEFAULT_MODELS, Model, ModelReport, Page, Table, evaluate, html};
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
    let params = args.replay.params(settings, args.models);
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
