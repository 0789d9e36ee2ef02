//! `flowtap man`: manual pages, made from the same words as `--help`.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory};
use clap_mangen::{Man, generate_to};

use super::Cli;

/// Print the manual page, or write the pages of all commands into a folder.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write flowtap.1, flowtap-read.1 and so on into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let command = Cli::command();
    match &args.out {
        None => Man::new(command).render(&mut io::stdout().lock())?,
        Some(dir) => fs::create_dir_all(dir)
            .and_then(|()| generate_to(command, dir))
            .with_context(|| format!("can't write manual pages into {}", dir.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}
