//! What a pcapng file says was lost before it was written.

/// Packets lost, of a file; `None` where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Drops {
    /// At its interfaces, by their statistics.
    pub(super) interface: Option<u64>,
    /// In the system that captured, by the same.
    pub(super) system: Option<u64>,
    /// Beyond those two, by what packets say was lost before them: which of the two
    /// lost it they do not say.
    pub(super) unplaced: Option<u64>,
}

/// What the blocks of a section have said of an interface so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    interface: Option<u64>,
    system: Option<u64>,
    /// Sum over its packets.
    packets: Option<u64>,
}

impl Told {
    /// A statistics block: counters run on from block to block, so the last one counts.
    pub(super) fn statistics(&mut self, interface: Option<u64>, system: Option<u64>) {
        self.interface = interface.or(self.interface);
        self.system = system.or(self.system);
    }

    /// A packet says that so many were lost since the one before it.
    pub(super) fn before_packet(&mut self, lost: u64) {
        self.packets = add(self.packets, Some(lost));
    }
}

impl Drops {
    /// With those of one more interface. Its statistics and its packets count the same
    /// losses: the larger of both stands, not their sum.
    pub(super) fn with(self, told: Told) -> Self {
        let statistics = add(told.interface, told.system).unwrap_or(0);
        let beyond = told.packets.map(|lost| lost.saturating_sub(statistics));
        Self {
            interface: add(self.interface, told.interface),
            system: add(self.system, told.system),
            unplaced: add(self.unplaced, beyond),
        }
    }
}

fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        _ => a.or(b),
    }
}
