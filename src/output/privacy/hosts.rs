//! Pseudonyms in what is known of hosts: command lines, names, labels, addresses
//! of instances.
//!
//! Texts of a host glue addresses to options and ports (`-h192.0.2.1`,
//! `8080:192.0.2.1:80`), so they are searched more thoroughly than names off the
//! wire; a version of four numbers changes too. Thousands of records share a
//! process: it is changed once and remembered.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::crypto_pan::Pseudonyms;
use super::text::rewrite_glued;
use crate::alert::Known;
use crate::host::inventory::Instance;
use crate::host::side::{FlowHosts, HostSide, ProcessView};
use crate::host::workload::Workload;
use crate::lock::Lock;

/// Values of a kind that are remembered: the busy ones of a host. Each has one
/// place, so many others can only push out, never grow.
const REMEMBERED: usize = 512;

/// What was changed lately.
#[derive(Default)]
pub(super) struct Remembered {
    processes: Places<ProcessView>,
    workloads: Places<Workload>,
    instances: Places<Instance>,
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

/// A value and what it became. The value is held, so its address stays its own.
type Place<T> = Lock<Option<(Arc<T>, Arc<T>)>>;

struct Places<T>(Box<[Place<T>]>);

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self((0..REMEMBERED).map(|_| Place::default()).collect())
    }
}

impl<T> Places<T> {
    fn changed(&self, value: &Arc<T>, change: impl FnOnce(&T) -> T) -> Arc<T> {
        // Neighbours in memory are at least a cache line apart.
        let place = (Arc::as_ptr(value).addr() / 64) % REMEMBERED;
        let mut place = self.0[place].lock();
        if let Some((of, changed)) = &*place
            && Arc::ptr_eq(of, value)
        {
            return Arc::clone(changed);
        }
        let changed = Arc::new(change(value));
        *place = Some((Arc::clone(value), Arc::clone(&changed)));
        changed
    }
}

pub(super) fn rewrite_hosts(pseudonyms: &Pseudonyms, known: &Remembered, hosts: &mut FlowHosts) {
    for side in [&mut hosts.src, &mut hosts.dst].into_iter().flatten() {
        let HostSide { process, workload, instance, host: _, attribution: _ } = side;
        rewrite_process(pseudonyms, known, process, workload);
        if let Some(one) = instance {
            *one = known.instances.changed(one, |one| self::instance(pseudonyms, one));
        }
    }
}

/// A process and the workload that it is of.
pub(super) fn rewrite_process(
    pseudonyms: &Pseudonyms,
    known: &Remembered,
    process: &mut Option<Arc<ProcessView>>,
    workload: &mut Option<Arc<Workload>>,
) {
    if let Some(view) = process {
        *view = known.processes.changed(view, |view| process_view(pseudonyms, view));
    }
    if let Some(one) = workload {
        *one = known.workloads.changed(one, |one| self::workload(pseudonyms, one));
    }
}

fn process_view(pseudonyms: &Pseudonyms, view: &ProcessView) -> ProcessView {
    let mut view = view.clone();
    let process = &mut view.process;
    let texts = [
        &mut process.name,
        &mut process.exe,
        &mut process.user,
        &mut process.login_user,
        &mut process.terminal,
        &mut process.unit,
        &mut process.cgroup,
        &mut process.container,
    ];
    let ancestors = view.ancestors.iter_mut().flat_map(|one| [&mut one.name, &mut one.exe]);
    rewrite_all(pseudonyms, texts.into_iter().chain(&mut process.args).chain(ancestors));
    view
}

fn workload(pseudonyms: &Pseudonyms, workload: &Workload) -> Workload {
    let mut workload = workload.clone();
    let labels = std::mem::take(&mut workload.labels);
    let rewrite = |text: String| rewrite_glued(pseudonyms, &text);
    workload.labels =
        labels.into_iter().map(|(name, value)| (rewrite(name), rewrite(value))).collect();
    let texts = [
        &mut workload.runtime,
        &mut workload.container,
        &mut workload.name,
        &mut workload.image,
        &mut workload.image_id,
        &mut workload.pod,
        &mut workload.pod_uid,
        &mut workload.namespace,
        &mut workload.owner,
    ];
    rewrite_all(pseudonyms, texts.into_iter());
    workload
}

fn instance(pseudonyms: &Pseudonyms, instance: &Instance) -> Instance {
    let mut instance = instance.clone();
    let texts = [
        &mut instance.id,
        &mut instance.name,
        &mut instance.owner,
        &mut instance.application,
        &mut instance.environment,
        &mut instance.purpose,
        &mut instance.role,
        &mut instance.last_change,
    ];
    let lists = instance.security_groups.iter_mut().chain(&mut instance.interfaces);
    rewrite_all(pseudonyms, texts.into_iter().chain(lists));
    for address in &mut instance.addresses {
        *address = pseudonyms.address(*address);
    }
    for route in instance.routes.iter_mut().chain(&mut instance.networks) {
        *route = prefix(pseudonyms, *route);
    }
    instance
}

/// What is known of an alert's address.
pub(super) fn rewrite_known(pseudonyms: &Pseudonyms, known: &mut Known) {
    if let Some(of) = &mut known.instance {
        *of = Arc::new(instance(pseudonyms, of));
    }
    let Some(context) = &mut known.context else { return };
    rewrite_all(pseudonyms, context.names.iter_mut().map(|name| &mut name.name));
    if let Some(owner) = &mut context.owner {
        owner.prefix = prefix(pseudonyms, owner.prefix);
        rewrite_all(pseudonyms, [&mut owner.name, &mut owner.note].into_iter());
    }
    for listing in &mut context.reputation {
        rewrite_all(pseudonyms, [&mut listing.matched, &mut listing.note].into_iter());
    }
}

/// The prefix that the pseudonyms of its addresses share.
pub(super) fn prefix(pseudonyms: &Pseudonyms, prefix: IpNet) -> IpNet {
    let address = pseudonyms.address(prefix.addr());
    // The length was valid for the version, and that stays.
    IpNet::new(address, prefix.prefix_len()).map_or(prefix, |net| net.trunc())
}

fn rewrite_all<'a>(pseudonyms: &Pseudonyms, texts: impl Iterator<Item = &'a mut String>) {
    texts.for_each(|text| *text = rewrite_glued(pseudonyms, text));
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::key::Key;
    use super::*;
    use crate::output::samples::hosts::{hosts, process};

    fn pseudonyms() -> Pseudonyms {
        Pseudonyms::new(&Key::from_bytes([7; 32]))
    }

    #[test]
    fn an_instances_addresses_stay_in_its_routes() {
        let mut hosts = hosts();
        rewrite_hosts(&pseudonyms(), &Remembered::default(), &mut hosts);
        let instance = hosts.src.and_then(|side| side.instance).expect("instance");
        let expected = pseudonyms().address("192.0.2.10".parse().expect("address"));
        assert_eq!(instance.addresses, [expected]);
        assert_eq!(instance.id, expected.to_string());
        assert!(instance.routes[0].contains(&expected), "{:?}", instance.routes);
        assert_eq!(instance.routes[0].prefix_len(), 24);
    }

    #[test]
    fn a_process_is_changed_once_and_another_at_its_place_is_not_taken_for_it() {
        let (pseudonyms, known) = (pseudonyms(), Remembered::default());
        let changed = |view: &Arc<ProcessView>| {
            let side = HostSide { process: Some(Arc::clone(view)), ..HostSide::default() };
            let mut hosts = FlowHosts { src: None, dst: Some(side) };
            rewrite_hosts(&pseudonyms, &known, &mut hosts);
            hosts.dst.and_then(|side| side.process).expect("process")
        };
        let views: Vec<_> = (0..3 * REMEMBERED)
            .map(|n| Arc::new(process(&format!("{n}@192.0.2.{}", n % 200))))
            .collect();
        assert!(Arc::ptr_eq(&changed(&views[0]), &changed(&views[0])));
        for (n, view) in views.iter().enumerate() {
            let ip: IpAddr = format!("192.0.2.{}", n % 200).parse().expect("address");
            let expected = format!("{n}@{}", pseudonyms.address(ip));
            assert_eq!(changed(view).process.name, expected);
        }
    }
}
