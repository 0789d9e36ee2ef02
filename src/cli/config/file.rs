//! A configuration file: what it says, and everything that is wrong with it.
//!
//! All of it is looked at, whatever is wrong before: [`File::problems`] has
//! every error, with its line, up to [`MOST_PROBLEMS`]. Start at [`File::parse`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use clap::{Arg, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::options::{self, Shape};
use crate::detect::{DetectSettings, Kind, SETTINGS, Setting, SettingRange, SettingValue};

/// Far over what anybody writes; a device or a capture named by mistake is not
/// read to its end.
const LONGEST_BYTES: u64 = 4 << 20;

/// More than anybody mends before asking again; what else is wrong is not looked for.
const MOST_PROBLEMS: usize = 1_000;

pub(super) const DETECT: &str = "detect";
pub(super) const ALLOW: &str = "allow";

/// Section of options that several commands know.
pub(super) const TOP: &str = "";

#[derive(Debug, Default)]
pub(super) struct File {
    /// By section, then by the option's long name.
    options: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    pub(super) detect: DetectSettings,
    /// Lines of the allow entries, in their order.
    pub(super) allow_lines: Vec<usize>,
    problems: Vec<String>,
    name: String,
}

impl File {
    /// Reads a file; what is wrong in it stands in [`Self::problems`].
    pub(super) fn read(path: &Path, command: &Command) -> Result<Self, String> {
        let cannot = |error: std::io::Error| format!("can't read {}: {error}", path.display());
        let mut bytes = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(LONGEST_BYTES + 1).read_to_end(&mut bytes))
            .map_err(cannot)?;
        if bytes.len() as u64 > LONGEST_BYTES {
            let mib = LONGEST_BYTES >> 20;
            return Err(format!("{}: over {mib} MiB: no configuration", path.display()));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
            format!("{}:{line}: not UTF-8", path.display())
        })?;
        Ok(Self::parse(&path.display().to_string(), &text, command))
    }

    /// Reads a text; `name` is what errors call it.
    pub(super) fn parse(name: &str, text: &str, command: &Command) -> Self {
        let mut reader = Reader {
            line_ends: memchr::memchr_iter(b'\n', text.as_bytes()).collect(),
            command,
            problems: Vec::new(),
            untold: false,
            places: BTreeMap::new(),
            detect_places: BTreeMap::new(),
        };
        let mut file = Self { name: name.to_owned(), ..Self::default() };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            reader.problem(error.span().unwrap_or_default(), error.message().to_owned());
        }
        let syntax = reader.problems.len();
        let broken: BTreeSet<usize> = reader.problems.iter().map(|(line, _)| *line).collect();
        for (key, value) in entries(table.get_ref()) {
            if reader.is_full() {
                break;
            }
            reader.top(key, value, &mut file);
        }
        reader.check_twice();
        let untold = reader.untold;
        // What was made of a line that can't be read is nobody's fault.
        let mut problems = reader.problems;
        let mut at = 0;
        problems.retain(|(line, _)| {
            at += 1;
            at <= syntax || !broken.contains(line)
        });
        problems.sort();
        problems.dedup();
        file.problems =
            problems.iter().map(|(line, text)| format!("{name}:{line}: {text}")).collect();
        if untold {
            // What comes after them was not looked at.
            file.problems.push(format!("{name}: the rest was not looked at: mend these first"));
        }
        file
    }

    /// All that is wrong, by line.
    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Allow entries that are over by now, a warning each.
    pub(super) fn expired(&self) -> Vec<String> {
        let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        let entries = self.detect.allow.iter().zip(&self.allow_lines);
        entries
            .filter(|(entry, _)| entry.has_expired(now))
            .map(|(entry, line)| {
                let since = crate::time::rfc3339(entry.expires_ns);
                let (name, entity) = (&self.name, &entry.entity);
                format!(
                    "{name}:{line}: what is allowed to {entity} ({}) has expired: not in force since {since}",
                    entry.reason
                )
            })
            .collect()
    }

    /// An option's values in force for a command; nothing where the file does
    /// not say.
    pub(super) fn values(&self, section: &str, long: &str) -> Option<&[String]> {
        let of = |section: &str| self.options.get(section)?.get(long);
        of(section).or_else(|| of(TOP)).map(Vec::as_slice)
    }

    /// Whether any section has this option.
    pub(super) fn has_option(&self, long: &str) -> bool {
        self.options.values().any(|section| section.contains_key(long))
    }

    /// What the command is told, by option. Defaults are left out: said or not,
    /// they are the same, and options that need others would ask for them.
    pub(super) fn arguments(&self, name: &str, command: &Command) -> Vec<(String, Vec<String>)> {
        let Some(sub) = command.find_subcommand(name) else { return Vec::new() };
        let given = options::all(sub).filter_map(|arg| {
            let long = arg.get_long()?;
            let values = self.values(name, long)?;
            let default = arg.get_default_values().iter().map(|value| value.to_str());
            if default.eq(values.iter().map(|value| Some(value.as_str()))) {
                return None;
            }
            let argument = |value: &String| match (Shape::of(arg), value.as_str()) {
                (Shape::Optional, "true") => Some(format!("--{long}")),
                (Shape::Optional, "false") => None,
                _ => Some(format!("--{long}={value}")),
            };
            Some((long.to_owned(), values.iter().filter_map(argument).collect()))
        });
        given.collect()
    }
}

/// In the order of the file.
fn entries<'a, 'b>(
    table: &'b DeTable<'a>,
) -> Vec<(&'b Spanned<std::borrow::Cow<'a, str>>, &'b Spanned<DeValue<'a>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Goes through a file once.
pub(super) struct Reader<'a> {
    /// Where lines end, in bytes.
    line_ends: Vec<usize>,
    command: &'a Command,
    problems: Vec<(usize, String)>,
    /// There were more.
    untold: bool,
    /// Where options stand, by their names in snake case.
    places: BTreeMap<String, Range<usize>>,
    /// Where thresholds stand.
    detect_places: BTreeMap<String, Range<usize>>,
}

pub(super) type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

impl Reader<'_> {
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        1 + self.line_ends.partition_point(|&end| end < span.start)
    }

    pub(super) fn problem(&mut self, span: Range<usize>, text: String) {
        if self.problems.len() >= MOST_PROBLEMS {
            self.untold = true;
            return;
        }
        let line = self.line(&span);
        self.problems.push((line, text));
    }

    /// So much is wrong that the rest needs no look: there may be more.
    pub(super) fn is_full(&mut self) -> bool {
        let is_full = self.problems.len() >= MOST_PROBLEMS;
        self.untold |= is_full;
        is_full
    }

    fn top(&mut self, key: &Key<'_>, value: &Value<'_>, file: &mut File) {
        let name = key.get_ref().as_ref();
        if name == DETECT {
            self.detect(key, value, file);
        } else if name == ALLOW {
            self.allow(key, value, file);
        } else if options::commands(self.command).any(|sub| sub.get_name() == name) {
            match value.get_ref() {
                DeValue::Table(table) => {
                    for (key, value) in entries(table) {
                        if self.is_full() {
                            break;
                        }
                        self.option(name, key, value, file);
                    }
                }
                _ => self.problem(key.span(), format!("{name} is a section: [{name}]")),
            }
        } else if matches!(value.get_ref(), DeValue::Table(_)) {
            let sections = options::commands(self.command).map(Command::get_name);
            let sections: Vec<&str> = sections.chain([DETECT, ALLOW]).collect();
            let meant = did_you_mean(name, sections.iter().copied());
            let all = sections.join(", ");
            self.problem(key.span(), format!("[{name}]: no such section{meant}; there are {all}"));
        } else {
            self.option(TOP, key, value, file);
        }
    }

    /// A threshold that is an option too can stand in one place alone.
    fn check_twice(&mut self) {
        let places = std::mem::take(&mut self.places);
        for (name, option) in places {
            if let Some(threshold) = self.detect_places.get(&name) {
                let line = self.line(threshold);
                let option_name = name.replace('_', "-");
                let text = format!("{option_name}: {name} in [detect], line {line}, is the same");
                self.problem(option, text);
            }
        }
    }

    /// An option at the top or in a command's section.
    fn option(&mut self, section: &str, key: &Key<'_>, value: &Value<'_>, file: &mut File) {
        let name = key.get_ref().as_ref();
        let command = self.command;
        let known: Vec<&Arg> = if section == TOP {
            options::shared(command)
        } else {
            command.find_subcommand(section).into_iter().flat_map(options::all).collect()
        };
        let Some(arg) = known.iter().find(|arg| arg.get_long() == Some(name)) else {
            let text = self.unknown(section, name, &known);
            self.problem(key.span(), text);
            return;
        };
        self.places.insert(name.replace('-', "_"), key.span());
        let values = match texts(arg, value) {
            Ok(values) => values,
            Err((span, text)) => {
                self.problem(span, format!("{name}: {text}"));
                return;
            }
        };
        for (span, text) in &values {
            let named =
                Shape::of(arg) == Shape::Optional && matches!(text.as_str(), "true" | "false");
            if !named && let Err(reason) = options::check(arg, text) {
                self.problem(span.clone(), format!("{name} = {text:?}: {reason}"));
            }
        }
        let values = values.into_iter().map(|(_, text)| text).collect();
        file.options.entry(section.to_owned()).or_default().insert(name.to_owned(), values);
    }

    /// Where an unknown key belongs, or what was meant.
    fn unknown(&self, section: &str, name: &str, known: &[&Arg]) -> String {
        let place =
            if section == TOP { "at the top".to_owned() } else { format!("in [{section}]") };
        let owners = options::owners(self.command, name);
        if let [owner] = owners.as_slice() {
            let of = format!("{name} is an option of `{owner}` alone");
            return if section == TOP {
                format!("{of}: put it under [{owner}]")
            } else {
                format!("{of}, not of `{section}`: put it under [{owner}]")
            };
        }
        if section == TOP && !owners.is_empty() {
            let (names, sections) = (owners.join("` and `"), owners.join("] or ["));
            return format!("{name} means another thing to `{names}`: put it under [{sections}]");
        }
        if Setting::named(name).is_some() {
            return format!("{name} is a threshold: put it under [detect]");
        }
        if name == options::CONFIG {
            return "config can't stand in the file itself".to_owned();
        }
        let all = options::commands(self.command).flat_map(options::all).filter_map(Arg::get_long);
        let here = known.iter().filter_map(|arg| arg.get_long());
        let meant = did_you_mean(name, here.chain(all));
        format!("{name}: no such key {place}{meant}")
    }

    fn detect(&mut self, key: &Key<'_>, value: &Value<'_>, file: &mut File) {
        let DeValue::Table(table) = value.get_ref() else {
            self.problem(key.span(), "detect is a section: [detect]".to_owned());
            return;
        };
        for (key, value) in entries(table) {
            if self.is_full() {
                break;
            }
            let name = key.get_ref().as_ref();
            let Some(setting) = Setting::named(name) else {
                let meant = match name {
                    "home_net" | "home_nets" | "home-net" => {
                        ": home networks are home-net, at the top".to_owned()
                    }
                    _ => did_you_mean(name, SETTINGS.iter().map(|setting| setting.name)),
                };
                self.problem(key.span(), format!("{name}: no such key in [detect]{meant}"));
                continue;
            };
            self.detect_places.insert(name.to_owned(), key.span());
            let set = setting_value(setting, value.get_ref())
                .and_then(|value| setting.set(&mut file.detect, value));
            if let Err(reason) = set {
                self.problem(value.span(), format!("{name}: {reason}"));
            }
        }
    }
}

fn setting_value(setting: &Setting, value: &DeValue<'_>) -> Result<SettingValue, String> {
    let wanted = || format!("{} is not allowed: {}", shown(value), setting.range);
    match (setting.range, value) {
        (SettingRange::Count(..), DeValue::Integer(number)) => {
            let number = i128::from_str_radix(number.as_str(), number.radix());
            let count = number.ok().and_then(|number| u64::try_from(number).ok());
            count.map(SettingValue::Count).ok_or_else(|| {
                format!("{} is not allowed: {}, since {}", shown(value), setting.range, setting.why)
            })
        }
        (SettingRange::Ratio(..), DeValue::Integer(_) | DeValue::Float(_)) => {
            let ratio = shown(value).parse().map_err(|_| wanted())?;
            Ok(SettingValue::Ratio(ratio))
        }
        (SettingRange::Kinds, DeValue::Array(names)) => {
            let kinds = names.iter().map(|name| {
                let kind = Kind::ALL.into_iter().find(
                    |kind| matches!(name.get_ref(), DeValue::String(name) if name == kind.name()),
                );
                kind.ok_or_else(|| {
                    format!("{} is not allowed: {}", shown(name.get_ref()), setting.range)
                })
            });
            Ok(SettingValue::Kinds(kinds.collect::<Result<_, _>>()?))
        }
        (SettingRange::Names(_), DeValue::Array(names)) => {
            let names = names.iter().map(|name| match name.get_ref() {
                DeValue::String(name) => Ok(name.to_string()),
                other => Err(format!("{} is not allowed: {}", shown(other), setting.range)),
            });
            Ok(SettingValue::Names(names.collect::<Result<_, _>>()?))
        }
        _ => Err(wanted()),
    }
}

type Texts = Vec<(Range<usize>, String)>;

/// A value as it would stand on the command line.
fn texts(arg: &Arg, value: &Value<'_>) -> Result<Texts, (Range<usize>, String)> {
    let shape = Shape::of(arg);
    let placeholder = options::placeholder(arg);
    let wrong = |value: &Value<'_>, wanted: String| {
        Err((value.span(), format!("{} is not allowed: {wanted}", shown(value.get_ref()))))
    };
    match (shape, value.get_ref()) {
        (Shape::Flag | Shape::Optional, DeValue::Boolean(flag)) => {
            Ok(vec![(value.span(), flag.to_string())])
        }
        (Shape::Flag, _) => wrong(value, "true or false".to_owned()),
        (Shape::List, DeValue::Array(items)) => {
            let mut texts = Texts::new();
            for item in items.iter() {
                match scalar(item.get_ref()) {
                    Some(text) => texts.push((item.span(), text)),
                    None => return wrong(item, format!("a list of {placeholder}")),
                }
            }
            Ok(texts)
        }
        (_, found) => match scalar(found) {
            Some(text) => Ok(vec![(value.span(), text)]),
            None if shape == Shape::List => wrong(value, format!("a list of {placeholder}")),
            None => wrong(value, format!("one {placeholder}")),
        },
    }
}

/// Numbers and strings.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let number = i128::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    }
}

/// A value in an error.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

/// `: did you mean "workers"?`, or nothing where nothing is near.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    // As clap has it for options.
    const NEAR: f64 = 0.7;
    let name = name.replace('_', "-");
    let near = known.map(|known| (strsim::jaro_winkler(&name, &known.replace('_', "-")), known));
    let near = near.filter(|(score, _)| *score > NEAR).fold(None, |best, found| match best {
        Some((score, _)) if score >= found.0 => best,
        _ => Some(found),
    });
    near.map(|(_, known)| format!(": did you mean \"{known}\"?")).unwrap_or_default()
}
