//! The systemd journal, by its own programs: systemd-journal-remote makes a journal of
//! a text, journalctl reads it.

use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::journal::Journal;
use super::*;

const REMOTE: &str = "/lib/systemd/systemd-journal-remote";

/// Says so and is false where a test can't run.
fn is_there() -> bool {
    let there =
        Path::new(REMOTE).exists() && Command::new("journalctl").arg("--version").output().is_ok();
    if !there {
        eprintln!(
            "SKIPPED: no journalctl or no systemd-journal-remote (apt-get install systemd-journal-remote)"
        );
    }
    there
}

/// Entries in the export format: the program and what it says.
fn make(path: &Path, entries: &[(&str, &[u8])]) {
    make_from(1_772_360_100, path, entries);
}

/// The first of that time, in seconds of UTC.
fn make_from(first_s: u64, path: &Path, entries: &[(&str, &[u8])]) {
    let mut text = Vec::new();
    for (n, (program, message)) in entries.iter().enumerate() {
        let time = (first_s + n as u64) * 1_000_000;
        text.extend(
            format!("__REALTIME_TIMESTAMP={time}\n__MONOTONIC_TIMESTAMP={}\n", n + 1).into_bytes(),
        );
        text.extend(b"_BOOT_ID=0123456789abcdef0123456789abcdef\n_HOSTNAME=web1\n");
        text.extend(format!("SYSLOG_IDENTIFIER={program}\nMESSAGE\n").into_bytes());
        text.extend((message.len() as u64).to_le_bytes());
        text.extend_from_slice(message);
        text.extend(b"\n\n");
    }
    let mut remote = Command::new(REMOTE)
        .arg(format!("--output={}", path.display()))
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    remote.stdin.take().unwrap().write_all(&text).unwrap();
    assert!(remote.wait().unwrap().success());
}

/// journalctl takes its time: polls until so many lines came, or half a minute.
fn read(reader: &mut Reader, lines: usize) {
    let end = Instant::now() + Duration::from_secs(30);
    while reader.lines.len() < lines && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        reader.poll();
    }
    // What must not come has some time to.
    std::thread::sleep(Duration::from_millis(300));
    reader.poll();
}

#[test]
fn messages_are_lines_of_their_program() {
    if !is_there() {
        return;
    }
    let place = Place::new();
    let journal = place.path("web1.journal");
    make(
        &journal,
        &[("nginx", b"one"), ("haproxy", b"two"), ("nginx", b"three \xff"), ("nginx", b"four")],
    );
    let target = Target::Journal(vec![format!("--file={}", journal.display())]);
    let mut reader = Reader::start(&target, Some(&place.state()));
    read(&mut reader, 4);
    let sources: Vec<_> =
        reader.opened.iter().map(|o| (o.name.as_str(), o.host.as_deref())).collect();
    assert_eq!(sources, [("journal of nginx", Some("web1")), ("journal of haproxy", Some("web1"))]);
    assert_eq!(reader.take(), ["one", "two", "three \u{fffd}", "four"]);
}

#[test]
fn only_what_was_acknowledged_is_not_read_again() {
    if !is_there() {
        return;
    }
    let place = Place::new();
    let journal = place.path("web1.journal");
    make(&journal, &[("a", b"one"), ("b", b"two"), ("a", b"three")]);
    let target = Target::Journal(vec![format!("--file={}", journal.display())]);
    let mut reader = Reader::start(&target, Some(&place.state()));
    read(&mut reader, 3);
    let a = reader.opened[0].source;
    reader.follower.acknowledge(a, reader.marks[&a]);
    reader.follower.finish().unwrap();
    // b's message was not handed on, and what came behind it comes again.
    let mut reader = Reader::start(&target, Some(&place.state()));
    read(&mut reader, 2);
    assert_eq!(reader.take(), ["two", "three"]);
    let b = reader.opened[0].source;
    reader.follower.ignore(b);
    reader.finish();
    let mut reader = Reader::start(&target, Some(&place.state()));
    read(&mut reader, 0);
    assert_eq!(reader.finish(), [""; 0]);
}

/// Regression: what came after a kill was history then.
#[test]
fn what_comes_after_a_kill_before_the_first_entry_is_no_history() {
    if !is_there() {
        return;
    }
    let place = Place::new();
    let journal = place.path("web1.journal");
    make(&journal, &[("a", b"old"), ("b", b"older")]);
    let target = Target::Journal(vec![format!("--file={}", journal.display())]);
    let options = Options { from_start: false, ..Options::default() };
    let mut reader = Reader::with(&target, Some(&place.state()), &options);
    read(&mut reader, 0);
    assert_eq!(reader.take(), [""; 0]);
    drop(reader);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    make_from(now, &journal, &[("a", b"one"), ("b", b"two")]);
    let mut reader = Reader::with(&target, Some(&place.state()), &options);
    read(&mut reader, 2);
    assert_eq!(reader.take(), ["one", "two"]);
}

/// Regression: journalctl refuses to begin at two places.
#[test]
fn a_beginning_of_the_users_own_is_for_the_first_start() {
    if !is_there() {
        return;
    }
    for since in [
        &["--since=@1772360101"][..],
        &["--since", "@1772360101"],
        &["-S", "@1772360101"],
        &["-S@1772360101"],
        &["-n", "2"],
        &["--lines=2"],
        &["--sinc=@1772360101"],
        &["-qS", "@1772360101"],
    ] {
        let place = Place::new();
        let journal = place.path("web1.journal");
        make(&journal, &[("a", b"one"), ("a", b"two"), ("a", b"three")]);
        let words = since.iter().map(|word| (*word).to_owned());
        let words = words.chain([format!("--file={}", journal.display())]);
        let target = Target::Journal(words.collect());
        let options = Options { from_start: false, ..Options::default() };
        let mut reader = Reader::with(&target, Some(&place.state()), &options);
        read(&mut reader, 2);
        assert_eq!(reader.take(), ["two", "three"], "{since:?}");
        reader.finish();
        make(&journal, &[("a", b"four"), ("a", b"five"), ("a", b"six")]);
        let mut reader = Reader::with(&target, Some(&place.state()), &options);
        read(&mut reader, 3);
        assert_eq!(reader.finish(), ["four", "five", "six"], "{since:?}");
    }
}

#[test]
fn without_journalctl_the_start_says_so() {
    let error = Journal::start("no-such-journalctl", &[], None, &Options::default()).err();
    assert_eq!(error.map(|error| error.kind()), Some(io::ErrorKind::NotFound));
}

#[test]
fn what_journalctl_complains_of_is_told() {
    if !is_there() {
        return;
    }
    let place = Place::new();
    let target = Target::Journal(vec!["--no-such-option".into()]);
    let mut reader = Reader::start(&target, Some(&place.state()));
    let end = Instant::now() + Duration::from_secs(30);
    while reader.told.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        reader.poll();
    }
    let told = format!("{:?}", reader.told);
    assert!(told.contains("no-such-option"), "{told}");
}
