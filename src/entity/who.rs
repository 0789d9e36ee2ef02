//! An entity with what is known of it.

use std::sync::Arc;

use crate::alert::{Entity, EntityKind};
use crate::engine::window::Host;
use crate::host::inventory::Instance;
use crate::host::side::ProcessView;
use crate::host::workload::Workload;

/// Somebody whose traffic is counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Who {
    pub entity: Entity,
    /// Whose normal it is held against: the same over restarts and roll-outs
    /// (CONTRACT, "Entity"). Begins with the kind: `address:`, `process:`.
    pub baseline: Arc<str>,
    /// Of a process: it and its parents.
    pub process: Option<Arc<ProcessView>>,
    /// Of a workload, and of a process in one.
    pub workload: Option<Arc<Workload>>,
    pub instance: Option<Arc<Instance>>,
    /// How sure it is that this process is the one, 0 to 1: of all that it sent in the
    /// minute so far; 1 for what is not a process.
    pub certainty: f64,
}

impl Who {
    fn new(kind: EntityKind, id: String, baseline: String) -> Self {
        Self {
            entity: Entity::new(kind, id),
            baseline: baseline.into(),
            process: None,
            workload: None,
            instance: None,
            certainty: 1.0,
        }
    }

    pub fn address(host: &Host) -> Self {
        let baseline = host.text_after("address:");
        let id = baseline["address:".len()..].to_owned();
        Self::new(EntityKind::Address, id, baseline)
    }

    /// An instance of the inventory: whatever its addresses.
    pub fn instance(instance: &Arc<Instance>) -> Self {
        let baseline = format!("instance:{}", instance.id);
        let mut who = Self::new(EntityKind::Instance, instance.id.clone(), baseline);
        who.instance = Some(Arc::clone(instance));
        who
    }

    /// `runtime:container`; the baseline is that of its stable name.
    pub fn workload(workload: &Arc<Workload>) -> Self {
        let id = format!("{}:{}", workload.runtime, workload.container);
        let baseline = format!("workload:{}", workload.stable_name());
        let mut who = Self::new(EntityKind::Workload, id, baseline);
        who.workload = Some(Arc::clone(workload));
        who
    }

    /// `boot:pid:start`; the baseline is that of (workload or host, executable,
    /// script).
    pub fn process(
        host: &str,
        boot: &str,
        view: &Arc<ProcessView>,
        workload: Option<&Arc<Workload>>,
        certainty: f64,
    ) -> Self {
        let process = &view.process;
        let id = format!("{boot}:{}:{}", process.id.pid, process.id.start_ticks);
        let place = workload.map_or_else(|| host.to_owned(), |workload| workload.stable_name());
        let program = if process.exe.is_empty() { &process.name } else { &process.exe };
        let script = script_of(&process.args).unwrap_or_default();
        let baseline = format!("process:{place}:{program}:{script}");
        let mut who = Self::new(EntityKind::Process, id, baseline);
        let name = if process.name.is_empty() { program } else { &process.name };
        who.entity.labels.insert("name".to_owned(), name.clone());
        if !process.exe.is_empty() {
            who.entity.labels.insert("exe".to_owned(), process.exe.clone());
        }
        who.process = Some(Arc::clone(view));
        who.workload = workload.cloned();
        who.certainty = certainty;
        who
    }
}

/// Programs whose first plain argument is what they run.
const INTERPRETERS: [&str; 12] = [
    "python",
    "perl",
    "ruby",
    "node",
    "bash",
    "sh",
    "dash",
    "zsh",
    "php",
    "lua",
    "osascript",
    "java",
];

/// The script that an interpreter runs: the first argument that is no option.
pub(crate) fn script_of(args: &[String]) -> Option<&str> {
    let (program, rest) = args.split_first()?;
    let name = program.rsplit('/').next()?;
    let is_interpreter = INTERPRETERS.iter().any(|interpreter| {
        name.strip_prefix(interpreter)
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
    });
    if !is_interpreter {
        return None;
    }
    rest.iter().find(|arg| !arg.starts_with('-')).map(String::as_str)
}
