//! What only `/proc` knows: the place where this provider meets the one that reads
//! it. Nothing here is needed for a process that has ended.

use super::super::proc::{ProcessReader, ProcessTable, Secrets};
use super::super::{EventSink, ProviderError};
use crate::host::process::Process;

#[derive(Debug)]
pub(super) struct ProcSide {
    reader: ProcessReader,
    secrets: Secrets,
}

impl ProcSide {
    pub(super) fn new(secrets: Secrets) -> Self {
        Self { reader: ProcessReader::with(secrets), secrets }
    }

    /// Adds what the kernel's event lacks, when the process still lives, and masks
    /// secrets in its arguments unless they are kept.
    pub(super) fn complete(&mut self, process: &mut Process) {
        self.reader.complete(process);
    }

    /// Processes from before the programs came. They are attached by now, so that
    /// nothing falls between. False when nobody listens.
    pub(super) fn tell_what_is_there(&mut self, events: &EventSink) -> Result<bool, ProviderError> {
        let mut told = Vec::new();
        ProcessTable::with_secrets(self.secrets).refresh(&mut told)?;
        Ok(told.into_iter().all(|event| events.tell(event.time_ns, event.what)))
    }
}
