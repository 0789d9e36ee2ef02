//! The path that reads every shape of frame, layer by layer.

use super::cursor::Cursor;
use super::decoder::DecodeOptions;
use super::facts::{Facts, Verdict};
use super::link::LinkType;
use super::transport::Transport;
use super::{entry, ethernet, ip, tunnel};

/// Reads one frame into `facts`, which are those of the outermost packet until
/// a tunnel was opened for good. The work is bounded: at most
/// [`super::MAX_TUNNELS`] times the bounds of each layer.
pub(super) fn decode(
    options: DecodeOptions,
    link: LinkType,
    data: &[u8],
    wire_bytes: u32,
    facts: &mut Facts,
) -> Verdict {
    facts.clear();
    match read(options, link, data, wire_bytes, facts) {
        Ok(()) => Verdict::Flow,
        Err(verdict) => verdict,
    }
}

fn read(
    options: DecodeOptions,
    link: LinkType,
    data: &[u8],
    wire_bytes: u32,
    facts: &mut Facts,
) -> Result<(), Verdict> {
    let mut cursor = Cursor::new(data, wire_bytes);
    let layer = entry::enter(link, &mut cursor, facts)?;
    let version = ethernet::walk(&mut cursor, layer, Some(facts))?;
    facts.ip_offset = cursor.at() as u32;
    let mut packet = ip::read(version, cursor)?;
    let mut transport = Transport::read(&packet);
    if options.key_vlan {
        facts.key.vlan = facts.vlans.outermost().unwrap_or(0);
    }
    let mut vni = 0;
    transport.fill(&packet, vni, facts);
    while !options.no_decap && !facts.tunnels.is_full() {
        let Some(tunnel) = tunnel::find(&packet, &transport) else { break };
        let Some(inner) = tunnel.open() else { break };
        tunnel.remember(&packet, facts);
        vni = tunnel.key_vni().unwrap_or(vni);
        packet = inner;
        transport = Transport::read(&packet);
        transport.fill(&packet, vni, facts);
    }
    Ok(())
}
