//! What alerts of processes say of the process: who, below whom, with whom at it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::alert::Case;
use crate::detect::classes::{Class, Doubt};
use crate::entity::Who;
use crate::host::process::Context;
use crate::host::side::ProcessView;

/// Parents that a sentence names; the alert has all of them.
const NAMED_PARENTS: usize = 4;

/// A process in words: `curl (pid 7, user root, no terminal, below xargs, sh)`.
pub(super) fn named(view: &ProcessView) -> String {
    let process = &view.process;
    let name = if process.name.is_empty() { &process.exe } else { &process.name };
    let name = if name.is_empty() { "a process without a name" } else { name };
    let mut parts = vec![format!("pid {}", process.id.pid)];
    match (&process.user, process.uid) {
        (user, _) if !user.is_empty() => parts.push(format!("user {user}")),
        (_, Some(uid)) => parts.push(format!("user {uid}")),
        _ => {}
    }
    match (process.context, process.terminal.as_str()) {
        (Some(Context::Gui), _) => parts.push("in a graphical session".to_owned()),
        (Some(Context::Terminal), "") => parts.push("at a terminal".to_owned()),
        (Some(Context::Terminal), terminal) => parts.push(format!("at {terminal}")),
        (Some(Context::None), _) => parts.push("no terminal".to_owned()),
        (None, _) => {}
    }
    if !process.unit.is_empty() {
        parts.push(process.unit.clone());
    }
    let parents = view.ancestors.iter().filter(|parent| !parent.name.is_empty());
    let parents: Vec<&str> =
        parents.map(|parent| parent.name.as_str()).take(NAMED_PARENTS).collect();
    if !parents.is_empty() {
        parts.push(format!("below {}", parents.join(", ")));
    }
    format!("{name} ({})", parts.join(", "))
}

/// Whom an alert is about in words: the process where it is known, else its identifier.
pub(super) fn subject(who: &Who) -> String {
    who.process.as_ref().map_or_else(|| who.entity.id.clone(), |view| named(view))
}

/// Whether somebody could sit behind it; nothing where that is not known. A session whose
/// console nobody touched for long, or has left, has nobody; one over the network has no
/// idle time.
pub(super) fn person_at(view: &ProcessView) -> Option<bool> {
    let has_session = view.process.context.map(|context| context != Context::None);
    let is_away = view
        .at_machine
        .as_ref()
        .is_some_and(|at| at.is_away() && !at.remote.contains(&view.process.terminal));
    if is_away { Some(false) } else { has_session }
}

/// What an analyst asks first, beside the process itself.
pub(super) fn details(view: &ProcessView, class: &Class) -> BTreeMap<&'static str, Value> {
    let process = &view.process;
    let mut details = BTreeMap::new();
    let chain: Vec<&str> = view
        .ancestors
        .iter()
        .map(|parent| if parent.name.is_empty() { parent.exe.as_str() } else { &parent.name })
        .collect();
    details.insert("parent_chain", json!(chain));
    details.insert("person_at_it", json!(person_at(view)));
    if let Some(at) = &view.at_machine {
        details.insert("console_user", json!(at.user));
        if let Some(idle_s) = at.idle_s {
            details.insert("console_idle_s", json!(idle_s));
        }
    }
    if !process.user.is_empty() {
        details.insert("user", json!(process.user));
    }
    if !process.login_user.is_empty() {
        details.insert("login_user", json!(process.login_user));
    }
    if let Some(session) = process.session {
        details.insert("session", json!(session));
    }
    if let Some(doubt) = class.doubt {
        details.insert("doubt", json!(doubt.name()));
    }
    details
}

/// Names the class of a case's process, and what is not known of it.
pub(super) fn cite(case: &mut Case, who: &Who, class: Option<&Class>) {
    if let (Some(view), Some(class)) = (&who.process, class) {
        case.process_class = Some(class.cited());
        case.missing.extend(missing(view, class));
    }
}

/// What is not known of the process, by the names that alerts use.
pub(super) fn missing(view: &ProcessView, class: &Class) -> Vec<&'static str> {
    let mut missing = Vec::new();
    if view.process.context.is_none() {
        missing.push("session_context");
    }
    if class.doubt == Some(Doubt::NameAlone) {
        missing.push("process_executable");
    }
    if view.ancestors.is_empty() {
        missing.push("process_ancestry");
    }
    missing
}
