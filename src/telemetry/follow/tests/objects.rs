//! An object store, played by moto's server (pip install 'moto[server]').

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use super::*;

/// The server, ended with the test.
struct Store {
    server: Child,
    port: u16,
}

impl Store {
    /// Says so and is nothing where it is not installed.
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(server) = server else {
            eprintln!("SKIPPED: no moto_server (pip install 'moto[server]')");
            return None;
        };
        let store = Self { server, port };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "moto_server does not listen");
            std::thread::sleep(Duration::from_millis(100));
        }
        store.put("/logs", b"");
        Some(store)
    }

    fn put(&self, path: &str, body: &[u8]) {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // The server checks no signature, and asks for one.
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20261125/us-east-1/s3/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\r\n",
            self.port,
            body.len()
        );
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(body).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn target(&self) -> Target {
        let settings = [
            ("endpoint", format!("http://127.0.0.1:{}", self.port)),
            ("region", "us-east-1".into()),
            ("allow_http", "true".into()),
            ("access_key_id", "test".into()),
            ("secret_access_key", "test".into()),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value)).into();
        Target::Objects { url: "s3://logs/AWSLogs".into(), settings }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn options() -> Options {
    Options { object_pause: Duration::from_millis(100), ..Options::default() }
}

/// Polls until so many lines came, or half a minute; and some time longer.
fn read(reader: &mut Reader, lines: usize) {
    let end = Instant::now() + Duration::from_secs(30);
    while reader.lines.len() < lines && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        reader.poll();
    }
    std::thread::sleep(Duration::from_millis(500));
    reader.poll();
}

#[test]
fn objects_are_read_once_as_they_come() {
    let Some(store) = Store::start() else { return };
    let place = Place::new();
    let big = many("big", 1_000_000);
    store.put("/logs/AWSLogs/2026/11/24/b.log.gz", &gzip(b"one\n"));
    store.put("/logs/AWSLogs/2026/11/25/a.log", b"two\nthree");
    store.put("/logs/other/c.log", b"elsewhere\n");
    let mut reader = Reader::with(&store.target(), Some(&place.state()), &options());
    read(&mut reader, 3);
    assert_eq!(reader.take(), ["one", "two", "three"]);
    let names: Vec<_> = reader.opened.iter().map(|opened| opened.name.as_str()).collect();
    assert_eq!(names, ["AWSLogs/2026/11/24/b.log.gz", "AWSLogs/2026/11/25/a.log"]);
    store.put("/logs/AWSLogs/2026/11/23/late.log.gz", &gzip(big.as_bytes()));
    read(&mut reader, big.lines().count());
    assert_eq!(reader.take(), big.lines().collect::<Vec<_>>());
    assert_eq!(reader.told, []);
    reader.finish();
    // A restart reads nothing again but what is new or was written anew.
    store.put("/logs/AWSLogs/2026/11/25/a.log", b"two\nthree\nfour\n");
    store.put("/logs/AWSLogs/2026/11/26/d.log", b"five\n");
    let mut reader = Reader::with(&store.target(), Some(&place.state()), &options());
    read(&mut reader, 4);
    assert_eq!(reader.finish(), ["two", "three", "four", "five"]);
}

/// Regression: what came after a kill, or a stop before the first listing, was history
/// then, or all history was new.
#[test]
fn what_is_history_is_kept_from_the_first_listing_on() {
    let Some(store) = Store::start() else { return };
    let place = Place::new();
    store.put("/logs/AWSLogs/1.log", b"old\n");
    let options = Options { from_start: false, ..options() };
    let start = || Reader::with(&store.target(), Some(&place.state()), &options);
    start().finish();
    let mut reader = start();
    read(&mut reader, 0);
    assert_eq!(reader.take(), [""; 0]);
    drop(reader);
    store.put("/logs/AWSLogs/2.log", b"new\n");
    let mut reader = start();
    read(&mut reader, 1);
    assert_eq!(reader.finish(), ["new"]);
}

#[test]
fn a_restart_goes_on_within_an_object() {
    let Some(store) = Store::start() else { return };
    let place = Place::new();
    let big = many("big", 3_000_000);
    store.put("/logs/AWSLogs/big.gz", &gzip(big.as_bytes()));
    let mut reader = Reader::with(&store.target(), Some(&place.state()), &options());
    let end = Instant::now() + Duration::from_secs(30);
    while reader.lines.is_empty() && Instant::now() < end {
        reader.poll_once();
    }
    let mut lines = reader.finish();
    let read_before = lines.len();
    assert!(read_before < big.lines().count());
    let mut reader = Reader::with(&store.target(), Some(&place.state()), &options());
    read(&mut reader, big.lines().count() - read_before);
    assert_eq!(reader.opened[0].from.line, read_before as u64 + 1);
    assert_eq!(reader.opened[0].head, big.as_bytes()[..64 << 10]);
    lines.extend(reader.finish());
    assert_eq!(lines, big.lines().collect::<Vec<_>>());
}

#[test]
fn a_store_that_is_not_there_is_told_and_asked_again() {
    let place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = [
        ("endpoint", format!("http://127.0.0.1:{port}")),
        ("allow_http", "true".into()),
        ("skip_signature", "true".into()),
        ("timeout", "1 second".into()),
    ];
    let settings: Vec<_> = settings.map(|(key, value)| (key.to_owned(), value)).into();
    let target = Target::Objects { url: "s3://logs".into(), settings: settings.clone() };
    let mut reader = Reader::with(&target, Some(&place.state()), &options());
    let end = Instant::now() + Duration::from_secs(300);
    while reader.told.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        reader.poll();
    }
    assert!(matches!(&reader.told[..], [Told::Unreadable { .. }]), "{:?}", reader.told);
    let target = Target::Objects { url: "http://logs".into(), settings };
    assert!(Follower::start(&target, None, &options(), Instant::now()).is_err());
}
