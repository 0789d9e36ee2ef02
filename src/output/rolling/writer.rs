//! The one thread that writes: puts pieces in order, keeps the files.
//!
//! It may hang in a system call as long as a disk does; nobody waits for it.
//! Start at [`Writer::run`].

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::{Receiver, Sender};

use super::super::observed::Observed;
use super::super::{Piece, eve, ndjson};
use super::names::{ALERT_STEMS, FLOW_STEMS};
use super::queue::{Backlog, LANES, LaneId};
use super::retention::{Limits, Removed, owned_by, prune};
use super::stream::{EventSender, Stream};
use super::tally::OutputEvent;
use crate::alert::Alert;
use crate::output::eve::AlertEvent;

/// Files can't pass a limit by more than what is written in so long.
const PRUNE_EVERY_NS: i64 = 60_000_000_000;

/// What the writer is told. Messages of a lane may overtake each other.
pub(super) enum Message {
    Pieces(Pieces),
    Mark {
        lane: LaneId,
        position: u64,
        now_ns: i64,
    },
    /// Has no place in a lane: it is written when it comes.
    Alert(Box<Alert>),
    /// As an alert: whole lines of what other sources observed.
    Lines {
        observed: Observed,
        bytes: Vec<u8>,
        records: u64,
    },
}

/// A chunk of records, encoded for each format of its lane.
pub(super) struct Pieces {
    pub(super) lane: LaneId,
    pub(super) position: u64,
    /// When the first of its records was handed over: lanes are not equally
    /// far behind, so the writer's own time says nothing.
    pub(super) began_ns: i64,
    pub(super) records: u64,
    pub(super) made: Vec<io::Result<Piece>>,
}

pub(super) struct Writer {
    pub(super) folder: PathBuf,
    pub(super) lanes: [LaneFiles; LANES],
    pub(super) alerts: Stream,
    /// By what is in them.
    pub(super) observed: [Stream; 3],
    /// Place of EVE among the streams of the text lane.
    pub(super) eve: Option<usize>,
    pub(super) keep_flows: Limits,
    pub(super) keep_alerts: Limits,
    pub(super) backlog: Arc<Backlog>,
    pub(super) events: EventSender,
    pub(super) spare_pieces: Sender<Piece>,
    pub(super) now_ns: i64,
    pub(super) pruned_ns: Option<i64>,
    /// Files completed when old ones were removed last.
    pub(super) pruned_files: u64,
    pub(super) retention_failed: bool,
}

/// The files of one lane.
#[derive(Default)]
pub(super) struct LaneFiles {
    pub(super) streams: Vec<Stream>,
    /// Position of the message that comes next.
    pub(super) next: u64,
    /// Came before their turn. As many as are queued at most.
    pub(super) early: BTreeMap<u64, Message>,
}

impl Writer {
    /// Until all that could send are gone; then ends all files.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        for message in messages {
            match message {
                Message::Alert(alert) => self.alert(&alert),
                Message::Lines { observed, bytes, records } => {
                    let length = bytes.len() as u64;
                    let mut piece = Piece { bytes, ..Piece::default() };
                    self.observed[observed as usize].append(&mut piece, records, self.now_ns);
                    self.backlog.observed.fetch_sub(records, Relaxed);
                    self.backlog.observed_bytes.fetch_sub(length, Relaxed);
                }
                Message::Pieces(Pieces { lane, position, .. })
                | Message::Mark { lane, position, .. } => {
                    self.lanes[lane as usize].early.insert(position, message);
                    self.take_turns(lane);
                }
            }
        }
        let now_ns = self.now_ns;
        let flows = self.lanes.iter_mut().flat_map(|lane| &mut lane.streams);
        let others = self.observed.iter_mut().chain([&mut self.alerts]);
        flows.chain(others).for_each(|stream| stream.finish(now_ns));
        self.prune();
    }

    fn take_turns(&mut self, lane: LaneId) {
        loop {
            let files = &mut self.lanes[lane as usize];
            let Some(message) = files.early.remove(&files.next) else { return };
            files.next += 1;
            match message {
                Message::Pieces(pieces) => self.pieces(pieces),
                Message::Mark { now_ns, .. } => self.mark(lane, now_ns),
                Message::Alert(_) | Message::Lines { .. } => {}
            }
        }
    }

    fn pieces(&mut self, pieces: Pieces) {
        let Pieces { lane, began_ns, records, made, .. } = pieces;
        for (stream, made) in self.lanes[lane as usize].streams.iter_mut().zip(made) {
            match made {
                Ok(mut piece) => {
                    stream.append(&mut piece, records, began_ns);
                    piece.clear();
                    // Dropped when there are enough.
                    let _ = self.spare_pieces.try_send(piece);
                }
                Err(_) => stream.lose(records),
            }
        }
        self.backlog.lanes[lane as usize].records.fetch_sub(records, Relaxed);
    }

    fn mark(&mut self, lane: LaneId, now_ns: i64) {
        self.backlog.lanes[lane as usize].marks.fetch_sub(1, Relaxed);
        self.lanes[lane as usize].streams.iter_mut().for_each(|stream| stream.mark(now_ns));
        if lane == LaneId::Text {
            self.now_ns = now_ns;
            self.alerts.mark(now_ns);
            self.observed.iter_mut().for_each(|stream| stream.mark(now_ns));
            self.prune_if_due();
        }
    }

    fn alert(&mut self, alert: &Alert) {
        let now_ns = self.now_ns;
        let write = |stream: &mut Stream, bytes: io::Result<Vec<u8>>| match bytes {
            Ok(bytes) => stream.append(&mut Piece { bytes, ..Piece::default() }, 1, now_ns),
            Err(_) => stream.lose(1),
        };
        let mut line = Vec::new();
        let result = ndjson::write_line(&mut line, alert);
        write(&mut self.alerts, result.map(|()| line));
        let text = &mut self.lanes[LaneId::Text as usize].streams;
        if let Some(stream) = self.eve.and_then(|at| text.get_mut(at)) {
            let mut line = Vec::new();
            let result = eve::write_alerts(&mut line, [AlertEvent::new(alert)]);
            write(stream, result.map(|()| line));
        }
        self.backlog.alerts.fetch_sub(1, Relaxed);
    }

    /// When a file was completed and each minute.
    fn prune_if_due(&mut self) {
        let since = self.pruned_ns.map(|then| self.now_ns.saturating_sub(then));
        let due = since.is_none_or(|since| !(0..PRUNE_EVERY_NS).contains(&since));
        if due || self.files() != self.pruned_files {
            self.prune();
        }
    }

    fn files(&self) -> u64 {
        let flows = self.lanes.iter().flat_map(|lane| &lane.streams);
        flows
            .chain(&self.observed)
            .chain([&self.alerts])
            .map(|stream| stream.tally.files.load(Relaxed))
            .sum()
    }

    fn prune(&mut self) {
        self.pruned_ns = Some(self.now_ns);
        self.pruned_files = self.files();
        let (flows, error) =
            prune(&self.folder, &owned_by(&FLOW_STEMS), self.keep_flows, self.now_ns);
        let (alerts, alerts_error) =
            prune(&self.folder, &owned_by(&ALERT_STEMS), self.keep_alerts, self.now_ns);
        for (sums, Removed { files, bytes }) in self.backlog.removed.iter().zip([flows, alerts]) {
            sums.files.fetch_add(files, Relaxed);
            sums.bytes.fetch_add(bytes, Relaxed);
        }
        let error = error.or(alerts_error);
        let failed = error.is_some();
        if let (Some(error), false) = (error, self.retention_failed) {
            self.events.send(OutputEvent::RetentionFailed {
                path: self.folder.clone(),
                error: error.to_string(),
            });
        }
        self.retention_failed = failed;
    }
}
