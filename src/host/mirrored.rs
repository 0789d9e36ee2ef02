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

/// Far ends that an interface's address has had when it is told to be: a server of which two
/// addresses of one interface (RFC 8981), or two that share a session, ask at first has fewer.
const FAR_ENDS: usize = 8;

/// What is asked for at most of a session of which too little was taken for enough: twice as
/// much each time.
const MOST_FAR_ENDS: usize = 64;

/// After a flow that contradicts, so that a session that several interfaces share is not
/// judged flow by flow.
const JUDGED_ANEW_NS: i64 = 60_000_000_000;

/// Which address a session's interface has, where neither end is at home (IPv6 is global in
/// clouds) and the inventory has the session alone: the one that all of its flows share, once
/// they are those with several others.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_vni: HashMap<u32, Session>,
}

/// What a session tells of its interface's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interface {
    Unknown,
    /// By this flow.
    Found(IpAddr),
    Known(IpAddr),
    /// By this flow, that it is not this one, which it was taken for.
    Not(IpAddr),
}

#[derive(Debug)]
struct Session {
    common: Common,
    /// Far ends, before the one that they share is told.
    needed: usize,
}

#[derive(Debug)]
enum Common {
    /// Of flows between two addresses alone it is not known.
    Either([IpAddr; 2]),
    One {
        own: IpAddr,
        far: Vec<IpAddr>,
    },
    Interface(IpAddr),
    /// It has several addresses, several share the session, or a packet strayed.
    Nobody {
        until_ns: i64,
    },
}

impl Sessions {
    /// A flow that ended then was between these, in the session.
    pub(super) fn interface(&mut self, vni: u32, ends: [IpAddr; 2], ns: i64) -> Interface {
        if let Some(session) = self.by_vni.get_mut(&vni) {
            return session.follow(ends, ns);
        }
        if self.by_vni.len() < MOST_SESSIONS && is_between_machines(ends) {
            let session = Session { common: Common::Either(ends), needed: FAR_ENDS };
            self.by_vni.insert(vni, session);
        }
        Interface::Unknown
    }
}

impl Session {
    fn follow(&mut self, ends: [IpAddr; 2], ns: i64) -> Interface {
        if !is_between_machines(ends) {
            return match self.common {
                Common::Interface(own) => Interface::Known(own),
                _ => Interface::Unknown,
            };
        }
        let far_of = |own: IpAddr| match ends {
            [a, far] | [far, a] if a == own => Some(far),
            _ => None,
        };
        match &mut self.common {
            Common::Either(two) => {
                let [a, b] = *two;
                match [far_of(a), far_of(b)] {
                    [Some(_), Some(_)] => {}
                    [Some(far), None] => self.common = Common::One { own: a, far: vec![b, far] },
                    [None, Some(far)] => self.common = Common::One { own: b, far: vec![a, far] },
                    [None, None] => self.give_up(ns),
                }
                Interface::Unknown
            }
            Common::One { own, far } => {
                let own = *own;
                match far_of(own) {
                    Some(end) if !far.contains(&end) => far.push(end),
                    Some(_) => {}
                    None => {
                        self.give_up(ns);
                        return Interface::Unknown;
                    }
                }
                if far.len() < self.needed {
                    return Interface::Unknown;
                }
                self.common = Common::Interface(own);
                Interface::Found(own)
            }
            Common::Interface(own) => {
                let own = *own;
                if far_of(own).is_some() {
                    return Interface::Known(own);
                }
                self.give_up(ns);
                Interface::Not(own)
            }
            Common::Nobody { until_ns } => {
                if ns >= *until_ns {
                    self.common = Common::Either(ends);
                }
                Interface::Unknown
            }
        }
    }

    fn give_up(&mut self, ns: i64) {
        self.common = Common::Nobody { until_ns: ns.saturating_add(JUDGED_ANEW_NS) };
        self.needed = (2 * self.needed).min(MOST_FAR_ENDS);
    }
}

/// Whether each end can be an interface's or that of whom it speaks to beyond its link: those
/// of one that is about to get its address, of neighbours and of groups say nothing.
fn is_between_machines(ends: [IpAddr; 2]) -> bool {
    let is_machines = |address: IpAddr| match address {
        _ if address.is_unspecified() || address.is_multicast() || address.is_loopback() => false,
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    ends[0] != ends[1] && ends.into_iter().all(is_machines)
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

    /// The session of that instance never had the address.
    pub(super) fn take_back(&mut self, address: IpAddr, instance: &Instance) {
        let was_its = |seen: &Seen| seen.instance.as_ref().is_some_and(|it| it.id == instance.id);
        if self.by_address.get(&address).is_some_and(was_its) {
            self.by_address.remove(&address);
        }
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

    /// What the sessions tell after each of these flows, of one session and that minute.
    fn told(sessions: &mut Sessions, minute: i64, flows: &[[IpAddr; 2]]) -> Vec<Interface> {
        let tell = |ends: &[IpAddr; 2]| sessions.interface(7, *ends, minute * MINUTE_NS);
        flows.iter().map(tell).collect()
    }

    /// Flows of one address with others, in both directions.
    fn flows_of(own: u32, others: std::ops::Range<u32>) -> Vec<[IpAddr; 2]> {
        let flow = |n: u32| if n.is_multiple_of(2) { [own, n] } else { [n, own] };
        others.map(|n| flow(n).map(address)).collect()
    }

    #[test]
    fn the_address_that_flows_with_eight_others_share_is_the_interfaces() {
        let mut sessions = Sessions::default();
        let own = address(1);
        let found = told(&mut sessions, 0, &flows_of(1, 100..107));
        assert_eq!(found, [Interface::Unknown; 7]);
        // The same ones again.
        let found = told(&mut sessions, 0, &flows_of(1, 100..107));
        assert_eq!(found, [Interface::Unknown; 7]);
        let found = told(&mut sessions, 0, &flows_of(1, 107..109));
        assert_eq!(found, [Interface::Found(own), Interface::Known(own)]);
    }

    #[test]
    fn what_two_addresses_of_an_interface_ask_is_not_the_interface() {
        let mut sessions = Sessions::default();
        let flows = [[1, 100], [2, 100], [1, 101], [2, 101]].map(|ends| ends.map(address));
        for minute in 0..100 {
            assert_eq!(told(&mut sessions, minute, &flows), [Interface::Unknown; 4]);
        }
    }

    #[test]
    fn a_packet_that_strayed_takes_the_interface_back_for_a_while() {
        let mut sessions = Sessions::default();
        let own = address(1);
        let found = |told: Vec<Interface>| told.contains(&Interface::Found(own));
        assert!(found(told(&mut sessions, 0, &flows_of(1, 100..108))));
        let stray = [2, 3].map(address);
        assert_eq!(told(&mut sessions, 1, &[stray]), [Interface::Not(own)]);
        assert!(!found(told(&mut sessions, 1, &flows_of(1, 100..200))), "in the same minute");
        assert!(!found(told(&mut sessions, 3, &flows_of(1, 100..115))), "twice as much is asked");
        assert!(found(told(&mut sessions, 3, &flows_of(1, 115..116))));
        // However often that is.
        for n in 2..20 {
            assert_eq!(told(&mut sessions, 3 * n, &[stray]), [Interface::Not(own)]);
            assert!(found(told(&mut sessions, 3 * n + 2, &flows_of(1, 100..164))));
        }
    }

    #[test]
    fn neighbours_and_groups_say_nothing_of_an_interface() {
        let mut sessions = Sessions::default();
        let pair = |a: &str, b: &str| [a, b].map(|text| text.parse().expect("an address"));
        let others = [
            pair("::", "ff02::1:ff00:5"),
            pair("fe80::1", "2001:db8::5"),
            pair("0.0.0.0", "255.255.255.255"),
            pair("169.254.1.1", "10.0.0.9"),
            pair("2001:db8::5", "2001:db8::5"),
        ];
        assert_eq!(told(&mut sessions, 0, &others), [Interface::Unknown; 5]);
        let found = told(&mut sessions, 0, &flows_of(1, 100..108));
        assert_eq!(found[7], Interface::Found(address(1)));
        assert_eq!(told(&mut sessions, 0, &others), [Interface::Known(address(1)); 5]);
    }

    #[test]
    fn what_a_session_took_back_is_nobodys_any_more() {
        let mut mirrored = Mirrored::default();
        mirrored.note(address(1), &instance("i-1"), 0);
        mirrored.take_back(address(1), &instance("i-2"));
        assert_eq!(id_at(&mirrored, 1, 0).as_deref(), Some("i-1"), "another's session");
        mirrored.take_back(address(1), &instance("i-1"));
        assert_eq!(id_at(&mirrored, 1, 0), None);
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
