//! The files of one kind, one after another.
//!
//! A file is made when there is a record for it, gets its final name when it is
//! complete, and never holds half a record: where writing fails, it is cut back
//! to its last whole record and ended, what can't be written is counted, and a
//! new file is tried each second. Start at [`Stream::append`] and
//! [`Stream::mark`].

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_channel::Sender;

use super::super::{FlowWriter, Piece, ndjson};
use super::disk::{Disk, PartFile};
use super::names::{FileName, FileState, Kind};
use super::tally::{OutputEvent, Tally};

/// An outage is over when nothing failed for so long. A disk that is nearly
/// full takes a record now and then: without this each would be an event.
const STEADY_NS: i64 = 10_000_000_000;

/// Files whose renaming failed and is tried again. Those beyond are found at
/// the next start.
const MAX_UNNAMED: usize = 64;

/// When a file is complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roll {
    /// Aligned to multiples of it since the epoch.
    pub(super) every_ns: Option<i64>,
    pub(super) max_bytes: Option<u64>,
}

pub(super) struct Stream {
    pub(super) tally: Arc<Tally>,
    folder: PathBuf,
    roll: Roll,
    disk: Arc<dyn Disk>,
    events: EventSender,
    open: Option<Open>,
    outage: Option<Outage>,
    /// Part and final path of whole files whose renaming failed.
    unnamed: Vec<(PathBuf, PathBuf)>,
    /// Second and number of the file begun last.
    last_name: (i64, u32),
}

/// Never waits: events that nobody takes are counted.
#[derive(Clone)]
pub(super) struct EventSender {
    pub(super) events: Sender<OutputEvent>,
    pub(super) dropped: Arc<AtomicU64>,
}

impl EventSender {
    pub(super) fn send(&self, event: OutputEvent) {
        if self.events.try_send(event).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// The file that is being written.
struct Open {
    writer: Box<dyn FlowWriter>,
    out: Out,
    part: PathBuf,
    whole: PathBuf,
    began_ns: i64,
    /// Length up to the last whole record.
    good_bytes: u64,
    records: u64,
}

/// A time in which writing fails.
struct Outage {
    since_ns: i64,
    lost: u64,
    /// The next record is tried: once a second.
    try_now: bool,
    /// Since when it works again.
    good_since_ns: Option<i64>,
}

/// Where a format's writer writes: counts what reaches the file.
#[derive(Clone)]
struct Out {
    file: Arc<dyn PartFile>,
    bytes: Arc<AtomicU64>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.append(bytes)?;
        self.bytes.fetch_add(written as u64, Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Nothing is buffered.
        Ok(())
    }
}

impl Stream {
    pub(super) fn new(
        tally: Arc<Tally>,
        folder: PathBuf,
        roll: Roll,
        disk: Arc<dyn Disk>,
        events: EventSender,
    ) -> Self {
        Self {
            tally,
            folder,
            roll,
            disk,
            events,
            open: None,
            outage: None,
            unnamed: Vec::new(),
            last_name: (i64::MIN, 0),
        }
    }

    /// Adds a piece of `records` whole records, or counts them as lost.
    pub(super) fn append(&mut self, piece: &mut Piece, records: u64, now_ns: i64) {
        if records == 0 {
            return;
        }
        if self.outage.as_ref().is_some_and(|outage| !outage.try_now) {
            self.lose(records);
            return;
        }
        match self.try_append(piece, records, now_ns) {
            Ok(()) => {
                self.tally.written.fetch_add(records, Relaxed);
                if let Some(outage) = &mut self.outage {
                    outage.good_since_ns.get_or_insert(now_ns);
                }
            }
            Err(error) => {
                let path = self.open.as_ref().map(|open| open.part.clone());
                self.fail(path, &error, now_ns);
                self.salvage();
                self.lose(records);
            }
        }
    }

    /// Records that could not even be encoded.
    pub(super) fn lose(&mut self, records: u64) {
        self.tally.lost_disk.fetch_add(records, Relaxed);
        if let Some(outage) = &mut self.outage {
            outage.lost += records;
        }
    }

    /// A second has passed: rotates, looks after the file, tries again.
    pub(super) fn mark(&mut self, now_ns: i64) {
        self.notice_removal(now_ns);
        self.rename_leftovers();
        let period = |ns: i64| self.roll.every_ns.map(|every| ns.div_euclid(every.max(1)));
        if self.open.as_ref().is_some_and(|open| period(open.began_ns) != period(now_ns)) {
            self.complete(now_ns);
        }
        let Some(outage) = &mut self.outage else { return };
        outage.try_now = true;
        if outage.good_since_ns.is_some_and(|since| now_ns.saturating_sub(since) >= STEADY_NS) {
            self.end_outage(now_ns);
        }
    }

    /// Completes the last file.
    pub(super) fn finish(&mut self, now_ns: i64) {
        self.notice_removal(now_ns);
        self.complete(now_ns);
        self.rename_leftovers();
        if self.outage.as_ref().is_some_and(|outage| outage.good_since_ns.is_some()) {
            self.end_outage(now_ns);
        }
    }

    fn try_append(&mut self, piece: &mut Piece, records: u64, now_ns: i64) -> io::Result<()> {
        let over = |bytes: u64| self.roll.max_bytes.is_some_and(|max| bytes > max);
        let bytes = piece.text_bytes() as u64;
        if self.open.as_ref().is_some_and(|open| over(open.good_bytes + bytes)) {
            self.complete(now_ns);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open(now_ns)?,
        };
        let result = open.writer.append(piece);
        let open = self.open.insert(open);
        result?;
        let length = open.out.bytes.load(Relaxed);
        self.tally.written_bytes.fetch_add(length - open.good_bytes, Relaxed);
        open.good_bytes = length;
        open.records += records;
        Ok(())
    }

    fn open(&mut self, now_ns: i64) -> io::Result<Open> {
        let began_s = now_ns.div_euclid(1_000_000_000);
        let mut number = match self.last_name {
            (second, number) if second == began_s => number.saturating_add(1),
            _ => 1,
        };
        let name =
            FileName { stem: self.tally.kind.stem(), began_s, number, state: FileState::Complete };
        let (part, whole, file) = loop {
            let name = FileName { number, ..name };
            let whole = self.folder.join(name.text());
            let part = self.folder.join(FileName { state: FileState::Part, ..name }.text());
            if !self.disk.exists(&whole) {
                match self.disk.create(&part) {
                    Ok(file) => break (part, whole, file),
                    // Left by an earlier run.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
            number = number.checked_add(1).ok_or(io::ErrorKind::AlreadyExists)?;
        };
        self.last_name = (began_s, number);
        let out = Out { file: file.into(), bytes: Arc::default() };
        let writer: Box<dyn FlowWriter> = match self.tally.kind {
            Kind::Flows(format) => match format.writer(out.clone()) {
                Ok(writer) => writer,
                Err(error) => {
                    let _ = self.disk.remove(&part);
                    return Err(error);
                }
            },
            Kind::Alerts | Kind::Observed(_) => Box::new(ndjson::writer(out.clone())),
        };
        Ok(Open { writer, out, part, whole, began_ns: now_ns, good_bytes: 0, records: 0 })
    }

    /// Ends the file that is open and gives it its final name.
    fn complete(&mut self, now_ns: i64) {
        let Some(open) = self.open.take() else { return };
        let Open { writer, out, part, whole, good_bytes, records, .. } = open;
        if let Err(error) = writer.finish() {
            self.fail(Some(part.clone()), &error, now_ns);
            if is_unreadable_without_its_end(self.tally.kind) {
                self.take_back(records);
                let _ = self.disk.remove(&part);
                return;
            }
            if out.file.truncate(good_bytes).is_err() {
                // Half a line stands in it: the next start cuts it off.
                return;
            }
        }
        let ended_bytes = out.bytes.load(Relaxed);
        self.tally.written_bytes.fetch_add(ended_bytes.saturating_sub(good_bytes), Relaxed);
        self.name(part, whole);
    }

    /// Saves what is whole of a file in which writing failed.
    fn salvage(&mut self) {
        let Some(open) = self.open.take() else { return };
        let Open { writer, out, part, whole, good_bytes, records, .. } = open;
        if is_unreadable_without_its_end(self.tally.kind) {
            // Its writer is in the middle of a row group and can't end the file.
            self.take_back(records);
            drop(writer);
            let _ = self.disk.remove(&part);
            return;
        }
        if records == 0 {
            let _ = self.disk.remove(&part);
            return;
        }
        let cut = || out.file.truncate(good_bytes);
        // A short end may still fit where a piece did not; if not, lines are
        // whole without it.
        if cut().is_ok() && (writer.finish().is_ok() || cut().is_ok()) {
            self.name(part, whole);
        }
    }

    /// Records that counted as written are lost after all.
    fn take_back(&mut self, records: u64) {
        self.tally.written.fetch_sub(records, Relaxed);
        self.lose(records);
    }

    fn name(&mut self, part: PathBuf, whole: PathBuf) {
        if self.disk.rename(&part, &whole).is_ok() {
            self.tally.files.fetch_add(1, Relaxed);
        } else if self.unnamed.len() < MAX_UNNAMED {
            self.unnamed.push((part, whole));
        }
    }

    fn rename_leftovers(&mut self) {
        for (part, whole) in std::mem::take(&mut self.unnamed) {
            if self.disk.exists(&part) {
                self.name(part, whole);
            }
        }
    }

    /// What is written to a file without a name is lost, and so is what was:
    /// nobody can tell who has it now.
    fn notice_removal(&mut self, now_ns: i64) {
        let gone = |open: &mut Open| !open.out.file.is_at(&open.part);
        let Some(open) = self.open.take_if(gone) else { return };
        let error = io::Error::new(io::ErrorKind::NotFound, "the file was removed while written");
        self.fail(Some(open.part), &error, now_ns);
        self.take_back(open.records);
    }

    /// An outage begins or goes on.
    fn fail(&mut self, path: Option<PathBuf>, error: &io::Error, now_ns: i64) {
        if let Some(outage) = &mut self.outage {
            outage.good_since_ns = None;
            outage.try_now = false;
            return;
        }
        self.outage =
            Some(Outage { since_ns: now_ns, lost: 0, try_now: false, good_since_ns: None });
        self.events.send(OutputEvent::WritingFailed {
            kind: self.tally.kind,
            path: path.unwrap_or_else(|| self.folder.clone()),
            error: error.to_string(),
        });
    }

    fn end_outage(&mut self, now_ns: i64) {
        let Some(outage) = self.outage.take() else { return };
        let path: &Path = self.open.as_ref().map_or(&self.folder, |open| &open.part);
        let until_ns = outage.good_since_ns.unwrap_or(now_ns);
        self.events.send(OutputEvent::WritingResumed {
            kind: self.tally.kind,
            path: path.to_owned(),
            lost: outage.lost,
            failed_ns: until_ns.saturating_sub(outage.since_ns),
        });
    }
}

fn is_unreadable_without_its_end(kind: Kind) -> bool {
    match kind {
        #[cfg(feature = "parquet")]
        Kind::Flows(super::super::Format::Parquet) => true,
        Kind::Flows(_) | Kind::Alerts | Kind::Observed(_) => false,
    }
}
