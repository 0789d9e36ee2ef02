//! What is read: captures, pipes and logs, whole and damaged, and what is said of them.

use super::*;

#[test]
fn a_cut_tail_is_a_warning_and_what_came_before_counts() {
    let dir = Dir::new();
    let mut bytes = pcap(&[&udp_frame(b"one"), &udp_frame(b"two")]);
    bytes.truncate(bytes.len() - 10);
    let file = dir.write("cut.pcap", &bytes);
    let output = dir.run(["read", "--json", file.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("cut.pcap"), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&summary["packets"], &summary["truncated_records"]), (&1.into(), &1.into()));
}

#[test]
fn a_file_that_is_no_capture_is_named_and_the_others_are_read() {
    let dir = Dir::new();
    let bad = dir.write("notes.txt", b"these are not the packets you are looking for\n");
    let good = dir.write("good.pcap", &pcap(&[&udp_frame(b"x")]));
    let output = dir.command(["read", "--json"]).arg(&bad).arg(&good).output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("notes.txt") && said.contains("text"), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(summary["packets"], 1);
}

#[test]
fn a_missing_file_and_a_bad_filter_have_their_own_exit_status() {
    let dir = Dir::new();
    let output = dir.run(["read", "no-such-file.pcap"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "", "there is nothing to sum up");
    assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("no-such-file.pcap"), "{}", text(&output.stderr));
    let file = dir.write("a.pcap", &pcap(&[]));
    let mut both = dir.command(["read", "no-such-file.pcap"]);
    let output = both.arg(&file).output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("0 packets"), "{}", text(&output.stdout));
    let output =
        dir.command(["read", "--filter", "udp prot 53"]).arg(&file).output().expect("starts");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("udp prot 53"), "{}", text(&output.stderr));
    assert_eq!(dir.run(["read"]).status.code(), Some(2));
}

#[test]
fn what_the_filter_leaves_out_is_counted() {
    let dir = Dir::new();
    let file = dir.write("a.pcap", &pcap(&[&udp_frame(b"x"), &[0; 60]]));
    let file = file.to_str().expect("UTF-8");
    let summary = dir.summary(["--filter", "udp", file]);
    assert_eq!(summary["accounting"]["in_flows"], 1);
    assert_eq!(summary["accounting"]["filtered"], 1);
    let none = dir.summary(["--filter", "greater 5000", file]);
    assert_eq!((&none["accounting"]["filtered"], &none["flows"]), (&2.into(), &0.into()));
}

#[test]
fn a_pipe_a_file_and_standard_input_give_the_same() {
    let dir = Dir::new();
    let bytes = pcap(&[&udp_frame(b"a"), &udp_frame(b"bc"), &udp_frame(b"def")]);
    let file = dir.write("a.pcap", &bytes);
    let from_file = dir.summary([&file]);
    let mut command = dir.command(["read", "--json", "-"]);
    command.stdin(std::fs::File::open(&file).expect("opens"));
    let output = command.output().expect("starts");
    let from_stdin: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for key in ["packets", "wire_bytes", "accounting", "flows", "protocols", "payload_sizes"] {
        assert_eq!(from_file[key], from_stdin[key], "{key}");
    }
}

/// A conversation of Zeek's, as `flowtap inputs` has it.
fn sample(kind: &str) -> String {
    let described = Dir::new().run(["inputs", kind, "--json"]);
    let described: Value = serde_json::from_slice(&described.stdout).expect("JSON");
    described[0]["sample"].as_str().expect("a sample").to_owned()
}

/// Standard input as a pipe with these bytes in it.
fn piped(dir: &Dir, args: &[&str], bytes: &[u8]) -> Output {
    let mut command = dir.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let mut input = child.stdin.take().expect("a pipe");
    // Who reads it may end first.
    let _ = input.write_all(bytes);
    drop(input);
    child.wait_with_output().expect("ends")
}

fn source_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    summary["sources"][0].clone()
}

/// By what comes through it, as of a file; compressed too.
#[test]
fn a_log_through_a_pipe_is_recognised_and_read_whole() {
    let dir = Dir::new();
    // Longer than what recognition looks at.
    let line =
        "192.0.2.7 - - [21/Nov/2026:09:30:00 +0000] \"GET /a HTTP/1.1\" 200 12 \"-\" \"x\"\n";
    let log = line.repeat(3_000);
    dir.write("access.log", log.as_bytes());
    let from_file = source_of(&dir.run(["read", "--json", "access.log"]));
    assert_eq!(from_file["requests"], 3_000);
    let packed = zstd::encode_all(log.as_bytes(), 1).expect("packed");
    let read = ["read", "--json", "-"];
    for bytes in [log.as_bytes(), &packed] {
        let mut from_pipe = source_of(&piped(&dir, &read, bytes));
        assert_eq!(from_pipe["path"], "-");
        from_pipe["path"] = "access.log".into();
        assert_eq!(from_pipe, from_file);
    }
    for options in [&["--as", "combined"][..], &["--as", "-=combined"]] {
        let output = piped(&dir, &[&read[..], options].concat(), log.as_bytes());
        assert_eq!(source_of(&output)["requests"], 3_000, "{options:?}");
    }
    // As a shell gives it: read <(cat conn.log)
    let conn = sample("zeek-conn");
    dir.write("conn.log", conn.as_bytes());
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", &format!("{} read --json <(cat conn.log)", env!("CARGO_BIN_EXE_flowtap"))]);
    shell.current_dir(dir.path("")).env("XDG_STATE_HOME", dir.path("state"));
    assert_eq!(source_of(&shell.output().expect("bash"))["kind"], "zeek-conn");
    // A capture is one, compressed or not, whatever logs are said to be.
    let capture = pcap(&[&udp_frame(b"a"), &udp_frame(b"bc")]);
    let packed = zstd::encode_all(&capture[..], 1).expect("packed");
    for bytes in [&capture, &packed] {
        let output = piped(&dir, &["read", "--json", "-", "--as", "combined"], bytes);
        let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(summary["packets"], 2, "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("--as changes nothing"));
    }
    let refused = piped(&dir, &read, b"somebody's notes\n");
    assert!(text(&refused.stderr).contains("-: not a pcap or pcapng capture: this is text"));
}

#[test]
fn what_would_count_twice_and_what_is_not_looked_into_is_said() {
    let dir = Dir::new();
    std::fs::create_dir_all(dir.path("in/deeper")).expect("folders");
    let bytes = pcap(&[&udp_frame(b"a")]);
    dir.write("in/a.pcap", &bytes);
    dir.write("in/deeper/b.pcap", &bytes);
    std::fs::hard_link(dir.path("in/a.pcap"), dir.path("c.pcap")).expect("a link");
    let said = |args: &[&str]| text(&dir.run([&["read", "-q"], args].concat()).stderr);
    assert!(said(&["c.pcap", "c.pcap"]).contains("c.pcap: is named twice"));
    let told = said(&["in", "c.pcap"]);
    assert!(told.contains("c.pcap: is the same file as in/a.pcap"), "{told}");
    assert!(told.contains("in: 1 subfolder was not looked into"), "{told}");
    assert_eq!(said(&["c.pcap"]), "");
    let fields = said(&["c.pcap", "--fields", "srcaddr dstaddr"]);
    assert!(fields.contains("--fields changes nothing"), "{fields}");
    assert!(said(&["c.pcap", "--format", "csv"]).contains("--format without --out"));
}

/// One packet in a pcapng file whose statistics say that more were dropped, and which says
/// that some were lost before it.
fn pcapng_with_drops(interface: u64, system: u64, before: u64) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let total = (12 + body.len() as u32).to_le_bytes();
        [&kind.to_le_bytes(), &total, body, &total].concat()
    };
    let option = |code: u16, value: u64| {
        [&code.to_le_bytes()[..], &8u16.to_le_bytes(), &value.to_le_bytes()].concat()
    };
    let mut frame = udp_frame(b"abcd");
    frame.resize(frame.len().next_multiple_of(4), 0);
    let length = (frame.len() as u32).to_le_bytes();
    let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let packet = [&[0; 12][..], &length, &length, &frame, &option(4, before), &[0; 4]].concat();
    let statistics = [&[0; 12][..], &option(5, interface), &option(7, system), &[0; 4]].concat();
    [
        block(0x0a0d_0d0a, &section),
        block(1, &[1, 0, 0, 0, 0, 0, 4, 0]),
        block(6, &packet),
        block(5, &statistics),
    ]
    .concat()
}

#[test]
fn what_a_capture_says_was_lost_before_it_was_written_is_told() {
    let dir = Dir::new();
    dir.write("lossy.pcapng", &pcapng_with_drops(900, 90, 997));
    let summary: Value =
        serde_json::from_slice(&dir.run(["read", "--json", "lossy.pcapng"]).stdout).expect("JSON");
    let file = &summary["files"][0];
    let drops = ["interface_drops", "system_drops", "unplaced_drops"].map(|name| &file[name]);
    assert_eq!(drops, [900, 90, 7]);
    assert_eq!(summary["packets"], 1);
    let schema: Value = serde_json::from_str(flowtap::output::SUMMARY_SCHEMA).expect("JSON");
    jsonschema::validate(&schema, &summary).expect("as the schema says");
    let page = text(&dir.run(["read", "lossy.pcapng"]).stdout);
    assert!(page.contains("900 packets were lost at interfaces"), "{page}");
    assert!(page.contains("90 packets were lost in the systems"), "{page}");
    assert!(page.contains("7 packets were lost before others"), "{page}");
    assert!(dir.run(["read", "-q", "--report", "r.html", "lossy.pcapng"]).status.success());
    let report = std::fs::read_to_string(dir.path("r.html")).expect("a report");
    for words in ["900 packets were lost at its", "90 packets were lost in", "7 packets were lost"]
    {
        assert!(report.contains(words), "{words}");
    }
}

#[test]
fn what_can_not_be_opened_is_said_once_and_has_the_status_of_its_kind() {
    let dir = Dir::new();
    dir.write("a.pcap", &pcap(&[&udp_frame(b"a")]));
    let run = |args: &[&str]| {
        let output = dir.run(args);
        (output.status.code(), text(&output.stderr))
    };
    let once = |said: &str| said.matches("os error").count() == 1;
    let (status, said) = run(&["read", "a.pcap", "--out", "/proc/x"]);
    assert!(once(&said) && status == Some(1), "{said}");
    let (status, said) = run(&["read", "a.pcap", "--procs", "nope.jsonl"]);
    assert!(once(&said) && status == Some(1), "{said}");
    dir.write("map.jsonl", b"");
    let (status, said) = run(&["read", "a.pcap", "--procs", "map.jsonl", "--procs", "map.jsonl"]);
    assert!(said.contains("the same map is named twice") && status == Some(2), "{said}");
    for interface in [&["live"][..], &["top", "--once", "--json"]] {
        let (status, said) = run(&[interface, &["-i", "nope"]].concat());
        assert!(said.contains("no such interface") && status == Some(2), "{said}");
        let (status, said) = run(&[interface, &["-i", "lo", "-i", "lo"]].concat());
        assert!(said.contains("lo is there twice") && status == Some(2), "{said}");
    }
    let (_, said) = run(&["doctor", "-i", "nope"]);
    assert!(!said.contains("entity not found"), "{said}");
    let (status, said) = run(&["procs", "record", "-o", "x", "--procs", "off"]);
    assert!(said.contains("invalid value 'off'") && status == Some(2), "{said}");
    for lab in [
        &["lab", "synth", "many", "-o", "x", "--frame-bytes", "100"][..],
        &["lab", "synth", "many", "-o", "x", "--span-share", "10"],
        &["lab", "mix", "-", "udp-flood", "-o", "x"],
    ] {
        let (status, said) = run(lab);
        assert_eq!(status, Some(2), "{lab:?}: {said}");
    }
}

#[test]
fn span_copies_are_dropped_and_counted_on_request() {
    let dir = Dir::new();
    let first = udp_frame(b"payload");
    let mut routed = first.clone();
    routed[0] = 9; // another MAC
    routed[22] = 63; // a lower TTL
    // Times are a second apart: widen the window.
    let file = dir.write("a.pcap", &pcap(&[&first, &first, &first, &routed]));
    let file = file.to_str().expect("UTF-8");
    let count = |mode| {
        let summary = dir.summary(["--dedup", mode, "--dedup-us", "5000000", file]);
        let ledger = &summary["accounting"];
        (ledger["in_flows"].as_u64(), ledger["duplicate"].as_u64())
    };
    assert_eq!(dir.summary([file])["accounting"]["duplicate"], 0, "off by default");
    assert_eq!(count("exact"), (Some(3), Some(1)), "third is an original again, fourth differs");
    assert_eq!(count("routed"), (Some(2), Some(2)));
}

#[test]
fn captures_joined_byte_by_byte_are_one_or_end_where_another_form_begins() {
    let dir = Dir::new();
    let (one, other) = (pcap(&[&udp_frame(b"a"), &udp_frame(b"bc")]), pcap(&[&udp_frame(b"def")]));
    let joined = [one.clone(), other.clone()].concat();
    let file = dir.write("joined.pcap", &joined);
    let summary = dir.summary([&file]);
    assert_eq!(summary["packets"], 3);
    assert_eq!(summary["last_packet"], "2023-11-14T22:13:21.000000000Z");
    let members = [gzip(&one), gzip(&other)].concat();
    for bytes in [&joined, &members] {
        let output = piped(&dir, &["read", "--json", "-"], bytes);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(summary["packets"], 3);
    }
    let mut of_another_link = other;
    of_another_link[20] = 101;
    let file = dir.write("unlike.pcap", &[one.clone(), of_another_link].concat());
    let output = dir.command(["read", "--json"]).arg(&file).output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let expected = format!("unlike.pcap: another capture begins at offset {}", one.len());
    assert!(said.contains(&expected) && said.contains("name the files apart"), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(summary["packets"], 2);
}

#[test]
fn what_this_program_wrote_is_called_by_its_name_with_where_to_give_it() {
    let dir = Dir::new();
    let started = br#"{"time_ns":1,"event":"map.start","version":1,"host":"web-1"}"#;
    let map = dir.write("map.jsonl", started);
    let output = dir.command(["read"]).arg(&map).output().expect("starts");
    let said = text(&output.stderr);
    let expected =
        "map.jsonl: not a pcap or pcapng capture: this is a host map; give it to `--procs`";
    assert!(said.contains(expected), "{said}");
    let capture = captures().join("demo-udp-flood.pcap.zst");
    let output = dir.command(["read", "--out", "run"]).arg(capture).output().expect("starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (file, name) in [("flows.ndjson", "flow records"), ("alerts.ndjson", "alerts of a run")] {
        let output = dir.run(["read", &format!("run/{file}")]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains(name) && said.contains("`flowtap flows --run"), "{said}");
    }
}

#[test]
fn all_interfaces_at_once_are_several() {
    for command in ["live", "doctor"] {
        let output = Dir::new().run([command, "-i", "any"]);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(said.contains("repeat -i for several interfaces"), "{said}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("to memory");
    encoder.finish().expect("to memory")
}
