//! Process telemetry of other tools to host events.

mod auditd;
mod command;
mod falco;
mod fields;
mod hosts;
mod macos;
mod osquery;
mod sysmon;
mod tetragon;

use super::kind::Kind;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] = &[
    &auditd::AUDITD,
    &sysmon::SYSMON,
    &tetragon::TETRAGON,
    &osquery::OSQUERY,
    &falco::FALCO,
    &macos::ESLOGGER,
    &macos::UNIFIED_LOG,
    &macos::NETTOP,
    &macos::CONSOLE,
    &macos::LSOF,
    &macos::PS,
];
