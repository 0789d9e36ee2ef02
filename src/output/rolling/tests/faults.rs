//! A disk that fails, fills up, hangs, or loses its folder.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use proptest::prelude::*;

use super::super::disk::PartFile;
use super::super::names::{ALERTS, FLOWS_NDJSON};
use super::*;

/// Files in memory, and what goes wrong.
#[derive(Default)]
struct Faulty {
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Room that is left; everything fits without.
    room: Option<usize>,
    hangs: bool,
    /// Chance of an error in 100 operations, and what draws it.
    errors: u64,
    draws: u64,
    failed: u64,
}

struct MemoryFile {
    path: PathBuf,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Faulty {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().expect("lock")
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.state.1.notify_all();
    }

    /// As [`files`] gives them.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let name = |path: &PathBuf| path.file_name().expect("name").to_string_lossy().into_owned();
        self.state().files.iter().map(|(path, bytes)| (name(path), bytes.clone())).collect()
    }

    fn start(self, options: &RollingOptions) -> (RollingOutput, Arc<Self>) {
        let disk = Arc::new(self);
        let dynamic = Arc::clone(&disk) as Arc<dyn Disk>;
        (RollingOutput::start(options, START_NS, dynamic).expect("started"), disk)
    }
}

impl State {
    fn may_fail(&mut self) -> io::Result<()> {
        self.draws = self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if (self.draws >> 33) % 100 < self.errors {
            self.failed += 1;
            return Err(io::Error::other("as told"));
        }
        Ok(())
    }
}

impl Disk for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn PartFile>> {
        let mut state = self.state();
        state.may_fail()?;
        if state.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(path.to_owned(), Vec::new());
        Ok(Box::new(MemoryFile { path: path.to_owned(), state: Arc::clone(&self.state) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.may_fail()?;
        assert!(!state.files.contains_key(to), "{} is overwritten", to.display());
        let bytes = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        // Always possible: what stays is looked at below.
        self.state().files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn exists(&self, path: &Path) -> bool {
        self.state().files.contains_key(path)
    }
}

impl PartFile for MemoryFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let (state, changed) = &*self.state;
        let state = state.lock().expect("lock");
        let mut state = changed.wait_while(state, |state| state.hangs).expect("lock");
        // Half of it, then the error: as a disk that fills up.
        let failed = state.may_fail().err();
        let fits = state.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        let take = if failed.is_some() { 0 } else { fits.min(1 + bytes.len() / 2) };
        if let Some(error) = failed {
            return Err(error);
        }
        if take == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.room = state.room.map(|room| room - take);
        state
            .files
            .get_mut(&self.path)
            .ok_or(io::ErrorKind::NotFound)?
            .extend_from_slice(&bytes[..take]);
        Ok(take)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state.0.lock().expect("lock");
        let file = state.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let freed = file.len().saturating_sub(bytes as usize);
        file.truncate(bytes as usize);
        state.room = state.room.map(|room| room + freed);
        Ok(())
    }

    fn is_at(&self, path: &Path) -> bool {
        self.state.0.lock().expect("lock").files.contains_key(path)
    }
}

fn numbered(n: usize) -> FlowRecord {
    FlowRecord { start_ns: START_NS + n as i64, ..samples::tcp() }
}

fn ndjson_only() -> RollingOptions {
    RollingOptions { formats: vec![Format::Ndjson], ..options(Path::new("/memory")) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_fails_every_line_is_whole_and_every_record_is_written_or_counted(
        seed: u64, errors in 0u64..30, seconds in 1i64..30, bytes in 500u64..5000,
    ) {
        let disk = Faulty::default();
        disk.set(|state| (state.errors, state.draws) = (errors, seed));
        let rotation = Rotation { every: Some(Duration::from_secs(7)), bytes: Some(bytes) };
        let options = RollingOptions { rotation, ..options(Path::new("/memory")) };
        let (mut output, disk) = disk.start(&options);
        let mut records = Vec::new();
        for second in 0..seconds {
            for _ in 0..3 {
                records.push(numbered(records.len()));
                output.record(numbered(records.len() - 1));
                // A piece each, so that files change within a second.
                output.hand_on();
            }
            output.alert(&samples::alert());
            output.second(START_NS + second * SECOND_NS);
        }
        // The disk is well again: leftovers get their names.
        settle(&output, records.len());
        disk.set(|state| state.errors = 0);
        let finished = output.finish(PATIENCE);
        prop_assert!(finished.complete);
        let files = disk.files();
        for kind in &finished.counters.kinds {
            let count = match kind.kind {
                Kind::Alerts => seconds as usize,
                Kind::Flows(Format::Eve) => records.len() + seconds as usize,
                Kind::Flows(_) => records.len(),
                Kind::Observed(_) => 0,
            };
            prop_assert_eq!(kind.written + kind.lost_disk, count as u64, "{}", kind.kind.name());
            prop_assert_eq!(kind.lost_queue, 0);
            // Zeek's last line may have found no room.
            let in_files: Vec<String> = files
                .iter()
                .filter(|(name, _)| FileName::parse(kind.kind.stem(), name).is_some())
                .flat_map(|(name, bytes)| {
                    assert!(bytes.ends_with(b"\n"), "half a line in {name}");
                    let text = String::from_utf8(bytes.clone()).expect("text");
                    let head = usize::from(kind.kind == Kind::Flows(Format::Csv));
                    text.lines().skip(head).filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
                })
                .collect();
            prop_assert_eq!(in_files.len() as u64, kind.written, "{}", kind.kind.name());
            if let Kind::Flows(format) = kind.kind && format != Format::Eve {
                // Those that are there are in order and none is there twice.
                let mut all = expected(format, &records).into_iter();
                for line in &in_files {
                    prop_assert!(all.any(|expected| expected == *line), "{line}");
                }
            }
        }
        let failed = disk.state().failed > 0;
        let told = finished.events.iter().any(|e| matches!(e, OutputEvent::WritingFailed { .. }));
        prop_assert!(failed || !told);
        prop_assert!(finished.counters.lost() == 0 || told);
    }
}

#[test]
fn a_full_disk_is_told_once_counted_and_over_by_itself() {
    let disk = Faulty::default();
    // A thousand records have 1.5 MB.
    disk.set(|state| state.room = Some(20_000));
    let (mut output, disk) = disk.start(&ndjson_only());
    let mut now_ns = START_NS;
    let mut pushed = 0;
    let mut second = |output: &mut RollingOutput| {
        for _ in 0..10 {
            output.record(numbered(pushed));
            pushed += 1;
        }
        now_ns += SECOND_NS;
        output.second(now_ns);
        settle(output, pushed);
    };
    (0..60).for_each(|_| second(&mut output));
    let events = output.take_events();
    assert!(
        matches!(&events[..], [OutputEvent::WritingFailed { kind: Kind::Flows(Format::Ndjson), error, .. }]
            if error.contains("no storage space")),
        "{events:?}"
    );
    let during = *output.counters().of(Kind::Flows(Format::Ndjson)).expect("kind");
    assert!(during.lost_disk > 300 && during.written > 0, "{during:?}");
    disk.set(|state| state.room = None);
    (0..15).for_each(|_| second(&mut output));
    let events = output.take_events();
    let [OutputEvent::WritingResumed { lost, failed_ns, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    let after = *output.counters().of(Kind::Flows(Format::Ndjson)).expect("kind");
    assert_eq!(*lost, after.lost_disk);
    // At most one more second is lost: output is tried again each second.
    assert!(after.lost_disk - during.lost_disk <= 10, "{during:?} {after:?}");
    assert!(*failed_ns > 30 * SECOND_NS && *failed_ns < 70 * SECOND_NS, "{failed_ns}");
    output.finish(PATIENCE);
    let files = disk.files();
    assert_eq!(lines(&files, FLOWS_NDJSON).len() as u64, after.written);
    assert_eq!(after.written + after.lost_disk, pushed as u64);
}

#[test]
fn a_disk_that_takes_a_record_now_and_then_is_one_outage() {
    let (mut output, disk) = Faulty::default().start(&ndjson_only());
    for second in 0..40 {
        disk.set(|state| state.room = Some(if second % 2 == 0 { 0 } else { 100_000 }));
        output.record(numbered(second));
        output.second(START_NS + second as i64 * SECOND_NS);
        settle(&output, second + 1);
    }
    let events = output.take_events();
    assert!(matches!(events[..], [OutputEvent::WritingFailed { .. }]), "{events:?}");
}

#[test]
fn a_disk_that_hangs_keeps_nobody_waiting() {
    let queue_records = 5000;
    let (mut output, disk) = Faulty::default().start(&RollingOptions {
        queue_records,
        queue_alerts: 7,
        ..ndjson_only()
    });
    disk.set(|state| state.hangs = true);
    let begin = Instant::now();
    for second in 0..100 {
        for n in 0..500 {
            output.record(numbered(second * 500 + n));
        }
        output.alert(&samples::alert());
        output.second(START_NS + second as i64 * SECOND_NS);
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let counters = output.counters();
    assert!(counters.queued_records <= 5000, "{counters:?}");
    let flows = *counters.of(Kind::Flows(Format::Ndjson)).expect("kind");
    assert_eq!(flows.lost_queue + counters.queued_records, 50_000);
    assert_eq!(counters.of(Kind::Alerts).expect("kind").lost_queue, 93);
    assert_eq!(output.take_events(), [OutputEvent::QueueFull]);
    // It answers again: what was queued is written, and then everything.
    disk.set(|state| state.hangs = false);
    settle(&output, 50_000);
    output.record(numbered(50_000));
    output.second(START_NS + 101 * SECOND_NS);
    let events = output.take_events();
    assert!(matches!(events[..], [OutputEvent::QueueDrained { lost }] if lost == counters.lost()));
    let finished = output.finish(PATIENCE);
    assert!(finished.complete);
    let files = disk.files();
    assert_eq!(lines(&files, FLOWS_NDJSON).len() as u64, 50_001 - flows.lost_queue);
    assert_eq!(lines(&files, ALERTS).len(), 7);
}

#[test]
fn a_disk_that_hangs_does_not_keep_the_process() {
    let (mut output, disk) = Faulty::default().start(&ndjson_only());
    disk.set(|state| state.hangs = true);
    output.record(numbered(0));
    let finished = output.finish(Duration::from_millis(50));
    assert!(!finished.complete);
    assert_eq!(finished.counters.queued_records, 1);
    disk.set(|state| state.hangs = false);
}

#[cfg(unix)]
#[test]
fn a_folder_that_is_removed_comes_back_and_one_that_is_blocked_is_waited_for() {
    let parent = tempfile::tempdir().expect("folder");
    let folder = parent.path().join("out");
    let formats = vec![Format::Ndjson];
    let mut output = RollingOutput::open(&RollingOptions { formats, ..options(&folder) }, START_NS)
        .expect("opened");
    let mut now_ns = START_NS;
    let mut pushed = 0;
    let mut second = |output: &mut RollingOutput| {
        output.record(numbered(pushed));
        pushed += 1;
        now_ns += SECOND_NS;
        output.second(now_ns);
        settle(output, pushed);
    };
    (0..3).for_each(|_| second(&mut output));
    fs::remove_dir_all(&folder).expect("removed");
    (0..15).for_each(|_| second(&mut output));
    let events = output.take_events();
    assert!(
        matches!(&events[..], [OutputEvent::WritingFailed { .. }, OutputEvent::WritingResumed { lost, .. }]
            if (3..=5).contains(lost)),
        "{events:?}"
    );
    // A file where the folder was: nothing can be made there.
    fs::remove_dir_all(&folder).expect("removed");
    fs::write(&folder, "in the way").expect("written");
    (0..5).for_each(|_| second(&mut output));
    fs::remove_file(&folder).expect("removed");
    (0..15).for_each(|_| second(&mut output));
    let events = output.take_events();
    assert_eq!(events.len(), 2, "{events:?}");
    let finished = output.finish(PATIENCE);
    let counters = *finished.counters.of(Kind::Flows(Format::Ndjson)).expect("kind");
    assert_eq!(counters.written + counters.lost_disk, pushed as u64);
    assert_eq!(lines(&files(&folder), FLOWS_NDJSON).len() as u64, counters.written);
}
