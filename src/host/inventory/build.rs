//! Entries to an inventory: joins those of one instance, and finds those that
//! contradict each other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::field::push;
use super::{Claim, Instance, Inventory};
use crate::host::table::{TableError, Warning, shown};

pub(super) struct Builder<'a> {
    file: &'a str,
    /// Nobody else has them yet.
    instances: Vec<Arc<Instance>>,
    /// First line of each instance.
    lines: Vec<u32>,
    by_id: HashMap<String, u32>,
    inventory: Inventory,
    pub(super) warnings: Vec<Warning>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(file: &'a str) -> Self {
        Self {
            file,
            instances: Vec::new(),
            lines: Vec::new(),
            by_id: HashMap::new(),
            inventory: Inventory::default(),
            warnings: Vec::new(),
        }
    }

    /// Adds what a line says. Its `id` is there.
    pub(super) fn add(&mut self, entry: Instance, line: u64) -> Result<(), TableError> {
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        let known = self.by_id.get(&entry.id).copied();
        let instance = known.unwrap_or(self.instances.len() as u32);
        let claim = Claim { instance, line };
        for address in &entry.addresses {
            let earlier = *self.inventory.by_address.entry(*address).or_insert(claim);
            self.check(earlier, claim, &entry.id, "address", &address.to_string())?;
        }
        for net in &entry.networks {
            let earlier = *self.inventory.by_network.entry(*net, || claim);
            self.check(earlier, claim, &entry.id, "network", &net.to_string())?;
        }
        for interface in &entry.interfaces {
            let earlier = match self.inventory.by_interface.entry(interface.as_str().into()) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(vacant) => *vacant.insert(claim),
            };
            self.check(earlier, claim, &entry.id, "interface", &shown(interface))?;
        }
        match known {
            Some(known) => self.join(known as usize, entry, line),
            None => {
                self.by_id.insert(entry.id.clone(), instance);
                self.instances.push(Arc::new(trimmed(entry)));
                self.lines.push(line);
                Ok(())
            }
        }
    }

    /// An error where something is claimed by two.
    fn check(
        &self,
        earlier: Claim,
        claim: Claim,
        id: &str,
        kind: &str,
        what: &str,
    ) -> Result<(), TableError> {
        if earlier.instance == claim.instance {
            return Ok(());
        }
        let owner = &self.instances[earlier.instance as usize].id;
        let what = format!(
            "{kind} {what} belongs to {} here and to {} on line {}: leave it to one of them",
            shown(id),
            shown(owner),
            earlier.line
        );
        Err(self.overlap(claim.line, earlier.line, what))
    }

    fn overlap(&self, line: u32, earlier: u32, what: String) -> TableError {
        TableError::Overlap {
            file: self.file.to_owned(),
            line: line.into(),
            earlier_line: earlier.into(),
            what,
        }
    }

    /// Joins another line of an instance that is known.
    fn join(&mut self, known: usize, entry: Instance, line: u32) -> Result<(), TableError> {
        let first_line = self.lines[known];
        let instance = Arc::make_mut(&mut self.instances[known]);
        let mut contradiction = None;
        for (name, known, new) in [
            ("name", &mut instance.name, entry.name),
            ("owner", &mut instance.owner, entry.owner),
            ("application", &mut instance.application, entry.application),
            ("environment", &mut instance.environment, entry.environment),
            ("purpose", &mut instance.purpose, entry.purpose),
            ("role", &mut instance.role, entry.role),
            ("last_change", &mut instance.last_change, entry.last_change),
        ] {
            if known.is_empty() {
                *known = new;
            } else if !new.is_empty() && *known != new && contradiction.is_none() {
                contradiction = Some((name, shown(&new), shown(known)));
            }
        }
        if let Some((name, here, there)) = contradiction {
            let what = format!(
                "{name} of {} is {here} here and {there} where it began on line {first_line}: \
                 say the same, or say it once",
                shown(&entry.id)
            );
            return Err(self.overlap(line, first_line, what));
        }
        instance.shared_egress |= entry.shared_egress;
        extend(&mut instance.security_groups, entry.security_groups)
            .and_then(|()| extend(&mut instance.routes, entry.routes))
            .and_then(|()| extend(&mut instance.addresses, entry.addresses))
            .and_then(|()| extend(&mut instance.networks, entry.networks))
            .and_then(|()| extend(&mut instance.interfaces, entry.interfaces))
            .map_err(|what| self.overlap(line, first_line, what))
    }

    pub(super) fn finish(mut self) -> (Inventory, Vec<Warning>) {
        let lost = |instance: &Instance| {
            instance.addresses.is_empty()
                && instance.networks.is_empty()
                && instance.interfaces.is_empty()
        };
        let mut lost = self.lines.iter().zip(&self.instances).filter(|(_, entry)| lost(entry));
        if let Some((line, first)) = lost.next() {
            let (file, others) = (self.file, lost.count());
            let others = if others > 0 { format!(" and {others} more") } else { String::new() };
            self.warnings.push(Warning(format!(
                "{file}:{line}: {}{others} without address and interface: no traffic is theirs",
                shown(&first.id)
            )));
        }
        let all = 0..self.instances.len() as u32;
        let mut order = [all.clone().collect::<Vec<u32>>(), all.collect()];
        let of = |at: &u32| &self.instances[*at as usize];
        let [by_id, by_name] = &mut order;
        by_id.sort_by(|one, other| of(one).id.cmp(&of(other).id));
        by_name.sort_by(|one, other| of(one).name.cmp(&of(other).name));
        self.inventory.order = order;
        self.inventory.instances = self.instances;
        (self.inventory, self.warnings)
    }
}

/// Without room to grow: most instances have one line, and there may be a million.
fn trimmed(mut instance: Instance) -> Instance {
    instance.security_groups.shrink_to_fit();
    instance.routes.shrink_to_fit();
    instance.addresses.shrink_to_fit();
    instance.networks.shrink_to_fit();
    instance.interfaces.shrink_to_fit();
    instance
}

fn extend<T: PartialEq>(list: &mut Vec<T>, new: Vec<T>) -> Result<(), String> {
    new.into_iter().try_for_each(|element| push(list, element))
}
