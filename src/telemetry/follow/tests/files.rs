//! One file, as programs rotate it.

use super::*;

const GRACE: Duration = Duration::from_secs(11);

/// Longer than what is gone is looked for.
const LONG: Duration = Duration::from_secs(72);

#[test]
fn a_file_that_grows_is_read_line_by_line() {
    let place = Place::new();
    let mut reader = Reader::start(&place.file(), None);
    reader.poll();
    place.append("app.log", "one\ntw");
    reader.poll();
    assert_eq!(reader.take(), ["one"]);
    reader.wait(GRACE);
    assert_eq!(reader.take(), [""; 0], "the rest of a line can take long");
    place.append("app.log", "o\nthree\n");
    reader.poll();
    assert_eq!(reader.take(), ["two", "three"]);
    assert_eq!(reader.opened.len(), 1);
}

#[test]
fn a_file_that_is_not_there_at_the_start_is_told_once_and_waited_for() {
    let place = Place::new();
    let mut reader = Reader::start(&place.file(), None);
    reader.wait(GRACE);
    let name = place.path("app.log").display().to_string();
    assert_eq!(reader.told, [Told::NotThere { name }]);
    place.append("app.log", "one\n");
    reader.poll();
    place.remove("app.log");
    reader.wait(GRACE);
    assert_eq!(reader.take(), ["one"]);
    assert_eq!(reader.told.len(), 1);
}

#[test]
fn a_renamed_file_is_read_to_its_end_as_long_as_it_is_written() {
    let place = Place::new();
    place.append("app.log", "one\n");
    let mut reader = Reader::start(&place.file(), None);
    reader.poll();
    place.rename("app.log", "app.log.1");
    place.append("app.log.1", "two\n");
    place.append("app.log", "four\n");
    reader.poll();
    place.append("app.log.1", "three\n");
    reader.poll();
    assert_eq!(reader.take(), ["one", "two", "four", "three"]);
    reader.wait(GRACE);
    assert_eq!(reader.closed, [("app.log".into(), Closed::Rotated)]);
    place.append("app.log", "five\n");
    reader.poll();
    assert_eq!(reader.take(), ["five"]);
}

#[test]
fn what_was_there_before_under_other_names_is_history() {
    let place = Place::new();
    place.append("app.log.1", "old\n");
    place.append("app.log", "one\n");
    fs::write(place.path("app.log.2.gz"), gzip(b"older\n")).unwrap();
    let mut reader = Reader::start(&place.file(), None);
    reader.poll();
    place.rename("app.log.1", "app.log.2");
    place.rename("app.log", "app.log.1");
    reader.poll();
    assert_eq!(reader.take(), ["one"]);
}

#[test]
fn rotated_twice_between_two_looks() {
    let place = Place::new();
    place.append("app.log", "one\n");
    let mut reader = Reader::start(&place.file(), None);
    reader.poll();
    place.append("app.log", "two\n");
    place.rename("app.log", "app.log.1");
    place.append("app.log", "three\n");
    place.rename("app.log.1", "app.log.2");
    place.rename("app.log", "app.log.1");
    place.append("app.log", "four\n");
    reader.poll();
    assert_eq!(reader.take(), ["one", "two", "three", "four"]);
}

#[test]
fn removed_and_made_anew() {
    let place = Place::new();
    place.append("app.log", "one\n");
    let mut reader = Reader::start(&place.file(), None);
    reader.poll();
    place.append("app.log", "two\n");
    place.remove("app.log");
    place.append("app.log", "three\n");
    reader.poll();
    assert_eq!(reader.take(), ["one", "two", "three"]);
}

/// Also where the inode's number is used again, which it is not while we hold it.
#[test]
fn renamed_and_compressed_at_once() {
    let place = Place::new();
    place.append("app.log", "one\n");
    let mut reader = Reader::start(&place.file(), None);
    reader.poll();
    place.append("app.log", "two\n");
    fs::write(place.path("app.log.1.gz"), gzip(b"one\ntwo\n")).unwrap();
    place.remove("app.log");
    place.append("app.log", "three\n");
    reader.wait(GRACE);
    assert_eq!(reader.take(), ["one", "two", "three"]);
}

/// Nothing of the first of them was ever seen uncompressed.
#[test]
fn rotated_twice_and_compressed_between_two_looks() {
    let place = Place::new();
    fs::write(place.path("app.log.1.gz"), gzip(b"history\n")).unwrap();
    place.append("app.log", "one\n");
    let mut reader = Reader::start(&place.file(), Some(&place.state()));
    reader.poll();
    place.append("app.log", "two\n");
    place.remove("app.log");
    place.rename("app.log.1.gz", "app.log.3.gz");
    fs::write(place.path("app.log.2.gz"), gzip(b"one\ntwo\n")).unwrap();
    fs::write(place.path("app.log.1.gz"), gzip(b"three\n")).unwrap();
    place.append("app.log", "four\n");
    reader.wait(GRACE);
    reader.lines.sort_unstable();
    assert_eq!(reader.finish(), ["four", "one", "three", "two"]);
    // Long after the plain ones are forgotten.
    for _ in 0..2 {
        let mut reader = Reader::start(&place.file(), Some(&place.state()));
        reader.wait(Duration::from_secs(70));
        assert_eq!(reader.told, []);
        assert_eq!(reader.finish(), [""; 0]);
    }
}

#[test]
fn what_was_copied_and_truncated_before_it_was_read_is_read_from_the_copy() {
    let place = Place::new();
    place.append("app.log", "one\n");
    let mut reader = Reader::start(&place.file(), None);
    reader.poll();
    for (n, size) in [(1, 0), (2, 5000), (3, 0)] {
        place.append("app.log", &format!("read {n}\n{}", many("much", size)));
        reader.poll();
        place.append("app.log", &format!("unread {n}\n"));
        fs::copy(place.path("app.log"), place.path(&format!("app.log-2026112{n}"))).unwrap();
        fs::write(place.path("app.log"), "").unwrap();
        place.append("app.log", &format!("new {n}\n"));
        reader.poll();
        let mut lines = reader.take();
        lines.retain(|line| !line.starts_with("much"));
        let before = if n == 1 { "one" } else { "" };
        let expected =
            [before.into(), format!("read {n}"), format!("unread {n}"), format!("new {n}")];
        assert_eq!(lines, &expected[usize::from(n > 1)..]);
    }
}

#[test]
fn a_copy_that_is_seen_first_is_not_read_too() {
    let place = Place::new();
    place.append("app.log", &many("a", 3000));
    let mut reader = Reader::start(&place.file(), None);
    reader.poll();
    let lines = reader.take().len();
    // The copy is being made.
    let text = fs::read(place.path("app.log")).unwrap();
    for end in [0, 10, 1500, text.len()] {
        fs::write(place.path("app.log.1"), &text[..end]).unwrap();
        reader.poll();
    }
    assert_eq!(reader.take().len(), 0);
    place.append("app.log", "more\n");
    fs::copy(place.path("app.log"), place.path("app.log.1")).unwrap();
    fs::write(place.path("app.log"), "").unwrap();
    reader.poll();
    assert_eq!(reader.take(), ["more"], "after {lines}");
    place.append("app.log", "new\n");
    reader.wait(GRACE);
    assert_eq!(reader.take(), ["new"]);
    assert_eq!(reader.closed, [("app.log".into(), Closed::Truncated)]);
}

#[test]
fn truncated_and_grown_past_the_place_is_another_file() {
    let place = Place::new();
    place.append("app.log", "one\ntwo\n");
    let mut reader = Reader::start(&place.file(), None);
    reader.poll();
    fs::write(place.path("app.log"), "three\nfour\nfive\n").unwrap();
    reader.poll();
    assert_eq!(reader.take(), ["one", "two", "three", "four", "five"]);
    // With the same first kilobyte.
    let header = "#".repeat(2000) + "\n";
    fs::write(place.path("app.log"), header.clone() + &many("a", 1000)).unwrap();
    reader.poll();
    reader.take();
    fs::write(place.path("app.log"), header + &many("b", 2000)).unwrap();
    reader.poll();
    assert_eq!(reader.take()[1..], many("b", 2000).lines().collect::<Vec<_>>());
}

/// A writer that does not append writes on at its place, behind a hole.
#[test]
fn the_hole_that_a_truncated_writer_leaves_is_passed_over() {
    let place = Place::new();
    let mut file = fs::File::create(place.path("app.log")).unwrap();
    file.write_all(b"one\ntwo\n").unwrap();
    let mut reader = Reader::start(&place.file(), None);
    reader.poll();
    fs::write(place.path("app.log"), "").unwrap();
    file.write_all(b"three\n").unwrap();
    reader.poll();
    assert_eq!(reader.take(), ["one", "two", "three"]);
}

#[test]
fn a_restart_goes_on_in_the_middle_of_a_line() {
    let place = Place::new();
    place.append("app.log", "one\ntwo\nthr");
    let mut reader = Reader::start(&place.file(), Some(&place.state()));
    reader.poll();
    assert_eq!(reader.finish(), ["one", "two"]);
    place.append("app.log", "ee\nfour\n");
    let mut reader = Reader::start(&place.file(), Some(&place.state()));
    reader.poll();
    assert_eq!(reader.opened[0].from, Mark { offset: 8, line: 3, within: None });
    assert_eq!(reader.opened[0].head, b"one\ntwo\n");
    assert_eq!(reader.finish(), ["three", "four"]);
}

#[test]
fn what_was_not_acknowledged_comes_again() {
    let place = Place::new();
    place.append("app.log", "one\n");
    let mut reader = Reader::start(&place.file(), Some(&place.state()));
    reader.poll();
    reader.acknowledge();
    place.append("app.log", "two\n");
    reader.poll_after(Duration::from_secs(2));
    assert_eq!(reader.take(), ["one", "two"]);
    drop(reader);
    let mut reader = Reader::start(&place.file(), Some(&place.state()));
    reader.poll();
    assert_eq!(reader.finish(), ["two"]);
}

#[test]
fn rotated_while_nobody_followed() {
    for compressed in [false, true] {
        let place = Place::new();
        place.append("app.log", "one\n");
        let mut reader = Reader::start(&place.file(), Some(&place.state()));
        reader.poll();
        assert_eq!(reader.finish(), ["one"]);
        place.append("app.log", "two\n");
        place.rename("app.log", "app.log.2");
        if compressed {
            fs::write(place.path("app.log.2.gz"), gzip(b"one\ntwo\n")).unwrap();
            place.remove("app.log.2");
        }
        place.append("app.log.1", "three\n");
        place.append("app.log", "four\n");
        let mut reader = Reader::start(&place.file(), Some(&place.state()));
        reader.wait(GRACE);
        let mut lines = reader.take();
        lines.sort_unstable();
        assert_eq!(lines, ["four", "three", "two"], "compressed: {compressed}");
        assert_eq!(reader.told, []);
        reader.finish();
        let mut reader = Reader::start(&place.file(), Some(&place.state()));
        reader.wait(GRACE);
        assert_eq!(reader.finish(), [""; 0]);
    }
}

#[test]
fn copied_and_truncated_while_nobody_followed() {
    let place = Place::new();
    place.append("app.log", "one\n");
    let mut reader = Reader::start(&place.file(), Some(&place.state()));
    reader.poll();
    reader.finish();
    place.append("app.log", "two\n");
    fs::copy(place.path("app.log"), place.path("app.log.1")).unwrap();
    fs::write(place.path("app.log"), "three and more\n").unwrap();
    let mut reader = Reader::start(&place.file(), Some(&place.state()));
    reader.poll();
    assert_eq!(reader.finish(), ["two", "three and more"]);
}

#[test]
fn what_is_gone_unread_is_told() {
    let place = Place::new();
    place.append("app.log", "one\ntwo");
    let mut reader = Reader::start(&place.file(), Some(&place.state()));
    reader.poll();
    reader.finish();
    place.remove("app.log");
    place.append("other", "takes the inode\n");
    place.append("app.log", "three\n");
    let mut reader = Reader::start(&place.file(), Some(&place.state()));
    reader.wait(Duration::from_secs(61));
    assert_eq!(reader.take(), ["three"]);
    let name = place.path("app.log").display().to_string();
    assert_eq!(reader.told, [Told::Lost { name, offset: 4, surely: true }]);
}

/// Regression: only where the rest of a line was missing.
#[test]
fn what_was_added_while_nobody_followed_and_went_before_the_start_is_told() {
    for how in ["packed unreadably", "gone", "truncated"] {
        let place = Place::new();
        let name = place.path("app.log").display().to_string();
        place.append("app.log", "one\n");
        let mut reader = Reader::start(&place.file(), Some(&place.state()));
        reader.poll();
        reader.finish();
        place.append("app.log", "two\n");
        let told = if how == "truncated" {
            fs::write(place.path("app.log"), "").unwrap();
            Told::Rewritten { name, offset: 4 }
        } else {
            fs::rename(place.path("app.log"), place.folder.path().join("out")).unwrap();
            Told::Lost { name, offset: 4, surely: false }
        };
        if how == "packed unreadably" {
            fs::write(place.path("app.log.1.xz"), b"\xfd7zXZ\0").unwrap();
        }
        place.append("app.log", "three\n");
        let mut reader = Reader::start(&place.file(), Some(&place.state()));
        reader.wait(LONG);
        assert_eq!(reader.take(), ["three"], "{how}");
        assert_eq!(reader.told, [told], "{how}");
        reader.finish();
        let mut reader = Reader::start(&place.file(), Some(&place.state()));
        reader.wait(LONG);
        assert_eq!(reader.told, [], "{how}: once");
    }
}

#[test]
fn what_went_while_it_was_followed_is_not_told_as_lost_after_a_restart() {
    for target in [Place::file, Place::all] {
        let place = Place::new();
        place.append("app.log", "one\n");
        let mut reader = Reader::start(&target(&place), Some(&place.state()));
        reader.poll();
        place.append("app.log", "two\n");
        fs::rename(place.path("app.log"), place.folder.path().join("out")).unwrap();
        reader.poll();
        assert_eq!(reader.finish(), ["one", "two"]);
        let mut reader = Reader::start(&target(&place), Some(&place.state()));
        reader.wait(LONG);
        assert_eq!(reader.told, []);
    }
}

/// Regression: all of it came again without a word.
#[test]
fn a_log_that_is_rewritten_in_place_or_by_another_file_is_told() {
    for (bytes, in_place) in [(100, true), (3000, true), (3000, false)] {
        let place = Place::new();
        let mut text = many("a", bytes);
        place.append("app.log", &text);
        let mut reader = Reader::start(&place.file(), None);
        reader.poll();
        reader.acknowledge();
        let offset = text.len() as u64;
        text.truncate(text.trim_end().rfind('\n').unwrap() + 1);
        if in_place {
            fs::write(place.path("app.log"), &text).unwrap();
        } else {
            fs::write(place.path("new"), &text).unwrap();
            place.rename("new", "app.log");
        }
        reader.take();
        reader.poll();
        assert_eq!(reader.take(), text.lines().collect::<Vec<_>>());
        let name = place.path("app.log").display().to_string();
        let told = [Told::Rewritten { name, offset }];
        // A short one may yet be found in a copy.
        let at_once = &told[..usize::from(bytes > 1024)];
        assert_eq!(reader.told, at_once);
        reader.wait(LONG);
        assert_eq!(reader.told, told);
    }
}

#[test]
fn from_its_end_it_begins_at_a_line() {
    let place = Place::new();
    place.append("app.log", "one\ntw");
    let options = Options { from_start: false, ..Options::default() };
    let mut reader = Reader::with(&place.file(), None, &options);
    reader.poll();
    place.append("app.log", "o\nthree\n");
    reader.poll();
    assert_eq!(reader.take(), ["two", "three"]);
}

#[test]
fn a_state_of_something_else_is_refused() {
    let place = Place::new();
    let start = |target: &Target| {
        Follower::start(target, Some(&place.state()), &Options::default(), Instant::now())
    };
    Reader::start(&place.file(), Some(&place.state())).finish();
    let error = start(&place.all()).expect_err("another target").to_string();
    assert!(error.contains("keeps the place in another source: file "), "{error}");
    fs::write(place.state(), "{\"version\":1").unwrap();
    let error = start(&place.file()).expect_err("damaged").to_string();
    assert!(error.contains("remove it to begin anew"), "{error}");
    assert!(start(&Target::File(place.path("no/app.log"))).is_err());
}

/// Regression: a relative path and its absolute one were two targets.
#[test]
fn a_state_is_the_same_from_wherever_its_log_is_named() {
    let here = std::env::current_dir().unwrap();
    for target in [Target::File, Target::Folder] {
        let (near, far) = (target("logs/app".into()), target(here.join("logs/app")));
        assert_eq!(near.name(), far.name());
        assert!(near.is_named(&far.name()) && far.is_named(&near.name()));
        assert!(!near.is_named(&target(here.join("app")).name()));
    }
    let place = Place::new();
    place.append("app.log", "one\n");
    let mut reader = Reader::start(&place.file(), Some(&place.state()));
    reader.poll();
    reader.finish();
    // As an earlier version kept it.
    let state = fs::read_to_string(place.state()).unwrap();
    let name = format!("\"file {}\"", place.path("app.log").display());
    assert!(state.contains(&name), "{state}");
    fs::write(place.state(), state.replace(&name, "\"file logs/app.log\"")).unwrap();
    place.append("app.log", "two\n");
    let mut reader = Reader::start(&place.file(), Some(&place.state()));
    reader.poll();
    assert_eq!(reader.finish(), ["two"]);
}

#[test]
fn no_log_text_is_kept_in_the_state() {
    let place = Place::new();
    place.append("app.log", "password=secret\n");
    let mut reader = Reader::start(&place.file(), Some(&place.state()));
    reader.poll();
    reader.finish();
    let state = fs::read_to_string(place.state()).unwrap();
    assert!(state.contains("\"offset\":16") && !state.contains("secret"), "{state}");
}

/// Regression: the copy was passed over as one of a log that is read anyway, and the log
/// was truncated after that look and before anything was read of it.
#[test]
fn truncated_between_the_look_that_finds_its_copy_and_the_first_read() {
    for target in [Place::file, Place::all] {
        let place = Place::new();
        place.append("app.log", "one\n");
        let mut reader = Reader::start(&target(&place), None);
        reader.poll();
        let closes_at = reader.now + Options::default().grace;
        place.rename("app.log", "app.log.2");
        place.append("app.log", "");
        // Up to the look that tells of the renamed file before anything else is read.
        while reader.now + Options::default().pause < closes_at {
            reader.poll();
        }
        reader.now += Options::default().pause;
        place.append("app.log", "two\n");
        fs::copy(place.path("app.log"), place.path("app.log.1")).unwrap();
        assert!(reader.poll_once());
        assert_eq!(reader.closed.len(), 1);
        fs::write(place.path("app.log"), "").unwrap();
        reader.wait(GRACE);
        assert_eq!(reader.take(), ["one", "two"]);
    }
}

/// Regression: nothing was kept before the first line was acknowledged, and what came
/// until the start after a kill was history then.
#[test]
fn what_is_history_stays_so_when_a_kill_comes_before_the_first_line_is_acknowledged() {
    let options = Options { from_start: false, ..Options::default() };
    let place = Place::new();
    place.append("app.log.1", "older\n");
    place.append("app.log", "old\n");
    let start = || Reader::with(&place.file(), Some(&place.state()), &options);
    let mut reader = start();
    reader.poll();
    place.append("app.log", "one\n");
    reader.poll_after(Duration::from_secs(2));
    assert_eq!(reader.take(), ["one"]);
    drop(reader);
    place.append("app.log", "two\n");
    place.rename("app.log", "app.log.2");
    place.append("app.log", "three\n");
    let mut reader = start();
    reader.poll();
    assert_eq!(reader.take(), ["one", "two", "three"]);
}

#[test]
fn a_stop_before_the_first_look_leaves_what_is_history_to_the_next_start() {
    let options = Options { from_start: false, ..Options::default() };
    let place = Place::new();
    place.append("app.log", "old\n");
    Reader::with(&place.file(), Some(&place.state()), &options).finish();
    let mut reader = Reader::with(&place.file(), Some(&place.state()), &options);
    reader.poll();
    place.append("app.log", "new\n");
    reader.poll();
    assert_eq!(reader.take(), ["new"]);
}

/// Regression: nothing was read any more, and the folder alone was told.
#[test]
fn a_log_is_read_on_when_its_folder_is_removed_and_made_anew() {
    for target in [Place::file, Place::all] {
        let place = Place::new();
        place.append("app.log", "one\n");
        let mut writer = OpenOptions::new().append(true).open(place.path("app.log")).unwrap();
        let mut reader = Reader::start(&target(&place), None);
        reader.poll();
        for line in ["two\n", "three\n"] {
            writer.write_all(line.as_bytes()).unwrap();
            let _ = fs::remove_dir_all(place.path(""));
            reader.wait(GRACE);
        }
        assert_eq!(reader.take(), ["one", "two", "three"]);
        assert_eq!(reader.told.len(), 1, "{:?}", reader.told);
        fs::create_dir(place.path("")).unwrap();
        place.append("app.log", "four\n");
        reader.poll();
        assert_eq!(reader.take(), ["four"]);
    }
}

/// Regression: a right that was given was seen only once the log grew.
#[test]
#[cfg(target_os = "linux")]
fn a_log_that_may_be_read_later_is_read_then() {
    use std::os::unix::fs::PermissionsExt;

    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

    // Of this thread alone: root may read everything else.
    let none = CapabilitySet::empty();
    let nothing = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, nothing).unwrap();
    let place = Place::new();
    let set_mode = |name: &str, mode| {
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    place.append("plain", "one\n");
    fs::write(place.path("packed.gz"), gzip(b"two\n")).unwrap();
    place.append("known", "three\n");
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    ["plain", "packed.gz"].iter().for_each(|name| set_mode(name, 0));
    reader.wait(GRACE);
    assert_eq!(reader.take(), ["three"]);
    assert_eq!(reader.told.len(), 2, "each once: {:?}", reader.told);
    reader.finish();
    place.append("known", "four\n");
    set_mode("known", 0);
    let mut reader = Reader::start(&place.all(), Some(&place.state()));
    reader.wait(GRACE);
    assert_eq!(reader.told.len(), 3, "each once: {:?}", reader.told);
    ["plain", "packed.gz", "known"].iter().for_each(|name| set_mode(name, 0o600));
    reader.wait(GRACE);
    reader.lines.sort_unstable();
    assert_eq!(reader.finish(), ["four", "one", "two"]);
}
