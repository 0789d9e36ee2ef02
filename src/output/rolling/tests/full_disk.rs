//! A real file system that is full: a small tmpfs in a mount namespace of the
//! test's own, in which it runs itself.

use std::process::Command;

use super::super::names::FLOWS_NDJSON;
use super::*;

/// Names the mount point to the process inside.
const INSIDE: &str = "FLOWTAP_TEST_FULL_DISK";

const DISK_BYTES: usize = 4 << 20;

#[test]
fn output_outlives_a_full_disk() {
    let folder = tempfile::tempdir().expect("folder");
    let size = format!("size={DISK_BYTES}");
    let mounted = |then: &str| {
        let script = format!("mount -t tmpfs -o {size} flowtap-test \"$0\" && exec {then}");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).arg(folder.path());
        command
    };
    let possible = mounted("true").output().is_ok_and(|output| output.status.success());
    if !possible {
        eprintln!("SKIPPED: a full disk (needs root for a mount namespace): nothing was tested");
        return;
    }
    let status = mounted("\"$@\"")
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("output::rolling::tests::full_disk::runs_on_a_small_disk")
        .env(INSIDE, folder.path())
        .status()
        .expect("started");
    assert!(status.success(), "{status}");
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 0, "nothing outside of it");
}

/// Run by the test above.
#[test]
#[ignore = "run by another test"]
fn runs_on_a_small_disk() {
    // Nobody else names a folder: then this is one of all tests, the ignored ones too.
    let Some(root) = std::env::var_os(INSIDE).map(PathBuf::from) else { return };
    let filler = root.join("filler");
    fs::write(&filler, vec![0; DISK_BYTES / 2]).expect("room");
    let options = RollingOptions { formats: Format::ALL.to_vec(), ..options(&root.join("out")) };
    let mut output = RollingOutput::open(&options, START_NS).expect("opened");
    let mut pushed = 0;
    let mut now_ns = START_NS;
    let mut second = |output: &mut RollingOutput, records: usize| {
        for _ in 0..records {
            pushed += 1;
            output.record(FlowRecord { start_ns: START_NS + pushed, ..samples::tcp() });
        }
        now_ns += SECOND_NS;
        output.second(now_ns);
        settle(output, pushed as usize);
    };
    let failed = |events: &[OutputEvent], of: Kind| {
        events
            .iter()
            .filter(|e| {
                matches!(e, OutputEvent::WritingFailed { kind, error, .. }
            if *kind == of && error.contains("No space left"))
            })
            .count()
    };
    let resumed = |events: &[OutputEvent], of: Kind| {
        let is =
            |e: &&OutputEvent| matches!(e, OutputEvent::WritingResumed { kind, .. } if *kind == of);
        events.iter().filter(is).count()
    };
    (0..130).for_each(|_| second(&mut output, 200));
    let events = output.take_events();
    let text = TEXT_FORMATS.map(Kind::Flows);
    for kind in text {
        assert_eq!((failed(&events, kind), resumed(&events, kind)), (1, 0), "{kind:?}: {events:?}");
        assert!(output.counters().of(kind).is_some_and(|c| c.lost_disk > 0 && c.written > 0));
    }
    // Room again, and more than what comes.
    fs::remove_file(&filler).expect("removed");
    let old: Vec<_> = files(&options.folder).into_keys().collect();
    for name in old.iter().filter(|name| !name.ends_with(".part")) {
        fs::remove_file(options.folder.join(name)).expect("removed");
    }
    let lost =
        |output: &RollingOutput| text.map(|kind| output.counters().of(kind).map(|c| c.lost_disk));
    second(&mut output, 20);
    second(&mut output, 20);
    let before = lost(&output);
    (0..11).for_each(|_| second(&mut output, 20));
    let finished = output.finish(PATIENCE);
    assert!(finished.complete);
    for (kind, before) in text.into_iter().zip(before) {
        assert_eq!(resumed(&finished.events, kind), 1, "{kind:?}: {:?}", finished.events);
        let counters = *finished.counters.of(kind).expect("kind");
        assert_eq!(Some(counters.lost_disk), before, "no more is lost");
        assert_eq!(counters.written + counters.lost_disk, pushed as u64, "{kind:?}");
    }
    let files = files(&options.folder);
    assert!(files.keys().all(|name| !name.ends_with(".part")), "{:?}", files.keys());
    // Ends with the very last record, and every line is whole.
    let last = FlowRecord { start_ns: START_NS + pushed, ..samples::tcp() };
    for format in [Format::Ndjson, Format::Csv, Format::Zeek] {
        let lines = lines(&files, Kind::Flows(format).stem());
        assert_eq!(lines.last(), expected(format, std::slice::from_ref(&last)).last());
    }
    for line in lines(&files, FLOWS_NDJSON) {
        serde_json::from_str::<serde_json::Value>(&line).expect("a whole line");
    }
}
