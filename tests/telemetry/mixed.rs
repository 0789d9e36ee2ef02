//! Logs of any kind beside captures: one run, one time line, nothing left out in
//! silence.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flowtap::output::{COUNTER_SCHEMA, REPORTED_FLOW_SCHEMA, REQUEST_SCHEMA, SUMMARY_SCHEMA};
use flowtap::telemetry::framing::Framing;
use flowtap::telemetry::kind::kinds;
use serde_json::Value;

fn flowtap(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
    command.args(arguments).current_dir(folder).env("XDG_STATE_HOME", folder.join("state"));
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The sample of each kind of log as a file named for it.
fn samples(folder: &Path) -> Vec<PathBuf> {
    let of_lines = kinds()
        .filter(|kind| matches!(kind.framing, Framing::Lines | Framing::Json | Framing::LargeJson));
    of_lines
        .map(|kind| {
            let path = folder.join(kind.name);
            fs::write(&path, kind.sample).unwrap();
            path
        })
        .collect()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn follows(schema: &str, what: &str, value: &Value) {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:?}\n{value}");
}

#[test]
fn a_sample_of_every_kind_and_a_capture_are_read_in_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let files = samples(&logs);
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/crafted-ethernet.pcap");
    let output = flowtap(
        &["read", "--quiet", "--out", "out", "logs", capture.to_str().unwrap()],
        folder.path(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let out = folder.path().join("out");
    let summary: Value =
        serde_json::from_str(&fs::read_to_string(out.join("summary.json")).unwrap()).unwrap();
    follows(SUMMARY_SCHEMA, "summary", &summary);
    assert!(summary["packets"].as_u64().unwrap() > 0);
    let sources = summary["sources"].as_array().unwrap();
    assert_eq!(sources.len(), files.len());
    let mut sums = [0, 0, 0];
    for source in sources {
        let path = Path::new(source["path"].as_str().unwrap());
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(source["kind"], name, "recognised by content");
        assert!(source.get("bad").is_none() && source.get("error").is_none(), "{source}");
        let counts = ["flows", "requests", "counters"].map(|key| source[key].as_u64().unwrap_or(0));
        let hosts = source["host_events"].as_u64().unwrap_or(0);
        assert!(counts.iter().sum::<u64>() + hosts > 0, "{source}");
        sums = std::array::from_fn(|at| sums[at] + counts[at]);
    }
    for (at, (file, schema)) in [
        ("reported_flows.ndjson", REPORTED_FLOW_SCHEMA),
        ("requests.ndjson", REQUEST_SCHEMA),
        ("counters.ndjson", COUNTER_SCHEMA),
    ]
    .into_iter()
    .enumerate()
    {
        let lines = lines(&out.join(file));
        assert_eq!(lines.len() as u64, sums[at], "{file}");
        lines.iter().for_each(|line| follows(schema, file, line));
    }
}

/// Records of an hour from two interfaces, by their ends.
fn vpc_records(count: u64) -> Vec<String> {
    (0..count)
        .map(|at| {
            let end = 1_760_000_000 + at * 3600 / count;
            let start = end - 58;
            format!(
                "2 111122223333 eni-0a1b2c3{} 10.0.1.5 203.0.113.{} 40112 53 17 {} {} {start} {end} ACCEPT OK",
                at % 2,
                at % 250,
                at + 1,
                (at + 1) * 80
            )
        })
        .collect()
}

#[test]
fn how_records_lie_in_files_does_not_change_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let records = vpc_records(2000);
    let header = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets \
                  bytes start end action log-status";
    let write = |name: &str, records: &[&String]| {
        let lines: Vec<_> =
            std::iter::once(header).chain(records.iter().map(|r| r.as_str())).collect();
        fs::write(folder.path().join(name), lines.join("\n")).unwrap();
    };
    write("whole.log", &records.iter().collect::<Vec<_>>());
    // The same in three files, each out of order within minutes, as delivery is.
    for part in 0..3 {
        let mut share: Vec<_> = records.iter().skip(part).step_by(3).collect();
        share.chunks_mut(30).for_each(|minute| minute.reverse());
        write(&format!("part-{part}.log"), &share);
    }
    let read = |out: &str, files: &[&str]| {
        let mut arguments = vec!["read", "--quiet", "--out", out];
        arguments.extend(files);
        let output = flowtap(&arguments, folder.path());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines = lines(&folder.path().join(out).join("reported_flows.ndjson"));
        assert_eq!(lines.len(), records.len());
        lines
    };
    let without_source = |mut lines: Vec<Value>| {
        for line in &mut lines {
            line.as_object_mut().unwrap().remove("source");
        }
        lines
    };
    let whole = without_source(read("a", &["whole.log"]));
    let ends: Vec<_> = whole.iter().map(|line| line["end"].as_str().unwrap().to_owned()).collect();
    assert!(ends.is_sorted());
    let mut parts = without_source(read("b", &["part-0.log", "part-1.log", "part-2.log"]));
    let mut whole_sorted = whole;
    // Of one time the order is that of the sources.
    let key = |line: &Value| line.to_string();
    whole_sorted.sort_by_key(|line| (line["end"].to_string(), key(line)));
    parts.sort_by_key(|line| (line["end"].to_string(), key(line)));
    assert_eq!(whole_sorted, parts);
    let ends = |lines: &[Value]| lines.iter().map(|l| l["end"].to_string()).collect::<Vec<_>>();
    assert_eq!(ends(&read("c", &["part-2.log", "part-0.log", "part-1.log"])), ends(&parts));
}

#[test]
fn one_time_in_the_future_does_not_make_all_that_follows_late() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = vpc_records(2000);
    let future = records[5].replace("17600000", "40709088");
    assert_ne!(future, records[5]);
    records.insert(5, future);
    fs::write(folder.path().join("vpc.log"), records.join("\n")).unwrap();
    let output = flowtap(&["read", "--quiet", "--out", "out", "vpc.log"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary: Value =
        serde_json::from_slice(&fs::read(folder.path().join("out/summary.json")).unwrap()).unwrap();
    assert!(summary["sources"][0].get("late").is_none(), "{}", summary["sources"][0]);
    let lines = lines(&folder.path().join("out/reported_flows.ndjson"));
    assert_eq!(lines.len(), 2001);
    assert!(lines.iter().map(|line| line["end"].as_str().unwrap()).is_sorted());
}

/// Of a sender and a minute.
fn vpc_minute(interface: &str, minute: i64, (packets, bytes): (u64, u64)) -> String {
    let start = 1_760_000_040 + 60 * minute;
    format!(
        "2 123456789010 {interface} 10.0.0.6 203.0.113.9 40112 9999 17 {packets} {bytes} {start} {} ACCEPT \
         OK\n2 123456789010 {interface} 203.0.113.9 10.0.0.6 9999 40112 17 1 60 {start} {} ACCEPT OK\n",
        start + 58,
        start + 58
    )
}

#[test]
fn logs_one_after_the_other_are_judged_as_they_are_apart() {
    let folder = tempfile::tempdir().unwrap();
    let quiet: String = (0..240).map(|minute| vpc_minute("eni-1", minute, (100, 9_000))).collect();
    let quiet = quiet.replace("10.0.0.6", "10.0.0.5");
    let flood: String = (0..240)
        .map(|minute| {
            let is_flood = (100..103).contains(&minute);
            vpc_minute("eni-2", minute, if is_flood { (300_000, 150_000_000) } else { (9, 900) })
        })
        .collect();
    fs::write(folder.path().join("all.log"), quiet + &flood).unwrap();
    let output = flowtap(&["read", "--quiet", "--json", "all.log"], folder.path());
    assert_eq!(text(&output.stderr), "");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let alerts = summary["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(
        (&alerts[0]["detector"], &alerts[0]["severity"]),
        (&"egress".into(), &"high".into())
    );
    assert!(summary["sources"][0].get("late").is_none(), "{}", summary["sources"][0]);
}

#[test]
fn records_that_find_no_place_in_the_order_of_time_are_told_of() {
    const MORE_THAN_MAY_WAIT: i64 = 140_000;
    let folder = tempfile::tempdir().unwrap();
    let mut log: String =
        (0..MORE_THAN_MAY_WAIT).map(|of| vpc_minute("eni-1", 600 + of / 2_000, (9, 900))).collect();
    log += &vpc_minute("eni-2", 0, (300_000, 150_000_000));
    // What comes after it is judged by less than there was.
    log += &vpc_minute("eni-2", 800, (300_000, 150_000_000));
    fs::write(folder.path().join("all.log"), log).unwrap();
    let output = flowtap(&["read", "--quiet", "--json", "all.log"], folder.path());
    let said = text(&output.stderr);
    assert!(said.contains("all.log: 2 records came too far out of the order of time"), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["sources"][0]["late"], 2);
    let gaps = summary["analytics"][0]["missing"].as_array().unwrap();
    let names_it = |gap: &Value| gap["what"] == "order of time in a source's records";
    assert!(gaps.iter().any(names_it), "{gaps:#?}");
    let alerts = summary["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    let missing = alerts[0]["missing_telemetry"].as_array().unwrap();
    assert!(missing.contains(&"unordered_records".into()), "{missing:?}");
}

#[test]
fn what_does_not_parse_is_counted_told_once_with_its_line_and_never_fatal() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = vpc_records(10);
    lines.insert(
        3,
        "2 111122223333 eni-0a1b2c30 nowhere 203.0.113.9 1 2 17 1 80 1 2 ACCEPT OK".into(),
    );
    lines.insert(7, "what is this".into());
    lines.insert(8, "x".repeat(2 << 20));
    lines.push("2 111122223333 eni-0a1b2c30 - - - - - - - 1760000000 1760000058 - SKIPDATA".into());
    fs::write(folder.path().join("vpc.log"), lines.join("\n")).unwrap();
    let output = flowtap(&["read", "--json", "vpc.log"], folder.path());
    assert!(output.status.success());
    let said = text(&output.stderr);
    assert_eq!(said.matches("left out").count(), 1, "{said}");
    assert!(said.contains("vpc.log: 3 records were left out; the first: line 4: "), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let source = &summary["sources"][0];
    assert_eq!(source["records"], 14);
    assert_eq!(source["flows"], 10);
    let bad: u64 = source["bad"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(bad, 3, "{source}");
    assert_eq!(source["lost"]["skipdata"], 1);
}

#[test]
fn compressed_logs_are_read_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let log = vpc_records(50).join("\n");
    fs::write(folder.path().join("vpc.log"), &log).unwrap();
    for (tool, suffix) in [("gzip", "gz"), ("zstd", "zst")] {
        let packed =
            Command::new(tool).args(["-kq", "vpc.log"]).current_dir(folder.path()).status();
        assert!(packed.unwrap().success());
        let file = format!("vpc.log.{suffix}");
        let output = flowtap(&["read", "--json", &file], folder.path());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["sources"][0]["flows"], 50, "{tool}");
    }
}

#[test]
fn a_kind_can_be_forced_and_a_wrong_name_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("strange"), "10.0.1.5 203.0.113.9 1760000000 1760000058\n")
        .unwrap();
    let unknown = flowtap(&["read", "strange"], folder.path());
    assert_eq!(unknown.status.code(), Some(1));
    let forced = flowtap(
        &[
            "read",
            "--json",
            "--as",
            "strange=aws-vpc",
            "--fields",
            "srcaddr dstaddr start end",
            "strange",
        ],
        folder.path(),
    );
    assert!(forced.status.success(), "{}", text(&forced.stderr));
    let summary: Value = serde_json::from_slice(&forced.stdout).unwrap();
    assert_eq!(summary["sources"][0]["flows"], 1);
    let wrong = flowtap(&["read", "--as", "aws-vcp", "strange"], folder.path());
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("did you mean aws-vpc?"), "{}", text(&wrong.stderr));
    let nowhere = flowtap(&["read", "--as", "other=aws-vpc", "strange"], folder.path());
    assert_eq!(nowhere.status.code(), Some(2));
}

/// Its table is the program's own, so that it can't fall behind.
#[cfg(feature = "parquet")]
#[test]
fn the_readme_lists_every_kind_as_the_program_does() {
    let folder = tempfile::tempdir().unwrap();
    let table = text(&flowtap(&["inputs", "--markdown"], folder.path()).stdout);
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    assert!(table.lines().count() > 40);
    for line in table.lines() {
        assert!(readme.contains(line), "README.md lacks (`flowtap inputs --markdown`): {line}");
    }
}
