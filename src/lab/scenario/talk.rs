//! Conversations that make their packets one at a time, when they are due.
//!
//! TCP is whole: handshake, sequence numbers, an acknowledgement at least every second
//! segment, and both ends' FIN. One packet is under way at a time, so that memory per
//! conversation stays small and order is never in doubt. Start at [`Talk::step`].

use std::net::IpAddr;

use super::bytes::{Pool, Said};
use super::tls::SEGMENT_BYTES;
use super::tunnel::Tunnel;
use super::world::Seat;
use crate::lab::synth::frame::ip_proto;
use crate::lab::synth::{Frame, Rng, Tcp as Header};
use crate::packet::facts::tcp_flag::{ACK, FIN, PSH, SYN};

/// Maximum segment size 1,460 and window scale 7.
const SYN_OPTIONS: [u8; 8] = [2, 4, 5, 0xb4, 1, 3, 3, 7];

/// Kernel's time to answer a segment.
const TURN_AROUND_NS: i64 = 20_000;

/// From one segment to the next where no rate is stated: 1,500 bytes at 100 Mbit/s.
pub const USUAL_SEGMENT_GAP_NS: i64 = 120_000;

/// One side of a conversation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    pub seat: Seat,
    pub port: u16,
}

/// What one side says, after a while.
#[derive(Clone, Debug)]
pub struct Turn {
    pub forward: bool,
    pub wait_ns: i64,
    pub said: Said,
    /// Line of the access log once it is said, without its time.
    pub log: Option<Box<LogLine>>,
}

impl Turn {
    pub fn new(forward: bool, wait_ns: i64, said: Said) -> Self {
        Self { forward, wait_ns, said, log: None }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    pub client: IpAddr,
    pub request: String,
    pub status: u16,
    pub bytes: u64,
    pub agent: String,
    /// Name of the server that was asked.
    pub host: String,
    /// What the request took, with its head.
    pub request_bytes: u64,
}

#[derive(Clone, Debug)]
pub struct Talk {
    pub client: End,
    pub server: End,
    pub form: Form,
    pub rng: Rng,
}

#[derive(Clone, Debug)]
pub enum Form {
    Tcp(Tcp),
    Datagrams(Datagrams),
    Stream(Stream),
}

#[derive(Clone, Debug)]
pub struct Tcp {
    turns: Vec<Turn>,
    rtt_ns: i64,
    segment_gap_ns: i64,
    phase: Phase,
    turn: usize,
    offset: u64,
    unacknowledged: u8,
    /// Next of client and server.
    seq: [u32; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Syn,
    SynAck,
    Ack,
    Data,
    DataAck,
    Fin,
    FinBack,
    LastAck,
}

impl Tcp {
    pub fn new(turns: Vec<Turn>, rtt_ns: i64, segment_gap_ns: i64, rng: &mut Rng) -> Self {
        Self {
            turns,
            rtt_ns,
            segment_gap_ns: segment_gap_ns.max(1),
            phase: Phase::Syn,
            turn: 0,
            offset: 0,
            unacknowledged: 0,
            seq: [rng.next_u32(), rng.next_u32()],
        }
    }
}

/// Questions and answers, a packet each.
#[derive(Clone, Debug)]
pub struct Datagrams {
    pub turns: Vec<Turn>,
    pub proto: u8,
    pub turn: usize,
    /// Of ICMP echo.
    pub sequence: u16,
}

/// Packets at a rate until a time.
#[derive(Clone, Debug)]
pub struct Stream {
    pub proto: u8,
    pub until_ns: i64,
    pub gap_ns: f64,
    pub jitter_share: Option<f64>,
    pub payload_bytes: f64,
    pub payload_spread_share: f64,
    pub content: Content,
    pub answered_share: f64,
    pub rtt_ns: i64,
    /// From server to client.
    pub backward: bool,
    pub sequence: u64,
    /// When the next one is due, where an answer comes before.
    pub due_ns: Option<i64>,
    pub answer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Random,
    Zeros,
    Text,
    /// RTP's header, then noise.
    Media,
    /// WireGuard's transport data.
    WireGuard,
    Ping,
    Syslog,
}

/// What packets are made with; used again for each.
#[derive(Debug)]
pub struct Workshop {
    pub frame: Frame,
    pub payload: Vec<u8>,
    pub pool: Pool,
    /// Payload that a segment has room for.
    pub segment_bytes: u64,
}

impl Workshop {
    pub fn new(seed: u64) -> Self {
        Self {
            frame: Frame::default(),
            payload: Vec::new(),
            pool: Pool::new(seed),
            segment_bytes: SEGMENT_BYTES,
        }
    }
}

/// After a packet, which lies in the workshop's frame.
#[derive(Debug)]
pub struct Step {
    /// Nothing: it is over.
    pub next_ns: Option<i64>,
    pub forward: bool,
    pub log: Option<Box<LogLine>>,
}

impl Talk {
    /// Makes the packet that is due, within the tunnel where there is one.
    pub fn step(&mut self, now_ns: i64, shop: &mut Workshop, tunnel: Option<&mut Tunnel>) -> Step {
        let Self { client, server, form, rng } = self;
        let overhead_bytes = tunnel.as_ref().map_or(0, |it| it.overhead_bytes());
        shop.segment_bytes = SEGMENT_BYTES - overhead_bytes;
        let step = match form {
            Form::Tcp(tcp) => tcp.step(client, server, now_ns, rng, shop),
            Form::Datagrams(datagrams) => datagrams.step(client, server, now_ns, rng, shop),
            Form::Stream(stream) => stream.step(client, server, now_ns, rng, shop),
        };
        let (src, dst) =
            if step.forward { (&client.seat, &server.seat) } else { (&server.seat, &client.seat) };
        shop.frame.ip_id = shop.frame.ip_id.wrapping_add(1);
        shop.frame.ip(src.address, dst.address);
        let (from, to) = match tunnel {
            Some(tunnel) => tunnel.wrap((src, dst), step.forward, rng, shop),
            None => (src.mac, dst.mac),
        };
        shop.frame.ethernet(from, to);
        step
    }

    pub fn proto(&self) -> u8 {
        match &self.form {
            Form::Tcp(_) => ip_proto::TCP,
            Form::Datagrams(datagrams) => datagrams.proto,
            Form::Stream(stream) => stream.proto,
        }
    }
}

impl Tcp {
    fn step(
        &mut self,
        client: &End,
        server: &End,
        now_ns: i64,
        rng: &mut Rng,
        shop: &mut Workshop,
    ) -> Step {
        use Phase::{Ack, Data, DataAck, Fin, FinBack, LastAck, Syn, SynAck};
        let mut log = None;
        let mut payload_bytes = 0;
        let (forward, flags, next) = match self.phase {
            Syn => (true, SYN, Some((SynAck, self.rtt_ns))),
            SynAck => (false, SYN | ACK, Some((Ack, TURN_AROUND_NS))),
            Ack => (true, ACK, Some(self.begin_turn())),
            Data => {
                let turn = &self.turns[self.turn];
                let left = turn.said.length().saturating_sub(self.offset);
                payload_bytes = left.min(shop.segment_bytes) as usize;
                shop.payload.resize(payload_bytes, 0);
                turn.said.fill(self.offset, &mut shop.payload, &shop.pool, rng);
                let is_last = left <= shop.segment_bytes;
                let flags = if is_last { ACK | PSH } else { ACK };
                self.offset += payload_bytes as u64;
                self.unacknowledged += 1;
                let next = if is_last || self.unacknowledged >= 2 { DataAck } else { Data };
                (turn.forward, flags, Some((next, self.segment_gap_ns)))
            }
            DataAck => {
                let turn = &mut self.turns[self.turn];
                let forward = !turn.forward;
                self.unacknowledged = 0;
                let next = if self.offset < turn.said.length() {
                    (Data, self.segment_gap_ns)
                } else {
                    log = turn.log.take();
                    self.turn += 1;
                    self.offset = 0;
                    self.begin_turn()
                };
                (forward, ACK, Some(next))
            }
            Fin => (true, ACK | FIN, Some((FinBack, self.rtt_ns))),
            FinBack => (false, ACK | FIN, Some((LastAck, TURN_AROUND_NS))),
            LastAck => (true, ACK, None),
        };
        let (src, dst) = if forward { (client, server) } else { (server, client) };
        let (own, other) = if forward { (0, 1) } else { (1, 0) };
        let ack = if flags & ACK != 0 { self.seq[other] } else { 0 };
        let header = Header {
            seq: self.seq[own],
            ack,
            flags,
            options: if flags & SYN != 0 { &SYN_OPTIONS } else { &[] },
        };
        shop.frame.payload(&shop.payload[..payload_bytes]).tcp(src.port, dst.port, header);
        let counted = u32::from(flags & (SYN | FIN) != 0) + payload_bytes as u32;
        self.seq[own] = self.seq[own].wrapping_add(counted);
        if let Some((phase, _)) = next {
            self.phase = phase;
        }
        Step { next_ns: next.map(|(_, wait_ns)| now_ns.saturating_add(wait_ns)), forward, log }
    }

    fn begin_turn(&self) -> (Phase, i64) {
        match self.turns.get(self.turn) {
            Some(turn) if turn.said.length() > 0 => (Phase::Data, turn.wait_ns.max(TURN_AROUND_NS)),
            _ => (Phase::Fin, TURN_AROUND_NS),
        }
    }
}

impl Datagrams {
    fn step(
        &mut self,
        client: &End,
        server: &End,
        now_ns: i64,
        rng: &mut Rng,
        shop: &mut Workshop,
    ) -> Step {
        let Some(turn) = self.turns.get(self.turn) else {
            return Step { next_ns: None, forward: true, log: None };
        };
        shop.payload.resize(turn.said.length() as usize, 0);
        turn.said.fill(0, &mut shop.payload, &shop.pool, rng);
        let forward = turn.forward;
        if self.turn > 0 && forward {
            self.sequence = self.sequence.wrapping_add(1);
        }
        transport(self.proto, client, server, forward, self.sequence, shop);
        self.turn += 1;
        let next = self.turns.get(self.turn);
        Step { next_ns: next.map(|turn| now_ns.saturating_add(turn.wait_ns)), forward, log: None }
    }
}

impl Stream {
    fn step(
        &mut self,
        client: &End,
        server: &End,
        now_ns: i64,
        rng: &mut Rng,
        shop: &mut Workshop,
    ) -> Step {
        let forward = !self.backward;
        if let Some(due_ns) = self.due_ns.take() {
            shop.payload.clear();
            shop.payload.extend_from_slice(&self.answer);
            transport(self.proto, client, server, !forward, self.sequence as u16, shop);
            self.sequence += 1;
            return Step { next_ns: self.within(due_ns), forward: !forward, log: None };
        }
        self.fill(now_ns, rng, shop);
        transport(self.proto, client, server, forward, self.sequence as u16, shop);
        let gap = match self.jitter_share {
            Some(share) => super::draw::Draw::jittered(rng, self.gap_ns, share),
            None => super::draw::Draw::exponential(rng, self.gap_ns),
        };
        let due_ns = now_ns.saturating_add(gap as i64);
        if self.answered_share > 0.0 && rng.unit() < self.answered_share {
            self.answer.clone_from(&shop.payload);
            self.due_ns = Some(due_ns);
            let back_ns = self.rtt_ns.min((due_ns - now_ns) / 2);
            return Step { next_ns: Some(now_ns + back_ns), forward, log: None };
        }
        self.sequence += 1;
        Step { next_ns: self.within(due_ns), forward, log: None }
    }

    fn within(&self, ns: i64) -> Option<i64> {
        (ns < self.until_ns).then_some(ns)
    }

    fn fill(&self, now_ns: i64, rng: &mut Rng, shop: &mut Workshop) {
        let spread = self.payload_spread_share;
        let bytes = match spread > 0.0 {
            true => super::draw::Draw::jittered(rng, self.payload_bytes, spread),
            false => self.payload_bytes,
        };
        let most = 1_472 - (SEGMENT_BYTES - shop.segment_bytes) as usize;
        let bytes = (bytes.max(0.0) as usize).min(most);
        let Workshop { payload, pool, .. } = shop;
        payload.clear();
        payload.resize(bytes, 0);
        match self.content {
            Content::Zeros => {}
            Content::Text => pool.text(payload, rng),
            Content::Random => pool.random(payload, rng),
            Content::Ping => payload.copy_from_slice(&super::bytes::ping_data(now_ns, bytes)),
            Content::Media => {
                pool.random(payload, rng);
                let [s0, s1] = (self.sequence as u16).to_be_bytes();
                let [t0, t1, t2, t3] = ((now_ns / 20_833) as u32).to_be_bytes();
                let header = [0x80, 96, s0, s1, t0, t1, t2, t3, 0x1a, 0x2b, 0x3c, 0x4d];
                put(payload, &header);
            }
            Content::WireGuard => {
                // Type, receiver, counter; then 16 bytes of tag behind multiples of 16.
                payload.resize((bytes / 16 * 16).max(32), 0);
                pool.random(payload, rng);
                let mut header = [4, 0, 0, 0, 0x11, 0x22, 0x33, 0x44, 0, 0, 0, 0, 0, 0, 0, 0];
                header[8..].copy_from_slice(&self.sequence.to_le_bytes());
                put(payload, &header);
            }
            Content::Syslog => {
                pool.text(payload, rng);
                payload.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
                put(payload, b"<134>1 - node app - - - ");
            }
        }
    }
}

fn put(payload: &mut [u8], header: &[u8]) {
    for (to, from) in payload.iter_mut().zip(header) {
        *to = *from;
    }
}

/// The workshop's payload in UDP, or in an echo whose identifier is the client's port.
fn transport(
    proto: u8,
    client: &End,
    server: &End,
    forward: bool,
    sequence: u16,
    shop: &mut Workshop,
) {
    let frame = shop.frame.payload(&shop.payload);
    let ([a, b], [c, d]) = (client.port.to_be_bytes(), sequence.to_be_bytes());
    match proto {
        ip_proto::ICMP => frame.icmp(if forward { 8 } else { 0 }, 0, [a, b, c, d]),
        ip_proto::ICMPV6 => frame.icmpv6(if forward { 128 } else { 129 }, 0, [a, b, c, d]),
        _ if forward => frame.udp(client.port, server.port),
        _ => frame.udp(server.port, client.port),
    };
}

/// Echo's protocol number by the address.
pub fn echo_proto(address: IpAddr) -> u8 {
    if address.is_ipv4() { ip_proto::ICMP } else { ip_proto::ICMPV6 }
}
