//! Baselines on disk: what comes back, who may open, what damage does.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::tests::{START_S, freeze, host, judge, learned_minutes, minute};
use super::*;
use crate::entity::Who;

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("normal.db");
    (dir, path)
}

fn who(n: u32) -> Arc<Who> {
    Arc::new(Who::address(&host(&format!("10.0.{}.{}", n / 256, n % 256))))
}

fn open(path: &std::path::Path, learning: bool) -> Baselines {
    Baselines::open(path, BaselineSettings::default(), learning).expect("opens")
}

fn teach(baselines: &mut Baselines, entities: u32, minutes: i64) {
    for at in 0..minutes {
        for n in 0..entities {
            let bytes = 1e5 * f64::from(n + 1);
            baselines.learn(&minute(&who(n), START_S + at * 60, bytes, "192.0.2.1"));
        }
    }
}

#[test]
fn what_was_learned_comes_back() {
    let (_dir, path) = place();
    let mut before = open(&path, true);
    teach(&mut before, 20, 40);
    freeze(&mut before, &who(3), START_S + 3600 * 2);
    before.learn(&minute(&who(3), START_S + 3600, 1e9, "203.0.113.1"));
    assert!(before.flush());
    let profiles: Vec<_> = before.keys().map(|key| before.look_up(key)).collect();
    drop(before);
    let after = open(&path, false);
    assert_eq!(after.len(), 20);
    assert_eq!(after.pending(), 1);
    assert_eq!(after.others(&host("192.0.2.7"), &[]), Others { know: 20, of: 20 });
    let read: Vec<_> = after.keys().map(|key| after.look_up(key)).collect();
    assert_eq!(read, profiles);
    assert_eq!(learned_minutes(&after, &who(3)), 40);
}

#[test]
fn what_waits_for_anothers_verdict_comes_back_and_is_settled_by_it() {
    let (_dir, path) = place();
    let mut before = open(&path, true);
    let cause: Arc<str> = "process:web:/usr/bin/curl:".into();
    let (keys, addresses) = (vec![Arc::clone(&who(1).baseline)], Vec::new());
    let until_s = START_S + 60;
    before.freeze(&Freeze {
        cause: Arc::clone(&cause),
        alert: None,
        keys,
        addresses,
        all: false,
        until_s,
    });
    before.learn(&minute(&who(1), START_S, 1e6, "203.0.113.1"));
    freeze(&mut before, &who(2), until_s);
    before.learn(&minute(&who(2), START_S, 1e6, "203.0.113.1"));
    assert!(before.flush());
    drop(before);
    let mut after = open(&path, true);
    assert_eq!((after.pending(), after.counters().damaged), (2, 0));
    judge(&mut after, &cause, (START_S, START_S + 59), Verdict::Expected);
    assert_eq!((after.pending(), learned_minutes(&after, &who(1))), (1, 1));
    judge(&mut after, &who(2).baseline, (START_S, START_S + 59), Verdict::Expected);
    assert_eq!((after.pending(), learned_minutes(&after, &who(2))), (0, 1));
}

/// Files of before there was a table of what was learned from, which older programs then go
/// on with.
#[test]
fn a_file_without_what_was_learned_from_opens_and_gets_it_with_the_first() {
    let (dir, path) = place();
    let mut before = open(&path, true);
    teach(&mut before, 2, 1);
    assert!(before.flush());
    drop(before);
    assert!(!tables_of(&path).contains(&"learned_files".to_owned()));
    let format = format_of(&path);
    let capture = dir.path().join("a.pcap");
    std::fs::write(&capture, b"packets").expect("written");
    let mark = FileMark::of(&capture).expect("read").expect("a file");

    let mut after = open(&path, true);
    assert_eq!((after.len(), after.learned_from(mark)), (2, None));
    after.note_file(mark, Some((1, 2)), false);
    assert!(after.flush());
    drop(after);
    assert!(tables_of(&path).contains(&"learned_files".to_owned()));
    assert_eq!(format_of(&path), format, "older programs read it as before");
    let again = open(&path, false);
    let known = again.learned_from(mark).expect("known");
    assert_eq!((known.span_ns, known.whole, again.len()), (Some((1, 2)), false, 2));
}

fn tables_of(path: &std::path::Path) -> Vec<String> {
    use redb::{ReadableDatabase as _, TableHandle as _};
    let file = redb::Database::open(path).expect("opens");
    let read = file.begin_read().expect("begins");
    read.list_tables().expect("read").map(|table| table.name().to_owned()).collect()
}

/// Older versions counted processes and workloads beside the places they are in.
#[test]
fn a_fleet_that_was_counted_otherwise_is_counted_anew() {
    let (_dir, path) = place();
    let mut before = open(&path, true);
    teach(&mut before, 5, 1);
    assert!(before.flush());
    drop(before);
    let counted = |baselines: &Baselines| baselines.others(&host("192.0.2.7"), &[]);
    let all = Others { know: 5, of: 5 };
    write_old_fleet(&path);
    assert_eq!(counted(&open(&path, false)), all);
    let mut after = open(&path, true);
    assert_eq!(counted(&after), all);
    teach(&mut after, 6, 1);
    assert!(after.flush());
    drop(after);
    assert_eq!(counted(&open(&path, false)), Others { know: 6, of: 6 });
}

/// As those versions leave it: fifty that know any prefix, none of them this one.
fn write_old_fleet(path: &std::path::Path) {
    let table = redb::TableDefinition::<&str, &[u8]>::new("fleet");
    let file = redb::Database::open(path).expect("opens");
    let write = file.begin_write().expect("begins");
    let mut fleet = write.open_table(table).expect("there");
    fleet.insert("prefixes", &[50_u8][..]).expect("written");
    drop(fleet);
    write.commit().expect("written");
}

/// The format that is written in a file.
fn format_of(path: &std::path::Path) -> u64 {
    use redb::ReadableDatabase as _;
    let file = redb::Database::open(path).expect("opens");
    let meta = redb::TableDefinition::<&str, u64>::new("flowtap_baselines");
    let read = file.begin_read().expect("begins");
    let format = read.open_table(meta).expect("there").get("format").expect("read");
    format.expect("written").value()
}

#[test]
fn names_come_back_and_a_file_without_them_is_one_that_older_programs_read() {
    let (_dir, path) = place();
    let mut before = open(&path, true);
    teach(&mut before, 3, 5);
    assert!(before.flush());
    drop(before);
    assert_eq!(format_of(&path), 1);
    let mut named = open(&path, true);
    let name = NameDigest::of("www.example.com");
    for n in 0..2 {
        let hosts = (&host("10.0.0.1"), &host("192.0.2.1"));
        named.learn_names(&who(n).baseline, hosts, &[name], START_S + 300);
    }
    assert!(named.flush());
    drop(named);
    assert_eq!(format_of(&path), 2, "who does not know names leaves it alone");
    let after = open(&path, true);
    assert_eq!((after.len(), after.counters().damaged), (3, 0));
    assert_eq!(after.others_by_name(name, &[]), Others { know: 2, of: 2 });
    assert_eq!(after.others(&host("192.0.2.7"), &[]), Others { know: 3, of: 3 });
    let known = after.profile(&who(1).baseline).and_then(|profile| profile.name(name));
    assert_eq!(known.map(|known| known.first_day), Some(START_S / 86_400));
    assert!(after.profile(&who(2).baseline).is_some_and(|profile| profile.names().is_empty()));
}

#[test]
fn one_learns_and_many_read() {
    let (_dir, path) = place();
    let mut writer = open(&path, true);
    teach(&mut writer, 3, 31);
    assert!(writer.flush());
    let second = Baselines::open(&path, BaselineSettings::default(), true);
    assert!(matches!(second, Err(StoreError::InUse(_))), "{second:?}");
    let (one, other) = (open(&path, false), open(&path, false));
    // Each sees the state of when it opened.
    teach(&mut writer, 5, 40);
    assert!(writer.flush());
    assert_eq!((one.len(), other.len()), (3, 3));
    assert_eq!(learned_minutes(&one, &who(0)), 31);
    assert_eq!(open(&path, false).len(), 5);
}

#[test]
fn a_reader_learns_nothing() {
    let (_dir, path) = place();
    let mut writer = open(&path, true);
    teach(&mut writer, 1, 5);
    writer.flush();
    drop(writer);
    let mut reader = open(&path, false);
    teach(&mut reader, 2, 5);
    reader.tick(START_S + 86_400);
    assert_eq!((reader.len(), learned_minutes(&reader, &who(0))), (1, 5));
}

#[test]
fn cold_entities_wait_on_disk() {
    let (_dir, path) = place();
    let settings = BaselineSettings { held: 8, ..BaselineSettings::default() };
    let mut baselines = Baselines::open(&path, settings, true).expect("opens");
    teach(&mut baselines, 40, 35);
    assert_eq!(baselines.len(), 40);
    assert!(baselines.held() <= 8);
    for n in 0..40 {
        assert_eq!(learned_minutes(&baselines, &who(n)), 35, "{n}");
    }
    assert_eq!(baselines.counters().forgotten, 0);
}

#[test]
fn what_was_forgotten_stays_away() {
    let (_dir, path) = place();
    let mut baselines = open(&path, true);
    teach(&mut baselines, 2, 5);
    baselines.flush();
    assert!(baselines.forget(&who(0).baseline));
    assert!(!baselines.forget("address:198.51.100.1"));
    baselines.flush();
    drop(baselines);
    let after = open(&path, false);
    assert_eq!(after.keys().map(|key| &**key).collect::<Vec<_>>(), ["address:10.0.0.1"]);
}

#[test]
fn a_file_of_others_is_refused_and_left_alone() {
    let (dir, path) = place();
    let others = redb::Database::create(&path).expect("created");
    let write = others.begin_write().expect("begins");
    let table = redb::TableDefinition::<&str, u64>::new("of_another_program");
    write.open_table(table).expect("made").insert("a", 1).expect("inserted");
    write.commit().expect("committed");
    drop(others);
    let database = std::fs::read(&path).expect("read");
    for foreign in [&b"not a database, but longer than any magic number"[..], &database] {
        std::fs::write(&path, foreign).expect("written");
        let refused = Baselines::open(&path, BaselineSettings::default(), true);
        assert!(matches!(refused, Err(StoreError::Foreign(_))), "{refused:?}");
        // redb may have noted in its header that it was opened.
        assert_eq!(std::fs::read(&path).expect("there").len(), foreign.len());
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
    }
}

/// A device was renamed, and a regular file stood in its place.
#[test]
fn what_is_no_file_is_neither_opened_nor_set_aside() {
    let dir = tempfile::tempdir().expect("a folder");
    let [pipe, folder] = ["pipe", "folder"].map(|name| dir.path().join(name));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("run");
    assert!(made.success());
    std::fs::create_dir(&folder).expect("made");
    for path in [&pipe, &folder] {
        for learns in [true, false] {
            let refused = Baselines::open(path, BaselineSettings::default(), learns);
            assert!(matches!(refused, Err(StoreError::Foreign(_))), "{refused:?}");
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 2);
}

#[test]
fn a_file_of_nothing_is_set_aside_and_said() {
    for foreign in [&[0; 10_000][..], &[0; 3]] {
        let (dir, path) = place();
        std::fs::write(&path, foreign).expect("written");
        let refused = Baselines::open(&path, BaselineSettings::default(), false);
        assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
        let mut baselines = open(&path, true);
        let notes = baselines.take_notes();
        assert!(notes.len() == 1 && notes[0].contains("set aside"), "{notes:?}");
        let aside = dir.path().join("normal.db.damaged-1");
        assert_eq!(std::fs::read(aside).expect("still there"), foreign);
        teach(&mut baselines, 1, 1);
        assert!(baselines.flush());
    }
}

#[test]
fn a_newer_file_is_refused() {
    let (_dir, path) = place();
    drop(open(&path, true));
    let file = redb::Database::open(&path).expect("opens");
    let write = file.begin_write().expect("begins");
    let meta = redb::TableDefinition::<&str, u64>::new("flowtap_baselines");
    write.open_table(meta).expect("there").insert("format", 3).expect("inserted");
    write.commit().expect("committed");
    drop(file);
    for learning in [false, true] {
        let refused = Baselines::open(&path, BaselineSettings::default(), learning);
        assert!(matches!(refused, Err(StoreError::TooNew { found: 3, .. })), "{refused:?}");
    }
}

/// Whatever is damaged: no panic, and nothing is lost without a word.
#[test]
fn damage_anywhere_is_found_or_harmless() {
    let (dir, path) = place();
    let mut baselines = open(&path, true);
    teach(&mut baselines, 30, 35);
    baselines.flush();
    let whole: Vec<_> = baselines.keys().map(|key| baselines.look_up(key)).collect();
    drop(baselines);
    let bytes = std::fs::read(&path).expect("read");
    for round in 0..60 {
        let copy = dir.path().join(format!("copy-{round}"));
        let mut damaged = bytes.clone();
        let at = round * bytes.len() / 60 + round * 37 % 4096;
        let end = (at + 64).min(bytes.len());
        damaged[at.min(end - 1)..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&copy, &damaged).expect("written");
        let mut read = match Baselines::open(&copy, BaselineSettings::default(), true) {
            Ok(read) => read,
            Err(error) => panic!("{round}: {error}"),
        };
        let profiles: Vec<_> = read.keys().map(|key| read.look_up(key)).collect();
        teach(&mut read, 30, 1);
        read.flush();
        let told = !read.take_notes().is_empty() || read.counters().damaged > 0;
        assert!(told || profiles == whole, "{round}: byte {at}");
    }
}
