//! A tunnel of an attacker's own: what a behaviour sends to the outside travels in it.
//!
//! The near end is whoever does it, the far end a host that passes on what comes out. Inner
//! addresses are those of the conversation, as of a tunnel interface without an address of
//! its own. Flow logs (`vpc.log`) have no lines of it. Start at [`Tunnel::wrap`].

use anyhow::{Result, bail};
use serde::Deserialize;

use super::bytes::Said;
use super::talk::{Datagrams, End, Form, Talk, Turn, Workshop};
use super::world::Seat;
use crate::lab::synth::frame::ip_proto;
use crate::lab::synth::{Frame, Gre, Rng};

/// RFC 7348.
const VXLAN_PORT: u16 = 4_789;
/// RFC 8926.
const GENEVE_PORT: u16 = 6_081;
/// 3GPP TS 29.281.
const GTP_U_PORT: u16 = 2_152;
/// Of WireGuard's own examples; the protocol has none.
const WIREGUARD_PORT: u16 = 51_820;

/// Network or tunnel identifier; any will do.
const IDENTIFIER: u32 = 77;

/// WireGuard begins a new session after so long (`REKEY_AFTER_TIME` of Linux'
/// drivers/net/wireguard/messages.h).
const REKEY_NS: i64 = 120_000_000_000;

/// `PersistentKeepalive` for ends behind NAT, as wg(8) has it for most.
const KEEPALIVE_NS: i64 = 25_000_000_000;

/// From an initiation to its response: assumed.
const HANDSHAKE_NS: i64 = 30_000_000;

/// Sessions of one tunnel at most: two days of them.
const MOST_SESSIONS: i64 = 1_440;

/// Lengths of WireGuard's messages (`struct message_handshake_initiation`, `_response` of the
/// same file): initiation, response, and transport data that carries nothing.
const INITIATION_BYTES: usize = 148;
const RESPONSE_BYTES: usize = 92;
const KEEPALIVE_BYTES: usize = 32;

/// The header of transport data, and the tag behind what is padded to multiples of 16.
const TRANSPORT_HEADER_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const PADDED_TO_BYTES: usize = 16;

/// What the inner packets are put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelKind {
    /// No tunnel, to compare with.
    None,
    Gre,
    /// IP in IP: protocol 4 or, of inner IPv6, 41.
    IpInIp,
    Vxlan,
    Geneve,
    GtpU,
    /// Encrypted over UDP by the kernel: no process has its socket.
    Wireguard,
    /// The same by a program ([`TunnelPlan::by`]), as wireguard-go does it.
    WireguardProgram,
}

/// The tunnel of a behaviour, as the scenario has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunnelPlan {
    /// What it is.
    pub kind: TunnelKind,
    /// The host at its far end.
    pub to: String,
    /// The process that holds the socket of [`TunnelKind::WireguardProgram`].
    #[serde(default)]
    pub by: Option<String>,
}

/// A tunnel between two seats.
#[derive(Clone, Debug)]
pub struct Tunnel {
    kind: TunnelKind,
    near: End,
    far: End,
    /// Packets so far there and back: WireGuard counts them.
    sent: [u64; 2],
}

impl Tunnel {
    /// `by` is the seat of the process that may hold its socket.
    pub fn new(
        kind: TunnelKind,
        near: &Seat,
        by: Option<&Seat>,
        far: &Seat,
        rng: &mut Rng,
    ) -> Result<Self> {
        if near.address.is_ipv4() != far.address.is_ipv4() {
            bail!("tunnel: its ends are of two families, {} and {}", near.address, far.address);
        }
        let near = match (kind, by) {
            (TunnelKind::WireguardProgram, Some(by)) if by.address == near.address => *by,
            (TunnelKind::WireguardProgram, _) => {
                bail!("tunnel: wireguard_program needs a process (by) with the address of 'from'")
            }
            // The kernel's end belongs to no process.
            _ => Seat { process: None, ..*near },
        };
        let port = 32_768 + rng.below(28_000) as u16;
        let near = End { seat: near, port };
        Ok(Self { kind, near, far: End { seat: *far, port: WIREGUARD_PORT }, sent: [0; 2] })
    }

    /// Whether a conversation goes through it: from its near end.
    pub fn takes(&self, talk: &Talk) -> bool {
        talk.client.seat.address == self.near.seat.address
    }

    /// What it takes of the room of a packet.
    pub fn overhead_bytes(&self) -> u64 {
        let ip = if self.near.seat.address.is_ipv4() { 20 } else { 40 };
        let udp = 8;
        let ethernet = 14;
        ip + match self.kind {
            TunnelKind::None | TunnelKind::IpInIp => 0,
            TunnelKind::Gre => 4,
            TunnelKind::Vxlan | TunnelKind::Geneve => udp + 8 + ethernet,
            TunnelKind::GtpU => udp + 8,
            TunnelKind::Wireguard | TunnelKind::WireguardProgram => {
                // What is padded may end a block before the packet does.
                udp + (TRANSPORT_HEADER_BYTES + TAG_BYTES + PADDED_TO_BYTES) as u64
            }
        }
    }

    /// Puts the workshop's frame, an IP packet of `talk`, into the tunnel; the outer IP header
    /// is in front then. Gives the MAC addresses of the outer frame.
    pub fn wrap(
        &mut self,
        talk: (&Seat, &Seat),
        forward: bool,
        rng: &mut Rng,
        shop: &mut Workshop,
    ) -> ([u8; 6], [u8; 6]) {
        let (src, dst) = if forward { (&self.near, &self.far) } else { (&self.far, &self.near) };
        let bridged = |frame: &mut Frame| {
            frame.ethernet(talk.0.mac, talk.1.mac);
        };
        let frame = &mut shop.frame;
        match self.kind {
            TunnelKind::None | TunnelKind::IpInIp => {}
            TunnelKind::Gre => _ = frame.gre(Gre::default()),
            TunnelKind::Vxlan => {
                bridged(frame);
                frame.vxlan(IDENTIFIER).udp(self.near.port, VXLAN_PORT);
            }
            TunnelKind::Geneve => {
                bridged(frame);
                frame.geneve(IDENTIFIER, &[]).udp(self.near.port, GENEVE_PORT);
            }
            TunnelKind::GtpU => _ = frame.gtp_u(IDENTIFIER, None).udp(GTP_U_PORT, GTP_U_PORT),
            TunnelKind::Wireguard | TunnelKind::WireguardProgram => {
                let count = &mut self.sent[usize::from(!forward)];
                let padded = frame.bytes().len().next_multiple_of(PADDED_TO_BYTES);
                let payload = &mut shop.payload;
                payload.clear();
                payload.resize(TRANSPORT_HEADER_BYTES + padded + TAG_BYTES, 0);
                shop.pool.random(payload, rng);
                payload[..8].copy_from_slice(&[4, 0, 0, 0, 0x11, 0x22, 0x33, 0x44]);
                payload[8..TRANSPORT_HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
                *count += 1;
                frame.payload(payload).udp(src.port, dst.port);
            }
        }
        frame.ip(src.seat.address, dst.seat.address);
        (src.seat.mac, dst.seat.mac)
    }

    /// The conversation in which a WireGuard tunnel agrees on keys now and then, and tells that
    /// it is alive, until its end.
    pub fn sessions(&self, start_ns: i64, until_ns: i64, rng: &mut Rng) -> Option<Talk> {
        if !matches!(self.kind, TunnelKind::Wireguard | TunnelKind::WireguardProgram) {
            return None;
        }
        let all_ns = until_ns.saturating_sub(start_ns).clamp(0, MOST_SESSIONS * REKEY_NS);
        let mut message = |kind: u8, bytes: usize| {
            let mut message = vec![0; bytes];
            rng.fill(&mut message);
            message[..4].copy_from_slice(&[kind, 0, 0, 0]);
            if bytes != KEEPALIVE_BYTES {
                // Nobody is under load: the second MAC is not set.
                message[bytes - 16..].fill(0);
            }
            Said::Bytes(message)
        };
        let mut said = Vec::new();
        let mut at_ns = 0;
        while at_ns < all_ns {
            said.push((at_ns, true, message(1, INITIATION_BYTES)));
            said.push((at_ns + HANDSHAKE_NS, false, message(2, RESPONSE_BYTES)));
            let next_ns = (at_ns + REKEY_NS).min(all_ns);
            let mut alive_ns = at_ns + KEEPALIVE_NS;
            while alive_ns < next_ns {
                said.push((alive_ns, true, message(4, KEEPALIVE_BYTES)));
                alive_ns += KEEPALIVE_NS;
            }
            at_ns = next_ns;
        }
        // Until then the socket is there.
        said.push((all_ns, true, message(4, KEEPALIVE_BYTES)));
        let mut told_ns = 0;
        let turns = said.into_iter().map(|(at_ns, forward, said)| {
            let wait_ns = (at_ns - told_ns).max(0);
            told_ns = at_ns;
            Turn::new(forward, wait_ns, said)
        });
        let turns = turns.collect();
        let form = Form::Datagrams(Datagrams { turns, proto: ip_proto::UDP, turn: 0, sequence: 0 });
        Some(Talk { client: self.near, server: self.far, form, rng: rng.clone() })
    }
}
