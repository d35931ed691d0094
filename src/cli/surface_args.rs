//! The arguments for a surface and an arm.

use std::fmt;

use clap::Args;

/// Number of candidates to show where neither the arguments nor a surface say how many.
const DEFAULT_LIMIT: u32 = 20;

#[derive(Debug, Args)]
pub(super) struct SurfaceArgs {
    /// Number of candidates to show [default: 20, or with --surface what that says].
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Ask as this surface of the server's settings does.
    #[arg(long, value_name = "NAME")]
    surface: Option<String>,
    /// A label for the answer, its traces and metrics, such as the arm of an experiment.
    #[arg(long, value_name = "LABEL")]
    arm: Option<String>,
}

impl SurfaceArgs {
    /// Number of candidates to ask for; 0 leaves it to the surface.
    pub(super) fn limit(&self) -> u32 {
        let default = match self.surface {
            Some(_) => 0,
            None => DEFAULT_LIMIT,
        };
        self.limit.unwrap_or(default)
    }

    /// The surface and the arm of the request; empty for none.
    pub(super) fn labels(self) -> (String, String) {
        let Self { surface, arm, .. } = self;
        (surface.unwrap_or_default(), arm.unwrap_or_default())
    }
}

/// Writes a line that names the surface and the arm of an answer, if it has any.
pub(super) fn write_labels(f: &mut fmt::Formatter<'_>, surface: &str, arm: &str) -> fmt::Result {
    // The server refuses names that could steer a terminal.
    match (surface, arm) {
        ("", "") => Ok(()),
        (surface, "") => writeln!(f, "  surface {surface}"),
        ("", arm) => writeln!(f, "  arm {arm}"),
        (surface, arm) => writeln!(f, "  surface {surface}, arm {arm}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        surface: SurfaceArgs,
    }

    #[test]
    fn a_surface_says_how_many_unless_the_arguments_do() {
        let parsed = |arguments: &[&str]| {
            let command = Command::parse_from([&["command"], arguments].concat());
            (command.surface.limit(), command.surface.labels())
        };
        let labels = |surface: &str, arm: &str| (surface.to_owned(), arm.to_owned());
        assert_eq!(parsed(&[]), (20, labels("", "")));
        assert_eq!(parsed(&["--arm", "b"]), (20, labels("", "b")));
        assert_eq!(parsed(&["--surface", "home"]), (0, labels("home", "")));
        let both = parsed(&["--surface", "home", "--limit", "7"]);
        assert_eq!(both, (7, labels("home", "")));
    }
}
