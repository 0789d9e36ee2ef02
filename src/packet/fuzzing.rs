//! Properties of the decoder that hold for any bytes: one place for the fuzz
//! targets and the property tests.
//!
//! Every function panics with what is wrong when its property does not hold.

use super::facts::{Facts, Fragment, MAX_TUNNELS, Verdict};
use super::link::LinkType;
use super::row::Macs;
use super::{DecodeOptions, Decoder, Vlans, direct, general};
use crate::input::Frame;

/// The direct reader says what the general path says, or nothing. True when it
/// said something.
pub fn paths_agree(options: DecodeOptions, data: &[u8], wire_bytes: u32) -> bool {
    // What an earlier frame left behind must not show.
    let Some(direct) = direct::read_any(options, data, wire_bytes) else { return false };
    let mut quick = dirty();
    direct.fill(&mut quick);
    let mut full = dirty();
    let verdict = general::decode(options, LinkType::ETHERNET, data, wire_bytes, &mut full);
    assert_eq!(verdict, Verdict::Flow, "the direct reader took {data:02x?} of {wire_bytes}");
    assert_eq!(quick, full, "the two paths differ on {data:02x?} of {wire_bytes}");
    let frame = Frame {
        time_ns: 1,
        offset: 2,
        captured_bytes: data.len() as u32,
        wire_bytes,
        link: LinkType::ETHERNET,
        interface: 3,
        flags: 0,
    };
    let mut row = direct.row;
    row.put_in_stream(&frame, 4, 5, 6);
    assert_eq!(row, *full.row_of(&frame, 4, 5, 6), "the rows differ on {data:02x?}");
    true
}

/// Whatever the frame, the facts keep what they promise.
pub fn facts_are_sound(
    options: DecodeOptions,
    link: LinkType,
    data: &[u8],
    wire_bytes: u32,
) -> Verdict {
    let mut facts = dirty();
    let verdict = Decoder::new(options).decode(link, data, wire_bytes, &mut facts);
    let mut again = Facts::default();
    assert_eq!(Decoder::new(options).decode(link, data, wire_bytes, &mut again), verdict);
    assert_eq!(facts, again, "what an earlier frame left in the facts shows");
    if verdict != Verdict::Flow {
        return verdict;
    }
    let (offset, captured) = (facts.payload_offset as usize, facts.payload_captured as usize);
    assert!(offset + captured <= data.len(), "the payload lies outside the frame");
    assert!(captured <= facts.payload_bytes as usize, "more captured than there was");
    assert!(facts.tunnels.as_slice().len() <= MAX_TUNNELS);
    assert!(!options.no_decap || facts.tunnels.is_empty());
    let key = &facts.key;
    let ordered = (key.a, key.port_a) <= (key.b, key.port_b);
    assert!(ordered || matches!(key.proto, 1 | 58), "the ends of the key are not in order");
    assert!(facts.forward || ordered);
    if matches!(facts.fragment, Some(Fragment::Later(_))) {
        assert_eq!((key.port_a, key.port_b), (0, 0));
    }
    assert!(!facts.vlans.is_empty() || key.vlan == 0);
    verdict
}

/// Facts that no frame leaves as they are.
fn dirty() -> Facts {
    let mut facts = Facts {
        forward: false,
        has_mac: true,
        icmp_type: u8::MAX,
        icmp_code: u8::MAX,
        payload_offset: u32::MAX,
        ..Facts::default()
    };
    facts.ip_bytes = u32::MAX;
    facts.payload_bytes = u32::MAX;
    facts.payload_captured = u32::MAX;
    facts.tcp_seq = u32::MAX;
    facts.tcp_flags = u16::MAX;
    facts.ttl = u8::MAX;
    facts.macs = Macs::new([0xff; 6], [0xff; 6]);
    facts.vlans = Vlans::one(u16::MAX);
    facts.vlans.push(u16::MAX);
    facts.key.echo_id = u16::MAX;
    facts.key.vlan = u16::MAX;
    facts.key.vni = u32::MAX;
    facts
}
