//! How much goes through a tunnel: what an alert shows, and what the bounds of an
//! `[[allow]]` entry are held against.
//!
//! Both ways and by the headers, as [`Carried`] has it. A detector looks again and again
//! at one window, and the book of alerts adds up what it is told: so each finding has
//! what came since the one before it, and the busiest minute of all.

use crate::detect::{Busiest, Finding, Peer, PeerRole, Traffic};
use crate::engine::window::Host;
use crate::engine::window::features::Carried;

/// 0.4 KB, and 0.3 KB while the rest of the time before is not told.
#[derive(Debug, Default)]
pub(super) struct Tunnelled {
    untold: Carried,
    rest: Option<Box<Carried>>,
    is_told: bool,
    busiest: Busiest,
    /// The minute under way and its bytes.
    minute: (i64, u64),
    busiest_minute: u64,
}

impl Tunnelled {
    /// Adds what went through it in a second, and how many of the packets nobody answered.
    pub(super) fn add(&mut self, second: i64, carried: &Carried, unanswered: u32) {
        use crate::engine::window::Merge;
        self.untold.merge(carried);
        if u64::from(carried.packets) > self.busiest.packets {
            self.busiest = Busiest {
                second,
                packets: carried.packets.into(),
                wire_bytes: carried.wire_bytes,
                payload_bytes: carried.payload_bytes,
                unanswered: unanswered.into(),
            };
        }
        let minute = second.div_euclid(60);
        if self.minute.0 != minute {
            self.minute = (minute, 0);
        }
        self.minute.1 = self.minute.1.saturating_add(carried.wire_bytes);
        self.busiest_minute = self.busiest_minute.max(self.minute.1);
    }

    /// Another time begins, and with it what a finding may rest on. Of what was told of before the rest stays; of others it would
    /// be days of what nobody looked at.
    pub(super) fn begin(&mut self) {
        let rest = self.is_told.then(|| Box::new(self.all_untold()));
        *self = Self { rest, is_told: self.is_told, ..Self::default() };
    }

    /// What was told of is over: the rest of it is nobody's.
    pub(super) fn forget_before(&mut self) {
        self.rest = None;
    }

    fn all_untold(&self) -> Carried {
        use crate::engine::window::Merge;
        let mut all = self.untold.clone();
        if let Some(rest) = &self.rest {
            all.merge(rest);
        }
        all
    }

    /// Fills in how much it was, and that all of it was with this peer.
    pub(super) fn fill(&self, finding: &mut Finding, peer: Host) {
        finding.traffic = Traffic::of(&self.all_untold());
        finding.busiest = Some(self.busiest);
        finding.minute_bytes = Some(self.busiest_minute);
        finding.peers = vec![Peer {
            host: peer,
            role: PeerRole::Destination,
            packets: Some(finding.traffic.packets),
            wire_bytes: Some(finding.traffic.wire_bytes),
        }];
    }

    pub(super) fn told(&mut self) {
        (self.untold, self.rest) = (Carried::default(), None);
        self.is_told = true;
    }
}
