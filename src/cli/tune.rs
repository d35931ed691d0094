//! `pinnersage tune`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::replay::ReplayArgs;
use super::{output, output_file};
use crate::config::Settings;
use crate::evaluation::{Grid, Tuned, tune};
use crate::progress::Progress;
use crate::snapshot::replace_file;

#[derive(Debug, Args)]
pub(super) struct TuneArgs {
    #[command(flatten)]
    replay: ReplayArgs,
    /// File of settings to write, for `--config`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Values of profiles.alpha to compare with the present one.
    #[arg(long, value_name = "LIST", default_value = "0.5,1,2,4,6,8,10,12")]
    alpha: Numbers,
    /// Values of profiles.lambda_per_day to compare with the present one.
    #[arg(long, value_name = "LIST", default_value = "0,0.01,0.03,0.1")]
    lambda: Numbers,
}

/// Numbers of at least 0, behind commas.
#[derive(Clone, Debug)]
struct Numbers(Vec<f64>);

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers: Vec<f64> = Vec::new();
        for part in text.split(',') {
            let number = part.trim().parse().ok();
            let number = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
            let number = number.ok_or_else(|| format!("{part:?} is no number of at least 0"))?;
            if numbers.contains(&number) {
                return Err(format!("{part:?} is there twice"));
            }
            numbers.push(number);
        }
        Ok(Self(numbers))
    }
}

pub(super) fn run(args: TuneArgs, settings: &Settings) -> anyhow::Result<()> {
    let TuneArgs {
        replay,
        out: file,
        alpha: Numbers(alpha),
        lambda: Numbers(lambda_per_day),
    } = args;
    output_file::check_directory(&file)?;
    let params = replay.params(settings, Vec::new());
    let grid = Grid {
        alpha,
        lambda_per_day,
    };
    let progress = Progress::for_stderr();
    let tuned = tune(&replay.files(None), &params, &grid, progress)?;
    let text = tuned.settings(&head(&replay, &tuned));
    replace_file(&file, text.as_bytes())?;
    for step in &tuned.steps {
        output::print(&step.table())?;
    }
    output::print(&format!(
        "{}: alpha = {}, lambda_per_day = {}; merge strategy for requests: {}",
        file.display(),
        tuned.alpha,
        tuned.lambda_per_day,
        tuned.merge
    ))
}

/// What was measured, and on what.
fn head(replay: &ReplayArgs, tuned: &Tuned) -> String {
    let files = replay.actions.iter().map(|path| path.display().to_string());
    let files: Vec<String> = files.collect();
    let judged_by = tuned.steps.first().and_then(|step| step.trials.first());
    let judged_by = judged_by.map_or_else(String::new, |trial| {
        let report = &trial.report;
        format!(
            "{} users, {} lists, {} actions",
            report.users, report.lists, report.actions
        )
    });
    format!(
        "Settings proposed by `pinnersage tune`.\n\n\
         Data:      {}\n\
         Catalog: {}\n\
         Period:    from {}, before {}; {judged_by}\n\
         Command:   {}\n\n\
         Values with their 95 % intervals over users. One is proposed instead of the present\n\
         one only where that is evidently behind the best (geometric mean of relevance and\n\
         recall, of one list and of five pages): where the interval behind the best begins above 0.",
        files.join(" "),
        replay.catalog.display(),
        replay.from,
        replay.to,
        output_file::command_line(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_list_of_numbers_is_named() {
        let numbers = |text: &str| text.parse::<Numbers>().map(|Numbers(numbers)| numbers);
        assert_eq!(numbers("1, 0.5,0"), Ok(vec![1.0, 0.5, 0.0]));
        for (text, part) in [
            ("", "\"\""),
            ("1,,2", "\"\""),
            ("1,x", "\"x\""),
            ("-1", "\"-1\""),
            ("nan", "\"nan\""),
            ("inf", "\"inf\""),
            ("4,4.0", "\"4.0\" is there twice"),
        ] {
            let error = numbers(text).expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }
}
