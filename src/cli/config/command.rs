//! `flowtap config`: looks at a file, or shows what is in force.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Subcommand};

use super::file::File;
use super::{options, show};
use crate::cli::engine_args::EngineArgs;
use crate::cli::{Cli, Usage};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say everything that is wrong with a configuration file.
    ///
    /// Prints `ok` when nothing is, and warns of allow entries that have
    /// expired; exit status 2 otherwise.
    Check {
        /// The file.
        #[arg(value_name = "FILE", default_value = "flowtap.toml")]
        file: PathBuf,
    },
    /// Print the configuration in force as TOML: every key with its default.
    Show {
        /// The file; without one the defaults.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

pub(crate) fn run(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    let known = options::switchable(Cli::command());
    match command {
        ConfigCommand::Check { file } => {
            let file = File::read(file, &known).map_err(Usage)?;
            let mut problems = file.problems().to_vec();
            if problems.is_empty() {
                problems = conflicts(&file, &known);
            }
            for problem in &problems {
                eprintln!("{problem}");
            }
            if !problems.is_empty() {
                return Ok(ExitCode::from(2));
            }
            for warning in file.expired() {
                eprintln!("warning: {warning}");
            }
            writeln!(io::stdout(), "ok")?;
        }
        ConfigCommand::Show { file } => {
            let file = match file {
                Some(path) => File::read(path, &known).map_err(Usage)?,
                None => File::default(),
            };
            if !file.problems().is_empty() {
                return Err(Usage(file.problems().join("\n")).into());
            }
            io::stdout().write_all(show::template(&file, &known).as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Options that don't go together, a line for each command.
fn conflicts(file: &File, known: &clap::Command) -> Vec<String> {
    let names: Vec<&str> = options::commands(known).map(clap::Command::get_name).collect();
    let check = |name: &&str| -> Result<(), String> {
        // What is missing in the file may come on the command line.
        let sub = known.find_subcommand(name).cloned().unwrap_or_default();
        let sub = sub.mut_args(|arg| arg.required(false)).no_binary_name(true);
        let given = file.arguments(name, known).into_iter().flat_map(|(_, arguments)| arguments);
        let matches = sub.try_get_matches_from(given).map_err(|error| summed_up(&error))?;
        let engine = EngineArgs::from_arg_matches(&matches).map_err(|error| summed_up(&error))?;
        engine.run_options().map(|_| ()).map_err(|error| format!("{error:#}"))
    };
    let of = |name: &&str| check(name).err().map(|why| format!("{}: {name}: {why}", file.name()));
    names.iter().filter_map(of).collect()
}

/// What clap says, without how the command is called.
fn summed_up(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().take_while(|line| !line.starts_with("Usage:"));
    let lines: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}
