//! Counters: of the kernel and of a real node_exporter as they stand, and of others.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

/// Reads one file, of which nothing may be left out: its source and its samples.
fn read(folder: &TempDir, name: &str, file: &Path) -> (Value, Vec<Value>) {
    let out = folder.path().join(format!("{name}.out"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
    command.args(["read", "--quiet", "--out"]).arg(&out).arg(file);
    let output = command.env("XDG_STATE_HOME", folder.path().join("state")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value =
        serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
    let source = summary["sources"][0].clone();
    assert_eq!(source.get("bad"), None, "{source}");
    let text = fs::read_to_string(out.join("counters.ndjson")).unwrap();
    (source, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// What the kernel says elsewhere, by interface: bytes received and sent.
fn kernel() -> BTreeMap<String, [u64; 2]> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/sys/class/net").unwrap() {
        let folder = entry.unwrap().path();
        let number = |name: &str| -> Option<u64> {
            fs::read_to_string(folder.join("statistics").join(name)).ok()?.trim().parse().ok()
        };
        if let Some(both) = number("rx_bytes").zip(number("tx_bytes")) {
            let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
            found.insert(name, [both.0, both.1]);
        }
    }
    found
}

/// Each sample lies between what the kernel said before and after.
fn lies_between(
    samples: &[Value],
    before: &BTreeMap<String, [u64; 2]>,
    after: &BTreeMap<String, [u64; 2]>,
) {
    let mut held = 0;
    for sample in samples {
        let name = sample["interface"].as_str().unwrap();
        let Some((before, after)) = before.get(name).zip(after.get(name)) else { continue };
        for (at, key) in ["received_bytes", "sent_bytes"].iter().enumerate() {
            let value = sample[key].as_u64().unwrap();
            assert!((before[at]..=after[at]).contains(&value), "{name} {key}: {value}");
        }
        held += 1;
    }
    assert!(held > 0, "{samples:?}");
}

fn now_s() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

#[test]
fn the_kernels_counters_are_read_as_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let before = kernel();
    let snapshot = fs::read_to_string("/proc/net/dev").unwrap();
    let after = kernel();
    let file = folder.path().join("net.log");
    let time = now_s();
    fs::write(&file, format!("{time}\n{snapshot}")).unwrap();
    let (source, samples) = read(&folder, "net", &file);
    assert_eq!(source["kind"], "proc-net-dev");
    lies_between(&samples, &before, &after);
    let sampled: jiff::Timestamp = samples[0]["time"].as_str().unwrap().parse().unwrap();
    assert_eq!(format!("{}.{:09}", sampled.as_second(), sampled.subsec_nanosecond()), time);

    // Without a time it is the file's.
    let bare = folder.path().join("bare");
    fs::write(&bare, &snapshot).unwrap();
    let (_, samples) = read(&folder, "bare", &bare);
    let sampled: jiff::Timestamp = samples[0]["time"].as_str().unwrap().parse().unwrap();
    let modified = fs::metadata(&bare).unwrap().modified().unwrap();
    assert_eq!(sampled, jiff::Timestamp::try_from(modified).unwrap());
}

/// Ends with the test.
struct Exporter(Child);

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn scrape(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(body.to_owned())
}

#[test]
fn node_exporters_counters_are_the_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command = Command::new("prometheus-node-exporter");
    command.arg(format!("--web.listen-address={address}"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let _exporter = Exporter(command.spawn().unwrap());
    let began = Instant::now();
    while scrape(&address).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "node_exporter answers");
        std::thread::sleep(Duration::from_millis(50));
    }
    let before = kernel();
    let (time, scraped) = (now_s(), scrape(&address).unwrap());
    let after = kernel();
    let file = folder.path().join("node.prom");
    fs::write(&file, format!("{time}\n{scraped}")).unwrap();
    let (source, samples) = read(&folder, "node", &file);
    assert_eq!(source["kind"], "prometheus");
    lies_between(&samples, &before, &after);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(samples.iter().all(|sample| sample["host"] == host.trim()), "{samples:?}");
}

#[test]
fn every_counter_file_is_recognised_and_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/counters");
    for (name, kind, samples) in [
        ("proc-net-dev.log", "proc-net-dev", 12),
        ("docker-stats.log", "docker-stats", 4),
        ("docker-stats-stream.log", "docker-stats", 2),
        ("docker-api-stats.json", "docker-api-stats", 5),
        ("podman-stats.log", "podman-stats", 4),
        ("node-exporter.prom", "prometheus", 6),
        ("cadvisor.prom", "prometheus", 6),
        ("openmetrics.prom", "prometheus", 2),
        ("cloudwatch-statistics.json", "cloudwatch", 3),
        ("cloudwatch-data.json", "cloudwatch", 4),
        ("crictl-statsp.json", "cri-pod-stats", 2),
    ] {
        let (source, read) = read(&folder, name, &fixtures.join(name));
        assert_eq!(
            (&source["kind"], &source["counters"]),
            (&kind.into(), &samples.into()),
            "{name}"
        );
        assert_eq!(read.len(), samples, "{name}");
    }
}
