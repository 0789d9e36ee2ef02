//! The options that can stand in a file, as clap knows them: of each command
//! that has `--config`. Start at [`commands`].

use std::collections::BTreeSet;
use std::error::Error as _;

use clap::builder::ValueRange;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

/// The option that names the file; it can't stand in it.
pub(super) const CONFIG: &str = "config";

/// The commands that can be told something in a file.
pub(super) fn commands(command: &Command) -> impl Iterator<Item = &Command> {
    let has_config = |sub: &&Command| sub.get_arguments().any(|arg| arg.get_id() == CONFIG);
    command.get_subcommands().filter(has_config)
}

/// The options of one command that can stand in a file, in the order of its
/// help.
pub(super) fn all(sub: &Command) -> impl Iterator<Item = &Arg> {
    let generated = |arg: &Arg| arg.get_id() == "help" || arg.get_id() == "version";
    sub.get_arguments()
        .filter(move |arg| arg.get_long().is_some() && arg.get_id() != CONFIG && !generated(arg))
}

/// An option of a command by its long name.
pub(super) fn of<'a>(sub: &'a Command, long: &str) -> Option<&'a Arg> {
    all(sub).find(|arg| arg.get_long() == Some(long))
}

/// Long names of a command's options.
pub(super) fn names(command: &Command, sub: &str) -> Vec<String> {
    let sub = command.find_subcommand(sub);
    sub.into_iter().flat_map(all).filter_map(Arg::get_long).map(str::to_owned).collect()
}

/// Commands that know an option.
pub(super) fn owners<'a>(command: &'a Command, long: &str) -> Vec<&'a str> {
    let knows = |sub: &&Command| of(sub, long).is_some();
    commands(command).filter(knows).map(Command::get_name).collect()
}

/// Several commands have it, and it takes the same of all.
pub(super) fn is_shared(command: &Command, long: &str) -> bool {
    let mut all = commands(command).filter_map(|sub| of(sub, long));
    let taken = |arg: &Arg| (Shape::of(arg), placeholder(arg));
    let first = all.next().map(taken);
    let mut others = all.map(taken).peekable();
    others.peek().is_some() && others.all(|other| Some(other) == first)
}

/// Options that stand at the top: those of several commands. Each as the first
/// of them has it.
pub(super) fn shared(command: &Command) -> Vec<&Arg> {
    let mut seen = BTreeSet::new();
    let several = |arg: &&Arg| {
        let long = arg.get_long().unwrap_or_default();
        is_shared(command, long) && seen.insert(long.to_owned())
    };
    commands(command).flat_map(all).filter(several).collect()
}

/// Flags take `=false` as well, so that a command line can take back what a
/// file says.
pub(super) fn switchable(command: Command) -> Command {
    let names: Vec<String> = commands(&command).map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |sub| {
            sub.mut_args(|arg| {
                if !matches!(arg.get_action(), ArgAction::SetTrue) {
                    return arg;
                }
                arg.action(ArgAction::Set)
                    .num_args(0..=1)
                    .require_equals(true)
                    .value_parser(clap::value_parser!(bool))
                    .default_value("false")
                    .default_missing_value("true")
                    .hide_default_value(true)
                    .hide_possible_values(true)
            })
        })
    })
}

/// How an option is written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `true` or `false`.
    Flag,
    One,
    /// A value, or `true` for the one that stands for none.
    Optional,
    List,
}

impl Shape {
    pub(super) fn of(arg: &Arg) -> Self {
        let is_bool = arg.get_default_values() == ["false"];
        match arg.get_action() {
            ArgAction::SetTrue => Self::Flag,
            ArgAction::Append => Self::List,
            _ if arg.get_value_delimiter().is_some() => Self::List,
            _ if arg.get_num_args() == Some(ValueRange::from(0..=1)) && is_bool => Self::Flag,
            _ if arg.get_num_args() == Some(ValueRange::from(0..=1)) => Self::Optional,
            _ => Self::One,
        }
    }
}

/// What stands for a value in help.
pub(super) fn placeholder(arg: &Arg) -> String {
    let named = arg.get_value_names().and_then(|names| names.first());
    named.map_or_else(|| "VALUE".to_owned(), ToString::to_string)
}

/// Holds a value against the option's own parser.
pub(super) fn check(arg: &Arg, text: &str) -> Result<(), String> {
    let probe = Arg::new("value")
        .long("value")
        .value_parser(arg.get_value_parser().clone())
        .num_args(1)
        .require_equals(true)
        .allow_hyphen_values(true);
    let probe = Command::new("flowtap").no_binary_name(true).arg(probe);
    match probe.try_get_matches_from([format!("--value={text}")]) {
        Ok(_) => Ok(()),
        Err(error) => Err(reason(&error)),
    }
}

fn reason(error: &clap::Error) -> String {
    match error.kind() {
        ErrorKind::InvalidValue => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
                format!("allowed: {}", valid.join(", "))
            }
            _ => "a value is missing".to_owned(),
        },
        _ => error.source().map_or_else(|| error.kind().to_string(), ToString::to_string),
    }
}
