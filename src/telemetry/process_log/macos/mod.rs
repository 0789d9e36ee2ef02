//! What a Mac says of its processes, as its own programs print it: events, logs
//! and snapshots that a person or a script recorded.
//!
//! No one of them has all: Endpoint Security knows processes and no network,
//! `lsof` and `nettop` know sockets and no start of a process, `ps` knows starts
//! and no sockets. What names a process by its number alone leaves
//! [`ProcessId::start_ticks`] zero; [`crate::host::starts`] fills it in from the
//! others. `lsof` and `ps` of Linux print the same and are read too.
//!
//! Never: calls a program, looks a name up, or takes a time of day for a time
//! without knowing its date and zone.
//!
//! [`ProcessId::start_ticks`]: crate::host::process::ProcessId::start_ticks

mod console;
mod date;
mod eslogger;
mod kernel_log;
mod launchd_log;
mod lsof;
mod lsof_name;
mod nettop;
mod nettop_clock;
mod nettop_row;
mod nettop_sockets;
mod process;
mod ps;
mod ps_columns;
mod seen;
mod speaker;
mod unified_log;

#[cfg(test)]
mod tests;

pub(super) use console::CONSOLE;
pub(super) use eslogger::ESLOGGER;
pub(super) use lsof::LSOF;
pub(super) use nettop::NETTOP;
pub(super) use ps::PS;
pub(super) use unified_log::UNIFIED_LOG;
