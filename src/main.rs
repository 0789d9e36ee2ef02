//! The `flowtap` program: parses the command line and dispatches.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowtap::cli::main()
}
