//! Folders that gain files.

use super::*;

#[test]
fn files_are_read_by_name_and_new_ones_as_they_come() {
    let place = Place::new();
    fs::create_dir_all(place.path("2026/11/25")).unwrap();
    fs::create_dir_all(place.path("2026/11/24")).unwrap();
    place.append("2026/11/25/b.log", "four\n");
    place.append("2026/11/25/a.log", "three\n");
    fs::write(place.path("2026/11/24/z.log.gz"), gzip(b"one\ntwo\n")).unwrap();
    place.append("2026/11/25/.a.log.x7Yz", "hidden\n");
    place.append("2026/11/25/c.log.part", "not whole\n");
    let mut reader = Reader::start(&place.all(), None);
    reader.poll();
    reader.poll_after(Duration::from_secs(3));
    let mut lines = reader.take();
    lines.sort_unstable();
    assert_eq!(lines, ["four", "one", "three", "two"]);
    fs::create_dir_all(place.path("2026/11/26")).unwrap();
    place.append("2026/11/26/a.log", "six\n");
    place.append("2026/11/25/b.log", "five\n");
    reader.poll();
    assert_eq!(reader.take(), ["five", "six"]);
}

#[test]
fn many_files_in_order() {
    let place = Place::new();
    for n in (0..300).rev() {
        place.append(&format!("{n:03}"), &format!("{n:03}\n"));
    }
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    reader.poll();
    let expected: Vec<_> = (0..300).map(|n| format!("{n:03}")).collect();
    assert_eq!(reader.take(), expected);
    reader.wait(Duration::from_secs(11));
    assert_eq!(reader.closed.len(), 300);
    reader.finish();
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    place.append("150", "more\n");
    reader.wait(Duration::from_secs(3));
    assert_eq!(reader.finish(), ["more"]);
}

/// More than a process may have open, and more than a consumer is to hold.
#[test]
fn thousands_of_files_are_not_open_at_once() {
    let place = Place::new();
    for n in 0..3000 {
        place.append(&format!("{n:04}"), &format!("{n:04}\n"));
    }
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    reader.now += Duration::from_millis(250);
    let (mut most_open, mut most_sources) = (0, 0);
    while reader.poll_once() {
        if reader.opened.len().is_multiple_of(100) {
            let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
            let ours = |path: PathBuf| path.starts_with(place.path(""));
            let open = open.filter(|fd| fs::read_link(fd.path()).is_ok_and(ours)).count();
            most_open = most_open.max(open);
        }
        most_sources = most_sources.max(reader.cutters.len());
    }
    assert_eq!(reader.take().len(), 3000);
    assert!((10..=135).contains(&most_open), "{most_open} files");
    assert!(most_sources <= 1025, "{most_sources} sources");
}

#[test]
fn a_compressed_file_that_is_still_written_is_read_once_it_is_whole() {
    let place = Place::new();
    let text = many("line", 400_000);
    let packed = gzip(text.as_bytes());
    let mut reader = Reader::start(&place.all(), None);
    reader.poll();
    // It rests in between for longer than a whole one does.
    for part in packed.chunks(packed.len() / 3) {
        let mut file =
            OpenOptions::new().append(true).create(true).open(place.path("a.gz")).unwrap();
        file.write_all(part).unwrap();
        reader.wait(Duration::from_secs(4));
    }
    assert_eq!(reader.take(), text.lines().collect::<Vec<_>>());
    assert_eq!(reader.told, []);
}

/// Regression: it was unpacked from its start at each look.
#[test]
fn a_compressed_file_that_is_cut_off_is_looked_into_again_once_it_changed() {
    let place = Place::new();
    let path = place.path("a.gz");
    let mut cut_off = gzip(b"one\n");
    let mut whole = cut_off.clone();
    whole.extend(gzip(b"two\n"));
    // Of another part, the start of a long name in its header.
    cut_off.extend([0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0xff]);
    cut_off.resize(whole.len(), b'a');
    let modified = std::time::SystemTime::now() - Duration::from_secs(60);
    let write = |bytes: &[u8], modified| {
        fs::write(&path, bytes).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().set_modified(modified).unwrap();
    };
    write(&cut_off, modified);
    let mut reader = Reader::start(&place.all(), None);
    reader.wait(Duration::from_secs(4));
    write(&whole, modified);
    reader.wait(Duration::from_secs(4));
    assert_eq!(reader.take(), ["one"], "nothing shows that it changed");
    write(&whole, modified + Duration::from_secs(1));
    reader.wait(Duration::from_secs(4));
    assert_eq!(reader.take(), ["two"]);
    assert_eq!(reader.told, []);
}

#[test]
fn a_restart_goes_on_in_the_middle_of_a_compressed_file() {
    let place = Place::new();
    let text = many("line", 2_000_000);
    fs::write(place.path("a.gz"), gzip(text.as_bytes())).unwrap();
    let mut lines = Vec::new();
    for _ in 0..20 {
        let mut reader = Reader::start(&place.all(), Some(&place.state()));
        reader.poll();
        reader.now += Duration::from_secs(3);
        // Opened, and two pieces.
        let polled = (0..3).filter(|_| reader.poll_once()).count();
        if polled > 0 && !lines.is_empty() {
            let head = &reader.opened[0].head;
            assert!(text.as_bytes().starts_with(head) && !head.is_empty());
        }
        lines.extend(reader.finish());
    }
    assert_eq!(lines, text.lines().collect::<Vec<_>>());
}

/// Written anew each time, by renaming and in place, and across restarts.
#[test]
fn a_document_that_grows_before_its_closing_brackets_goes_on_there() {
    for (start, end) in [("{ \"records\" : [\n", "\n]\n}\n"), ("[", "]")] {
        let place = Place::new();
        let mut records: Vec<String> = Vec::new();
        let mut found = Vec::new();
        let mut reader = Reader::start(&place.all(), Some(&place.state()));
        for n in 0..40 {
            records.push(format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(n)));
            let text = format!("{start}{}{end}", records.join(",\n"));
            if n % 3 == 0 {
                fs::write(place.path("PT1H.json"), text).unwrap();
            } else {
                fs::write(place.path(".PT1H.json"), text).unwrap();
                place.rename(".PT1H.json", "PT1H.json");
            }
            reader.framing = Framing::Json;
            reader.poll();
            if n % 7 == 6 {
                found.extend(reader.finish());
                reader = Reader::start(&place.all(), Some(&place.state()));
            }
        }
        assert_eq!(reader.told, []);
        found.extend(reader.finish());
        assert!(found == records, "{} of {}: {:?}", found.len(), records.len(), found.get(..4));
    }
}

#[test]
fn zstd_and_damaged_gzip() {
    let place = Place::new();
    fs::write(place.path("a.zst"), zstd::encode_all(&b"one\n"[..], 1).unwrap()).unwrap();
    let mut packed = gzip(many("x", 10_000).as_bytes());
    let middle = packed.len() / 2;
    packed[middle] ^= 0xff;
    packed[middle + 1] ^= 0xff;
    fs::write(place.path("b.gz"), packed).unwrap();
    place.append("c", "two\n");
    fs::write(place.path("d.xz"), b"\xfd7zXZ\0").unwrap();
    let mut reader = Reader::start(&place.all(), None);
    reader.wait(Duration::from_secs(4));
    reader.lines.retain(|line| !line.starts_with('x'));
    reader.lines.sort_unstable();
    assert_eq!(reader.take()[..2], ["one", "two"]);
    assert_eq!(reader.told.len(), 2, "{:?}", reader.told);
}

#[test]
fn a_file_that_is_rotated_within_the_folder_and_compressed_is_read_once() {
    let place = Place::new();
    place.append("app.log", "one\n");
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    reader.poll();
    place.append("app.log", "two\n");
    place.rename("app.log", "app.log.1");
    place.append("app.log", "three\n");
    reader.poll();
    fs::write(place.path("app.log.1.gz"), gzip(b"one\ntwo\n")).unwrap();
    place.remove("app.log.1");
    reader.wait(Duration::from_secs(80));
    assert_eq!(reader.finish(), ["one", "two", "three"]);
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    reader.wait(Duration::from_secs(15));
    assert_eq!(reader.finish(), [""; 0]);
}

#[test]
fn a_file_that_is_replaced_by_a_longer_version_goes_on() {
    let place = Place::new();
    place.append("app.log", "one\n");
    let mut reader = Reader::start(&place.all(), None);
    reader.poll();
    for (n, text) in [(1, "one\ntwo\n"), (2, "one\ntwo\nthree\n")] {
        place.append(".new", text);
        place.rename(".new", "app.log");
        reader.poll();
        assert_eq!(reader.lines.len(), n + 1);
    }
    assert_eq!(reader.take(), ["one", "two", "three"]);
}

#[test]
fn ignored_sources_say_nothing_and_stay_read() {
    let place = Place::new();
    place.append("a", "no telemetry\n");
    place.append("b", "one\n");
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    reader.now += Duration::from_millis(250);
    while reader.opened.is_empty() {
        reader.poll_once();
    }
    let source = reader.opened[0].source;
    reader.follower.ignore(source);
    reader.poll();
    place.append("a", "more\n");
    reader.poll();
    assert_eq!(reader.finish(), ["one"]);
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    reader.poll();
    assert_eq!(reader.finish(), [""; 0]);
}

/// Regression: what came after a consumer had given a source up was for nobody.
#[test]
fn a_source_that_was_given_up_is_opened_again_where_it_goes_on() {
    let place = Place::new();
    place.append("a", "one\n");
    let mut reader = Reader::start(&place.all(), None);
    reader.poll();
    let source = reader.opened[0].source;
    let (_, cutter) = reader.cutters.remove(&source).unwrap();
    reader.follower.release(source, cutter.mark());
    reader.poll();
    assert_eq!(reader.opened.len(), 1, "nothing came");
    place.append("a", "two\n");
    reader.poll();
    assert_eq!(reader.take(), ["one", "two"]);
    let again = &reader.opened[1];
    let from = Mark { offset: 4, line: 2, within: None };
    assert_eq!((again.source, again.from, &again.head[..]), (source, from, &b"one\n"[..]));
}

/// Regression: files that rest again and again pushed out those that rested just now.
#[test]
fn files_that_are_written_are_read_on_when_they_leave_the_folder() {
    let place = Place::new();
    let names: Vec<String> = (0..20).map(|n| format!("{n:02}.log")).collect();
    let mut reader = Reader::start(&place.all(), None);
    for _ in 0..20 {
        names.iter().for_each(|name| place.append(name, "before\n"));
        reader.poll();
    }
    reader.take();
    for name in &names {
        place.append(name, "last\n");
        fs::rename(place.path(name), place.folder.path().join(name)).unwrap();
        append(&place.folder.path().join(name), "after\n");
    }
    reader.poll();
    assert_eq!(reader.take(), ["last", "after"].repeat(20));
    reader.wait(Duration::from_secs(80));
    assert_eq!(reader.told, []);
}

/// Regression: what rested for the grace, or since before the start, was not open.
#[test]
fn a_file_that_rested_is_read_to_its_end_when_it_leaves_the_folder() {
    let place = Place::new();
    let out = place.folder.path().join("app.log.1");
    let leave = |text: &str| {
        place.append("app.log", text);
        fs::rename(place.path("app.log"), &out).unwrap();
    };
    place.append("app.log", "one\n");
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    reader.wait(Duration::from_secs(11));
    assert_eq!(reader.closed, [("app.log".into(), Closed::Idle)]);
    leave("two\n");
    reader.poll();
    assert_eq!(reader.take(), ["one", "two"]);
    place.append("app.log", "three\n");
    reader.poll();
    assert_eq!(reader.finish(), ["three"]);
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    reader.poll();
    leave("four\n");
    reader.poll();
    assert_eq!(reader.finish(), ["four"]);
}

/// More files than stay open, of which the first rested longest.
#[test]
fn a_file_that_leaves_the_folder_while_it_is_not_open_is_told() {
    let place = Place::new();
    for n in 0..140 {
        place.append(&format!("{n:03}"), "one\n");
    }
    let mut reader = Reader::start(&place.all(), None);
    reader.poll();
    reader.acknowledge();
    for name in ["000", "139"] {
        place.append(name, "two\n");
        place.remove(name);
    }
    reader.wait(Duration::from_secs(72));
    let lines = reader.take();
    assert_eq!((lines.len(), lines.last().map(String::as_str)), (141, Some("two")));
    let name = place.path("000").display().to_string();
    assert_eq!(reader.told, [Told::Lost { name, offset: 4, surely: false }]);
}

/// Of those that went while nobody followed, the ones that rotations and cleaners remove
/// all the time are no loss.
#[test]
fn of_files_that_were_removed_while_nobody_followed_the_written_ones_are_told() {
    let place = Place::new();
    for name in ["app.log", "app.log.1", "old.log", "written.log"] {
        place.append(name, &format!("{name}\n"));
    }
    fs::write(place.path("packed.gz"), gzip(b"packed\n")).unwrap();
    let old = fs::File::options().append(true).open(place.path("old.log")).unwrap();
    let written = old.metadata().unwrap().modified().unwrap();
    old.set_modified(written - Duration::from_secs(2 * 3600)).unwrap();
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    reader.wait(Duration::from_secs(4));
    assert_eq!(reader.finish().len(), 5);
    for name in ["app.log.1", "old.log", "written.log", "packed.gz"] {
        place.remove(name);
    }
    // These may take the inodes.
    (0..8).for_each(|n| place.append(&format!("new.{n}.log"), "new\n"));
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    reader.wait(Duration::from_secs(72));
    let name = place.path("written.log").display().to_string();
    assert_eq!(reader.told, [Told::Lost { name, offset: 12, surely: false }]);
}
