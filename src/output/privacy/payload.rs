//! What alerts say of payloads, taken out of them for `--no-payload`.
//!
//! Detectors write names and requests into sentences. The sentences of a timeline are
//! known one by one; where a summary repeats one, it is replaced as a whole. Start at
//! [`leave_out`].

use serde_json::Value;

use crate::alert::{Alert, AlertPeer, Known, Moment};

const LEFT_OUT: &str = "left out: payload";

/// How a name that packets told is followed in sentences; see [`crate::detect::Name`].
const TOLD_NAMES: [&str; 3] = [" (by DNS)", " (by SNI alone)", " (by HTTP host alone)"];

/// Fields of evidence that are pieces of messages, and what stands for them in sentences.
const PIECES: [(&str, &str); 2] = [("sample_name", "a name"), ("domain", "a domain")];

pub(super) fn leave_out(alert: &mut Alert) {
    let mut said = Vec::new();
    for (field, instead) in PIECES {
        if let Some(Value::String(piece)) = alert.evidence.details.remove(field) {
            said.push((piece, instead.to_owned()));
        }
    }
    forget_names(&mut alert.known);
    alert.peers.iter_mut().for_each(|AlertPeer { known, .. }| forget_names(known));
    let moments = alert.case.iter_mut().flat_map(|case| &mut case.timeline);
    for moment in moments {
        let told = std::mem::take(&mut moment.text);
        moment.text = without(moment, &told);
        said.push((told, moment.text.clone()));
    }
    let texts =
        [&mut alert.summary, &mut alert.grade.severity_reason, &mut alert.evidence.baseline];
    let case = alert.case.as_deref_mut().into_iter().flat_map(|case| {
        [&mut case.baseline, &mut case.severity_reason, &mut case.summary]
            .into_iter()
            .chain(&mut case.process_class)
    });
    for text in texts.into_iter().chain(case) {
        for (piece, instead) in said.iter().filter(|(piece, _)| !piece.is_empty()) {
            *text = text.replace(piece, instead);
        }
        *text = without_names(text);
    }
}

/// Context has names from packets alone.
fn forget_names(known: &mut Known) {
    if let Some(context) = known.context.as_deref_mut() {
        context.names.clear();
    }
}

/// What a moment may say.
fn without(moment: &Moment, told: &str) -> String {
    match moment.what.as_str() {
        // What was asked for is payload; that it was asked is not.
        "exploit_request" => LEFT_OUT.to_owned(),
        "metadata_access" => without_path(told),
        _ => without_names(told),
    }
}

/// The path that follows the endpoint which was asked.
fn without_path(told: &str) -> String {
    const ASKED: &str = " asked ";
    let Some(endpoint) = told.find(ASKED).map(|at| at + ASKED.len()) else {
        return told.to_owned();
    };
    let rest = &told[endpoint..];
    // No path has blanks.
    let end = [", where ", " ("].iter().filter_map(|after| rest.find(after)).min();
    let end = end.unwrap_or(rest.len());
    let path = rest[..end].find('/').unwrap_or(end);
    format!("{}{}", &told[..endpoint + path], &rest[end..])
}

fn without_names(text: &str) -> String {
    let mut text = text.to_owned();
    for mark in TOLD_NAMES {
        let mut from = 0;
        while let Some(at) = text[from..].find(mark).map(|at| from + at) {
            let begin = text[..at].rfind(' ').map_or(0, |space| space + 1);
            text.replace_range(begin..at, "a name");
            from = begin + mark.len();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_go_and_the_sentence_stays() {
        let reached = "curl (4) reached 192.0.2.9 port 443, a.example (by SNI alone), \
                       b.example (by DNS): new in this run";
        assert_eq!(
            without_names(reached),
            "curl (4) reached 192.0.2.9 port 443, a name (by SNI alone), a name (by DNS): new in \
             this run"
        );
        for (path, role) in
            [("", ""), ("/latest/x,where(y)/web", ", where credentials of a role are")]
        {
            let asked =
                format!("curl (4) asked 169.254.169.254{path}{role} (a tool below a service)");
            assert_eq!(
                without_path(&asked),
                format!("curl (4) asked 169.254.169.254{role} (a tool below a service)")
            );
        }
        assert_eq!(without_names("(by DNS)"), "(by DNS)");
    }
}
