//! Cut and unpacked by several threads or read through by one: the same bytes,
//! the same errors.

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;

use super::split::{Cut, Splitter, Unit};
use super::{READ_BYTES, decoder, spawn};
use crate::input::sniff::Compression;

/// What a reader gave before it ended, and how it ended.
type Outcome = (Vec<u8>, Option<(io::ErrorKind, String)>);

fn read_out(mut read: impl Read) -> Outcome {
    let mut out = Vec::new();
    let error = read.read_to_end(&mut out).err().map(|e| (e.kind(), e.to_string()));
    (out, error)
}

fn by_threads(compression: Compression, packed: &[u8], threads: usize) -> Outcome {
    let packed = Box::new(Cursor::new(packed.to_vec()));
    read_out(spawn(compression, packed, threads).expect("a thread"))
}

fn straight(compression: Compression, packed: &[u8]) -> Outcome {
    let packed = io::BufReader::with_capacity(READ_BYTES, Cursor::new(packed.to_vec()));
    read_out(decoder(compression, packed, None).expect("a decoder"))
}

/// Bytes that shrink, but not to nothing.
fn content(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 0x3f
        })
        .collect()
}

fn zstd_frame(bytes: &[u8], checksum: bool, content_size: bool) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.include_checksum(checksum).expect("accepted");
    encoder.include_contentsize(content_size).expect("accepted");
    encoder.set_pledged_src_size(Some(bytes.len() as u64)).expect("accepted");
    encoder.write_all(bytes).expect("to memory");
    encoder.finish().expect("to memory")
}

fn skippable(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u32;
    [&0x184d_2a5e_u32.to_le_bytes()[..], &length.to_le_bytes(), bytes].concat()
}

fn gzip_member(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("to memory");
    encoder.finish().expect("to memory")
}

/// A member as bgzip writes it; at most 65,280 bytes go in.
fn bgzf_member(bytes: &[u8]) -> Vec<u8> {
    let plain = gzip_member(bytes);
    let mut member = plain[..10].to_vec();
    member[3] = 4;
    member.extend([6, 0, b'B', b'C', 2, 0, 0, 0]);
    member.extend(&plain[10..]);
    let length = u16::try_from(member.len() - 1).expect("short");
    member[16..18].copy_from_slice(&length.to_le_bytes());
    member
}

#[derive(Clone, Copy, Debug)]
enum Piece {
    Frame { length: usize, checksum: bool, content_size: bool },
    Skippable(usize),
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        4 => (0_usize..90_000, any::<bool>(), any::<bool>()).prop_map(
            |(length, checksum, content_size)| Piece::Frame { length, checksum, content_size }
        ),
        1 => (500_000_usize..1_500_000).prop_map(
            |length| Piece::Frame { length, checksum: true, content_size: false }
        ),
        1 => (0_usize..300_000).prop_map(Piece::Skippable),
    ]
}

/// The packed stream, and what is in it.
fn zstd_stream(pieces: &[Piece]) -> (Vec<u8>, Vec<u8>) {
    let source = content(1_500_000);
    let (mut packed, mut plain) = (Vec::new(), Vec::new());
    for piece in pieces {
        match *piece {
            Piece::Frame { length, checksum, content_size } => {
                packed.extend(zstd_frame(&source[..length], checksum, content_size));
                plain.extend(&source[..length]);
            }
            Piece::Skippable(length) => packed.extend(skippable(&source[..length])),
        }
    }
    (packed, plain)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn however_a_zstd_stream_is_split_into_frames_its_bytes_are_the_same(
        pieces in prop::collection::vec(piece(), 1..12),
        threads in 1_usize..5,
    ) {
        let (packed, plain) = zstd_stream(&pieces);
        let (out, error) = by_threads(Compression::Zstd, &packed, threads);
        prop_assert_eq!(error, None);
        prop_assert!(out == plain);
    }

    #[test]
    fn however_bgzf_is_split_into_members_its_bytes_are_the_same(
        lengths in prop::collection::vec(0_usize..65_280, 1..30),
        plain_member in any::<Option<prop::sample::Index>>(),
        threads in 1_usize..5,
    ) {
        let source = content(65_280);
        let mut members: Vec<Vec<u8>> = lengths.iter().map(|&n| bgzf_member(&source[..n])).collect();
        // One that does not say its length ends the cutting, not the reading.
        if let Some(index) = plain_member {
            let at = index.index(lengths.len());
            members[at] = gzip_member(&source[..lengths[at]]);
        }
        let plain: Vec<u8> = lengths.iter().flat_map(|&n| &source[..n]).copied().collect();
        let (out, error) = by_threads(Compression::Gzip, &members.concat(), threads);
        prop_assert_eq!(error, None);
        prop_assert!(out == plain);
    }

    #[test]
    fn damage_anywhere_is_told_alike_by_any_number_of_threads(
        pieces in prop::collection::vec(piece(), 1..6),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
        cut in any::<bool>(),
    ) {
        let (mut packed, plain) = zstd_stream(&pieces);
        let at = at.index(packed.len());
        if cut {
            packed.truncate(at);
        } else {
            packed[at] ^= flip;
        }
        let alone = by_threads(Compression::Zstd, &packed, 1);
        prop_assert!(by_threads(Compression::Zstd, &packed, 4) == alone);
        let (before, error) = straight(Compression::Zstd, &packed);
        prop_assert_eq!(&alone.1, &error);
        // Where a decoder stops in the bytes before damage depends on how it was
        // fed, so the two need not have the same number; neither invents any.
        let shared = before.len().min(alone.0.len());
        prop_assert!(alone.0[..shared] == before[..shared]);
        if error.is_none() {
            prop_assert!(alone.0 == before);
        } else if cut {
            prop_assert!(plain.starts_with(&alone.0));
        }
    }

    #[test]
    fn arbitrary_bytes_behind_a_frame_end_as_they_do_for_one_reader(
        tail: Vec<u8>,
        gzip: bool,
        threads in 1_usize..4,
    ) {
        let source = content(5_000);
        let (compression, mut packed) = if gzip {
            (Compression::Gzip, bgzf_member(&source))
        } else {
            (Compression::Zstd, zstd_frame(&source, true, true))
        };
        packed.extend(&tail);
        let found = by_threads(compression, &packed, threads);
        let (before, error) = straight(compression, &packed);
        prop_assert_eq!(found.1, error);
        prop_assert!(found.0.starts_with(&source) && before.starts_with(&source));
    }
}

/// As tapes and archives of fixed blocks pad a file; GNU gzip takes it for the end too.
#[test]
fn zeros_behind_the_last_member_are_its_end_and_between_two_damage() {
    for member in [gzip_member, bgzf_member] {
        let two = [member(b"one"), member(b"two")].concat();
        for zeros in [0, 1, 9, 10, 511, READ_BYTES + 3] {
            let padded = [two.clone(), vec![0; zeros]].concat();
            let expected = (b"onetwo".to_vec(), None);
            assert_eq!(straight(Compression::Gzip, &padded), expected, "{zeros}");
            assert_eq!(by_threads(Compression::Gzip, &padded, 3), expected, "{zeros}");
        }
        let between = [two, vec![0; 20], member(b"three")].concat();
        for (out, error) in
            [straight(Compression::Gzip, &between), by_threads(Compression::Gzip, &between, 3)]
        {
            assert_eq!(out, b"onetwo");
            assert!(error.is_some());
        }
    }
}

#[test]
fn a_bgzf_length_that_lies_is_never_passed_over_in_silence() {
    let source = content(60_000);
    let members = [bgzf_member(&source), bgzf_member(&source), bgzf_member(&[])].concat();
    let true_length = u16::from_le_bytes([members[16], members[17]]);
    for lie in [0, 17, 18, 100, true_length - 1, true_length + 1, true_length + 500, u16::MAX] {
        let mut packed = members.clone();
        packed[16..18].copy_from_slice(&lie.to_le_bytes());
        let (out, error) = by_threads(Compression::Gzip, &packed, 2);
        assert!(out == [&source[..], &source[..]].concat() || error.is_some(), "{lie}");
    }
}

#[test]
fn frames_too_long_to_be_held_go_through_and_cutting_resumes_behind_them() {
    // Not to be shrunk: 17 MiB packed are over what is held.
    let mut state = 7_u64;
    let long: Vec<u8> = (0..17 << 20)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    let short = content(400_000);
    let frames = [&short, &long, &short, &short];
    let packed: Vec<u8> = frames.iter().flat_map(|f| zstd_frame(f, true, true)).collect();
    let (out, error) = by_threads(Compression::Zstd, &packed, 3);
    assert_eq!(error, None);
    assert!(out == frames.map(Vec::as_slice).concat());

    let mut splitter = Splitter::new(Compression::Zstd, Box::new(Cursor::new(packed)));
    let mut unit = Unit::default();
    let mut cuts = Vec::new();
    loop {
        let cut = splitter.next_unit(&mut unit);
        if cut == Cut::Nothing {
            break;
        }
        if cut == Cut::Streamed {
            io::copy(&mut splitter.stream(&mut unit), &mut io::sink()).expect("from memory");
        }
        cuts.push(cut);
    }
    assert_eq!(cuts, [Cut::Whole, Cut::Streamed, Cut::Whole, Cut::Whole]);
}

#[test]
fn an_error_of_the_source_comes_after_the_bytes_before_it() {
    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("the disk is gone")),
                n => Ok(n),
            }
        }
    }
    let source = content(300_000);
    let packed: Vec<u8> = (0..4).flat_map(|_| zstd_frame(&source, true, true)).collect();
    for threads in [1, 3] {
        let failing = Box::new(Failing(Cursor::new(packed.clone())));
        let (out, error) = read_out(spawn(Compression::Zstd, failing, threads).expect("threads"));
        assert_eq!(out.len(), 4 * source.len());
        assert_eq!(error, Some((io::ErrorKind::Other, "the disk is gone".to_owned())));
    }
}

#[test]
fn a_reader_that_is_dropped_early_ends_its_threads() {
    let source = content(1_000_000);
    let packed: Vec<u8> = (0..40).flat_map(|_| zstd_frame(&source, true, true)).collect();
    let (alive, gone) = crossbeam_channel::bounded::<()>(0);
    struct Held(
        Cursor<Vec<u8>>,
        #[expect(dead_code, reason = "its drop is the news")] crossbeam_channel::Sender<()>,
    );
    impl Read for Held {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    let packed = Box::new(Held(Cursor::new(packed), alive));
    let mut unpacked = spawn(Compression::Zstd, packed, 3).expect("threads");
    unpacked.read_exact(&mut [0; 1_000]).expect("bytes");
    drop(unpacked);
    // The last thread lets go of what they read from.
    let news = gone.recv_timeout(std::time::Duration::from_secs(20));
    assert_eq!(news, Err(crossbeam_channel::RecvTimeoutError::Disconnected));
}

/// `content` through a tool of the system; `None` when it is not installed.
fn packed_by(tool: &str, arguments: &[&str], content: &[u8]) -> Option<Vec<u8>> {
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("content");
    std::fs::write(&path, content).expect("written");
    let mut command = Command::new(tool);
    command.args(arguments).arg(&path).stderr(Stdio::null());
    let Ok(output) = command.output() else {
        eprintln!("SKIPPED: {tool} is not installed, its files were not read");
        return None;
    };
    assert!(output.status.success(), "{tool} {arguments:?}");
    Some(output.stdout)
}

#[test]
fn what_the_usual_tools_pack_is_unpacked() {
    let content = content(6 << 20);
    let half = content.len() / 2;
    for (compression, tool, arguments) in [
        (Compression::Zstd, "zstd", &["-q", "-1", "-c"][..]),
        (Compression::Zstd, "zstd", &["-q", "-1", "-T2", "--no-check", "-c"]),
        (Compression::Zstd, "pzstd", &["-q", "-1", "-p2", "-c"]),
        (Compression::Gzip, "bgzip", &["-l1", "-c"]),
        (Compression::Gzip, "gzip", &["-1", "-c"]),
    ] {
        let Some(whole) = packed_by(tool, arguments, &content) else { continue };
        let (out, error) = by_threads(compression, &whole, 3);
        assert_eq!(error, None, "{tool} {arguments:?}");
        assert!(out == content, "{tool} {arguments:?}");
        let joined: Vec<u8> = [&content[..half], &content[half..]]
            .iter()
            .filter_map(|part| packed_by(tool, arguments, part))
            .flatten()
            .collect();
        assert!(by_threads(compression, &joined, 3) == (out, None), "{tool} {arguments:?} joined");
    }
}
