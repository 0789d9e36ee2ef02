//! Generated captures, as tshark sees them.

use std::path::Path;
use std::process::Command;

use clap::Parser;
use flowtap::lab::synth::{SynthArgs, run};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    synth: SynthArgs,
}

fn synth(arguments: &[&str], output: &Path) -> flowtap::lab::synth::Written {
    let output = ["-o", output.to_str().unwrap()];
    let all = ["synth"].iter().chain(arguments).chain(&output);
    run(&Arguments::parse_from(all).synth).unwrap()
}

/// Any checksum that tshark can verify and that is wrong.
const WRONG_CHECKSUM: &str = "ip.checksum.status == 0 || tcp.checksum.status == 0 \
    || udp.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0 \
    || sctp.checksum.status == 0 || igmp.checksum.status == 0 || gre.checksum.status == 0";

/// Number and protocols of the frames that a tshark filter finds; `None` when
/// there is no tshark.
fn frames_found(capture: &Path, filter: &str) -> Option<Vec<String>> {
    const CHECKED: [&str; 6] = [
        "ip.check_checksum:TRUE",
        "tcp.check_checksum:TRUE",
        "udp.check_checksum:TRUE",
        "udplite.check_checksum:TRUE",
        "udplite.ignore_checksum_coverage:FALSE",
        "sctp.checksum:crc32c",
    ];
    let mut tshark = Command::new("tshark");
    tshark.arg("-n").arg("-r").arg(capture).args(["-Y", filter]);
    CHECKED.iter().for_each(|preference| {
        tshark.args(["-o", preference]);
    });
    tshark.args(["-T", "fields", "-e", "frame.number", "-e", "frame.protocols"]);
    let Ok(output) = tshark.output() else {
        eprintln!("SKIPPED: tshark is not installed, generated frames were not checked");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// All shapes in one run: starting tshark takes longer than reading them.
#[test]
fn tshark_finds_no_damage_in_any_shape() {
    let folder = tempfile::tempdir().unwrap();
    let written = synth(&["shapes"], folder.path());
    let captures: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "json"))
        .collect();
    assert!(captures.len() > 40, "only {} captures", captures.len());
    let merged = folder.path().join("merged");
    let Ok(status) = Command::new("mergecap").arg("-w").arg(&merged).args(&captures).status()
    else {
        eprintln!("SKIPPED: mergecap is not installed, generated frames were not checked");
        return;
    };
    assert!(status.success());
    let Some(all) = frames_found(&merged, "frame") else { return };
    assert_eq!(all.len() as u64, written.packets);
    let filter = format!("_ws.malformed || {WRONG_CHECKSUM}");
    let damaged = frames_found(&merged, &filter).unwrap_or_default();
    assert!(damaged.is_empty(), "{damaged:?}");
}

/// Payloads are random bytes on well-known ports, so only the headers can be
/// judged.
#[test]
fn tshark_finds_no_wrong_checksum_in_bulk_traffic() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["many", "--packets", "3000", "--flows", "300", "--span", "routed"][..],
        &["flood", "--packets", "3000", "--format", "pcapng"],
        &["growth", "--packets", "3000", "--flows", "300", "--frame-bytes", "512"],
        &["elephants", "--packets", "500", "--flows", "5", "--format", "pcap-ns"],
    ] {
        let path = folder.path().join(arguments[0]);
        synth(arguments, &path);
        let Some(damaged) = frames_found(&path, WRONG_CHECKSUM) else { return };
        assert!(damaged.is_empty(), "{arguments:?}: frames {damaged:?}");
    }
}

/// The checks above can fail: a flipped bit in a payload is found.
#[test]
fn tshark_finds_a_flipped_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flood.pcap");
    synth(&["flood", "--packets", "3"], &path);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let Some(damaged) = frames_found(&path, WRONG_CHECKSUM) else { return };
    assert!(matches!(&damaged[..], [frame] if frame.starts_with("3\t")), "{damaged:?}");
}

#[test]
fn the_same_arguments_give_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let arguments = ["many", "--packets", "5000", "--flows", "50", "--seed", "7"];
    let written = synth(&arguments, &one);
    synth(&arguments, &two);
    assert_eq!(written.packets, 5_000);
    assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap());
}

#[test]
fn a_snap_length_cuts_what_is_kept_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut");
    let written =
        synth(&["elephants", "--packets", "100", "--flows", "2", "--snaplen", "96"], &path);
    assert!(written.wire_bytes > 100 * 1_000);
    // File header, then 16 bytes of record header and at most 96 of data.
    assert!(std::fs::metadata(path).unwrap().len() <= 24 + 100 * (16 + 96));
}

#[test]
fn frames_have_the_length_asked_for_where_they_are_all_alike() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("even");
    for kind in ["flood", "growth", "churn"] {
        for bytes in [60_u64, 512] {
            let length = bytes.to_string();
            let amount = ["--packets", "100", "--flows", "10", "--frame-bytes", &length];
            let written = synth(&[&[kind][..], &amount].concat(), &path);
            assert_eq!(written.wire_bytes, 100 * bytes, "{kind}");
        }
    }
}

#[test]
fn one_sided_and_span_traffic_is_counted_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("span");
    let flows = ["many", "--packets", "4000", "--flows", "40"];
    let plain = synth(&flows, &path);
    let spanned = synth(&[&flows[..], &["--span", "exact", "--span-share", "25"]].concat(), &path);
    assert_eq!(spanned.packets, plain.packets + spanned.duplicates);
    assert!((800..1_200).contains(&spanned.duplicates), "{spanned:?}");
    let one_sided = synth(&[&flows[..], &["--one-sided"]].concat(), &path);
    assert_eq!(one_sided.packets + one_sided.left_out, plain.packets);
    assert!(one_sided.left_out > 1_000, "{one_sided:?}");
}
