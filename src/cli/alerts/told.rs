//! What a verdict did to baselines, in words, and why where it did nothing.

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Value, json};

use crate::baseline::{Baselines, Judged, Verdict};
use crate::cli::packets;

const DAY_NS: i64 = 86_400_000_000_000;

/// A verdict that was told to baselines.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) text: String,
    /// What of it stands beside the run, for who changes the verdict.
    pub(super) record: Value,
}

impl Told {
    pub(super) fn nobody(text: &str) -> Self {
        Self { text: text.to_owned(), record: Value::Null }
    }

    /// Left for the process that learns.
    pub(super) fn left(path: &Path, place: &Path, key: &str) -> Self {
        let text = format!(
            "Another process is learning {}: it takes the verdict of {key} out of {} with the \
             next second of its input. It holds for the minutes that wait and, while the alert \
             is open, for those that it still brings.",
            path.display(),
            place.display()
        );
        Self { text, record: json!({"file": whole(path), "left": true}) }
    }
}

/// What the baselines knew before the verdict.
#[derive(Debug)]
pub(super) struct Before {
    is_known: bool,
    /// Verdicts on the entity's alerts, by day.
    verdicts: Vec<(i64, Verdict)>,
}

impl Before {
    pub(super) fn of(baselines: &Baselines, key: &str) -> Self {
        let profile = baselines.look_up(key);
        let verdicts = profile.iter().flat_map(|profile| profile.verdicts()).collect();
        Self { is_known: profile.is_some(), verdicts }
    }

    /// Of the verdicts on an alert the last one that settled something in these baselines.
    fn settled_by<'a>(&self, path: &Path, earlier: &'a [Value]) -> Option<(&'a Value, Verdict)> {
        let file = whole(path);
        earlier.iter().rev().find_map(|line| {
            let verdict: Verdict = serde_json::from_value(line["verdict"].clone()).ok()?;
            let day = packets::time_of(&line["at"]).ok()?.div_euclid(DAY_NS);
            let told = &line["baseline"];
            let did = told["left"] == true || told["minutes"].as_u64().is_some_and(|n| n > 0);
            // A copy of the file remembers it too.
            let is_here = told["file"] == *file || self.verdicts.contains(&(day, verdict));
            (did && is_here).then_some((line, verdict))
        })
    }
}

/// An alert whose verdict baselines are told.
pub(super) struct Case<'a> {
    pub(super) alert: &'a Value,
    /// Verdicts on it of before.
    pub(super) earlier: &'a [Value],
    pub(super) key: &'a str,
    pub(super) path: &'a Path,
    /// For how long minutes wait.
    pub(super) pending_days: f64,
}

impl Case<'_> {
    pub(super) fn told(&self, judged: Judged, before: &Before) -> Told {
        let record = json!({"file": whole(self.path), "minutes": judged.minutes + judged.others});
        let key = self.key;
        let became = if judged.learned { "learned" } else { "never learned" };
        let mut text = match (judged.spans, judged.others, judged.waiting) {
            (0, 0, 0) => return Told { text: self.nothing(judged.learned, before), record },
            _ => format!("{} of {key} that waited are {became}", minutes(judged.minutes)),
        };
        if judged.others > 0 {
            text +=
                &format!(", and {} of what the same traffic counts for", minutes(judged.others));
        }
        if judged.waiting > 0 {
            text += "; others go on waiting, for a verdict on another alert";
        }
        Told { text: text + ".", record }
    }

    /// Why nothing was there for it.
    fn nothing(&self, is_learned: bool, before: &Before) -> String {
        let Self { alert, key, path, .. } = self;
        let file = path.display().to_string();
        let why = match before.settled_by(path, self.earlier) {
            Some((line, verdict)) => {
                let text = |field: &str| line[field].as_str().unwrap_or_default();
                let (said, by, at) = (text("verdict"), text("by"), text("at"));
                let by = format!("by the verdict of {by}, {said}, at {at}");
                match (verdict.is_learned(), is_learned) {
                    (true, false) => format!(
                        "they were already learned {by}; `flowtap baseline forget {} --baseline {}` \
                         takes that back, with all else that is known of it",
                        shell(key),
                        shell(&file)
                    ),
                    (true, true) => format!("they were already learned {by}"),
                    (false, _) => format!("they were already dropped for good {by}"),
                }
            }
            None if alert["severity"] == "informational" => {
                "an informational alert holds nothing back".to_owned()
            }
            None if !before.is_known => format!(
                "{file} knows nothing of it; only what is read with `--baseline {} --learn` waits \
                 there",
                shell(&file)
            ),
            None => format!(
                "{file} was not learning then, had learned them before it alerted, or gave them up \
                 after {} days; or a verdict on another alert settled them",
                self.pending_days
            ),
        };
        format!("No minutes of {key} waited for it: {why}.")
    }
}

/// A file's path from wherever it is asked for.
fn whole(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn minutes(count: u64) -> String {
    match count {
        1 => "1 minute".to_owned(),
        _ => format!("{count} minutes"),
    }
}

/// As a shell takes it for one word.
fn shell(text: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_@%+=:,./-".contains(letter);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.into(),
        false => format!("'{}'", text.replace('\'', r"'\''")).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_program_is_one_word() {
        assert_eq!(shell("address:10.0.0.1"), "address:10.0.0.1");
        assert_eq!(shell("process:web:/opt/a b/it's:"), r"'process:web:/opt/a b/it'\''s:'");
        assert_eq!(shell(""), "''");
    }
}
