//! What leaves the sensor under pseudonyms: no address of anybody.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use crate::common::text;
use crate::lab::Lab;
use crate::support::netns::LinkOptions;

/// Addresses of the lab, as they would be found.
const TELLTALE: [&str; 2] = ["10.77.", "fd00:77:"];

#[test]
fn under_pseudonyms_no_file_line_or_answer_has_a_real_address() {
    let Some(lab) = Lab::or_skip("pseudonyms", &["hping3", "curl"], LinkOptions::default()) else {
        return;
    };
    let out = lab.dir.path("out");
    let (key, control) = (lab.dir.path("key"), lab.dir.path("control.sock"));
    // What is within 10.0.0.0/8 stays there: one key in 256 leaves 10.77 as it is.
    fs::write(&key, "0123456789abcdef".repeat(4)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let [out_text, key, control] = [&out, &key, &control].map(|path| path.to_str().unwrap());
    let formats = ["--format", "ndjson,csv,eve,zeek", "--metrics", "127.0.0.1:9186"];
    let named = ["--out", out_text, "--pseudonyms", key, "--control", control];
    let mut live = lab.listen(&[&named[..], &formats[..]].concat());
    let address = lab.link.ipv4[1].as_str();
    let flood = ["hping3", "-q", "--udp", "-p", "53", "-c", "60000", "-i", "u50", address];
    let mut command = lab.net.command(0, flood);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut flood = lab.net.spawn(command);
    live.wait_for("flood");
    let top = [env!("CARGO_BIN_EXE_flowtap"), "top", "--once", "--json", "--control", control];
    let screen = lab.net.run(1, top).stdout;
    let metrics = lab.net.run(1, ["curl", "-s", "--noproxy", "*", "127.0.0.1:9186/metrics"]).stdout;
    flood.child.kill().unwrap();
    let said = live.lines.clone();
    let summary = live.stop();
    assert!(text(&screen).contains("\"hosts\""), "{}", text(&screen));
    let mut told = vec![
        ("summary".to_owned(), summary.to_string()),
        ("log".to_owned(), said.concat()),
        ("screen".to_owned(), text(&screen)),
        ("metrics".to_owned(), text(&metrics)),
    ];
    let arguments = format!("{:?}", [out_text, key, control]);
    for entry in fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        told.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
    }
    assert!(told.len() >= 4 + 6, "flows in four formats, alerts, summary: {}", told.len());
    for (what, text) in told {
        for address in TELLTALE {
            assert!(!text.contains(address), "{what} has {address}: {text:.2000} ({arguments})");
        }
    }
}

/// What was recorded gives the same records, with the same values left out, by default.
#[test]
fn a_recording_that_is_read_has_queries_masked_as_the_capture_had_them() {
    let Some(lab) = Lab::or_skip("masked", &[], LinkOptions::default()) else { return };
    // Ethernet, IPv4, TCP: one segment that asks.
    let asked = b"GET /?password=secret1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    frame.extend((40 + asked.len() as u16).to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x0f, 0xa0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 4, 0, 0, 0, 0, 0]);
    frame.extend(asked);
    let mut file = Vec::new();
    let length = frame.len() as u32;
    for field in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1, 1_700_000_000, 0, length, length] {
        file.extend(field.to_le_bytes());
    }
    file.extend(frame);
    let capture = lab.dir.write("asked.pcap", &file);
    let [out, ring, again] = ["out", "ring", "again"].map(|name| lab.dir.path(name));
    let [out_text, ring_text] = [&out, &ring].map(|path| path.to_str().unwrap());
    let live = lab.listen(&["--out", out_text, "--record", ring_text]);
    lab.replay(&[capture.to_str().unwrap()]);
    live.stop();
    let arguments = ["read", "-q", "--out", again.to_str().unwrap(), ring_text];
    assert!(lab.dir.run(arguments).status.success());
    let flows = |dir: &std::path::Path| {
        let mut flows = crate::lab::written(dir, "flows");
        flows.retain(|letter| letter != '\r');
        let mine = flows.lines().filter(|line| line.contains("10.0.0.2"));
        mine.map(str::to_owned).collect::<Vec<_>>()
    };
    let (heard, read) = (flows(&out), flows(&again));
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].contains("/?password=*"), "{heard:?}");
    assert_eq!(heard, read);
}
