//! Processes by their audit tokens.

use std::collections::HashMap;

use serde::Deserialize;

use crate::host::process::ProcessId;

use super::process::process_id;

/// macOS gives numbers up to 99,999; whoever claims more is not remembered.
const MAX_PROCESSES: usize = 100_000;

/// Of an audit token what is used. Each fork and each exec of the host raises the
/// version, and no two processes have one together.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Token {
    pub(super) pid: u32,
    pub(super) pidversion: u32,
    pub(super) auid: u32,
    pub(super) ruid: u32,
}

/// Processes that were told of and have not ended.
#[derive(Default)]
pub(super) struct Seen(HashMap<u32, Known, ahash::RandomState>);

struct Known {
    id: ProcessId,
    /// Its version when it was first told of: tokens with a lower one are of another
    /// process, which had the number before.
    first_version: u32,
    is_application: bool,
}

impl Seen {
    fn get(&self, token: Token) -> Option<&Known> {
        self.0.get(&token.pid).filter(|known| token.pidversion >= known.first_version)
    }

    pub(super) fn knows(&self, token: Token) -> bool {
        self.get(token).is_some()
    }

    /// With its start, where that is known.
    pub(super) fn id(&self, token: Token) -> ProcessId {
        self.get(token).map_or_else(|| process_id(token.pid, None), |known| known.id)
    }

    pub(super) fn is_application(&self, token: Token) -> bool {
        self.get(token).is_some_and(|known| known.is_application)
    }

    pub(super) fn note(&mut self, token: Token, id: ProcessId, is_application: bool) {
        let is_full = self.0.len() >= MAX_PROCESSES;
        match self.0.get_mut(&token.pid) {
            Some(known) if known.id == id => {
                known.first_version = known.first_version.min(token.pidversion);
                known.is_application = is_application;
            }
            None if is_full => {}
            _ => {
                let known = Known { id, first_version: token.pidversion, is_application };
                self.0.insert(token.pid, known);
            }
        }
    }

    pub(super) fn forget(&mut self, pid: u32) {
        self.0.remove(&pid);
    }
}
