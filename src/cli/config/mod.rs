//! `--config flowtap.toml`: options, thresholds and allow entries from a file.
//!
//! ```toml
//! home-net = ["203.0.113.0/24"]   # what several commands know: at the top
//!
//! [live]                          # for one command alone; wins over the top
//! interface = ["eth1"]
//!
//! [detect]                        # thresholds
//! packet_rate_threshold = 20000
//!
//! [[allow]]                       # alerts that are counted instead of raised
//! detector = "port_scan"
//! entity = "192.0.2.7"
//! reason = "weekly audit"
//! owner = "ops"
//! expires = 2027-01-31
//! ```
//!
//! Keys are the long names of options, taken from clap's own definition
//! ([`options`]), and values go through the same parsers: an option that is
//! added needs nothing here. The file's options are put before those of the
//! command line, where that does not have them itself: so it wins, and a list
//! there replaces the file's. Nothing is read unless `--config` names it. Start
//! at [`parse`].

mod allow;
mod command;
mod file;
mod options;
mod reload;
mod show;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use ipnet::IpNet;

use super::baseline::BaselineCommand;
use super::links::folders_along;
use super::values::prefix;
use super::{Cli, Command, Usage};
use crate::detect::{DetectSettings, HomeNets};
use file::File;

pub(crate) use file::did_you_mean;

pub(crate) use command::{ConfigCommand, run};
pub(crate) use reload::Reloader;

/// What a file gave beside options.
#[derive(Clone, Debug, Default)]
pub(crate) struct FromFile {
    /// Thresholds and what is allowed; the defaults without a file.
    pub(crate) detect: DetectSettings,
    /// The file, and each option's values in force, by the option's long name.
    loaded: Option<Loaded>,
}

impl FromFile {
    /// Where the file lies, and where what it links to does.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let path = self.loaded.iter().map(|loaded| &loaded.path);
        path.flat_map(|path| folders_along(path)).collect()
    }
}

#[derive(Clone, Debug)]
struct Loaded {
    path: PathBuf,
    values: BTreeMap<String, Vec<OsString>>,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Also a request for help.
    Arguments(clap::Error),
    /// Lines for people, each with file and line.
    File(Vec<String>),
}

/// The command line with what its `--config` says, and warnings.
pub(crate) fn parse(arguments: &[OsString]) -> Result<(Cli, Vec<String>), Refusal> {
    if let Some(read) = learning_as_read(arguments) {
        let (mut cli, warnings) = parse(&read)?;
        if let Command::Read(args) = cli.command {
            cli.command = Command::Baseline(BaselineCommand::Learn(args));
        }
        return Ok((cli, warnings));
    }
    let Some((name, path)) = find_config(arguments) else {
        let cli = Cli::try_parse_from(arguments).map_err(Refusal::Arguments)?;
        return Ok((cli, Vec::new()));
    };
    let command = options::switchable(Cli::command());
    let file = File::read(&path, &command).map_err(|problem| Refusal::File(vec![problem]))?;
    if !file.problems().is_empty() {
        return Err(Refusal::File(file.problems().to_vec()));
    }
    let arguments = merge(arguments, &name, &file, &command);
    let matches = command.clone().try_get_matches_from(arguments).map_err(Refusal::Arguments)?;
    let values = matches.subcommand_matches(&name).map(|matches| {
        let of = |long: &str| command.find_subcommand(&name).and_then(|sub| options::of(sub, long));
        let known = options::names(&command, &name);
        let raw = |long: &String| {
            let raw = matches.get_raw(of(long)?.get_id().as_str())?;
            Some(raw.map(ToOwned::to_owned).collect())
        };
        known.into_iter().map(|long| (raw(&long).unwrap_or_default(), long)).map(swap).collect()
    });
    let mut cli = Cli::from_arg_matches(&matches).map_err(Refusal::Arguments)?;
    let from_file = FromFile {
        detect: file.detect.clone(),
        loaded: Some(Loaded { path, values: values.unwrap_or_default() }),
    };
    match &mut cli.command {
        Command::Read(args) => args.engine.from_file = from_file,
        Command::Live(args) => args.engine.from_file = from_file,
        Command::Top(args) => args.engine.from_file = from_file,
        _ => {}
    }
    Ok((cli, file.expired()))
}

/// What a file says of detection, for a command that takes nothing else of it: thresholds,
/// what is allowed, and the home networks of `read`. With warnings.
pub(crate) fn detection(path: &Path) -> Result<(DetectSettings, Vec<String>), Usage> {
    let file = File::read(path, &options::switchable(Cli::command())).map_err(Usage)?;
    if !file.problems().is_empty() {
        return Err(Usage(file.problems().join("\n")));
    }
    let mut detect = file.detect.clone();
    if let Some(nets) = file.values("read", "home-net") {
        let nets: Result<Vec<IpNet>, _> = nets.iter().map(|net| prefix(net)).collect();
        let problem = |error| Usage(format!("{}: home-net: {error}", path.display()));
        detect.home_nets = HomeNets::new(nets.map_err(problem)?);
    }
    Ok((detect, file.expired()))
}

fn swap<A, B>((a, b): (A, B)) -> (B, A) {
    (b, a)
}

/// Which command is called, and its `--config`. Errors are told later.
fn find_config(arguments: &[OsString]) -> Option<(String, PathBuf)> {
    let command = options::switchable(Cli::command()).ignore_errors(true);
    let matches = command.try_get_matches_from(arguments).ok()?;
    let (name, matches) = matches.subcommand()?;
    let path = matches.try_get_one::<PathBuf>(options::CONFIG).ok()??;
    Some((name.to_owned(), path.clone()))
}

/// `baseline learn` with a file is `read` with it, and learns.
fn learning_as_read(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let learning = ["baseline", "learn"];
    let (program, rest) = arguments.split_first()?;
    let rest = rest.strip_prefix(&learning.map(OsString::from)[..])?;
    let read = [program.clone(), "read".into()].into_iter().chain(rest.iter().cloned());
    let read: Vec<OsString> = read.collect();
    find_config(&read).is_some().then_some(read)
}

/// The command line with the file's options right after the command's name,
/// less those that it has itself.
fn merge(
    arguments: &[OsString],
    name: &str,
    file: &File,
    command: &clap::Command,
) -> Vec<OsString> {
    let typed = command.clone().ignore_errors(true).try_get_matches_from(arguments).ok();
    let typed = typed.as_ref().and_then(|matches| matches.subcommand_matches(name));
    let sub = command.find_subcommand(name);
    let is_typed = |long: &str| {
        let id = sub.and_then(|sub| options::of(sub, long)).map(clap::Arg::get_id);
        id.zip(typed).is_some_and(|(id, typed)| is_typed(typed, id.as_str()))
    };
    let at = arguments.iter().skip(1).position(|argument| argument == name);
    let (head, tail) = arguments.split_at(at.map_or(arguments.len(), |at| at + 2));
    let ours = file.arguments(name, command).into_iter();
    let ours = ours.filter(|(long, _)| !is_typed(long)).flat_map(|(_, arguments)| arguments);
    head.iter().cloned().chain(ours.map(OsString::from)).chain(tail.iter().cloned()).collect()
}

fn is_typed(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}
