//! `flowtap lab mix`: attacks in somebody's own capture, by the library and the real binary.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Dir, text};
use flowtap::input::{Input, InputOptions};
use flowtap::lab::mix::{At, Attack, MixOptions, Mixed, mix};
use flowtap::lab::scenario::load::load;
use flowtap::lab::synth::Frame;
use flowtap::lab::synth::pcap::{PcapOptions, PcapWriter};
use flowtap::lab::synth::pcapng::{Interface, PcapngWriter};
use proptest::prelude::*;
use serde_json::Value;

const START_NS: i64 = 1_700_000_000_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// Inside hosts of a background that the tests make, from the busiest on.
const OURS: [[u8; 4]; 3] = [[192, 168, 7, 10], [192, 168, 7, 11], [192, 168, 7, 53]];

fn mac(address: [u8; 4]) -> [u8; 6] {
    [0x3c, 0x22, 0xfb, address[1], address[2], address[3]]
}

const ROUTER: [u8; 6] = [0x00, 0x1b, 0x17, 0, 1, 2];

/// Between the addresses and the EtherType, as frames of VLAN 7 have it.
fn tagged(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat()
}

/// A packet of the background: who sends, how much, and whether it has a VLAN tag.
fn background_frame(host: usize, bytes: usize, inbound: bool, vlan: bool) -> Vec<u8> {
    let (inside, outside) = (OURS[host], [198, 18, 0, 9]);
    let mut frame = Frame::default();
    frame.payload(&vec![0x5a; bytes]);
    let (src, dst) = if inbound { (outside, inside) } else { (inside, outside) };
    // The last host is a resolver.
    let (from, to) = if host == 2 { (53, 40_000) } else { (40_000, 53) };
    frame.udp(from, to).ip(IpAddr::from(src), IpAddr::from(dst));
    let (src_mac, dst_mac) = if inbound { (ROUTER, mac(inside)) } else { (mac(inside), ROUTER) };
    frame.ethernet(src_mac, dst_mac);
    if vlan { tagged(frame.bytes()) } else { frame.bytes().to_vec() }
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Pcap { big_endian: bool, nanoseconds: bool, modified: bool, snap_length: u32 },
    Pcapng { big_endian: bool, resolution: u8, offset_s: i64, sections: bool },
}

fn any_form() -> impl Strategy<Value = Form> {
    prop_oneof![
        (any::<bool>(), any::<bool>(), any::<bool>(), prop_oneof![Just(96_u32), Just(262_144)])
            .prop_map(|(big_endian, nanoseconds, modified, snap_length)| Form::Pcap {
                big_endian,
                nanoseconds,
                modified,
                snap_length
            }),
        (
            any::<bool>(),
            prop_oneof![Just(6_u8), Just(9), Just(3), Just(0x80 | 20)],
            any::<bool>(),
            any::<bool>()
        )
            .prop_map(|(big_endian, resolution, offset, sections)| Form::Pcapng {
                big_endian,
                resolution,
                offset_s: if offset { 1_000 } else { 0 },
                sections
            }),
    ]
}

/// A capture file of frames at times.
fn written(form: Form, packets: &[(i64, Vec<u8>)]) -> Vec<u8> {
    match form {
        Form::Pcap { big_endian, nanoseconds, modified, snap_length } => {
            let options =
                PcapOptions { big_endian, nanoseconds, modified, snap_length, link_type: 1 };
            let mut writer = PcapWriter::new(Vec::new(), options).unwrap();
            for (time_ns, frame) in packets {
                writer.write(*time_ns, frame).unwrap();
            }
            writer.finish().unwrap()
        }
        Form::Pcapng { big_endian, resolution, offset_s, sections } => {
            let mut writer = PcapngWriter::new(Vec::new(), big_endian).unwrap();
            let ethernet = Interface { resolution, offset_s, ..Interface::default() };
            let mut interface = writer.interface(ethernet).unwrap();
            for (at, (time_ns, frame)) in packets.iter().enumerate() {
                if sections && at == packets.len() / 2 {
                    writer.section(!big_endian).unwrap();
                    // The one that packets are on is not the first there.
                    writer.interface(Interface { link_type: 113, ..ethernet }).unwrap();
                    interface = writer.interface(ethernet).unwrap();
                }
                if at % 7 == 3 {
                    writer.other_block(0x0bad, b"nobody knows this block").unwrap();
                }
                let comment = (at % 5 == 0).then_some("seen by hand");
                writer.packet(interface, *time_ns, frame, comment).unwrap();
            }
            writer.finish().unwrap()
        }
    }
}

/// Records or blocks as they lie in a file, the headers among them.
fn records(bytes: &[u8]) -> Vec<&[u8]> {
    let word = |at: usize, big: bool| {
        let field = bytes[at..at + 4].try_into().unwrap();
        (if big { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }) as usize
    };
    let mut found = Vec::new();
    let mut at = 0;
    if bytes[..4] == [0x0a, 0x0d, 0x0d, 0x0a] {
        let mut big = false;
        while at < bytes.len() {
            if bytes[at..at + 4] == [0x0a, 0x0d, 0x0d, 0x0a] {
                big = bytes[at + 8] == 0x1a;
            }
            let length = word(at + 4, big);
            found.push(&bytes[at..at + length]);
            at += length;
        }
        return found;
    }
    let big = bytes[0] == 0xa1;
    let modified = bytes[..4] == [0xa1, 0xb2, 0xcd, 0x34] || bytes[..4] == [0x34, 0xcd, 0xb2, 0xa1];
    found.push(&bytes[..24]);
    at = 24;
    while at < bytes.len() {
        let length = if modified { 24 } else { 16 } + word(at + 8, big);
        found.push(&bytes[at..at + length]);
        at += length;
    }
    found
}

/// What of `whole` is not in `part`, whose entries must be in it in their order.
fn beside<'a>(whole: &[&'a [u8]], part: &[&[u8]]) -> Vec<&'a [u8]> {
    let mut expected = part.iter().peekable();
    let mut others = Vec::new();
    for entry in whole {
        if expected.peek() == Some(&entry) {
            expected.next();
        } else {
            others.push(*entry);
        }
    }
    assert_eq!(expected.count(), 0, "records of the background are missing or changed");
    others
}

struct Read {
    time_ns: i64,
    wire_bytes: u32,
    data: Vec<u8>,
}

fn frames(path: &Path) -> Vec<Read> {
    let mut input = Input::open(&[path.to_owned()], InputOptions::default()).unwrap();
    let mut all = Vec::new();
    while let Some(block) = input.next_block() {
        all.extend(block.frames.iter().map(|frame| Read {
            time_ns: frame.time_ns,
            wire_bytes: frame.wire_bytes,
            data: block.bytes.frame(frame).to_vec(),
        }));
    }
    assert!(input.reports().iter().all(|report| report.error.is_none()), "{:?}", input.reports());
    all
}

fn attack(name: &str, at: Option<At>, set: &[(&str, &str)]) -> Attack {
    let set: Vec<(String, String)> =
        set.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let (name, scenario) = load(name, &set).unwrap();
    Attack { name, scenario, seed: 9_000, at }
}

fn mixed(background: &Path, attacks: Vec<Attack>, dir: &Path) -> Mixed {
    mix(background, attacks, dir, &MixOptions::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever form the background has: its records come out with their bytes and in
    /// their order, what is beside them is the attack's, and all of it is in order of time.
    #[test]
    fn the_background_stays_and_the_attack_is_sorted_in(
        form in any_form(),
        packets in prop::collection::vec(
            (0_i64..400_000_000, 0_usize..3, 0_usize..300, any::<bool>()), 20..120),
        vlan: bool,
    ) {
        let mut time_ns = START_NS;
        let mut frames_of_it = Vec::new();
        for (gap_ns, host, bytes, inbound) in packets {
            time_ns += gap_ns;
            frames_of_it.push((time_ns, background_frame(host, bytes, inbound, vlan)));
        }
        // Each host sends, and there is a second to put the attack in.
        for host in 0..3 {
            frames_of_it.push((time_ns + 2 * SECOND_NS, background_frame(host, 9, false, vlan)));
        }
        let bytes = written(form, &frames_of_it);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("background");
        fs::write(&path, &bytes).unwrap();
        let set = [("strength", "40"), ("flood.duration_s", "1.5"), ("flood.payload_bytes", "200")];
        let mixed = mixed(&path, vec![attack("udp-flood", None, &set)], folder.path());
        let out = fs::read(&mixed.capture).unwrap();
        let (whole, part) = (records(&out), records(&bytes));
        let others = beside(&whole, &part);
        prop_assert_eq!(others.len() as u64, mixed.attack_packets);
        prop_assert!(mixed.attack_packets > 20, "{} packets", mixed.attack_packets);

        let read = frames(&mixed.capture);
        prop_assert_eq!(read.len() as u64, mixed.truth.packets);
        prop_assert!(read.windows(2).all(|pair| pair[0].time_ns <= pair[1].time_ns));
        let host = &mixed.attacks[0].hosts[0];
        let IpAddr::V4(source) = host.address else { panic!("{host:?}") };
        prop_assert!(OURS.contains(&source.octets()), "{:?}", host);
        let length = 14 + 20 + 8 + 200 + if vlan { 4 } else { 0 };
        let snap = match form { Form::Pcap { snap_length, .. } => snap_length as usize, Form::Pcapng { .. } => 262_144 };
        let of_attack: Vec<&Read> = read.iter().filter(|frame| {
            let ip = &frame.data[if vlan { 18 } else { 14 }..];
            ip[16..20] == [203, 0, 113, 77]
        }).collect();
        prop_assert_eq!(of_attack.len() as u64, mixed.attack_packets);
        for frame in of_attack {
            let ip = &frame.data[if vlan { 18 } else { 14 }..];
            prop_assert_eq!(&ip[12..16], &source.octets());
            prop_assert_eq!(&frame.data[6..12], &mac(source.octets()));
            if vlan {
                prop_assert_eq!(&frame.data[12..16], &[0x81, 0, 0, 7]);
            }
            prop_assert_eq!((frame.wire_bytes as usize, frame.data.len()), (length, length.min(snap)));
        }
    }
}

/// A background: three hosts over some seconds.
fn small_background(dir: &Path) -> PathBuf {
    let packets: Vec<(i64, Vec<u8>)> = (0..200)
        .map(|at| {
            // The first host is the busiest, the third answers at port 53.
            let host = [0, 0, 0, 1, 1, 2][at as usize % 6];
            (START_NS + at * 100_000_000, background_frame(host, 60, at % 5 == 4, false))
        })
        .collect();
    let form =
        Form::Pcap { big_endian: false, nanoseconds: false, modified: false, snap_length: 65_535 };
    let path = dir.join("background.pcap");
    fs::write(&path, written(form, &packets)).unwrap();
    path
}

fn place(mixed: &Mixed, attack: usize, host: &str) -> IpAddr {
    mixed.attacks[attack].hosts.iter().find(|it| it.host == host).unwrap().address
}

#[test]
fn hosts_are_chosen_by_role_and_by_how_busy_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let background = small_background(folder.path());
    let tunnel = attack("dns-tunnel", None, &[("strength", "2")]);
    let mixed = mixed(&background, vec![tunnel], folder.path());
    assert_eq!(place(&mixed, 0, "resolver"), IpAddr::from(OURS[2]), "it answers at port 53");
    assert_eq!(place(&mixed, 0, "app"), IpAddr::from(OURS[0]), "it is the busiest");
    let home = flowtap::detect::HomeNets::new(vec!["192.168.7.10/32".parse().unwrap()]);
    let options = MixOptions { home, ..MixOptions::default() };
    let tunnel = attack("dns-tunnel", None, &[("strength", "2")]);
    let elsewhere = mix(&background, vec![tunnel], folder.path(), &options).unwrap();
    assert_eq!(place(&elsewhere, 0, "resolver"), IpAddr::from(OURS[2]), "one outside will do");
    let truth = &mixed.truth;
    assert_eq!((truth.home_hosts, truth.attacks.len()), (3, 1));
    for name in ["192.168.7.10", "192.168.7.53", "app", "resolver"] {
        assert!(truth.attacks[0].entities.iter().any(|it| it == name), "{name}: {truth:#?}");
    }
}

#[test]
fn a_place_can_be_told_and_one_that_is_taken_is_not_used_outside() {
    let folder = tempfile::tempdir().unwrap();
    let background = small_background(folder.path());
    let told = |pairs: &[(&str, [u8; 4])]| {
        let map = pairs.iter().map(|&(name, to)| (name.to_owned(), IpAddr::from(to))).collect();
        let options = MixOptions { map, ..MixOptions::default() };
        let flood = attack("udp-flood", None, &[("strength", "9"), ("flood.duration_s", "2")]);
        mix(&background, vec![flood], folder.path(), &options)
    };
    let mixed = told(&[("app", OURS[1]), ("victim", [198, 18, 0, 9])]).unwrap();
    assert_eq!(place(&mixed, 0, "app"), IpAddr::from(OURS[1]));
    assert_eq!(place(&mixed, 0, "victim"), IpAddr::from([198, 18, 0, 9]));
    let error = |pairs: &[(&str, [u8; 4])]| format!("{:#}", told(pairs).unwrap_err());
    assert!(error(&[("ap", OURS[1])]).contains("they have app, victim"));
    assert!(error(&[("app", OURS[1]), ("victim", OURS[1])]).contains("another host has that"));

    // A victim's address that the background has already gives way.
    let first = told(&[]).unwrap();
    let second = folder.path().join("second");
    let flood = || attack("udp-flood", None, &[("strength", "9"), ("flood.duration_s", "2")]);
    let again = mix(&first.capture, vec![flood()], &second, &MixOptions::default()).unwrap();
    assert_eq!(place(&first, 0, "victim"), IpAddr::from([203, 0, 113, 77]));
    assert_eq!(place(&again, 0, "victim"), IpAddr::from([203, 0, 113, 1]));
    let error = mix(&first.capture, vec![flood()], folder.path(), &MixOptions::default());
    assert!(format!("{:#}", error.unwrap_err()).contains("is the background itself"));
}

#[test]
fn too_few_hosts_and_times_outside_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let background = small_background(folder.path());
    let refused = |attack: Attack, home: Option<&str>| {
        let mut options = MixOptions::default();
        if let Some(home) = home {
            options.home = flowtap::detect::HomeNets::new(vec![home.parse().unwrap()]);
        }
        let error = mix(&background, vec![attack], folder.path(), &options).unwrap_err();
        format!("{error:#}")
    };
    let error = refused(attack("udp-flood", None, &[]), Some("10.0.0.0/8"));
    assert!(error.contains("--map app=ADDRESS"), "{error}");
    let late = At::Offset(60 * SECOND_NS);
    let error = refused(attack("udp-flood", Some(late), &[]), None);
    assert!(error.contains("the background goes from 2023-11-14T22:13:20"), "{error}");
    let error = refused(attack("office", None, &[]), None);
    assert!(error.contains("no attack in it"), "{error}");
}

#[test]
fn other_link_types_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cooked.pcap");
    let options = PcapOptions { link_type: 113, ..PcapOptions::default() };
    let mut writer = PcapWriter::new(Vec::new(), options).unwrap();
    writer.write(START_NS, &[0; 60]).unwrap();
    fs::write(&path, writer.finish().unwrap()).unwrap();
    let dir = Dir::new();
    let mixing = ["lab", "mix", path.to_str().unwrap(), "udp-flood", "-o", "out"];
    let output = dir.run(mixing);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("packet 1 is of link type 113 (linux_sll)"), "{said}");
}

#[test]
fn wrong_usage_has_its_own_status() {
    let dir = Dir::new();
    for (arguments, expected) in [
        (&["x", "no-such", "-o", "o"][..], "there is no scenario or file no-such"),
        (&["x", "udp-flood", "-o", "o", "--set", "relay:gap_s=1"], "no attack is named relay"),
        (&["x", "udp-flood", "-o", "o", "--at", "soon"], "neither an offset nor a time"),
        (&["x", "udp-flood", "-o", "o", "--map", "app=here"], "'here' is no IP address"),
    ] {
        let output = dir.run([&["lab", "mix"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
}

/// Made, mixed, read with the attacks' maps, and scored by the binary.
fn scored(dir: &Dir, background: &Path, attacks: &[&str]) -> Value {
    let background = background.to_str().unwrap();
    let output = dir.run([&["lab", "mix", background, "-o", "mixed"], attacks].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut read = dir.command(["read", "--quiet", "--out", "run", "--format", "ndjson"]);
    read.arg(report["capture"].as_str().unwrap());
    for log in report["logs"].as_array().unwrap() {
        read.arg(log.as_str().unwrap());
    }
    for map in report["maps"].as_array().unwrap() {
        read.args(["--procs", map.as_str().unwrap()]);
    }
    let output = read.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = dir.run(["lab", "score", "--json", "mixed/truth.json", "run/alerts.ndjson"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Frames of the mix that tshark takes for damaged, among those about these addresses.
fn damaged(capture: &Path, addresses: &[&str]) -> Option<Vec<String>> {
    let any: Vec<String> = addresses.iter().map(|it| format!("ip.addr == {it}")).collect();
    let bad = "ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 \
               || icmp.checksum.status == 0";
    let output = Command::new("tshark")
        .args(["-n", "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"])
        .args(["-o", "udp.check_checksum:TRUE", "-r"])
        .arg(capture)
        .args(["-Y", &format!("({}) && ({bad})", any.join(" || "))])
        .output();
    let Ok(output) = output else {
        eprintln!("SKIPPED: tshark is not installed, attack frames were not checked");
        return None;
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(text(&output.stdout).lines().map(str::to_owned).collect())
}

#[test]
fn attacks_are_found_in_an_office_that_was_there_before() {
    let dir = Dir::new();
    let output =
        dir.run(["lab", "make", "office", "-o", "bg", "--seed", "9001", "--set", "duration_s=420"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let attacks = [
        "udp-flood",
        "dns-tunnel",
        "--at",
        "60s",
        "--at",
        "130s",
        "--set",
        "udp-flood:strength=1500",
        "--set",
        "flood.duration_s=20",
    ];
    // `flood.` is of one of the two only.
    let output = dir.run([&["lab", "mix", "bg/traffic.pcap", "-o", "m"], &attacks[..]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let attacks = [
        "udp-flood",
        "dns-tunnel",
        "--at",
        "60s",
        "--at",
        "130s",
        "--set",
        "udp-flood:strength=1500",
        "--set",
        "udp-flood:flood.duration_s=20",
        "--set",
        "dns-tunnel:strength=5",
    ];
    let report = scored(&dir, &dir.path("bg/traffic.pcap"), &attacks);
    assert_eq!(report["all"]["expected"], 3, "{report:#}");
    assert_eq!(report["all"]["hit"], 3, "{report:#}");
    assert_eq!(report["all"]["false_alerts"], 0, "{report:#}");
    if let Some(damaged) = damaged(&dir.path("mixed/traffic.pcap"), &["203.0.113.77", "10.0.0.53"])
    {
        assert!(damaged.is_empty(), "{damaged:?}");
    }
}

/// The same in a capture that was made by others: a person browses for 48 seconds.
#[test]
fn an_attack_is_found_in_a_real_capture() {
    let Some(corpus) = std::env::var_os("FLOWTAP_CORPUS").map(PathBuf::from) else {
        eprintln!("SKIPPED: FLOWTAP_CORPUS is not set, nothing was mixed into a real capture");
        return;
    };
    let background = corpus.join("captures/pcap-analyzer__test2__27bd64.pcap");
    let dir = Dir::new();
    let attacks =
        ["udp-flood", "--at", "10s", "--set", "strength=2000", "--set", "flood.duration_s=20"];
    let report = scored(&dir, &background, &attacks);
    assert_eq!(
        (&report["all"]["hit"], &report["all"]["expected"]),
        (&1.into(), &1.into()),
        "{report:#}"
    );
    let out = fs::read(dir.path("mixed/traffic.pcap")).unwrap();
    let bytes = fs::read(&background).unwrap();
    let (whole, part) = (records(&out), records(&bytes));
    let others = beside(&whole, &part);
    assert!(others.len() > 30_000, "{}", others.len());
    if let Some(damaged) = damaged(&dir.path("mixed/traffic.pcap"), &["203.0.113.77"]) {
        assert!(damaged.is_empty(), "{damaged:?}");
    }
}
