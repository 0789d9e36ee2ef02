//! Processes of one tool that share a parent, a session, a unit or a user.

use std::collections::BTreeMap;

use super::rates::Rates;
use crate::alert::{Entity, EntityKind};
use crate::detect::classes::{Class, Tool};
use crate::entity::{SecondOf, Who};

/// As many processes are several; two are a pipe.
const FEWEST_TOGETHER: usize = 3;

/// Processes of one tool that belong together.
pub(super) struct Group<'a> {
    pub(super) key: String,
    pub(super) by: &'static str,
    pub(super) rates: Rates,
    pub(super) members: Vec<&'a SecondOf>,
    pub(super) class: Class,
}

/// Those of one tool with the same parent, then session, unit, user: only groups that no
/// single process dominates.
pub(super) fn groups<'a>(classed: &[(&'a SecondOf, Class)]) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<(u8, String), Group<'a>> = BTreeMap::new();
    for (one, class) in classed {
        // Programs that nobody knows have nothing in common, and who talks to many by
        // itself has a floor of its own.
        if class.tool == Tool::Other {
            continue;
        }
        for (rank, by, key) in bonds(one) {
            let key = format!("{}:{}:{key}", class.tool.name(), by);
            let group = groups.entry((rank, key.clone())).or_insert_with(|| Group {
                key,
                by,
                rates: Rates::default(),
                members: Vec::new(),
                class: class.clone(),
            });
            group.rates.add(one);
            group.members.push(one);
        }
    }
    let several = |group: &Group<'_>| {
        let share = group.rates.share(group.rates.most);
        group.members.len() >= FEWEST_TOGETHER && share < 0.8
    };
    groups.into_values().filter(several).collect()
}

/// What a process has in common with others of its host, narrowest first.
fn bonds(one: &SecondOf) -> Vec<(u8, &'static str, String)> {
    let Some(view) = &one.who.process else { return Vec::new() };
    let process = &view.process;
    // `boot:pid:start`
    let id = &one.who.entity.id;
    let boot = id.rsplitn(3, ':').nth(2).unwrap_or(id);
    let mut bonds = Vec::new();
    // Orphans are process 1's.
    if let Some(parent) = process.parent.filter(|parent| parent.pid > 1) {
        bonds.push((0, "parent", format!("{boot}:{}:{}", parent.pid, parent.start_ticks)));
    }
    if let Some(session) = process.session.filter(|&session| session > 0) {
        bonds.push((1, "session", format!("{boot}:{session}")));
    }
    if !process.unit.is_empty() {
        bonds.push((2, "unit", format!("{boot}:{}", process.unit)));
    }
    if let Some(uid) = process.uid {
        bonds.push((3, "user", format!("{boot}:{uid}")));
    }
    bonds
}

/// A group is its parent, or else the process of it that was seen first.
pub(super) fn group_who(group: &Group<'_>, busiest: &SecondOf) -> Who {
    let mut who = Who::clone(&busiest.who);
    if group.by == "parent"
        && let Some(parent) =
            group.key.strip_prefix(&format!("{}:parent:", group.class.tool.name()))
    {
        who.entity = Entity::new(EntityKind::Process, parent.to_owned());
        let name = who.process.as_ref().and_then(|view| view.ancestors.first());
        if let Some(parent) = name.filter(|parent| !parent.name.is_empty()) {
            who.entity.labels.insert("name".to_owned(), parent.name.clone());
        }
    }
    who.entity.labels.insert("together_by".to_owned(), group.by.to_owned());
    who
}
