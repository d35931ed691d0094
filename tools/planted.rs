//! The `pinnersage` command with a planted fault: `deploy/scenarios/run planted` must find it.

use std::process::ExitCode;

fn main() -> ExitCode {
    pinnersage::cli::main()
}
