//! Frames put together layer by layer, from the inside out.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) const A4: [u8; 4] = [192, 0, 2, 1];
pub(crate) const B4: [u8; 4] = [198, 51, 100, 2];
pub(crate) const C4: [u8; 4] = [10, 0, 0, 3];
pub(crate) const D4: [u8; 4] = [10, 0, 0, 4];
pub(crate) const A6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const B6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
pub(crate) const DST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0d];
pub(crate) const SRC_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x05];

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;

fn join(header: &[u8], payload: &[u8]) -> Vec<u8> {
    [header, payload].concat()
}

pub(crate) fn eth(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    join(&[&DST_MAC[..], &SRC_MAC, &ether_type.to_be_bytes()].concat(), payload)
}

/// What follows an EtherType 0x8100: tag and next type.
pub(crate) fn tag(id: u16, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    join(&[id.to_be_bytes(), ether_type.to_be_bytes()].concat(), payload)
}

pub(crate) fn ipv4(proto: u8, src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
    ipv4_fragment(proto, src, dst, 7, 0, payload)
}

/// `field` holds the flags and the offset in eight bytes.
pub(crate) fn ipv4_fragment(
    proto: u8,
    src: [u8; 4],
    dst: [u8; 4],
    id: u16,
    field: u16,
    payload: &[u8],
) -> Vec<u8> {
    let total = (20 + payload.len()) as u16;
    let mut header = vec![0x45, 0];
    header.extend(total.to_be_bytes());
    header.extend(id.to_be_bytes());
    header.extend(field.to_be_bytes());
    header.extend([64, proto, 0, 0]);
    header.extend(src);
    header.extend(dst);
    join(&header, payload)
}

pub(crate) fn ipv6(next: u8, src: [u8; 16], dst: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend((payload.len() as u16).to_be_bytes());
    header.extend([next, 63]);
    header.extend(src);
    header.extend(dst);
    join(&header, payload)
}

pub(crate) fn tcp(src: u16, dst: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    header.extend(0x0102_0304_u32.to_be_bytes());
    header.extend(0x0506_0708_u32.to_be_bytes());
    header.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    join(&header, payload)
}

pub(crate) fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let fields = [src, dst, length, 0].map(u16::to_be_bytes).concat();
    join(&fields, payload)
}

pub(crate) fn icmp(icmp_type: u8, code: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    join(&[icmp_type, code, 0, 0, high, low, 0, 1], payload)
}

/// `flags` as in the first byte; `options` are the words that they announce.
pub(crate) fn gre(
    flags: u8,
    version: u8,
    protocol: u16,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let [high, low] = protocol.to_be_bytes();
    join(&[&[flags, version, high, low], options].concat(), payload)
}

pub(crate) fn vxlan(vni: u32, payload: &[u8]) -> Vec<u8> {
    join(&[&[0x08, 0, 0, 0][..], &(vni << 8).to_be_bytes()].concat(), payload)
}

/// `options` in whole words of four bytes.
pub(crate) fn geneve(vni: u32, protocol: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let [high, low] = protocol.to_be_bytes();
    let header = [&[(options.len() / 4) as u8, 0, high, low][..], &(vni << 8).to_be_bytes()];
    join(&[&header.concat(), options].concat(), payload)
}

/// `options` as they follow the eight mandatory bytes.
pub(crate) fn gtp_u(flags: u8, message: u8, teid: u32, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = (options.len() + payload.len()) as u16;
    let mut header = vec![flags, message];
    header.extend(length.to_be_bytes());
    header.extend(teid.to_be_bytes());
    join(&[&header, options].concat(), payload)
}

/// A UDP packet inside, told apart from outer ones by its addresses.
pub(crate) fn inner_v4() -> Vec<u8> {
    ipv4(17, C4, D4, &udp(1000, 53, b"inner"))
}

pub(crate) fn inner_v6() -> Vec<u8> {
    ipv6(17, A6, B6, &udp(1000, 53, b"inner"))
}
