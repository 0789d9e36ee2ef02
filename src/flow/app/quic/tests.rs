use proptest::prelude::*;

use super::super::tls::tests::{RFC_9001_HELLO, unhex};
use super::*;

/// The client's protected Initial datagrams of RFC 9001 and RFC 9369, both
/// appendix A.2.
const PUBLISHED: [(&str, u32); 2] = [
    (include_str!("../../../../tests/data/rfc9001_a2.hex"), 1),
    (include_str!("../../../../tests/data/rfc9369_a2.hex"), 0x6b33_43cf),
];

fn read(datagram: &[u8]) -> Option<QuicInfo> {
    let mut info = None;
    inspect(datagram, &mut info);
    info.and_then(|app| app.quic)
}

/// A protected Initial packet that holds `frames`: RFC 9001 section 5 forwards.
fn seal(version: &'static Version, number: u8, frames: &[u8]) -> Vec<u8> {
    let destination = [1, 2, 3, 4, 5, 6, 7, 8];
    let keys = Keys::of_client(version, &destination).expect("keys");
    let mut header = vec![0xc0 | version.initial_type << 4];
    header.extend_from_slice(&version.number.to_be_bytes());
    header.extend_from_slice(&[8]);
    header.extend_from_slice(&destination);
    header.extend_from_slice(&[0, 0]); // no source identifier, no token
    let length = 1 + frames.len() + TAG_BYTES;
    header.extend_from_slice(&(0x4000 | length as u16).to_be_bytes());
    let number_offset = header.len();
    header.push(number);
    let mut nonce = keys.iv;
    nonce[11] ^= number;
    let mut text = frames.to_vec();
    let tag = Aes128Gcm::new(&keys.key.into())
        .encrypt_inout_detached(&Nonce::from(nonce), &header, text.as_mut_slice().into())
        .expect("sealed");
    let mut packet = header;
    packet.extend_from_slice(&text);
    packet.extend_from_slice(&tag);
    let sample = packet[number_offset + 4..][..16].try_into().expect("sample");
    let mask = keys.mask(sample);
    packet[0] ^= mask[0] & 0x0f;
    packet[number_offset] ^= mask[1];
    packet
}

fn crypto_frame(offset: usize, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![6];
    frame.extend_from_slice(&(0x4000 | offset as u16).to_be_bytes());
    frame.extend_from_slice(&(0x4000 | data.len() as u16).to_be_bytes());
    frame.extend_from_slice(data);
    frame
}

/// RFC 9001 appendix A.1 and RFC 9369 appendix A.1.
#[test]
fn client_keys_are_the_published_ones() {
    let expected = [
        (
            "1f369613dd76d5467730efcbe3b1a22d",
            "fa044b2f42a3fd3b46fb255c",
            "9f50449e04a0e810283a1e9933adedd2",
        ),
        (
            "8b1a0bc121284290a29e0971b5cd045d",
            "91f73e2351d8fa91660e909f",
            "45b95e15235d6f45a6b19cbcb0294ba9",
        ),
    ];
    for (version, (key, iv, mask_key)) in VERSIONS.iter().zip(expected) {
        let keys = Keys::of_client(version, &unhex("8394c8f03e515708")).expect("keys");
        assert_eq!(keys.key.to_vec(), unhex(key));
        assert_eq!(keys.iv.to_vec(), unhex(iv));
        assert_eq!(keys.mask_key.to_vec(), unhex(mask_key));
    }
}

#[test]
fn the_published_datagrams_open_to_the_published_hello() {
    for (text, number) in PUBLISHED {
        let datagram = unhex(text);
        assert_eq!(crypto_stream(&datagram), unhex(RFC_9001_HELLO));
        let quic = read(&datagram).expect("hint");
        assert_eq!((quic.version, quic.sni.as_deref()), (number, Some("example.com")));
        assert_eq!(quic.alpn, ["alpn"]);
        assert!(quic.ja4.expect("whole hello").starts_with("q13d0211an_"));
    }
}

/// The server's Initial of RFC 9001 appendix A.3 has other keys.
#[test]
fn a_servers_initial_tells_its_version_alone() {
    let datagram = unhex(
        "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554\
         780bb38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b\
         562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee",
    );
    assert_eq!(read(&datagram), Some(QuicInfo { version: 1, ..QuicInfo::default() }));
}

#[test]
fn crypto_frames_are_joined_over_order_gaps_and_coalesced_packets() {
    let hello = unhex(RFC_9001_HELLO);
    let (head, tail) = hello.split_at(100);
    for version in &VERSIONS {
        let ack = [2, 0, 0, 0, 0];
        let shuffled =
            [&crypto_frame(100, tail)[..], &[0, 0, 1], &ack, &crypto_frame(0, head)].concat();
        assert_eq!(crypto_stream(&seal(version, 0, &shuffled)), hello);
        let overlapping = [crypto_frame(50, &hello[50..]), crypto_frame(0, &hello[..90])].concat();
        assert_eq!(crypto_stream(&seal(version, 0, &overlapping)), hello);
        let coalesced =
            [seal(version, 0, &crypto_frame(0, head)), seal(version, 1, &crypto_frame(100, tail))]
                .concat();
        assert_eq!(crypto_stream(&coalesced), hello);
        let gap = [crypto_frame(0, head), crypto_frame(101, &hello[101..])].concat();
        assert_eq!(crypto_stream(&seal(version, 0, &gap)), head);
    }
}

#[test]
fn a_hello_that_goes_on_in_the_next_datagram_still_gives_its_name() {
    let hello = unhex(RFC_9001_HELLO);
    let mut frames = crypto_frame(0, &hello[..90]);
    frames.resize(MIN_DATAGRAM_BYTES, 0);
    let quic = read(&seal(&VERSIONS[0], 0, &frames)).expect("hint");
    assert_eq!(quic.sni.as_deref(), Some("example.com"));
    assert_eq!((quic.ja4, quic.alpn.len()), (None, 0));
}

#[test]
fn a_cut_datagram_tells_its_version_at_most() {
    for (text, number) in PUBLISHED {
        let datagram = unhex(text);
        let version_alone = QuicInfo { version: number, ..QuicInfo::default() };
        for cut in 0..datagram.len() {
            let quic = read(&datagram[..cut]);
            assert!(quic.is_none() || quic.as_ref() == Some(&version_alone), "cut at {cut}");
        }
        assert_eq!(read(&datagram[..128]), Some(version_alone));
    }
}

proptest! {
    #[test]
    fn one_changed_byte_never_gives_another_name(position in 0..1200_usize, change in 1..=255_u8) {
        let mut datagram = unhex(PUBLISHED[0].0);
        datagram[position] ^= change;
        let name = read(&datagram).and_then(|quic| quic.sni);
        prop_assert!(name.is_none() || name.as_deref() == Some("example.com"));
    }

    #[test]
    fn frames_of_any_bytes_end(frames: Vec<u8>) {
        let mut pieces = Vec::new();
        collect_crypto(&frames, &mut pieces);
        let kept: usize = pieces.iter().map(|(_, piece)| piece.len()).sum();
        prop_assert!(kept <= frames.len());
    }

    #[test]
    fn any_frames_in_a_valid_packet_never_panic(frames in prop::collection::vec(any::<u8>(), 4..300)) {
        let sealed = seal(&VERSIONS[1], 3, &frames);
        prop_assert_eq!(Initial::parse(&sealed).and_then(|initial| initial.open()), Some(frames));
        let _ = ClientHello::parse(&crypto_stream(&sealed));
    }
}
