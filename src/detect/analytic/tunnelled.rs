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
    untold: Untold,
    rest: Option<Box<Untold>>,
    is_told: bool,
    /// The newest second in which there was any: several servers may be asked in one.
    last_s: Option<i64>,
    busiest: Busiest,
    /// The minute under way and its bytes.
    minute: (i64, u64),
    busiest_minute: u64,
}

/// What no finding has told of.
#[derive(Clone, Debug, Default)]
struct Untold {
    carried: Carried,
    /// Seconds in which there was any.
    active_s: u64,
}

impl Untold {
    fn add(&mut self, carried: &Carried, active_s: u64) {
        use crate::engine::window::Merge;
        self.carried.merge(carried);
        self.active_s += active_s;
    }
}

impl Tunnelled {
    /// Adds what went through it in a second, and how many of the packets nobody answered.
    pub(super) fn add(&mut self, second: i64, carried: &Carried, unanswered: u32) {
        let is_new = self.last_s.is_none_or(|last_s| second > last_s);
        self.last_s = self.last_s.max(Some(second));
        self.untold.add(carried, is_new.into());
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

    /// Another time begins, and with it what a finding may rest on. Of what was told of
    /// before the rest stays; of others it would be days of what nobody looked at.
    pub(super) fn begin(&mut self) {
        let rest = self.is_told.then(|| Box::new(self.all_untold()));
        let Self { is_told, last_s, .. } = *self;
        *self = Self { rest, is_told, last_s, ..Self::default() };
    }

    /// What was told of is over: the rest of it is nobody's.
    pub(super) fn forget_before(&mut self) {
        self.rest = None;
    }

    fn all_untold(&self) -> Untold {
        let mut all = self.untold.clone();
        if let Some(rest) = &self.rest {
            all.add(&rest.carried, rest.active_s);
        }
        all
    }

    /// Fills in how much it was, and that all of it was with this peer.
    pub(super) fn fill(&self, finding: &mut Finding, peer: Host) {
        let Untold { carried, active_s } = self.all_untold();
        finding.traffic = Traffic::of(&carried);
        finding.active_s = Some(active_s);
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
        (self.untold, self.rest) = (Untold::default(), None);
        self.is_told = true;
    }
}

/// Whom a client asked about what goes through a tunnel, in the order of addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Servers {
    known: [Host; MOST_SERVERS],
    len: u8,
    are_more: bool,
}

/// A host has two resolvers, or three.
const MOST_SERVERS: usize = 4;

impl Servers {
    pub(super) fn add(&mut self, server: Host) {
        let len = usize::from(self.len);
        let Err(at) = self.known[..len].binary_search(&server) else { return };
        if len == MOST_SERVERS {
            self.are_more = true;
            return;
        }
        self.known.copy_within(at..len, at + 1);
        self.known[at] = server;
        self.len += 1;
    }

    /// All of them; nothing where they are more.
    pub(super) fn all(&self) -> Option<&[Host]> {
        (!self.are_more).then_some(&self.known[..self.len.into()])
    }
}
