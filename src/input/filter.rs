//! `--filter`: a BPF expression on any link type, on whole and on cut packets.
//!
//! libpcap compiles the expression once for each link type that appears;
//! [`Filter::matches`] runs the program with the length on the wire, so that
//! `greater 1000` means the same for a packet cut to 96 bytes. Sharing one
//! `Filter` between threads costs an atomic load a packet, never a lock.

use std::sync::{Mutex, OnceLock, PoisonError};

use pcap::{Capture, Linktype};
use thiserror::Error;

use super::bpf::{self, Instruction};
use crate::packet::LinkType;

type Program = Box<[Instruction]>;

/// Link types with a place for their program. The highest number assigned so
/// far is 302; libpcap compiles for none beyond.
const LINK_TYPES: usize = 512;

/// Link types an expression is tried on. Ethernet first: its message is the
/// one to show. Some expressions only make sense on another one
/// (`type mgt` on 802.11).
const TRIED: [LinkType; 6] =
    [LinkType(1), LinkType(101), LinkType(113), LinkType(105), LinkType(9), LinkType(123)];

/// pcap_compile was not safe to run on two threads at once before libpcap 1.8.
static COMPILER: Mutex<()> = Mutex::new(());

/// An expression that libpcap refuses on every link type tried.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("filter \"{expression}\": {reason}")]
pub struct FilterError {
    pub expression: String,
    /// libpcap's words.
    pub reason: String,
}

/// A compiled filter expression.
#[derive(Debug)]
pub struct Filter {
    expression: String,
    /// By link type; `None` inside where libpcap can't compile for it.
    programs: Box<[OnceLock<Option<Program>>]>,
    unsupported: Mutex<Vec<(LinkType, String)>>,
}

impl Filter {
    /// Checks the expression. The empty one accepts everything. Host names in
    /// it are looked up by libpcap, once for each link type.
    pub fn compile(expression: &str) -> Result<Self, FilterError> {
        let filter = Self {
            expression: expression.to_owned(),
            programs: (0..LINK_TYPES).map(|_| OnceLock::new()).collect(),
            unsupported: Mutex::new(Vec::new()),
        };
        let mut first_reason = None;
        for link in TRIED {
            match compile(expression, link) {
                Ok(program) => {
                    if let Some(slot) = filter.programs.get(usize::from(link.0)) {
                        // The slot is fresh: nobody else has the filter yet.
                        let _ = slot.set(Some(program));
                    }
                    return Ok(filter);
                }
                Err(reason) => first_reason = first_reason.or(Some(reason)),
            }
        }
        let reason = first_reason.unwrap_or_default();
        Err(FilterError { expression: expression.to_owned(), reason })
    }

    /// True when the filter accepts a frame of `wire_bytes` of which `data` was
    /// captured. A link type that libpcap can't compile for matches nothing.
    #[inline]
    pub fn matches(&self, link: LinkType, data: &[u8], wire_bytes: u32) -> bool {
        self.program(link).is_some_and(|program| bpf::accepts(program, data, wire_bytes))
    }

    /// The program for a link type, if there can be one.
    #[inline]
    pub(super) fn program(&self, link: LinkType) -> Option<&[Instruction]> {
        let slot = self.programs.get(usize::from(link.0))?;
        let program = match slot.get() {
            Some(program) => program,
            None => slot.get_or_init(|| self.compile_for(link)),
        };
        program.as_deref()
    }

    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Link types met so far that the expression could not be compiled for,
    /// with libpcap's reason, by number.
    pub fn unsupported(&self) -> Vec<(LinkType, String)> {
        let mut list = self.unsupported.lock().unwrap_or_else(PoisonError::into_inner).clone();
        list.sort();
        list
    }

    #[cold]
    fn compile_for(&self, link: LinkType) -> Option<Program> {
        compile(&self.expression, link)
            .map_err(|reason| {
                let mut list = self.unsupported.lock().unwrap_or_else(PoisonError::into_inner);
                list.push((link, reason));
            })
            .ok()
    }
}

fn compile(expression: &str, link: LinkType) -> Result<Program, String> {
    let _one_at_a_time = COMPILER.lock().unwrap_or_else(PoisonError::into_inner);
    let capture = Capture::dead(Linktype(dlt(link))).map_err(|e| e.to_string())?;
    let program = capture.compile(expression, true).map_err(|e| match e {
        pcap::Error::PcapError(reason) => reason,
        other => other.to_string(),
    })?;
    program
        .get_instructions()
        .iter()
        .map(|instruction| {
            // The binding shows an instruction's fields only as text.
            let text = instruction.to_string();
            parse(&text).ok_or_else(|| format!("an instruction was not understood: {text}"))
        })
        .collect()
}

fn parse(text: &str) -> Option<Instruction> {
    let mut fields = text.split(' ');
    Some(Instruction {
        code: fields.next()?.parse().ok()?,
        jt: fields.next()?.parse().ok()?,
        jf: fields.next()?.parse().ok()?,
        k: fields.next()?.parse().ok()?,
    })
}

/// The number that libpcap's compiler uses (DLT_) where files use another
/// (LINKTYPE_): those whose DLT_ numbers differ between systems.
fn dlt(link: LinkType) -> i32 {
    match link.0 {
        // Raw IP: 12 on most systems, 14 on OpenBSD, 101 in files.
        12 | 14 | 101 => 12,
        // LLC-encapsulated ATM.
        100 => 11,
        102 => 15,
        103 => 16,
        other => i32::from(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPRESSIONS: &[&str] = &[
        "",
        "ip",
        "tcp or udp port 53",
        "ip6 and not icmp6",
        "greater 60",
        "less 100 and arp",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
        "ip[2:2] * 3 - 7 > len / 2",
        "ether[0] & 1 = 0 and ip[16] >= 224",
        "vlan 100 and udp",
        "mpls and host 10.0.0.1",
        "net 10.0.0.0/8 or ip6 net fe80::/10",
        "portrange 1000-2000",
        "ip[ip[0] & 0xf] << 2 = 4",
        "udp[8:4] % 5 = 2",
        "-ip[8] & 0xff > 100",
        "udp[8] & 1 = 0",
        "tcp[4] | icmp[4] > 90",
        "ip[4] | ip[5] > 90",
        "portrange 1000-40000",
        "ip[8] + ip[10] < 200",
        "ip[12] ^ ip[13] & 1 = 0",
        "ip[8] >> 3 < 16 and ip[1] << 1 > 100",
        "ip[10:2] / 3 > ip[4:2]",
        "ip protochain 6",
        "ip6 protochain 17",
        "ether host 02:00:00:00:00:01",
    ];

    /// Frames near enough to real ones that programs get past their first jump.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let ether_type = prop_oneof![
            6 => Just([0x08, 0x00]),
            3 => Just([0x86, 0xdd]),
            1 => prop::sample::select(vec![[0x81, 0x00], [0x88, 0x47], [0x08, 0x06]]),
        ];
        let first = prop::sample::select(vec![0x45_u8, 0x45, 0x46, 0x60, 0x60, 0x00]);
        let proto = prop::sample::select(vec![6_u8, 17, 1, 58, 0, 51, 60]);
        let body = prop::collection::vec(any::<u8>(), 0..120);
        (ether_type, first, proto, any::<bool>(), body).prop_map(
            |(ether_type, first, proto, fragment, body)| {
                let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
                frame.extend(ether_type);
                let start = frame.len();
                frame.extend(body);
                let next_header = if first == 0x60 { proto } else { 0 };
                let fixed = [(0, first), (9, proto), (6, next_header), (7, 0)];
                for (at, value) in fixed.into_iter().take(if fragment { 2 } else { 4 }) {
                    if let Some(byte) = frame.get_mut(start + at) {
                        *byte = value;
                    }
                }
                frame
            },
        )
    }

    proptest! {
        #[test]
        fn whole_packets_are_judged_as_libpcap_judges_them(
            frames in prop::collection::vec(frame(), 64),
            which in any::<prop::sample::Index>(),
            link in prop_oneof![
                3 => Just(1_u16),
                1 => prop::sample::select(vec![101_u16, 113, 0, 105, 127, 276]),
            ],
        ) {
            let expression = *which.get(EXPRESSIONS);
            let link = LinkType(link);
            let filter = Filter::compile(expression).expect("a good expression");
            let capture = Capture::dead(Linktype(dlt(link))).expect("a handle");
            let Ok(oracle) = capture.compile(expression, true) else {
                prop_assert!(!filter.matches(link, &frames[0], 60));
                prop_assert_eq!(filter.unsupported().len(), 1);
                return Ok(());
            };
            for frame in &frames {
                let length = frame.len() as u32;
                prop_assert_eq!(
                    filter.matches(link, frame, length),
                    oracle.filter(frame),
                    "{} on {:?}: {:02x?}", expression, link, frame
                );
            }
        }
    }

    #[test]
    fn the_length_of_a_cut_packet_is_its_length_on_the_wire() {
        let filter = Filter::compile("greater 1000").expect("a good expression");
        assert!(filter.matches(LinkType::ETHERNET, &[0; 96], 1_500));
        assert!(!filter.matches(LinkType::ETHERNET, &[0; 96], 999));
    }

    #[test]
    fn a_load_beyond_what_was_captured_rejects() {
        let filter = Filter::compile("not udp[1000] = 7").expect("a good expression");
        let mut udp = vec![0; 60];
        udp[12..14].copy_from_slice(&[8, 0]);
        udp[14] = 0x45;
        udp[23] = 17;
        assert!(!filter.matches(LinkType::ETHERNET, &udp, 1_500));
        udp.resize(1_500, 0);
        assert!(filter.matches(LinkType::ETHERNET, &udp, 1_500));
    }

    #[test]
    fn a_bad_expression_is_told_with_the_words_of_libpcap() {
        let error = Filter::compile("port http or").expect_err("not an expression");
        assert_eq!(error.expression, "port http or");
        assert!(error.to_string().contains("syntax error"), "{error}");
        assert!(Filter::compile("host 1.2.3.4\0").is_err());
    }

    #[test]
    fn an_expression_for_another_link_type_compiles_and_matches_nothing_here() {
        let filter = Filter::compile("type mgt").expect("good on 802.11");
        assert!(!filter.matches(LinkType::ETHERNET, &[0; 60], 60));
        assert!(!filter.matches(LinkType::ETHERNET, &[0; 60], 60));
        assert!(!filter.matches(LinkType(60_000), &[0; 60], 60));
        assert!(filter.matches(LinkType(105), &[0; 60], 60));
        let unsupported: Vec<LinkType> =
            filter.unsupported().into_iter().map(|(link, _)| link).collect();
        assert_eq!(unsupported, [LinkType::ETHERNET]);
    }
}
