//! The `pinnersage` command: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    pinnersage::cli::main()
}
