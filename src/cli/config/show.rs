//! The configuration in force as TOML, each value with its default and what it
//! is for: a template. Start at [`template`].

use std::fmt::Write as _;

use clap::{Arg, Command};
use toml::de::DeValue;

use super::file::{ALLOW, DETECT, File, TOP};
use super::options::{self, Shape};
use crate::alert::Towards;
use crate::detect::{DetectSettings, SETTINGS};
use crate::time::rfc3339;

/// All keys, those without a value as comments.
pub(super) fn template(file: &File, command: &Command) -> String {
    let mut text = String::new();
    let names: Vec<&str> = options::commands(command).map(Command::get_name).collect();
    let names = names.join("` and `flowtap ");
    let _ = writeln!(
        text,
        "# Options of `flowtap {names}`, with --config.\n\
         # A value on the command line wins. `flowtap config check` says what is wrong here.\n\n\
         # Options that several commands have. In the section of a command they are for it alone."
    );
    for arg in options::shared(command) {
        option(&mut text, file, TOP, arg);
    }
    for sub in options::commands(command) {
        let name = sub.get_name();
        let _ = writeln!(text, "\n[{name}]");
        for arg in options::all(sub) {
            let long = arg.get_long().unwrap_or_default();
            let own = !options::is_shared(command, long);
            // What is at the top is shown there, unless it is another one here.
            if own || file.values(name, long) != file.values(TOP, long) {
                option(&mut text, file, name, arg);
            }
        }
    }
    detect(&mut text, file);
    allow(&mut text, file);
    text
}

fn option(text: &mut String, file: &File, section: &str, arg: &Arg) {
    let long = arg.get_long().unwrap_or_default();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    let valid: Vec<String> = match Shape::of(arg) {
        Shape::Flag => Vec::new(),
        _ => arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect(),
    };
    let valid =
        if valid.is_empty() { String::new() } else { format!(" One of {}.", valid.join(", ")) };
    let said = if default.is_empty() || help.contains("[default:") {
        String::new()
    } else {
        format!(" [default: {}]", default.join(", "))
    };
    let help = one_line(help.trim_end_matches('.'));
    let _ = writeln!(text, "# {help}.{valid}{said}");
    let values = file.values(section, long).map_or(default, <[String]>::to_vec);
    if values.is_empty() {
        let placeholder = literal(&options::placeholder(arg));
        let example = match Shape::of(arg) {
            Shape::List => format!("[{placeholder}]"),
            _ => placeholder,
        };
        let _ = writeln!(text, "# {long} = {example}");
        return;
    }
    let value = match Shape::of(arg) {
        Shape::List => {
            let items: Vec<String> = values.iter().map(|value| literal(value)).collect();
            format!("[{}]", items.join(", "))
        }
        Shape::Flag => values[0].clone(),
        Shape::Optional if matches!(values[0].as_str(), "true" | "false") => values[0].clone(),
        Shape::One | Shape::Optional => literal(&values[0]),
    };
    let _ = writeln!(text, "{long} = {value}");
}

fn detect(text: &mut String, file: &File) {
    let _ = writeln!(text, "\n# Thresholds of the detectors.\n[{DETECT}]");
    let default = DetectSettings::default();
    for setting in SETTINGS {
        let (now, default) = (setting.get(&file.detect), setting.get(&default));
        let option = setting.name.replace('_', "-");
        let note = if file.has_option(&option) { "# " } else { "" };
        let (help, name) = (setting.help, setting.name);
        let _ = writeln!(text, "# {help} [default: {default}]\n{note}{name} = {now}");
    }
}

fn allow(text: &mut String, file: &File) {
    let _ = writeln!(
        text,
        "\n# Alerts that are counted instead of raised, until they expire by the packets' time:\n\
         # [[{ALLOW}]]\n\
         # detector = \"port_scan\"      # as in an alert, or \"any\"\n\
         # entity = \"192.0.2.7\"        # address, prefix, MAC, interface:eth0, instance:ID, workload:NAME, process:NAME\n\
         # peer = \"198.51.100.9\"      # or a list: only what goes to these addresses or prefixes alone\n\
         # port = [443, 8443]          # or one: only what goes to these ports alone\n\
         # reason = \"weekly audit\"\n\
         # owner = \"ops\"\n\
         # expires = 2027-01-31        # a date, to its end in UTC, or a time with its offset\n\
         # max_packets_per_s = 5000    # beyond it, or where it is not known (chain), the alert is raised\n\
         # max_bytes_per_minute = 5000000000"
    );
    for entry in &file.detect.allow {
        let detector = literal_text(entry.detector.as_deref().unwrap_or("any"));
        let _ = writeln!(
            text,
            "\n[[{ALLOW}]]\ndetector = {detector}\nentity = {}\n{}reason = {}\nowner = {}\nexpires = {}",
            literal_text(&entry.entity.to_string()),
            towards(&entry.towards),
            literal_text(&entry.reason),
            literal_text(&entry.owner),
            rfc3339(entry.expires_ns),
        );
        if let Some(most) = entry.max_packets_per_s {
            let _ = writeln!(text, "max_packets_per_s = {most}");
        }
        if let Some(most) = entry.max_bytes_per_minute {
            let _ = writeln!(text, "max_bytes_per_minute = {most}");
        }
    }
}

/// Lines of where to, as far as that matters.
fn towards(towards: &Towards) -> String {
    let line = |name: &str, values: Vec<String>| match values.is_empty() {
        true => String::new(),
        false => format!("{name} = [{}]\n", values.join(", ")),
    };
    let peers = towards.peer_texts().iter().map(|peer| literal_text(peer)).collect();
    let ports = towards.ports.iter().map(u16::to_string).collect();
    line("peer", peers) + &line("port", ports)
}

/// A value as TOML: a number where it is one.
fn literal(value: &str) -> String {
    let number = DeValue::parse(value).is_ok_and(|parsed| {
        // Only what is the same text on the way back.
        matches!(parsed.get_ref(), DeValue::Integer(_))
            && value.parse::<i64>().is_ok_and(|number| number.to_string() == value)
    });
    if number { value.to_owned() } else { literal_text(value) }
}

/// A basic string: quotes, backslashes and control characters escaped.
fn literal_text(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for c in text.chars() {
        match c {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(literal, "\\u{:04X}", u32::from(c));
            }
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_back_as_it_was(text in "\\PC*|[\\x00-\\x7f]*") {
            for literal in [literal_text(&text), literal(&text)] {
                let read = DeValue::parse(&literal).unwrap();
                let back = match read.get_ref() {
                    DeValue::String(read) => read.to_string(),
                    DeValue::Integer(read) => read.as_str().to_owned(),
                    other => panic!("{other:?}"),
                };
                prop_assert_eq!(&back, &text);
            }
        }
    }
}
