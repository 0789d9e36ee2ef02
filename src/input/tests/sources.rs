//! Files, folders, pipes and compression: the same bytes, the same frames.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::writer::{Packet, Pcap, Pcapng};
use super::{Everything, read_all, read_bytes};
use crate::input::{Input, InputErrorKind, InputOptions, Mapping, Progress};

fn capture(packets: u64) -> Vec<u8> {
    let list: Vec<Packet> = (0..packets)
        .map(|i| Packet {
            micros: 1_700_000_000_000_000 + i * 137,
            data: (0..i % 97).map(|b| (b * i) as u8).collect(),
            wire_bytes: 100,
        })
        .collect();
    Pcap::PLAIN.write(&list)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("to memory");
    encoder.finish().expect("to memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("to memory")
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).expect("to memory");
    encoder.finish().expect("to memory")
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).expect("to memory");
    encoder.finish().expect("to memory")
}

type Pack = fn(&[u8]) -> Vec<u8>;
const PACKERS: [(&str, Pack); 4] = [("gzip", gzip), ("zstd", zstd), ("xz", xz), ("lz4", lz4)];

fn open(paths: &[&Path], mapping: Mapping) -> Everything {
    let paths: Vec<PathBuf> = paths.iter().map(|p| p.to_path_buf()).collect();
    let options = InputOptions { mapping, ..InputOptions::default() };
    read_all(Input::open(&paths, options).expect("a path was named"))
}

#[test]
fn mapped_read_piped_and_from_memory_are_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in
        [("a.pcap", capture(40_000)), ("b.pcapng", Pcapng::write(false, &[Packet::at(7)]))]
    {
        let path = folder.path().join(name);
        fs::write(&path, &bytes).expect("written");
        let memory = read_bytes(&bytes);
        for mapping in [Mapping::Always, Mapping::Never, Mapping::Auto] {
            let file = open(&[&path], mapping);
            assert_eq!(file.frames, memory.frames, "{name} {mapping:?}");
            assert_eq!(file.counters, memory.counters);
            assert_eq!(file.reports[0].format, memory.reports[0].format);
        }
    }
}

#[test]
fn threads_that_read_ahead_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.pcap");
    let long = Packet { data: vec![9; 300_000], ..Packet::at(1_700_000_100_000_000) };
    let mut bytes = capture(40_000);
    bytes.extend(&Pcap::PLAIN.write(&[long])[24..]);
    bytes.extend(&capture(10_000)[24..]);
    let expected = read_bytes(&bytes);
    assert_eq!(expected.frames.len(), 50_001);
    // Cut in the middle of a record, and whole.
    for cut in [0, 5] {
        fs::write(&path, &bytes[..bytes.len() - cut]).expect("written");
        for block_frames in [50, 8_192] {
            let options = InputOptions { block_bytes: 70_000, block_frames, ..Default::default() };
            let input = Input::open(std::slice::from_ref(&path), options).expect("named");
            let ahead = input.read_ahead().expect("a plain file");
            let found = std::thread::scope(|scope| {
                for _ in 0..2 {
                    let ahead = Arc::clone(&ahead);
                    scope.spawn(move || {
                        for _ in 0..1_000 {
                            ahead.fill(Vec::new(), 4);
                            std::thread::yield_now();
                        }
                    });
                }
                read_all(input)
            });
            let whole = expected.frames.len() - usize::from(cut > 0);
            assert_eq!(found.frames, expected.frames[..whole]);
            assert_eq!(found.counters.truncated_records, u64::from(cut > 0));
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_is_read_as_a_stream() {
    let bytes = capture(5_000);
    let (read, mut write) = std::io::pipe().expect("a pipe");
    let expected = read_bytes(&bytes);
    let writer = std::thread::spawn(move || write.write_all(&bytes));
    let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&read)));
    let found = open(&[&path], Mapping::Auto);
    writer.join().expect("joined").expect("written");
    assert_eq!(found.frames, expected.frames);
}

#[test]
fn every_compression_gives_the_same_frames() {
    let bytes = capture(60_000);
    let plain = read_bytes(&bytes);
    let cut = bytes.len() / 3;
    for (name, pack) in PACKERS {
        let packed = pack(&bytes);
        // Members, frames and streams one after the other are one file.
        let joined = [pack(&bytes[..cut]), pack(&bytes[cut..])].concat();
        for file in [packed, joined] {
            let found = read_bytes(&file);
            assert_eq!(found.reports[0].error, None, "{name}");
            assert_eq!(found.reports[0].warnings, Vec::<String>::new(), "{name}");
            assert_eq!(found.reports[0].format, format!("pcap, {name}"));
            assert!(found.frames == plain.frames, "{name}");
            assert_eq!(found.counters, plain.counters);
        }
    }
}

#[test]
fn skippable_frames_are_skipped() {
    let bytes = capture(100);
    let mut skippable = 0x184d_2a53_u32.to_le_bytes().to_vec();
    skippable.extend(9_u32.to_le_bytes());
    skippable.extend([7; 9]);
    for file in [
        [skippable.clone(), zstd(&bytes), skippable.clone()].concat(),
        [lz4(&bytes[..500]), skippable.clone(), lz4(&bytes[500..]), skippable].concat(),
    ] {
        let found = read_bytes(&file);
        assert_eq!(found.frames.len(), 100);
        assert_eq!(found.reports[0].warnings, Vec::<String>::new());
    }
}

#[test]
fn a_compressed_capture_cut_anywhere_gives_what_came_out_and_a_warning() {
    let bytes = capture(300);
    let whole = read_bytes(&bytes);
    for (name, pack) in PACKERS {
        let packed = pack(&bytes);
        for length in (20..packed.len()).step_by(61) {
            let found = read_bytes(&packed[..length]);
            assert_eq!(found.frames[..], whole.frames[..found.frames.len()], "{name} {length}");
            let report = &found.reports[0];
            assert!(
                !report.warnings.is_empty() || report.error.is_some(),
                "{name} cut at {length} of {} went unnoticed",
                packed.len()
            );
        }
    }
}

#[test]
fn damage_inside_a_compressed_capture_never_panics() {
    let bytes = capture(200);
    for (_, pack) in PACKERS {
        let packed = pack(&bytes);
        for at in (0..packed.len()).step_by(17) {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x5a;
            let _ = read_bytes(&damaged);
        }
    }
}

#[test]
fn a_zstd_window_over_the_limit_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(28).expect("accepted");
    encoder.write_all(&capture(10)).expect("to memory");
    let found = read_bytes(&encoder.finish().expect("to memory"));
    assert_eq!(found.frames.len(), 0);
    let error = found.reports[0].error.as_ref().expect("an error").to_string();
    assert!(error.contains("--long=31"), "{error}");
}

#[test]
fn compression_in_compression_is_refused_by_name() {
    let found = read_bytes(&gzip(&zstd(&capture(10))));
    let error = found.reports[0].error.as_ref().expect("an error").to_string();
    assert!(error.contains("zstd data inside gzip"), "{error}");
}

#[test]
fn what_is_no_capture_is_named_and_the_others_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = folder.path().join("good");
    let zip = folder.path().join("zip");
    let missing = folder.path().join("missing");
    fs::write(&good, capture(10)).expect("written");
    fs::write(&zip, b"PK\x03\x04 and so on").expect("written");
    for paths in [[&zip, &good, &missing], [&good, &missing, &zip]] {
        let found = open(&paths.map(PathBuf::as_path), Mapping::Auto);
        assert_eq!(found.frames.len(), 10);
        assert_eq!(found.reports.len(), 3);
        for (report, path) in found.reports.iter().zip(paths) {
            assert_eq!(report.path, path.display().to_string());
            let error = report.error.as_ref().map(ToString::to_string).unwrap_or_default();
            if path == &zip {
                assert!(error.contains("a ZIP archive"), "{error}");
            } else if path == &missing {
                assert!(error.contains("cannot be opened"), "{error}");
            } else {
                assert_eq!(error, "");
            }
        }
    }
}

#[test]
fn a_folder_is_its_captures() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, at) in [("b.pcap", 2), ("a.pcap", 1), ("c.pcap.gz", 3)] {
        let bytes = Pcap::PLAIN.write(&[Packet::at(at)]);
        let bytes = if name.ends_with(".gz") { gzip(&bytes) } else { bytes };
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    fs::write(folder.path().join("notes.txt"), "not a capture").expect("written");
    fs::write(folder.path().join("z.pcap"), &capture(0)[..20]).expect("written");
    fs::create_dir(folder.path().join("deeper")).expect("made");
    fs::write(folder.path().join("deeper/d.pcap"), capture(9)).expect("written");
    let found = open(&[folder.path()], Mapping::Auto);
    assert_eq!(found.frames.len(), 3);
    assert_eq!(found.reports.len(), 5);
    assert!(found.reports[..3].iter().all(|report| report.error.is_none()));
    // A capture cut off in its header is one all the same, a text is none.
    let header = found.reports[3].error.as_ref().map(|e| &e.kind);
    assert!(matches!(header, Some(InputErrorKind::Header { .. })), "{header:?}");
    assert!(found.reports[4].warnings[0].contains("text"), "{:?}", found.reports[4]);
    assert_eq!(found.reports[4].error, None);

    let empty = tempfile::tempdir().expect("a folder");
    let found = open(&[empty.path()], Mapping::Auto);
    let kind = found.reports[0].error.as_ref().map(|e| &e.kind);
    assert_eq!(kind, Some(&InputErrorKind::EmptyFolder));
}

#[test]
fn nothing_named_is_an_error() {
    let none = Input::open(&[], InputOptions::default()).err().map(|e| e.kind);
    assert_eq!(none, Some(InputErrorKind::NothingNamed));
}

#[test]
fn a_ring_of_hundreds_of_files_is_one_stream() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut paths = Vec::new();
    let mut whole = Vec::new();
    for file in 0..300_u64 {
        let list: Vec<Packet> =
            (0..10).map(|i| Packet::at(1_700_000_000_000_000 + file * 10_000 + i * 900)).collect();
        let path = folder.path().join(format!("ring_{file:05}"));
        let bytes = Pcap::PLAIN.write(&list);
        fs::write(&path, if file % 3 == 0 { zstd(&bytes) } else { bytes }).expect("written");
        whole.extend(list);
        paths.push(path);
    }
    let expected = read_bytes(&Pcap::PLAIN.write(&whole));
    paths.reverse();
    let found = read_all(Input::open(&paths, InputOptions::default()).expect("named"));
    assert_eq!(found.frames, expected.frames);
    assert_eq!(found.interfaces.len(), 1);
}

#[test]
fn too_many_overlapping_streams_are_refused_one_by_one() {
    let packed: Vec<Vec<u8>> = (0..70)
        .map(|i| gzip(&Pcap::PLAIN.write(&[Packet::at(i), Packet::at(1_000_000 + i)])))
        .collect();
    let found = read_all(Input::from_bytes(packed, InputOptions::default()));
    let refused = found.reports.iter().filter(|report| report.error.is_some()).count();
    assert_eq!(refused, 6);
    assert_eq!(found.frames.len(), 2 * 64);
}

#[test]
fn progress_ends_at_the_total() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.pcap");
    for bytes in [capture(40_000), gzip(&capture(40_000))] {
        fs::write(&path, &bytes).expect("written");
        for mapping in [Mapping::Always, Mapping::Never] {
            let progress = Arc::new(Progress::default());
            let options = InputOptions {
                mapping,
                progress: Some(Arc::clone(&progress)),
                ..InputOptions::default()
            };
            read_all(Input::open(std::slice::from_ref(&path), options).expect("named"));
            assert_eq!(progress.total_bytes(), Some(bytes.len() as u64));
            assert_eq!(progress.read_bytes(), bytes.len() as u64);
        }
    }
}

#[test]
fn an_input_can_move_to_another_thread() {
    let mut input = Input::from_bytes(vec![gzip(&capture(10))], InputOptions::default());
    let frames = std::thread::spawn(move || input.next_block().map(|block| block.frames.len()));
    assert_eq!(frames.join().expect("joined"), Some(10));
}
