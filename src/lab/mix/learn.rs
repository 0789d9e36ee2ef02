//! What a background is: its hosts, how they look on the wire, and its time.
//!
//! Reads it once. Memory is bounded: at most [`MAX_HOSTS`] hosts of ours and as many
//! others are known. Start at [`learn`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Result, bail};

use crate::detect::HomeNets;
use crate::input::{Input, InputOptions};
use crate::packet::key::to_ip;
use crate::packet::{Decoder, Facts, LinkType, Mac, PacketClass, Verdict};

/// Hosts of ours that are known, and others: what has more is no network to choose hosts
/// from by hand.
const MAX_HOSTS: usize = 1 << 16;

/// Addresses and EtherType.
const ETHERNET_BYTES: usize = 14;
const VLAN_TAG_BYTES: usize = 4;

/// What well-known servers listen at; which of them a host answers from is learned.
pub(super) const SERVED: [u16; 8] = [53, 80, 443, 25, 993, 123, 5_432, 9_100];

/// Addresses in documents (RFC 5737), which scenarios give to those outside.
pub(super) const DOCUMENTED: [[u8; 3]; 3] = [[203, 0, 113], [198, 51, 100], [192, 0, 2]];

/// Whatever is in most packets, by Boyer and Moore: one candidate and a count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most<T> {
    what: Option<T>,
    lead: u64,
}

impl<T> Default for Most<T> {
    fn default() -> Self {
        Self { what: None, lead: 0 }
    }
}

impl<T: Copy + PartialEq> Most<T> {
    fn add(&mut self, what: T) {
        if self.lead == 0 {
            self.what = Some(what);
        }
        if self.what == Some(what) {
            self.lead += 1;
        } else {
            self.lead -= 1;
        }
    }

    pub(super) fn get(&self) -> Option<T> {
        self.what
    }
}

/// VLAN tags between the MAC addresses and the EtherType, two at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tags {
    bytes: [u8; 2 * VLAN_TAG_BYTES],
    len: u8,
}

impl Tags {
    /// Of a frame whose IP header is at `ip_offset`; `None` where it has something else
    /// before it.
    fn of(frame: &[u8], ip_offset: usize) -> Option<Self> {
        let len = ip_offset.checked_sub(ETHERNET_BYTES)?;
        let mut tags = Self { bytes: [0; 8], len: len as u8 };
        let found = frame.get(12..12 + len)?;
        tags.bytes.get_mut(..len)?.copy_from_slice(found);
        let is_tag = |tag: &[u8]| matches!(tag, [0x81, 0x00, ..] | [0x88, 0xa8, ..]);
        (len.is_multiple_of(VLAN_TAG_BYTES) && found.chunks(VLAN_TAG_BYTES).all(is_tag))
            .then_some(tags)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// A host that has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Sent and received.
    pub(super) packets: u64,
    pub(super) mac: Most<Mac>,
    pub(super) tags: Most<Tags>,
    /// Packets from the ports of [`SERVED`] to ports over 1,023.
    answers: [u64; SERVED.len()],
}

impl Seen {
    pub(super) fn answers_on(&self, ports: &[u16]) -> u64 {
        let wanted = SERVED.iter().zip(&self.answers).filter(|(port, _)| ports.contains(port));
        wanted.map(|(_, count)| count).sum()
    }
}

#[derive(Debug, Default)]
pub(super) struct Background {
    pub(super) packets: u64,
    pub(super) wire_bytes: u64,
    pub(super) first_ns: i64,
    pub(super) latest_ns: i64,
    /// Inside the home networks.
    pub(super) ours: BTreeMap<IpAddr, Seen>,
    pub(super) others: BTreeMap<IpAddr, Seen>,
    /// What packets from outside come from.
    pub(super) router: Most<Mac>,
    /// Addresses outside that a scenario would use, and that are here already.
    pub(super) taken: HashSet<IpAddr>,
    /// What was said while it was read.
    pub(super) warnings: Vec<String>,
}

/// Reads a background whole. `wanted` are addresses outside that attacks would use.
pub(super) fn learn(path: &Path, home: &HomeNets, wanted: &HashSet<IpAddr>) -> Result<Background> {
    let mut input = Input::open(&[path.to_owned()], InputOptions::default())?;
    let mut background = Background::default();
    let decoder = Decoder::default();
    let mut facts = Facts::default();
    let mut sides = Sides::default();
    while let Some(block) = input.next_block() {
        for frame in &block.frames {
            if frame.link != LinkType::ETHERNET {
                let name = frame.link.known_name().unwrap_or("unknown");
                bail!(
                    "{}: packet {} is of link type {} ({name}): attacks can be put between \
                     Ethernet frames only",
                    path.display(),
                    background.packets + 1,
                    frame.link.0,
                );
            }
            background.packets += 1;
            let data = block.bytes.frame(frame);
            if decoder.decode(frame.link, data, frame.wire_bytes, &mut facts) == Verdict::Flow
                && facts.tunnels.is_empty()
                && facts.has_mac
            {
                background.note(&facts, data, home, wanted, &mut sides);
            }
        }
        if let crate::input::BlockBytes::Owned(bytes) = block.bytes {
            input.recycle(bytes, block.frames);
        }
    }
    for report in input.reports() {
        if let Some(error) = &report.error {
            bail!("{error}");
        }
        background.warnings.extend(report.warnings.iter().map(|w| format!("{}: {w}", report.path)));
    }
    if let Some(interface) = input.interfaces().iter().find(|it| it.fcs_bytes.unwrap_or(0) > 0) {
        bail!(
            "{}: its frames end with check sequences ({} bytes), which attacks would lack: \
             remove them first",
            path.display(),
            interface.fcs_bytes.unwrap_or(0)
        );
    }
    let counters = input.counters();
    let (Some(first_ns), Some(latest_ns)) = (counters.first_ns, counters.latest_ns) else {
        bail!("{}: there is no packet in it", path.display());
    };
    (background.first_ns, background.latest_ns) = (first_ns, latest_ns);
    background.wire_bytes = counters.wire_bytes;
    Ok(background)
}

/// Which side addresses are on, once each was looked up.
#[derive(Default)]
struct Sides(HashMap<IpAddr, bool>);

impl Sides {
    fn is_ours(&mut self, address: IpAddr, home: &HomeNets) -> bool {
        if let Some(&known) = self.0.get(&address) {
            return known;
        }
        let ours = home.contains_ip(address);
        if self.0.len() < MAX_HOSTS {
            self.0.insert(address, ours);
        }
        ours
    }
}

impl Background {
    fn note(
        &mut self,
        facts: &Facts,
        data: &[u8],
        home: &HomeNets,
        wanted: &HashSet<IpAddr>,
        sides: &mut Sides,
    ) {
        let key = &facts.row.key;
        let (a, b) = (to_ip(key.version, &key.a), to_ip(key.version, &key.b));
        let (src, dst, src_port, dst_port) = match facts.forward {
            true => (a, b, key.port_a, key.port_b),
            false => (b, a, key.port_b, key.port_a),
        };
        for address in [src, dst] {
            let is_known = wanted.contains(&address) || is_documented(address);
            if is_known && self.taken.len() < MAX_HOSTS {
                self.taken.insert(address);
            }
        }
        let ours = sides.is_ours(src, home);
        if !ours {
            self.router.add(facts.macs.src());
        }
        let hosts = if ours { &mut self.ours } else { &mut self.others };
        if is_a_host(src) && (hosts.len() < MAX_HOSTS || hosts.contains_key(&src)) {
            let seen = hosts.entry(src).or_default();
            seen.packets += 1;
            seen.mac.add(facts.macs.src());
            if let Some(tags) = Tags::of(data, facts.ip_offset as usize) {
                seen.tags.add(tags);
            }
            if is_answer(facts, dst_port)
                && let Some(at) = SERVED.iter().position(|&port| port == src_port)
                && let Some(count) = seen.answers.get_mut(at)
            {
                *count += 1;
            }
        }
        let hosts = if sides.is_ours(dst, home) { &mut self.ours } else { &mut self.others };
        // Only who has sent is there for sure.
        if let Some(seen) = hosts.get_mut(&dst) {
            seen.packets += 1;
        }
    }
}

/// A server's packet to a client. Answers to scans without a server are resets, and no
/// client sends from such a port to one that is handed out by a kernel.
fn is_answer(facts: &Facts, dst_port: u16) -> bool {
    match facts.row.class {
        PacketClass::TcpSynAck => true,
        PacketClass::Udp | PacketClass::TcpData => dst_port > 1_023,
        _ => false,
    }
}

/// One machine's own address that others can reach.
pub(super) fn is_a_host(address: IpAddr) -> bool {
    let unusable = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    !unusable
        && match address {
            IpAddr::V4(v4) => !v4.is_broadcast() && !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        }
}

fn is_documented(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = Ipv4Addr::octets(&v4);
            DOCUMENTED.contains(&[a, b, c])
        }
        IpAddr::V6(v6) => v6.segments().starts_with(&[0x2001, 0xdb8]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_stays() {
        let mut most = Most::default();
        [1, 1, 2, 1, 3, 1].into_iter().for_each(|it| most.add(it));
        assert_eq!(most.get(), Some(1));
    }

    #[test]
    fn tags_are_those_of_vlans_alone() {
        let frame = |between: &[u8]| [&[0; 12], between, &[8, 0, 0x45][..]].concat();
        let tags = |between: &[u8]| Tags::of(&frame(between), 14 + between.len());
        assert_eq!(tags(&[]).unwrap().bytes(), [0; 0]);
        assert_eq!(tags(&[0x81, 0, 0, 7]).unwrap().bytes(), [0x81, 0, 0, 7]);
        assert_eq!(tags(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 7]).unwrap().bytes().len(), 8);
        assert_eq!(tags(&[0x88, 0x64, 0x11, 0]), None);
        assert_eq!(tags(&[0x81, 0, 0, 7, 0x81, 0, 0, 8, 0x81, 0, 0, 9]), None);
    }
}
