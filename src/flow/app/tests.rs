use proptest::prelude::*;

use super::tls::tests::{RFC_9001_HELLO, records, unhex};
use super::*;
use crate::packet::FlowKey;

fn payload(proto: u8, dst_port: u16, bytes: &[u8]) -> Payload<'_> {
    Payload { proto, src_port: 50_000, dst_port, from_originator: true, bytes }
}

fn read(payload: Payload<'_>) -> Option<Box<AppInfo>> {
    let mut info = None;
    inspect(payload, &mut info);
    info
}

/// Every text of a hint.
fn texts(info: &AppInfo) -> Vec<&str> {
    let mut texts: Vec<&str> = Vec::new();
    if let Some(dns) = &info.dns {
        texts.push(&dns.query);
    }
    if let Some(tls) = &info.tls {
        texts.extend(tls.sni.as_deref());
        texts.extend(tls.alpn.iter().map(String::as_str));
        texts.extend(tls.ja4.as_deref());
    }
    if let Some(quic) = &info.quic {
        texts.extend(quic.sni.as_deref());
        texts.extend(quic.alpn.iter().map(String::as_str));
        texts.extend(quic.ja4.as_deref());
    }
    if let Some(http) = &info.http {
        let fields = [&http.method, &http.host, &http.path, &http.user_agent];
        texts.extend(fields.into_iter().filter_map(|field| field.as_deref()));
    }
    if let Some(ssh) = &info.ssh {
        texts.extend([&ssh.client, &ssh.server].into_iter().filter_map(|line| line.as_deref()));
    }
    texts
}

#[test]
fn each_protocol_is_found_where_it_is_spoken() {
    let hello = records(&unhex(RFC_9001_HELLO), 16_384);
    let query = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x07example\0\0\x01\0\x01";
    let framed = [&[0, query.len() as u8][..], query].concat();
    let found = |proto, port, bytes| read(payload(proto, port, bytes)).expect("hint");
    assert!(found(TCP, 8443, &hello).tls.is_some());
    assert!(found(TCP, 8080, b"GET / HTTP/1.1\r\n\r\n").http.is_some());
    assert!(found(TCP, 2222, b"SSH-2.0-x\r\n").ssh.is_some());
    assert!(found(TCP, 53, &framed).dns.is_some());
    for port in [53, 5353, 5355] {
        assert!(found(UDP, port, query).dns.is_some());
    }
    let initial = unhex(include_str!("../../../tests/data/rfc9001_a2.hex"));
    assert!(found(UDP, 443, &initial).quic.is_some());
}

#[test]
fn a_message_on_the_wrong_transport_gives_nothing() {
    let query = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x07example\0\0\x01\0\x01";
    for (proto, port, bytes) in [
        (UDP, 443, &b"GET / HTTP/1.1\r\n\r\n"[..]),
        (UDP, 4000, query),
        (TCP, 4000, query),
        (132, 53, query),
        (TCP, 443, b""),
    ] {
        assert_eq!(read(payload(proto, port, bytes)), None, "{proto} {port}");
    }
}

/// First bytes that pass each parser's door, so that arbitrary bytes get in.
fn opening() -> impl Strategy<Value = (u8, u16, Vec<u8>)> {
    prop_oneof![
        Just((UDP, 53, Vec::new())),
        Just((TCP, 53, vec![0, 40])),
        Just((TCP, 443, vec![22, 3, 1, 0, 200, 1, 0, 0, 180, 3, 3])),
        Just((TCP, 443, vec![22, 3, 3, 0, 90, 2, 0, 0, 70, 3, 3])),
        Just((TCP, 80, b"GET /".to_vec())),
        Just((TCP, 80, b"HTTP/1.1 2".to_vec())),
        Just((TCP, 22, b"SSH-2.0-".to_vec())),
        Just((UDP, 443, vec![0xc3, 0, 0, 0, 1, 4])),
        Just((UDP, 443, vec![0xd3, 0x6b, 0x33, 0x43, 0xcf, 4])),
        (prop_oneof![Just(TCP), Just(UDP)], any::<u16>(), Just(Vec::new())),
    ]
}

proptest! {
    #[test]
    fn the_first_byte_turns_nothing_away_that_tells_names(
        proto in prop_oneof![Just(TCP), Just(UDP), Just(ICMP), any::<u8>()],
        ports in [0, 1].map(|_| prop_oneof![Just(53_u16), Just(5353), Just(5355), any::<u16>()]),
        first in prop_oneof![Just(b'S'), Just(b'G'), Just(22_u8), Just(0xc3), any::<u8>()],
        rest in prop_oneof![
            Just(b"SH-".to_vec()),
            Just(vec![0, 0, 0, 1]),
            prop::collection::vec(any::<u8>(), 0..8),
        ],
    ) {
        let key = FlowKey { proto, port_a: ports[0], port_b: ports[1], ..FlowKey::ZERO };
        let packet = PacketRow { key, ..PacketRow::NOTHING };
        let bytes = [&[first][..], &rest].concat();
        prop_assert!(may_begin(&packet, first) || !may_tell(&packet, &bytes));
    }

    #[test]
    fn any_bytes_give_bounded_printable_texts_or_nothing(
        (proto, port, mut bytes) in opening(),
        rest in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        bytes.extend_from_slice(&rest);
        let Some(info) = read(payload(proto, port, &bytes)) else { return Ok(()) };
        for text in texts(&info) {
            prop_assert!(text.len() <= MAX_TEXT_BYTES);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
        }
    }

    #[test]
    fn a_second_message_never_takes_back_what_the_first_told(
        (proto, port, mut bytes) in opening(),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let hello = records(&unhex(RFC_9001_HELLO), 16_384);
        let mut info = read(payload(TCP, 443, &hello));
        let sni = info.as_ref().and_then(|app| app.tls.clone()).and_then(|tls| tls.sni);
        bytes.extend_from_slice(&rest);
        inspect(Payload { from_originator: false, ..payload(proto, port, &bytes) }, &mut info);
        prop_assert_eq!(info.and_then(|app| app.tls).and_then(|tls| tls.sni), sni);
    }
}

/// Packets of a little-endian pcapng file, as the tests' captures have them.
fn pcapng_packets(file: &[u8]) -> Vec<Vec<u8>> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("word")) as usize;
    let (mut packets, mut at) = (Vec::new(), 0);
    while at + 12 <= file.len() {
        if word(at) == 6 {
            packets.push(file[at + 28..at + 28 + word(at + 20)].to_vec());
        }
        at += word(at + 4);
    }
    packets
}

/// Transport payload of an Ethernet frame without VLANs: protocol, ports, bytes.
fn transport(frame: &[u8]) -> Option<(u8, u16, u16, &[u8])> {
    let (proto, segment) = match *frame.get(12..14)? {
        [8, 0] => {
            let header = usize::from(frame[14] & 15) * 4;
            let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
            (frame[23], frame.get(14 + header..14 + total)?)
        }
        [0x86, 0xdd] => {
            let length = usize::from(u16::from_be_bytes([frame[18], frame[19]]));
            (frame[20], frame.get(54..54 + length)?)
        }
        _ => return None,
    };
    let header = match proto {
        TCP => usize::from(*segment.get(12)? >> 4) * 4,
        UDP => 8,
        _ => return None,
    };
    let port = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
    Some((proto, port(0), port(2), segment.get(header..)?))
}

/// Source port, server name and fingerprint of a client.
type Client<'a> = (u16, &'a str, &'a str);

/// Fingerprints that FoxIO's own implementation gives for its test captures
/// (rust/ja4/src/snapshots in github.com/FoxIO-LLC/ja4).
#[test]
fn fingerprints_of_real_clients_equal_the_reference_implementations() {
    let Some(corpus) = std::env::var_os("FLOWTAP_CORPUS") else {
        eprintln!("SKIPPED: FLOWTAP_CORPUS is not set, no real client was fingerprinted");
        return;
    };
    let windows = "t13d1516h2_8daaf6152771_e5627efa2ab1";
    let expected: [(&str, &[Client<'_>]); 2] = [
        (
            "ja4__browsers-x509__e05937.pcapng",
            &[
                (54524, "edge.microsoft.com", windows),
                (54525, "nym1-ib.adnxs.com", windows),
                (54603, "lptag.liveperson.net", windows),
            ],
        ),
        (
            "ja4__chrome-cloudflare-quic-with-secrets__b7c9de.pcapng",
            &[
                (57098, "cloudflare-quic.com", windows),
                (50280, "cloudflare-quic.com", "q13d0310h3_55b375c5d22e_cd85d2d88918"),
            ],
        ),
    ];
    for (name, clients) in expected {
        let path = std::path::Path::new(&corpus).join("captures").join(name);
        let file = std::fs::read(&path).expect("capture of the corpus");
        let mut found = Vec::new();
        for frame in pcapng_packets(&file) {
            let Some((proto, src_port, dst_port, bytes)) = transport(&frame) else { continue };
            let Some(info) =
                read(Payload { proto, src_port, dst_port, from_originator: true, bytes })
            else {
                continue;
            };
            let tls = info.tls.and_then(|tls| tls.sni.zip(tls.ja4));
            let quic = info.quic.and_then(|quic| quic.sni.zip(quic.ja4));
            found.extend(tls.or(quic).map(|(sni, ja4)| (src_port, sni, ja4)));
        }
        let found: Vec<_> = found.iter().map(|(port, sni, ja4)| (*port, &**sni, &**ja4)).collect();
        assert_eq!(found, clients, "{name}");
    }
}
