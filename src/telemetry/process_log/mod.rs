//! Process telemetry of other tools to host events.

mod auditd;
mod command;
mod hosts;
mod macos;

use super::kind::Kind;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] = &[
    &auditd::AUDITD,
    &macos::ESLOGGER,
    &macos::UNIFIED_LOG,
    &macos::NETTOP,
    &macos::CONSOLE,
    &macos::LSOF,
    &macos::PS,
];
