//! Shells and tools that a network service starts: stage 2 of a chain (AN0223).
//!
//! Method (METHODS section 11; ATT&CK WebProcList, ChildToolList, AllowedChildList): a
//! program of `child_tool_list` begins below one of `web_proc_list`, or below a process
//! that answered logged requests or HTTP in the packets, and is not in
//! `allowed_child_list`. What a service was seen to start an hour and more ago is usual
//! for it. A shell that came by ssh, a timer or a container runtime has no service above
//! it; one at a terminal of its own is a person's. A terminal that the service itself has
//! (`docker run -t`, a pod's `tty: true`, a start by hand) is nobody's.
//!
//! Feeds [`super::chain`] alone. Limits: what the service does within its own process
//! starts nothing. Bounded: [`MAX_SERVICES`] and [`MAX_USUAL`]; the oldest eighth makes room.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::programs::{above, base, is_one_of, plain_command, service_of};
use super::room::make_room;
use super::stage::{Place, Sign, Stage, cut, named};
use super::{AnalyticContext, Exec};
use crate::host::process::{Context, ProcessId};
use crate::host::side::ProcessView;

/// Processes that were seen to serve HTTP.
const MAX_SERVICES: usize = 4_096;

/// Programs that services were seen to start.
const MAX_USUAL: usize = 4_096;

/// What began so long ago and comes again is usual: a chain is over by then four times.
const USUAL_AFTER_NS: i64 = 3_600_000_000_000;

/// Of a thing that is usual: it stands in the timeline and is no stage.
pub(super) const USUAL: f64 = 0.2;

/// What is shown of a command line.
const SHOWN: usize = 160;

/// Finds them.
#[derive(Debug, Default)]
pub(super) struct Shell {
    services: Services,
    /// By service, program and first command: when it was first seen.
    usual: BTreeMap<[String; 3], i64>,
    refused: u64,
}

/// Processes that answer HTTP, whatever they are called.
#[derive(Debug, Default)]
pub(super) struct Services {
    seen: BTreeMap<ProcessId, i64>,
    refused: u64,
}

impl Services {
    pub(super) fn note(&mut self, view: &ProcessView, time_ns: i64) {
        let id = view.process.id;
        if !self.seen.contains_key(&id) {
            self.refused += make_room(&mut self.seen, MAX_SERVICES, |&last_ns| last_ns);
        }
        let last_ns = self.seen.entry(id).or_insert(time_ns);
        *last_ns = time_ns.max(*last_ns);
    }

    /// The service that a process is or descends from.
    pub(super) fn of(
        &self,
        view: &ProcessView,
        ctx: &AnalyticContext<'_>,
    ) -> Option<(ProcessId, String)> {
        let list = &ctx.settings.web_proc_list;
        let service = service_of(view, |one| {
            is_one_of(list, one.name, one.exe) || self.seen.contains_key(&one.id)
        })?;
        let name = if service.name.is_empty() { base(service.exe) } else { service.name };
        Some((service.id, name.to_owned()))
    }
}

impl Shell {
    pub(super) fn refused(&self) -> u64 {
        self.refused + self.services.refused
    }

    pub(super) fn services(&self) -> &Services {
        &self.services
    }

    pub(super) fn services_mut(&mut self) -> &mut Services {
        &mut self.services
    }

    pub(super) fn look(&mut self, exec: &Exec, ctx: &AnalyticContext<'_>) -> Option<Sign> {
        let view = &exec.process;
        let process = &view.process;
        if !is_one_of(&ctx.settings.child_tool_list, &process.name, &process.exe) {
            return None;
        }
        // A shell forks for each command: the copies are no other shells.
        let is_copy = above(view)
            .next()
            .is_some_and(|parent| parent.exe == process.exe && parent.name == process.name);
        if is_copy {
            return None;
        }
        let (service, service_name) = self.services.of(view, ctx)?;
        // A listed interpreter may be the service itself.
        if service == process.id || is_a_persons(view, service) || is_allowed(view, ctx) {
            return None;
        }
        let is_usual = self.is_usual(view, &service_name, exec.time_ns);
        let place = Place {
            workload: exec.workload.clone(),
            host: (!exec.host.is_empty()).then(|| Arc::clone(&exec.host)),
            instance: exec.instance.clone(),
            // Of several none is the one; a container may have another.
            address: match exec.addresses.as_slice() {
                [address] if exec.workload.is_none() => Some(*address),
                _ => None,
            },
            process: Some(Arc::clone(view)),
            service: Some(service),
        };
        let mut sign = Sign::new(Stage::Foothold, "shell_from_service", exec.time_ns, place);
        sign.source = "host".into();
        sign.strength = if is_usual { USUAL } else { 1.0 };
        let command = process.args.join(" ");
        let command = if command.is_empty() { &process.exe } else { &command };
        let command = cut(command, SHOWN);
        let service = service.pid;
        let usual = if is_usual { ", as it did before" } else { "" };
        sign.text =
            format!("{} began below {service_name} ({service}){usual}: {command}", named(view));
        Some(sign)
    }

    /// Whether the service started the same an hour ago or earlier; remembers it.
    fn is_usual(&mut self, view: &ProcessView, service: &str, time_ns: i64) -> bool {
        let process = &view.process;
        let command = plain_command(&process.args);
        // Of what is no plain command all of it, as far as it is shown.
        let all = || cut(&process.args.join(" "), SHOWN).to_owned();
        let key = [
            service.to_owned(),
            base(&process.exe).to_owned(),
            command.map_or_else(all, str::to_owned),
        ];
        if let Some(&first_ns) = self.usual.get(&key) {
            return time_ns.saturating_sub(first_ns) >= USUAL_AFTER_NS;
        }
        self.refused += make_room(&mut self.usual, MAX_USUAL, |&first_ns| first_ns);
        self.usual.insert(key, time_ns);
        false
    }
}

/// A person at a terminal, below an editor's server for one. Who takes over a service
/// makes a terminal later, if at all. A terminal belongs to a session: where its leader is
/// the service or above it, it is the service's.
fn is_a_persons(view: &ProcessView, service: ProcessId) -> bool {
    let process = &view.process;
    match (process.context, process.session) {
        (Some(Context::Gui), _) | (Some(Context::Terminal), None) => true,
        (Some(Context::Terminal), Some(session)) => {
            let below = above(view).map(|one| one.id).take_while(|&id| id != service);
            [process.id].into_iter().chain(below).any(|id| id.pid == session)
        }
        _ => false,
    }
}

/// Whether the program, or the plain command that a shell was told to run, is allowed:
/// by name or path, below any service or below one (`php-fpm:sh`).
fn is_allowed(view: &ProcessView, ctx: &AnalyticContext<'_>) -> bool {
    let process = &view.process;
    let command = plain_command(&process.args);
    ctx.settings.allowed_child_list.iter().any(|entry| {
        let (parent, child) = match entry.split_once(':') {
            Some((parent, child)) => (Some(parent), child),
            None => (None, entry.as_str()),
        };
        let child = [child.to_owned()];
        let is_child = is_one_of(&child, &process.name, &process.exe)
            || command.is_some_and(|command| is_one_of(&child, base(command), command));
        let is_below = |parent: &str| {
            let parent = [parent.to_owned()];
            above(view).any(|one| is_one_of(&parent, one.name, one.exe))
        };
        is_child && parent.is_none_or(is_below)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Baselines;
    use crate::detect::analytic::Inputs;
    use crate::detect::{DetectSettings, Names};
    use crate::engine::window::Seed;
    use crate::host::process::Process;
    use crate::host::side::Ancestor;

    /// A shell below `bash` below a service that a runtime or a person's shell started.
    fn is_seen(context: Context, session: Option<u32>) -> bool {
        let line = [(30, "bash"), (20, "php-fpm"), (10, "starter"), (1, "systemd")];
        let id = |pid| ProcessId { pid, start_ticks: u64::from(pid) };
        let exe = |name: &str| format!("/usr/bin/{name}");
        let ancestors =
            line.map(|(pid, name)| Ancestor { id: id(pid), name: name.to_owned(), exe: exe(name) });
        let process = Process {
            id: id(40),
            name: "sh".to_owned(),
            exe: exe("sh"),
            args: ["sh", "-c", "id; uname -a"].map(str::to_owned).into(),
            context: Some(context),
            session,
            ..Process::default()
        };
        let view = ProcessView { process, ancestors: ancestors.into(), ..ProcessView::default() };
        let exec = Exec {
            time_ns: 0,
            process: Arc::new(view),
            workload: None,
            begins_container: false,
            host: "web-1".into(),
            boot: "boot".into(),
            instance: None,
            addresses: Vec::new(),
        };
        let (settings, baselines, inputs) =
            (DetectSettings::default(), Baselines::default(), Inputs::default());
        let ctx = AnalyticContext {
            settings: &settings,
            baselines: &baselines,
            inputs: &inputs,
            names: &Names::default(),
            seed: Seed::default(),
        };
        Shell::default().look(&exec, &ctx).is_some()
    }

    #[test]
    fn a_terminal_of_the_service_is_nobodys() {
        assert!(is_seen(Context::None, Some(20)));
        assert!(is_seen(Context::Terminal, Some(20)), "a container with a terminal");
        assert!(is_seen(Context::Terminal, Some(10)), "started by hand");
    }

    #[test]
    fn a_terminal_that_was_made_below_the_service_is_a_persons() {
        assert!(!is_seen(Context::Terminal, Some(30)), "an editor's server");
        assert!(!is_seen(Context::Terminal, Some(40)));
        assert!(!is_seen(Context::Terminal, None), "nothing is known of its session");
        assert!(!is_seen(Context::Gui, Some(20)));
    }
}
