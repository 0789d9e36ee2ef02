//! Delivery to receivers of the tests' own, and to rsyslogd.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::thread;

use serde_json::Value;

use super::unix::connect_at_once;
use super::*;
use crate::alert::{Entity, EntityKind, Evidence, Grade, Known, Peak, Severity, State};
use crate::detect::{Direction, Rule, Shape};

/// As long as a busy machine may need.
const SOON: Duration = Duration::from_secs(10);

pub(super) fn alert(id: &str) -> Alert {
    let second = |s: i64| s * 1_000_000_000;
    let peak = Peak {
        time_ns: second(1_795_266_783),
        packets_per_s: 9_000,
        unanswered_packets_per_s: 9_000,
        bits_per_s: 4_000_000,
        payload_bytes_per_s: 0,
    };
    let evidence = Evidence {
        class: "udp".to_owned(),
        direction: Direction::Inbound,
        shape: Shape::ManyToOne,
        rule: Rule { name: "rate", threshold: 1_000, unit: "packets/s", formula: "" },
        measured: 9_000,
        decided_by: "absolute_threshold".to_owned(),
        baseline: "none".to_owned(),
        peak,
        active_seconds: 2,
        packets: 18_000,
        wire_bytes: 1_000_000,
        payload_sizes: Vec::new(),
        distinct_sources: 400,
        distinct_destinations: 1,
        answer_ratio: Some(0.0),
        top_source_port: None,
        top_destination_port: None,
        spoofed_sources: true,
        estimated: false,
        also_seen: Vec::new(),
        details: BTreeMap::new(),
    };
    Alert {
        id: id.to_owned(),
        revision: 1,
        detector: "udp_flood".to_owned(),
        state: State::Provisional,
        analytics: vec!["AN0001".to_owned(), "AN0002".to_owned()],
        possible_analytics: Vec::new(),
        severity: Severity::Medium,
        confidence: 0.6,
        grade: Grade::default(),
        start_ns: second(1_795_266_783),
        end_ns: second(1_795_266_785),
        entity: Entity {
            kind: EntityKind::Address,
            id: "203.0.113.7".to_owned(),
            labels: BTreeMap::new(),
        },
        known: Known::default(),
        peers: Vec::new(),
        evidence,
        case: None,
        part_of: None,
        parts: Vec::new(),
        missing_telemetry: Vec::new(),
        summary: "A flood.".to_owned(),
        sensor: String::new(),
        interface: String::new(),
        interfaces: Vec::new(),
        files: Vec::new(),
        further_files: 0,
        clock_synchronised: None,
    }
}

pub(super) fn event(text: &str) -> SensorEvent {
    SensorEvent {
        time: "2026-11-21T13:13:03.000000000Z".to_owned(),
        kind: "sensor.silent",
        interface: "eth0".to_owned(),
        text: text.to_owned(),
        sensor: "tap-7".to_owned(),
        clock_synchronised: Some(false),
    }
}

/// Tries again soon: tests don't wait half a minute.
fn options() -> DeliveryOptions {
    DeliveryOptions {
        timeout: Duration::from_secs(2),
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(50),
        ..DeliveryOptions::default()
    }
}

fn start(target: &str, options: &DeliveryOptions) -> Delivery {
    Delivery::start(&[target.parse().unwrap()], options).unwrap()
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < SOON, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// An address that nobody listens at.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// One message of a stream with octet counting.
fn framed(stream: &mut impl BufRead) -> String {
    let mut length = Vec::new();
    stream.read_until(b' ', &mut length).unwrap();
    let length = std::str::from_utf8(&length).unwrap().trim_end().parse::<usize>().unwrap();
    let mut message = vec![0; length];
    stream.read_exact(&mut message).unwrap();
    String::from_utf8(message).unwrap()
}

/// Reads a request, answers with this status, and gives its head and body.
fn answer(stream: &mut (impl Read + Write), status: &str) -> (String, String) {
    let mut reader = BufReader::new(&mut *stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "cut off: {head}");
    }
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        .unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn datagrams_of_syslog_arrive() {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    receiver.set_read_timeout(Some(SOON)).unwrap();
    let delivery = start(&format!("syslog://{}", receiver.local_addr().unwrap()), &options());
    delivery.deliver(&alert("a1"));
    delivery.deliver_event(&event("silence"));
    let mut bytes = [0; 4_096];
    for wanted in ["id=\"a1\"", "silence"] {
        let length = receiver.recv(&mut bytes).unwrap();
        let line = String::from_utf8_lossy(&bytes[..length]);
        assert!(line.starts_with("<28>1 ") && line.contains(wanted), "{line}");
    }
    let (counters, changes) = delivery.finish(SOON);
    assert_eq!((counters[0].delivered, counters[0].lost, counters[0].waiting), (2, 0, 0));
    assert_eq!(changes, []);
}

#[test]
fn a_datagram_that_a_closed_port_refused_is_sent_again() {
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let delivery = start(&format!("syslog://{address}"), &options());
    delivery.deliver(&alert("a1"));
    delivery.deliver(&alert("a2"));
    // The second finds the refusal of the first.
    wait_for("a failure", || delivery.counters()[0].retries >= 1);
    let receiver = UdpSocket::bind(address).unwrap();
    receiver.set_read_timeout(Some(SOON)).unwrap();
    let mut bytes = [0; 4_096];
    for wanted in ["id=\"a1\"", "id=\"a2\""] {
        let length = receiver.recv(&mut bytes).unwrap();
        assert!(String::from_utf8_lossy(&bytes[..length]).contains(wanted));
    }
}

#[test]
fn a_receiver_that_restarts_gets_everything_and_its_outage_is_told_once() {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = first.local_addr().unwrap();
    let delivery = start(&format!("syslog+tcp://{address}"), &options());
    delivery.deliver(&alert("a1"));
    let (stream, _) = first.accept().unwrap();
    let mut stream = BufReader::new(stream);
    assert!(framed(&mut stream).contains("id=\"a1\""));
    drop((stream, first));

    delivery.deliver(&alert("a2"));
    delivery.deliver(&alert("a3"));
    wait_for("failures", || delivery.counters()[0].retries >= 3);
    let counters = delivery.counters();
    assert!(counters[0].failing && counters[0].waiting == 2, "{counters:?}");

    let second = TcpListener::bind(address).unwrap();
    let (stream, _) = second.accept().unwrap();
    let mut stream = BufReader::new(stream);
    for wanted in ["id=\"a2\"", "id=\"a3\""] {
        assert!(framed(&mut stream).contains(wanted));
    }
    let (counters, changes) = delivery.finish(SOON);
    assert_eq!((counters[0].delivered, counters[0].lost, counters[0].failing), (3, 0, false));
    let target = format!("syslog+tcp://{address}");
    assert!(matches!(&changes[0], DeliveryChange::Failing { target: t, .. } if *t == target));
    assert_eq!(changes[1..], [DeliveryChange::Recovered { target, lost: 0 }]);
}

#[test]
fn a_full_queue_gives_up_the_oldest_and_says_so_once() {
    let address = free_address();
    let options = DeliveryOptions { queue: 3, ..options() };
    let delivery = start(&format!("http://{address}/in"), &options);
    delivery.deliver(&alert("a0"));
    wait_for("the first attempt", || delivery.counters()[0].retries >= 1);
    for number in 1..=10 {
        delivery.deliver(&alert(&format!("a{number}")));
    }
    // One is in the thread's hands, three wait, the seven between are gone.
    let counters = delivery.counters();
    assert_eq!((counters[0].lost, counters[0].waiting), (7, 4), "{counters:?}");

    let receiver = TcpListener::bind(address).unwrap();
    for wanted in ["a0", "a8", "a9", "a10"] {
        let (mut stream, _) = receiver.accept().unwrap();
        let (_, body) = answer(&mut stream, "200 OK");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["id"], *wanted);
    }
    let (counters, changes) = delivery.finish(SOON);
    assert_eq!((counters[0].delivered, counters[0].lost, counters[0].waiting), (4, 7, 0));
    let target = format!("http://{address}/in");
    assert_eq!(
        changes[1..],
        [
            DeliveryChange::Losing { target: target.clone(), why: "the queue is full".to_owned() },
            DeliveryChange::Recovered { target, lost: 7 },
        ]
    );
}

#[test]
fn a_post_carries_the_alert_and_is_repeated_until_it_is_taken() {
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = format!("http://{}/hook?x=1", receiver.local_addr().unwrap());
    let delivery = start(&target, &options());
    delivery.deliver(&alert("a1"));
    for status in ["503 Service Unavailable", "429 Too Many Requests", "204 No Content"] {
        let (mut stream, _) = receiver.accept().unwrap();
        let (head, body) = answer(&mut stream, status);
        assert!(head.starts_with("post /hook?x=1 http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body, serde_json::to_value(alert("a1")).unwrap());
    }
    let (counters, _) = delivery.finish(SOON);
    assert_eq!((counters[0].delivered, counters[0].retries), (1, 2));
}

#[test]
fn what_a_receiver_refuses_is_counted_and_the_next_goes_out() {
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = format!("http://{}/", receiver.local_addr().unwrap());
    let delivery = start(&target, &options());
    delivery.deliver(&alert("a1"));
    delivery.deliver(&alert("a2"));
    // A redirection is not followed: it might lead anywhere.
    for status in ["302 Found\r\nlocation: http://127.0.0.1:1/", "200 OK"] {
        let (mut stream, _) = receiver.accept().unwrap();
        answer(&mut stream, status);
    }
    let (counters, changes) = delivery.finish(SOON);
    assert_eq!((counters[0].delivered, counters[0].refused, counters[0].lost), (1, 1, 0));
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(changes[1], DeliveryChange::Recovered { target, lost: 1 });
}

#[test]
fn a_slow_receiver_holds_up_neither_the_caller_nor_the_others() {
    // Takes connections, and never answers.
    let slow = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let quick = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    quick.set_read_timeout(Some(SOON)).unwrap();
    let targets = [
        format!("http://{}/", slow.local_addr().unwrap()).parse().unwrap(),
        format!("syslog://{}", quick.local_addr().unwrap()).parse().unwrap(),
    ];
    let options = DeliveryOptions { timeout: Duration::from_secs(60), ..options() };
    let delivery = Delivery::start(&targets, &options).unwrap();
    let asked = Instant::now();
    for number in 0..100 {
        delivery.deliver(&alert(&number.to_string()));
    }
    let mut bytes = [0; 4_096];
    for _ in 0..100 {
        quick.recv(&mut bytes).unwrap();
    }
    assert!(asked.elapsed() < SOON);
    // The end waits no longer than it was told to, though an attempt may take a minute.
    let asked = Instant::now();
    let (counters, _) = delivery.finish(Duration::from_millis(300));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!((counters[0].delivered, counters[0].lost, counters[0].waiting), (0, 100, 0));
    assert_eq!((counters[1].delivered, counters[1].lost), (100, 0));
}

#[test]
fn the_end_drains_what_waits() {
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = receiver.local_addr().unwrap();
    let reader = thread::spawn(move || {
        let (stream, _) = receiver.accept().unwrap();
        let mut stream = BufReader::new(stream);
        (0..500).map(|_| framed(&mut stream)).collect::<Vec<_>>()
    });
    let delivery = start(&format!("syslog+tcp://{address}"), &options());
    for number in 0..500 {
        delivery.deliver(&alert(&format!("n{number}")));
    }
    let (counters, changes) = delivery.finish(SOON);
    assert_eq!((counters[0].delivered, counters[0].lost), (500, 0));
    assert_eq!(changes, []);
    for (number, line) in reader.join().unwrap().iter().enumerate() {
        assert!(line.contains(&format!("id=\"n{number}\"")), "out of order: {line}");
    }
}

#[test]
fn an_end_without_a_receiver_counts_all_as_lost() {
    let delivery = start(&format!("syslog+tcp://{}", free_address()), &options());
    for number in 0..5 {
        delivery.deliver(&alert(&number.to_string()));
    }
    let (counters, changes) = delivery.finish(Duration::from_millis(200));
    assert_eq!((counters[0].delivered, counters[0].lost, counters[0].waiting), (0, 5, 0));
    assert!(matches!(changes[1], DeliveryChange::Losing { .. }), "{changes:?}");
}

#[test]
fn lines_go_over_a_unix_stream_that_may_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts.sock");
    let delivery = start(&format!("unix:{}", path.display()), &options());
    delivery.deliver(&alert("a1"));
    wait_for("a failure", || delivery.counters()[0].retries >= 1);
    let receiver = UnixListener::bind(&path).unwrap();
    let (stream, _) = receiver.accept().unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["id"], "a1");
    delivery.deliver_event(&event("silence"));
    assert_eq!(next()["kind"], "sensor.silent");
    // Closed by the receiver: the next message finds a new connection.
    drop(lines);
    delivery.deliver(&alert("a2"));
    let (stream, _) = receiver.accept().unwrap();
    let line = BufReader::new(stream).lines().next().unwrap().unwrap();
    assert!(line.contains("\"id\":\"a2\""));
}

#[test]
fn a_unix_receiver_that_takes_no_connection_is_a_failing_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts.sock");
    let receiver = UnixListener::bind(&path).unwrap();
    // Its queue of connections is made full, by ones that don't wait for it either.
    rustix::net::listen(&receiver, 0).unwrap();
    let waiting: Vec<_> = std::iter::from_fn(|| connect_at_once(&path).ok()).take(100).collect();
    assert!(waiting.len() < 100, "it is never full");
    let delivery = start(&format!("unix:{}", path.display()), &options());
    delivery.deliver(&alert("a1"));
    wait_for("failures", || delivery.counters()[0].retries >= 2);
    // It goes on again: those before us, then the alert.
    let accepted: Vec<_> = waiting.iter().map(|_| receiver.accept().unwrap().0).collect();
    let (stream, _) = receiver.accept().unwrap();
    drop(accepted);
    let line = BufReader::new(stream).lines().next().unwrap().unwrap();
    assert!(line.contains("\"id\":\"a1\""));
}

#[test]
fn lines_go_over_a_unix_datagram_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts.sock");
    let receiver = UnixDatagram::bind(&path).unwrap();
    receiver.set_read_timeout(Some(SOON)).unwrap();
    let delivery = start(&format!("unix:{}", path.display()), &options());
    delivery.deliver(&alert("a1"));
    let mut bytes = vec![0; 65_536];
    let length = receiver.recv(&mut bytes).unwrap();
    assert_eq!(bytes[length - 1], b'\n');
    assert_eq!(serde_json::from_slice::<Value>(&bytes[..length]).unwrap()["id"], "a1");
}

#[test]
fn what_is_about_one_receiver_goes_to_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let targets = ["a", "b"].map(|name| format!("unix:{}", dir.path().join(name).display()));
    let [a, b] = ["a", "b"].map(|name| UnixDatagram::bind(dir.path().join(name)).unwrap());
    for socket in [&a, &b] {
        socket.set_read_timeout(Some(SOON)).unwrap();
    }
    let parsed: Vec<Target> = targets.iter().map(|target| target.parse().unwrap()).collect();
    let delivery = Delivery::start(&parsed, &options()).unwrap();
    delivery.deliver_event_but_to(&targets[0], &event("of a"));
    delivery.deliver_event(&event("of all"));
    let next = |socket: &UnixDatagram| {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        let event: Value = serde_json::from_slice(&bytes[..length]).unwrap();
        event["text"].as_str().unwrap().to_owned()
    };
    assert_eq!([next(&a), next(&b), next(&b)], ["of all", "of a", "of all"]);
}

/// Their names were the same label of one metric, and one's trouble was kept from the other.
#[test]
fn receivers_that_are_shown_alike_are_told_apart() {
    let [room_a, room_b] = ["a", "b"].map(|room| {
        format!("http://127.0.0.1:{}/hook?room={room}", free_address().port()).parse().unwrap()
    });
    let alike: Target = "http://127.0.0.1:9/hook?room=a".parse().unwrap();
    let other: Target = "http://ann:secret@127.0.0.1:9/hook".parse().unwrap();
    let delivery = Delivery::start(&[alike, other, room_a, room_b], &options()).unwrap();
    let mut names: Vec<_> = delivery.counters().into_iter().map(|one| one.target).collect();
    assert_eq!(names[..2], ["http://127.0.0.1:9/hook", "http://127.0.0.1:9/hook #2"]);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 4);
    delivery.finish(Duration::ZERO);
}

#[test]
fn without_receivers_nothing_is_done() {
    let delivery = Delivery::start(&[], &DeliveryOptions::default()).unwrap();
    delivery.deliver(&alert("a1"));
    assert_eq!(delivery.finish(SOON), (Vec::new(), Vec::new()));
}

#[test]
#[cfg(not(feature = "https"))]
fn a_build_without_tls_refuses_https_instead_of_sending_in_the_clear() {
    let target = "https://u:secret@127.0.0.1/in".parse().unwrap();
    let error = Delivery::start(&[target], &options()).unwrap_err().to_string();
    assert!(error.starts_with("https://127.0.0.1/in: this build speaks no TLS"), "{error}");
}

/// A certificate for 127.0.0.1, made by openssl.
#[cfg(feature = "https")]
fn certificate(dir: &std::path::Path) -> Option<(PathBuf, rustls::ServerConfig)> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x"])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: https: openssl made no certificate");
        return None;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&cert).unwrap()],
            PrivateKeyDer::from_pem_file(&key).unwrap(),
        )
        .unwrap();
    Some((cert, config))
}

#[test]
#[cfg(feature = "https")]
fn https_is_spoken_with_receivers_that_are_trusted_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let Some((cert, config)) = certificate(dir.path()) else { return };
    let config = Arc::new(config);
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = format!("https://{}/in", receiver.local_addr().unwrap());

    let trusting = DeliveryOptions { certificates: Some(cert), ..options() };
    let delivery = start(&target, &trusting);
    delivery.deliver(&alert("a1"));
    let (stream, _) = receiver.accept().unwrap();
    let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
    let mut tls = rustls::StreamOwned::new(session, stream);
    let (_, body) = answer(&mut tls, "200 OK");
    assert!(body.contains("\"id\":\"a1\""));
    drop(tls);
    assert_eq!(delivery.finish(SOON).0[0].delivered, 1);

    // The system's certificates don't know it.
    let delivery = start(&target, &options());
    delivery.deliver(&alert("a2"));
    let (stream, _) = receiver.accept().unwrap();
    let session = rustls::ServerConnection::new(config).unwrap();
    let mut tls = rustls::StreamOwned::new(session, stream);
    assert!(tls.read(&mut [0]).is_err(), "the handshake is given up");
    drop(tls);
    wait_for("a failure", || delivery.counters()[0].retries >= 1);
    assert_eq!(delivery.counters()[0].delivered, 0);
}

/// rsyslogd in the foreground, with sockets of the test's own.
struct Rsyslogd {
    child: std::process::Child,
    dir: tempfile::TempDir,
}

impl Rsyslogd {
    fn start(port: u16) -> Option<Self> {
        let program = ["/usr/sbin/rsyslogd", "/usr/bin/rsyslogd"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists());
        let Some(program) = program else {
            eprintln!("SKIPPED: rsyslogd: not installed (tools/setup test)");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display().to_string();
        let config = format!(
            "global(workDirectory=\"{at}\")\n\
             module(load=\"imudp\")\n\
             module(load=\"imtcp\")\n\
             input(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             template(name=\"parts\" type=\"string\" string=\"%syslogfacility-text%|%syslogseverity-text%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%msgid%|%structured-data%|%msg%\\n\")\n\
             action(type=\"omfile\" file=\"{at}/out\" template=\"parts\")\n"
        );
        let path = dir.path().join("rsyslog.conf");
        std::fs::write(&path, config).unwrap();
        let child = std::process::Command::new(program)
            .args(["-n", "-i", &format!("{at}/pid"), "-f"])
            .arg(&path)
            .spawn()
            .unwrap();
        let server = Self { child, dir };
        wait_for("rsyslogd", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        Some(server)
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("out")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn rsyslogd_understands_every_part_of_a_message() {
    let port = free_address().port();
    let Some(server) = Rsyslogd::start(port) else { return };
    for scheme in ["syslog", "syslog+tcp"] {
        let hostname = "sensor-1".to_owned();
        let options = DeliveryOptions { hostname, ..options() };
        let delivery = start(&format!("{scheme}://127.0.0.1:{port}"), &options);
        delivery.deliver(&alert("a\"]1"));
        delivery.deliver_event(&event("Stille im Äther"));
        delivery.finish(SOON);
    }
    wait_for("four lines", || server.lines().len() >= 4);
    let alert = format!(
        "daemon|warning|2026-11-21T13:13:05.000000+00:00|sensor-1|flowtap|alert|\
         [alert@32473 id=\"a\\\"\\]1\" revision=\"1\" detector=\"udp_flood\" severity=\"medium\" confidence=\"0.6\" \
         entity=\"203.0.113.7\" analytics=\"AN0001,AN0002\"]|{}",
        crate::alert::sentence(&alert("x"))
    );
    let event = "daemon|warning|2026-11-21T13:13:03.000000+00:00|sensor-1|flowtap|sensor.silent|\
         [sensor@32473 kind=\"sensor.silent\" interface=\"eth0\" sensor=\"tap-7\"]\
         [timeQuality tzKnown=\"1\" isSynced=\"0\"]|\u{feff}Stille im Äther";
    let lines = server.lines();
    let count = |wanted: &str| {
        let plain = |line: &str| line.replace('\u{feff}', "").replace("+00:00", "Z");
        lines.iter().filter(|line| plain(line) == plain(wanted)).count()
    };
    assert_eq!((count(&alert), count(event)), (2, 2), "{lines:#?}");
}
