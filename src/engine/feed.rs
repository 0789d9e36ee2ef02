//! From packets and flows of one shard to the slices of its open seconds.
//!
//! A flow of one packet goes straight into its second; a live flow gathers
//! what it does in a second and goes in once, when the second closes, when the
//! flow moves on, or when it ends.

use std::collections::BTreeMap;

use ahash::HashMap;

use super::window::{Delta, Host, SIZE_BINS, Slice, WindowSettings};
use crate::flow::live::{Live, Pending, Sided};
use crate::flow::table::sided_of;
use crate::packet::facts::PACKET_CLASSES;
use crate::packet::{FlowKey, IpVersion, Mac, PacketRow, row_flag};

/// TCP connections of an interface and VLAN by whether both directions of
/// them are in the capture. Differences, so that they add up over seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SidedCount {
    pub one_way: i64,
    pub two_way: i64,
}

/// Interface index and outermost VLAN (0 without).
pub type Vantage = (u16, u16);

/// What a shard knows of one second.
#[derive(Debug)]
pub struct ShardWindow {
    pub slice: Slice,
    pub sided: HashMap<Vantage, SidedCount>,
    /// Live flows that were active, by id, possibly more than once.
    active: Vec<u32>,
}

/// The open seconds of a shard.
#[derive(Debug, Default)]
pub struct WindowFeed {
    settings: WindowSettings,
    open: BTreeMap<i64, ShardWindow>,
    /// Flow id lists to use again.
    spare: Vec<Vec<u32>>,
    /// Packets that came after their second was closed.
    pub late_packets: u64,
}

impl WindowFeed {
    fn window(&mut self, second: i64) -> &mut ShardWindow {
        let (spare, settings) = (&mut self.spare, &self.settings);
        self.open.entry(second).or_insert_with(|| ShardWindow {
            slice: Slice::new(second, settings),
            sided: HashMap::default(),
            active: spare.pop().unwrap_or_default(),
        })
    }

    /// Slice of a second for frames that are in no flow.
    pub(crate) fn slice(&mut self, second: i64) -> &mut Slice {
        &mut self.window(second).slice
    }

    /// Counts a packet by itself.
    pub(crate) fn packet(&mut self, packet: &PacketRow) {
        if packet.is(row_flag::LATE) {
            self.late_packets += 1;
            return;
        }
        let mut pending = Pending::default();
        pending.add(packet);
        let macs =
            Macs { src: packet.src_mac, dst: packet.dst_mac, known: packet.is(row_flag::HAS_MAC) };
        let vlan = packet.innermost_vlan();
        let delta = delta(&packet.key, packet.direction(), &pending, macs, vlan);
        self.window(packet.second()).slice.add(&delta);
    }

    /// Counts a packet of a live flow, which has just taken it in.
    pub(crate) fn live_packet(&mut self, id: u32, live: &mut Live, packet: &PacketRow) {
        self.report_side(live, packet.clock_ns.div_euclid(1_000_000_000));
        if packet.is(row_flag::FLOW_ONLY) {
            return;
        }
        if packet.is(row_flag::LATE) {
            self.late_packets += 1;
            return;
        }
        let second = packet.second();
        let direction = packet.direction();
        if live.pending_s != second || live.pending[direction].is_full() {
            self.flush(live);
            live.pending_s = second;
            self.window(second).active.push(id);
        }
        live.pending[direction].add(packet);
    }

    /// Moves what a live flow has gathered into its second.
    pub(crate) fn flush(&mut self, live: &mut Live) {
        for direction in 0..2 {
            let pending = live.pending[direction];
            if pending.packets > 0 {
                let macs = live.macs_from(direction);
                let delta = delta(&live.key, direction, &pending, macs, live.first_vlan);
                self.window(live.pending_s).slice.add(&delta);
                live.pending[direction] = Pending::default();
            }
        }
        live.pending_s = i64::MIN;
    }

    /// Reports when a connection turns out to be seen from one side, or from
    /// both after all. Goes to the second of the stream's clock, which is open
    /// also for a late packet.
    fn report_side(&mut self, live: &mut Live, clock_s: i64) {
        if live.sided == Sided::TwoWay {
            return; // stays so
        }
        let now = sided_of(live);
        if now == live.sided || now == Sided::Unknown {
            return;
        }
        let count =
            self.window(clock_s).sided.entry((live.interface, live.first_vlan)).or_default();
        if live.sided == Sided::OneWay {
            count.one_way -= 1;
        }
        match now {
            Sided::OneWay => count.one_way += 1,
            Sided::TwoWay => count.two_way += 1,
            Sided::Unknown => {}
        }
        live.sided = now;
    }

    /// Oldest open second before `until_s`.
    pub(crate) fn next_to_close(&self, until_s: i64) -> Option<i64> {
        self.open.keys().next().copied().filter(|&second| second < until_s)
    }

    /// Live flows that were active in a second.
    pub(crate) fn take_active(&mut self, second: i64) -> Vec<u32> {
        self.open
            .get_mut(&second)
            .map(|window| std::mem::take(&mut window.active))
            .unwrap_or_default()
    }

    pub(crate) fn give_back(&mut self, mut active: Vec<u32>) {
        active.clear();
        self.spare.push(active);
    }

    /// Takes a second out, complete.
    pub(crate) fn close(&mut self, second: i64) -> Option<ShardWindow> {
        self.open.remove(&second)
    }
}

/// MAC addresses of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Macs {
    pub(crate) src: Mac,
    pub(crate) dst: Mac,
    pub(crate) known: bool,
}

fn delta(key: &FlowKey, direction: usize, pending: &Pending, macs: Macs, vlan: u16) -> Delta {
    let a = Host { version: key.version, address: key.a };
    let b = Host { version: key.version, address: key.b };
    let (src, dst, src_port, dst_port) = if direction == 0 {
        (a, b, key.port_a, key.port_b)
    } else {
        (b, a, key.port_b, key.port_a)
    };
    let mut classes = [0; PACKET_CLASSES];
    for (wide, &narrow) in classes.iter_mut().zip(&pending.classes) {
        *wide = u32::from(narrow);
    }
    let mut sizes = [0; SIZE_BINS];
    for (wide, &narrow) in sizes.iter_mut().zip(&pending.sizes) {
        *wide = u32::from(narrow);
    }
    Delta {
        src,
        dst,
        proto: key.proto,
        src_port,
        dst_port,
        classes,
        wire_bytes: pending.wire_bytes,
        payload_bytes: pending.payload_bytes,
        fragments: u32::from(pending.fragments),
        sizes,
        src_mac: macs.src,
        src_mac_known: macs.known,
        dst_is_broadcast: is_broadcast(&dst, macs),
        dst_is_multicast: is_multicast(&dst),
        vlan,
        vni: key.vni,
    }
}

fn is_broadcast(dst: &Host, macs: Macs) -> bool {
    (dst.version == IpVersion::V4 && dst.address[12..] == [0xff; 4])
        || (macs.known && macs.dst == [0xff; 6])
}

fn is_multicast(dst: &Host) -> bool {
    match dst.version {
        IpVersion::V4 => dst.address[12] & 0xf0 == 0xe0,
        IpVersion::V6 => dst.address[0] == 0xff,
    }
}
