//! Writes captures in every variant that the readers know.

use proptest::prelude::*;

/// What a test says about a packet; times in whole microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) micros: u64,
    pub(super) data: Vec<u8>,
    pub(super) wire_bytes: u32,
}

impl Packet {
    pub(super) fn at(micros: u64) -> Self {
        Self { micros, data: micros.to_le_bytes().to_vec(), wire_bytes: 60 }
    }

    pub(super) fn time_ns(&self) -> i64 {
        self.micros as i64 * 1_000
    }
}

/// Packets in time order within some hours of each other.
pub(super) fn packets(most: usize) -> impl Strategy<Value = Vec<Packet>> {
    let data = prop::collection::vec(any::<u8>(), 0..200);
    let one = (0_u64..20_000_000, data, 0_u32..3_000);
    prop::collection::vec(one, 0..most).prop_map(|list| {
        let mut micros = 1_700_000_000_000_000;
        list.into_iter()
            .map(|(gap, data, extra)| {
                micros += gap;
                let wire_bytes = data.len() as u32 + extra;
                Packet { micros, data, wire_bytes }
            })
            .collect()
    })
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes {
    pub(super) big_endian: bool,
}

impl Bytes {
    pub(super) fn u16(self, value: u16) -> [u8; 2] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn u32(self, value: u32) -> [u8; 4] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

/// A variant of pcap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pcap {
    pub(super) big_endian: bool,
    pub(super) nanos: bool,
    /// 16, or 24 and 28 for the modified variant.
    pub(super) record_bytes: usize,
    pub(super) minor: u16,
    pub(super) link_field: u32,
}

impl Pcap {
    pub(super) const PLAIN: Self =
        Self { big_endian: false, nanos: false, record_bytes: 16, minor: 4, link_field: 1 };

    pub(super) fn write(self, packets: &[Packet]) -> Vec<u8> {
        let order = Bytes { big_endian: self.big_endian };
        let magic = match (self.record_bytes, self.nanos) {
            (16, false) => 0xa1b2_c3d4,
            (16, true) => 0xa1b2_3c4d,
            _ => 0xa1b2_cd34,
        };
        let mut out = order.u32(magic).to_vec();
        out.extend(order.u16(2));
        out.extend(order.u16(self.minor));
        out.extend([0; 8]);
        out.extend(order.u32(96));
        out.extend(order.u32(self.link_field));
        for packet in packets {
            self.record(packet, &mut out);
        }
        out
    }

    pub(super) fn record(self, packet: &Packet, out: &mut Vec<u8>) {
        let order = Bytes { big_endian: self.big_endian };
        let fraction = (packet.micros % 1_000_000) as u32;
        out.extend(order.u32((packet.micros / 1_000_000) as u32));
        out.extend(order.u32(if self.nanos { fraction * 1_000 } else { fraction }));
        let mut lengths = [packet.data.len() as u32, packet.wire_bytes];
        if self.minor < 3 {
            lengths.reverse();
        }
        out.extend(order.u32(lengths[0]));
        out.extend(order.u32(lengths[1]));
        out.resize(out.len() + self.record_bytes - 16, 0xee);
        out.extend(&packet.data);
    }
}

/// Writes pcapng, block by block.
#[derive(Clone, Debug)]
pub(super) struct Pcapng {
    pub(super) big_endian: bool,
    pub(super) out: Vec<u8>,
}

impl Pcapng {
    /// With one section and no interface.
    pub(super) fn new(big_endian: bool) -> Self {
        let mut new = Self { big_endian, out: Vec::new() };
        new.section(1);
        new
    }

    pub(super) fn order(&self) -> Bytes {
        Bytes { big_endian: self.big_endian }
    }

    pub(super) fn block(&mut self, kind: u32, body: &[u8]) {
        let order = self.order();
        let padded = body.len().next_multiple_of(4);
        let total = order.u32(padded as u32 + 12);
        self.out.extend(order.u32(kind));
        self.out.extend(total);
        self.out.extend(body);
        self.out.resize(self.out.len() + padded - body.len(), 0);
        self.out.extend(total);
    }

    pub(super) fn section(&mut self, major: u16) {
        self.section_with(major, |_, _| {});
    }

    /// A section that says who wrote it.
    pub(super) fn section_of(&mut self, application: &str) {
        self.section_with(1, |writer, body| {
            writer.option(4, application.as_bytes(), body);
            writer.option(0, &[], body);
        });
    }

    fn section_with(&mut self, major: u16, options: impl FnOnce(&Self, &mut Vec<u8>)) {
        let order = self.order();
        let mut body = order.u32(0x1a2b_3c4d).to_vec();
        body.extend(order.u16(major));
        body.extend(order.u16(0));
        // A length that is plainly wrong: nobody may believe it.
        body.extend(order.u32(7));
        body.extend(order.u32(7));
        options(self, &mut body);
        self.block(0x0a0d_0d0a, &body);
    }

    pub(super) fn option(&self, code: u16, value: &[u8], out: &mut Vec<u8>) {
        let order = self.order();
        out.extend(order.u16(code));
        out.extend(order.u16(value.len() as u16));
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }

    pub(super) fn interface(&mut self, link: u16, snaplen: u32, tsresol: u8, name: &str) {
        let order = self.order();
        let mut body = order.u16(link).to_vec();
        body.extend([0; 2]);
        body.extend(order.u32(snaplen));
        self.option(2, name.as_bytes(), &mut body);
        self.option(9, &[tsresol], &mut body);
        self.option(0, &[], &mut body);
        self.block(1, &body);
    }

    /// `ticks` in the unit of the interface.
    pub(super) fn enhanced(&mut self, interface: u32, ticks: u64, packet: &Packet) {
        self.enhanced_with(interface, ticks, packet, &[(1, b"a comment")]);
    }

    /// A packet that says how many were lost before it.
    pub(super) fn enhanced_after(&mut self, interface: u32, packet: &Packet, lost: u64) {
        let lost = if self.big_endian { lost.to_be_bytes() } else { lost.to_le_bytes() };
        let options = [(1, b"a comment".as_slice()), (4, &lost)];
        self.enhanced_with(interface, packet.micros, packet, &options);
    }

    fn enhanced_with(
        &mut self,
        interface: u32,
        ticks: u64,
        packet: &Packet,
        options: &[(u16, &[u8])],
    ) {
        let order = self.order();
        let mut body = order.u32(interface).to_vec();
        self.packet(ticks, packet, &mut body);
        body.resize(body.len().next_multiple_of(4), 0);
        for (code, value) in options {
            self.option(*code, value, &mut body);
        }
        self.option(0, &[], &mut body);
        self.block(6, &body);
    }

    pub(super) fn obsolete(&mut self, interface: u16, ticks: u64, packet: &Packet) {
        self.obsolete_after(interface, ticks, packet, 3);
    }

    /// A packet that says how many were lost before it; 0xffff: not known.
    pub(super) fn obsolete_after(
        &mut self,
        interface: u16,
        ticks: u64,
        packet: &Packet,
        lost: u16,
    ) {
        let order = self.order();
        let mut body = order.u16(interface).to_vec();
        body.extend(order.u16(lost));
        self.packet(ticks, packet, &mut body);
        self.block(2, &body);
    }

    pub(super) fn simple(&mut self, packet: &Packet) {
        let mut body = self.order().u32(packet.wire_bytes).to_vec();
        body.extend(&packet.data);
        self.block(3, &body);
    }

    pub(super) fn statistics(&mut self, interface: u32, if_drop: u64, os_drop: u64) {
        let order = self.order();
        let mut body = order.u32(interface).to_vec();
        body.extend([0; 8]);
        for (code, value) in [(5, if_drop), (7, os_drop)] {
            let value = if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
            self.option(code, &value, &mut body);
        }
        self.block(5, &body);
    }

    /// Statistics without counters: a time alone.
    pub(super) fn mark(&mut self, interface: u32, ticks: u64) {
        let order = self.order();
        let mut body = order.u32(interface).to_vec();
        body.extend(order.u32((ticks >> 32) as u32));
        body.extend(order.u32(ticks as u32));
        self.block(5, &body);
    }

    fn packet(&self, ticks: u64, packet: &Packet, body: &mut Vec<u8>) {
        let order = self.order();
        body.extend(order.u32((ticks >> 32) as u32));
        body.extend(order.u32(ticks as u32));
        body.extend(order.u32(packet.data.len() as u32));
        body.extend(order.u32(packet.wire_bytes));
        body.extend(&packet.data);
    }

    /// One interface in microseconds, one enhanced block a packet.
    pub(super) fn write(big_endian: bool, packets: &[Packet]) -> Vec<u8> {
        let mut new = Self::new(big_endian);
        new.interface(1, 0, 6, "eth0");
        for packet in packets {
            new.enhanced(0, packet.micros, packet);
        }
        new.out
    }
}
