//! What leaves the sensor under pseudonyms: no address of anybody.

use std::fs;
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
