//! The thread that takes the packets of alerts out of the ring.
//!
//! It reads the files behind the disk thread: back to where an alert begins,
//! then on with the stream until its end. The packet path and the disk thread
//! know nothing of it; where it is too slow, files may be gone before it reads
//! them, which is counted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, never, select, tick};

use super::Shared;
use super::case::Case;
use super::selector::Sight;
use super::status::{About, Status, add};
use super::tap::NO_TIME;
use crate::alert::Alert;
use crate::input::follow::Follower;
use crate::input::{Frame, Interface};
use crate::output::access::make_folders;
use crate::output::rolling::Limits;
use crate::output::rolling::retention::{OwnFile, prune};
use crate::time::rfc3339;

/// Digits of an alert's id, see [`crate::alert::alert_id`].
const ID_DIGITS: usize = 16;

/// Between looks for files that have become too old.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// How much is kept of each alert.
#[derive(Clone, Debug)]
pub struct EvidenceSettings {
    /// Seconds before its start.
    pub before_s: u32,
    /// Seconds after its end.
    pub after_s: u32,
    /// At most so many packets of one alert, and so many captured bytes; a
    /// flood is sampled within them.
    pub most_packets: u64,
    pub most_bytes: u64,
    /// Alerts at a time; others get none.
    pub most_alerts: usize,
    /// How long and how much the files of alerts that are over are kept.
    pub keep: Limits,
}

impl Default for EvidenceSettings {
    fn default() -> Self {
        Self {
            before_s: 10,
            after_s: 10,
            most_packets: 100_000,
            most_bytes: 64 << 20,
            most_alerts: 64,
            // As much as a ring has by default: a run of months must not fill a disk.
            keep: Limits { max_age: None, max_bytes: Some(10 << 30) },
        }
    }
}

/// News of an alert.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) alert: Box<Alert>,
    pub(super) closed: bool,
}

pub(super) struct Evidence {
    shared: Arc<Shared>,
    dir: PathBuf,
    settings: EvidenceSettings,
    cases: Vec<Case>,
    /// Where the cases have come to; nothing without cases.
    cursor: Option<Cursor>,
    sight: Sight,
    /// It was told that the ring is too small for what is to be kept of an alert.
    lack_is_told: bool,
}

impl Evidence {
    pub(super) fn new(
        recording: &Path,
        settings: EvidenceSettings,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let dir = recording.join("evidence");
        make_folders(&dir)?;
        let (cases, sight) = (Vec::new(), Sight::default());
        let evidence =
            Self { shared, dir, settings, cases, cursor: None, sight, lack_is_told: false };
        evidence.remove_old();
        Ok(evidence)
    }

    /// Works until no alert can come and nothing is written any more.
    pub(super) fn run(mut self, told: &Receiver<Told>, woken: &Receiver<()>) {
        let (no_alerts, no_wake, tidy) = (never(), never(), tick(TIDY_EVERY));
        let (mut told, mut woken) = (Some(told), Some(woken));
        while told.is_some() || woken.is_some() {
            select! {
                recv(told.unwrap_or(&no_alerts)) -> news => match news {
                    Ok(news) => self.hear(news),
                    Err(_) => told = None,
                },
                recv(woken.unwrap_or(&no_wake)) -> wake => match wake {
                    Ok(()) => self.advance(),
                    Err(_) => woken = None,
                },
                // Also while nothing comes: what is old goes.
                recv(tidy) -> _ => self.remove_old(),
            }
        }
        self.advance();
        let over = std::mem::take(&mut self.cases);
        self.finish(over);
    }

    fn hear(&mut self, Told { alert, closed }: Told) {
        if let Some(case) = self.cases.iter_mut().find(|case| case.id() == alert.id) {
            case.revise(*alert, closed);
            return;
        }
        let status = &self.shared.status;
        if self.cases.len() >= self.settings.most_alerts {
            add(&status.evidence_refused, 1);
            return;
        }
        match Case::open(&self.dir, (*alert).clone(), &self.settings) {
            Ok(Some(mut case)) => {
                add(&status.evidence_alerts, 1);
                case.revise(*alert, closed);
                self.begin(case);
            }
            Ok(None) => add(&status.evidence_refused, 1),
            Err(error) => fail(status, &alert.id, &error),
        }
    }

    /// Brings a new case to where the others are.
    fn begin(&mut self, mut case: Case) {
        let (number, gone) = {
            let ring = self.shared.ring.lock();
            (ring.first_until(case.begin_ns()), ring.gone_until(case.begin_ns()))
        };
        if let Some(until_ns) = gone {
            case.lacks_until(until_ns);
            let status = &self.shared.status;
            add(&status.evidence_gaps, 1);
            if !std::mem::replace(&mut self.lack_is_told, true) {
                let text = format!(
                    "evidence of alert {} lacks packets until {}: the ring had no room for them \
                     any more (--record-size)",
                    case.id(),
                    rfc3339(until_ns),
                );
                status.notice(About::Evidence, text);
            }
        }
        let mut cursor = Cursor { number, follower: None, clock_ns: NO_TIME };
        let mut cases = vec![case];
        let until = self.cursor.as_ref().map(Cursor::place);
        if until.is_some() {
            let sight = &mut self.sight;
            cursor.read(&self.shared, until, |frame, data, interfaces| {
                offer(&mut cases, sight, &self.shared.status, frame, data, interfaces);
            });
        }
        self.cases.append(&mut cases);
        self.cursor.get_or_insert(cursor);
        self.advance();
    }

    /// Reads what was written since.
    fn advance(&mut self) {
        let Some(mut cursor) = self.cursor.take() else { return };
        let Self { cases, sight, shared, .. } = self;
        cursor.read(shared, None, |frame, data, interfaces| {
            offer(cases, sight, &shared.status, frame, data, interfaces);
        });
        let (over, open) = std::mem::take(&mut self.cases)
            .into_iter()
            .partition(|case| case.is_over(cursor.clock_ns));
        self.cases = open;
        for case in &mut self.cases {
            if let Err(error) = case.flush() {
                fail(&self.shared.status, case.id(), &error);
            }
        }
        self.finish(over);
        if !self.cases.is_empty() {
            self.cursor = Some(cursor);
        }
    }

    fn finish(&self, over: Vec<Case>) {
        if over.is_empty() {
            return;
        }
        for case in over {
            let id = case.id().to_owned();
            if let Err(error) = case.finish() {
                fail(&self.shared.status, &id, &error);
            }
        }
        // Not before all are finished: what is still to be read must not be removed.
        self.remove_old();
    }

    /// Files of alerts that are over, of earlier runs too, as far as they are
    /// beyond the limits.
    fn remove_old(&self) {
        let owns = |name: &str| {
            // `ID.partial` is what older versions left.
            let ends = [".pcapng", ".pcapng.partial", ".partial"];
            let id = ends.into_iter().find_map(|end| {
                let id = name.strip_suffix(end)?;
                (!id.contains('.')).then_some(id)
            })?;
            let ours = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            let changed = ours.then(|| self.dir.join(name).metadata()?.modified());
            let since = changed?.ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            Some(OwnFile {
                began_s: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                number: since.subsec_nanos(),
                being_written: self.cases.iter().any(|case| case.id() == id),
            })
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let (removed, error) = prune(&self.dir, &owns, self.settings.keep, now_ns);
        let status = &self.shared.status;
        add(&status.evidence_files_removed, removed.files);
        add(&status.evidence_bytes_removed, removed.bytes);
        if let Some(error) = error {
            status.notice(About::Evidence, format!("old evidence can't be removed: {error}"));
        }
    }
}

/// Shows a frame to the cases; decodes it at most once.
fn offer(
    cases: &mut [Case],
    sight: &mut Sight,
    status: &Status,
    frame: &Frame,
    data: &[u8],
    interfaces: &[Interface],
) {
    let mut looked = false;
    for case in cases.iter_mut().filter(|case| case.spans(frame.time_ns)) {
        if !std::mem::replace(&mut looked, true) {
            sight.look(frame, data);
        }
        if !case.chooses(sight) {
            continue;
        }
        match case.take(interfaces, frame, data) {
            Ok(true) => add(&status.evidence_packets, 1),
            Ok(false) => add(&status.evidence_sampled_out, 1),
            Err(error) => fail(status, case.id(), &error),
        }
    }
}

/// Told once, then counted.
fn fail(status: &Status, id: &str, error: &io::Error) {
    if status.evidence_errors.fetch_add(1, Ordering::Relaxed) == 0 {
        let text = format!("evidence of alert {id} can't be written: {error}");
        status.notice(About::Evidence, text);
    }
}

/// A place in the ring, and the file open there.
struct Cursor {
    number: u64,
    follower: Option<Follower>,
    /// Latest time that was seen in the files.
    clock_ns: i64,
}

impl Cursor {
    /// File and offset.
    fn place(&self) -> (u64, u64) {
        (self.number, self.follower.as_ref().map_or(0, Follower::read_bytes))
    }

    /// Reads on to the place `until`, or to the end of what is written.
    fn read(
        &mut self,
        shared: &Shared,
        until: Option<(u64, u64)>,
        mut show: impl FnMut(&Frame, &[u8], &[Interface]),
    ) {
        let status = &shared.status;
        loop {
            let next = shared.ring.lock().at_or_after(self.number);
            let Some((number, path, bytes, last)) = next else { return };
            if number > self.number {
                // It was removed; what is open can still be read to its end.
                match &mut self.follower {
                    Some(follower) => {
                        let read = follower.read_until(u64::MAX, &mut show);
                        self.clock_ns = self.clock_ns.max(follower.clock_ns());
                        add(&status.evidence_errors, u64::from(read.is_err()));
                    }
                    None => add(&status.evidence_gaps, 1),
                }
                (self.number, self.follower) = (number, None);
                continue;
            }
            let stop = until.filter(|until| until.0 == number).map(|until| until.1);
            let read = match &mut self.follower {
                Some(follower) => Ok(follower),
                None => Follower::open(&path).map(|follower| self.follower.insert(follower)),
            }
            .and_then(|follower| {
                let read = follower.read_until(stop.unwrap_or(bytes), &mut show);
                self.clock_ns = self.clock_ns.max(follower.clock_ns());
                read
            });
            if read.is_err() {
                add(&status.evidence_gaps, 1);
            } else if last || stop.is_some() {
                return;
            }
            (self.number, self.follower) = (number + 1, None);
        }
    }
}
