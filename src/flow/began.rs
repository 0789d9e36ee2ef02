//! How a record of a flow began.
//!
//! Bits of one byte: millions of flows hold it. Start at [`Began`].

/// Which way a record's first packet went, and who began the flow where the record before
/// knew: one that was cut by age has no beginning of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began(u8);

impl Began {
    /// Bits: the direction, whether an originator was handed on, which, and whether it was a guess.
    const DIRECTION: u8 = 1;
    const HANDED_ON: u8 = 2;
    const ORIGINATOR: u8 = 4;
    const GUESSED: u8 = 8;

    pub(super) fn with(direction: usize) -> Self {
        Self(direction as u8)
    }

    pub(super) fn direction(self) -> usize {
        usize::from(self.0 & Self::DIRECTION)
    }

    pub(super) fn hand_on(&mut self, (originator, guessed): (usize, bool)) {
        let flags = [(originator == 1, Self::ORIGINATOR), (guessed, Self::GUESSED)];
        let flags = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag);
        self.0 = flags.fold(self.0 & Self::DIRECTION | Self::HANDED_ON, |bits, flag| bits | flag);
    }

    /// The flow has a record before this one.
    pub(super) fn continues(self) -> bool {
        self.0 & Self::HANDED_ON != 0
    }

    /// Direction of the originator, and whether that is a guess.
    pub(super) fn handed_on(self) -> Option<(usize, bool)> {
        let known = (usize::from(self.0 & Self::ORIGINATOR != 0), self.0 & Self::GUESSED != 0);
        self.continues().then_some(known)
    }
}
