//! Files, TCP ports, abstract sockets and signals, by Landlock.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, AddRuleError, AddRulesError, BitFlags, CompatLevel,
    Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

use super::Plan;

/// The version that this is written for: devices, TCP, scopes. What a later one
/// forbids by default is looked at first.
const WRITTEN_FOR: ABI = ABI::V6;

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// No links, devices, sockets and FIFOs: results are files.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
});

const SOCKET: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadDir | MakeSock | RemoveFile});

/// Of what may be done to a folder, what can be done to a file.
const OF_FILES: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate});

/// Restricts this thread and all that it starts.
pub(super) fn restrict(plan: &Plan) -> Result<(), String> {
    match apply(plan) {
        Ok(RulesetStatus::NotEnforced) => Err("Landlock is off in this kernel".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn apply(plan: &Plan) -> Result<RulesetStatus, RulesetError> {
    let scopes = if plan.abstract_sockets {
        BitFlags::from(Scope::Signal)
    } else {
        Scope::from_all(WRITTEN_FOR)
    };
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WRITTEN_FOR))?
        .handle_access(AccessNet::from_all(WRITTEN_FOR))?
        .scope(scopes)?
        .create()?;
    for path in &plan.reads {
        rules = allow(rules, path, READ)?;
    }
    for folder in plan.writes.iter().chain(&plan.keeps) {
        rules = allow(rules, folder, WRITE)?;
    }
    for file in &plan.files {
        rules = allow(rules, file, OF_FILES)?;
    }
    for folder in &plan.sockets {
        rules = allow(rules, folder, SOCKET)?;
    }
    // Nothing is bound any more: the metrics' port was bound before.
    for &port in &plan.connects {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// What is not there needs no rule; nor does what has no place in the tree of
/// files (a pipe of the shell's, `/dev/fd/63`), which the kernel leaves open.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let (Ok(place), Ok(found)) = (PathFd::new(path), path.metadata()) else { return Ok(rules) };
    let access = if found.is_dir() { access } else { access & OF_FILES };
    let Ok(same_rules) = rules.try_clone() else { return Ok(rules) };
    match rules.add_rule(PathBeneath::new(place, access)) {
        Err(RulesetError::AddRules(AddRulesError::Fs(AddRuleError::AddRuleCall {
            source,
            ..
        }))) if source.raw_os_error() == Some(libc::EBADFD) => Ok(same_rules),
        result => result,
    }
}
