//! Instances that are known by the mirror session of their interface alone.
//!
//! Flow records say the session; an alert is about addresses. So addresses are remembered
//! while they are seen and [`KEPT_NS`] longer, by the stream's own time: what an answer is
//! does not depend on when the others were given up. At [`MOST`] no further ones are taken
//! until some have gone.

use std::net::IpAddr;
use std::sync::Arc;

use ahash::HashMap;

use super::inventory::Instance;

/// Sessions that are followed: as many interfaces are mirrored to one collector.
const MOST_SESSIONS: usize = 1 << 12;

/// Which address a session's interface has, where neither end is at home (IPv6 is global in
/// clouds) and the inventory has the session alone: the one that all of its flows share. Of
/// flows between two addresses alone it is not known.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_vni: HashMap<u32, Common>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Common {
    Either([IpAddr; 2]),
    One(IpAddr),
    /// Several interfaces share the session.
    Nobody,
}

impl Sessions {
    /// A flow between these was in the session: the interface's address, once it is known.
    pub(super) fn interface(&mut self, vni: u32, ends: [IpAddr; 2]) -> Option<IpAddr> {
        if self.by_vni.len() >= MOST_SESSIONS && !self.by_vni.contains_key(&vni) {
            return None;
        }
        let common = self.by_vni.entry(vni).or_insert(Common::Either(ends));
        *common = match *common {
            Common::Either([a, b]) => match [a, b].map(|known| ends.contains(&known)) {
                [true, true] => Common::Either([a, b]),
                [true, false] => Common::One(a),
                [false, true] => Common::One(b),
                [false, false] => Common::Nobody,
            },
            Common::One(known) if ends.contains(&known) => Common::One(known),
            Common::One(_) | Common::Nobody => Common::Nobody,
        };
        match *common {
            Common::One(address) => Some(address),
            Common::Either(_) | Common::Nobody => None,
        }
    }
}

/// Addresses of a thousand networks of 64 hosts: 4 MB.
const MOST: usize = 1 << 16;

/// An alert is told within its quiet time or the lateness of logs, which is half an hour at
/// most.
const KEPT_NS: i64 = 3_600_000_000_000;

#[derive(Debug, Default)]
pub(super) struct Mirrored {
    by_address: HashMap<IpAddr, Seen>,
    /// When old ones were given up last.
    swept_ns: Option<i64>,
}

#[derive(Debug)]
struct Seen {
    /// Nobody's where sessions of two instances have the same address.
    instance: Option<Arc<Instance>>,
    last_ns: i64,
}

impl Mirrored {
    /// A flow that ended at this time had the address in the session of that instance.
    pub(super) fn note(&mut self, address: IpAddr, instance: &Arc<Instance>, ns: i64) {
        self.sweep(ns);
        let is_full = self.by_address.len() >= MOST;
        if let Some(seen) = self.by_address.get_mut(&address) {
            seen.again(instance, ns);
        } else if !is_full {
            let seen = Seen { instance: Some(Arc::clone(instance)), last_ns: ns };
            self.by_address.insert(address, seen);
        }
    }

    /// Whose address it was shortly before this time.
    pub(super) fn at(&self, address: IpAddr, ns: i64) -> Option<Arc<Instance>> {
        self.by_address.get(&address).filter(|seen| !seen.is_old(ns))?.instance.clone()
    }

    /// Gives up what is old, now and then.
    fn sweep(&mut self, ns: i64) {
        let swept_ns = *self.swept_ns.get_or_insert(ns);
        if ns.saturating_sub(swept_ns) >= KEPT_NS {
            self.by_address.retain(|_, seen| !seen.is_old(ns));
            self.swept_ns = Some(ns);
        }
    }
}

impl Seen {
    fn again(&mut self, instance: &Arc<Instance>, ns: i64) {
        let is_same = |known: &Arc<Instance>| known.id == instance.id;
        if self.is_old(ns) || self.instance.as_ref().is_some_and(is_same) {
            // As the inventory has it now.
            self.instance = Some(Arc::clone(instance));
        } else {
            self.instance = None;
        }
        self.last_ns = self.last_ns.max(ns);
    }

    fn is_old(&self, ns: i64) -> bool {
        ns.saturating_sub(self.last_ns) > KEPT_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NS: i64 = 60_000_000_000;

    fn instance(id: &str) -> Arc<Instance> {
        Arc::new(Instance { id: id.to_owned(), ..Instance::default() })
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    fn id_at(mirrored: &Mirrored, n: u32, ns: i64) -> Option<String> {
        mirrored.at(address(n), ns).map(|instance| instance.id.clone())
    }

    #[test]
    fn the_address_that_all_flows_of_a_session_share_is_its_interfaces() {
        let mut sessions = Sessions::default();
        let mut interface =
            |a: u32, b: u32| sessions.interface(7, [a, b].map(address)).map(|it| it == address(1));
        assert_eq!(interface(1, 2), None);
        assert_eq!(interface(2, 1), None, "the same two");
        assert_eq!(interface(3, 1), Some(true));
        assert_eq!(interface(1, 2), Some(true));
        assert_eq!(interface(2, 3), None, "another interface's");
        assert_eq!(interface(1, 2), None);
    }

    #[test]
    fn addresses_are_known_while_they_are_seen_and_an_hour_longer() {
        let mut mirrored = Mirrored::default();
        for minute in 0..90 {
            mirrored.note(address(1), &instance("i-1"), minute * MINUTE_NS);
        }
        mirrored.note(address(2), &instance("i-2"), 0);
        assert_eq!(id_at(&mirrored, 2, 60 * MINUTE_NS).as_deref(), Some("i-2"));
        assert_eq!(id_at(&mirrored, 2, 61 * MINUTE_NS), None);
        assert_eq!(id_at(&mirrored, 1, 149 * MINUTE_NS).as_deref(), Some("i-1"));
        // Its address went to another instance meanwhile.
        mirrored.note(address(2), &instance("i-3"), 100 * MINUTE_NS);
        assert_eq!(id_at(&mirrored, 2, 100 * MINUTE_NS).as_deref(), Some("i-3"));
    }

    #[test]
    fn the_same_address_in_sessions_of_two_is_nobodys() {
        let mut mirrored = Mirrored::default();
        for id in ["i-1", "i-2", "i-1"] {
            mirrored.note(address(1), &instance(id), 0);
        }
        assert_eq!(id_at(&mirrored, 1, 0), None);
    }

    #[test]
    fn months_of_new_addresses_take_no_more_than_those_of_an_hour() {
        let mut mirrored = Mirrored::default();
        for n in 0..200_000_u32 {
            mirrored.note(address(n), &instance("i-1"), i64::from(n) * MINUTE_NS / 60);
        }
        assert!(mirrored.by_address.len() < 10_000, "{}", mirrored.by_address.len());
        let ns = 200_000 * MINUTE_NS / 60;
        for n in 0..2 * MOST as u32 {
            mirrored.note(address(n), &instance("i-1"), ns);
        }
        assert_eq!(mirrored.by_address.len(), MOST);
        mirrored.note(address(1), &instance("i-1"), ns + 61 * MINUTE_NS);
        assert_eq!(mirrored.by_address.len(), 1, "there is room again");
    }
}
