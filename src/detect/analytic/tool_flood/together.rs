//! Processes of one tool, or of one program that nobody knows, that share a parent, a
//! session, a unit or a user.

use std::collections::BTreeMap;

use super::rates::Rates;
use crate::alert::{Entity, EntityKind};
use crate::detect::classes::{Class, ClassKind, Tool};
use crate::entity::{SecondOf, Who};

/// As many processes are several; two are a pipe.
const FEWEST_TOGETHER: usize = 3;

/// Processes of one tool that belong together.
pub(super) struct Group<'a> {
    pub(super) key: String,
    pub(super) by: &'static str,
    /// What they share.
    bond: String,
    pub(super) rates: Rates,
    pub(super) members: Vec<&'a SecondOf>,
    pub(super) class: Class,
}

/// Those of one tool or unknown program with the same parent, then session, unit, user: only
/// groups that no single process dominates.
pub(super) fn groups<'a>(classed: &[(&'a SecondOf, Class)]) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<(u8, String), Group<'a>> = BTreeMap::new();
    for (one, class) in classed {
        let Some(program) = program(one, class) else { continue };
        for (rank, by, bond) in bonds(one) {
            let key = format!("{}:{by}:{bond}:{program}", class.tool.name());
            let group = groups.entry((rank, key.clone())).or_insert_with(|| Group {
                key,
                by,
                bond,
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

/// What tells one program from another where the tool does not: nothing of a known tool.
/// None where processes have nothing in common: of a program that nobody knows its name
/// alone is known, or it is known to talk to many by itself.
fn program<'a>(one: &'a SecondOf, class: &Class) -> Option<&'a str> {
    if class.tool != Tool::Other {
        return Some("");
    }
    let has_path = !one.who.process.as_ref()?.process.exe.is_empty();
    // Its executable and its script, where it is: of one baseline.
    (has_path && matches!(class.kind, ClassKind::Unknown | ClassKind::Never))
        .then_some(&*one.who.baseline)
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
    if group.by == "parent" {
        who.entity = Entity::new(EntityKind::Process, group.bond.clone());
        let name = who.process.as_ref().and_then(|view| view.ancestors.first());
        if let Some(parent) = name.filter(|parent| !parent.name.is_empty()) {
            who.entity.labels.insert("name".to_owned(), parent.name.clone());
        }
    }
    who.entity.labels.insert("together_by".to_owned(), group.by.to_owned());
    who
}
