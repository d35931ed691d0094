//! Progress of offline work: bars on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::printable_lines;

/// How the progress of a command is shown, on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A bar for each stage.
    Bars,
    /// A line at the end of each stage.
    Lines,
    /// Nothing.
    Silent,
}

/// One stage of a command. Dropping it shows the stage as finished.
#[derive(Debug)]
pub struct Stage {
    bar: ProgressBar,
    name: &'static str,
    begun: Instant,
    style: Progress,
}

impl Progress {
    /// Returns bars when standard error is a terminal, and lines when it is not.
    pub fn for_stderr() -> Self {
        if stderr().is_terminal() {
            Self::Bars
        } else {
            Self::Lines
        }
    }

    /// Says what a person should look into.
    pub fn note(self, text: &str) {
        if self != Self::Silent {
            eprintln!("note: {}", printable_lines(text));
        }
    }

    /// Begins a stage of `total` steps.
    pub fn stage(self, name: &'static str, total: u64) -> Stage {
        let target = match self {
            Self::Bars => ProgressDrawTarget::stderr(),
            Self::Lines | Self::Silent => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style = ProgressStyle::with_template(
            "{prefix:<20} [{bar:32}] {human_pos}/{human_len}  {elapsed} (left: {eta})",
        );
        bar.set_style(style.expect("the template is valid").progress_chars("=> "));
        bar.set_prefix(name);
        Stage {
            bar,
            name,
            begun: Instant::now(),
            style: self,
        }
    }
}

impl Stage {
    /// Counts `steps` more as done.
    pub fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// Says what a person should look into, above the bar.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| self.style.note(text));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let done = self.bar.position();
        let seconds = self.begun.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        if self.style != Progress::Silent {
            eprintln!("{:<20} {done:>12} in {seconds:.1} s", self.name);
        }
    }
}
