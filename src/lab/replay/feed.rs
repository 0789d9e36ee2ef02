//! Captures to loads of judged frames, read ahead on a thread of its own, so
//! that neither a disk nor a decompressor holds up what is due.
//!
//! Start at [`start`]. The thread ends at the end of its rounds, or when nobody
//! listens any more.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::admission::{Admission, Refusal};
use crate::input::{
    Block, BlockBytes, FileReport, Input, InputError, InputOptions, Interface, Progress,
};

/// Loads read ahead: some 30,000 packets of 64 bytes, or 3 ms of 10 Gbit/s.
const LOADS_AHEAD: usize = 4;

/// Captures up to this size stay in memory for the rounds after the first.
/// Reading a small one anew each time would cost more than sending it.
const KEPT_BYTES: usize = 256 << 20;

/// A frame and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) time_ns: i64,
    pub(super) offset: u32,
    /// Bytes to send from there on, or why not.
    pub(super) fate: Fate,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Send {
        bytes: u32,
        /// After them.
        zeros: u32,
    },
    Refuse(Refusal),
}

/// Frames in the order of sending, with the bytes that they point into.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) bytes: BlockBytes,
    pub(super) entries: Vec<Entry>,
}

/// A load of the given round, from 0.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) round: u64,
    pub(super) load: Arc<Load>,
}

/// What to read, and how often.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) paths: Vec<PathBuf>,
    /// `None` goes on until nobody listens.
    pub(super) rounds: Option<u64>,
    pub(super) admission: Admission,
    pub(super) progress: Option<Arc<Progress>>,
}

/// What became of the files; joined after the receiver is gone.
pub(super) type Reports = JoinHandle<Result<Vec<FileReport>, InputError>>;

/// Starts to read.
pub(super) fn start(order: Order) -> (Receiver<Delivery>, Reports) {
    let (sender, receiver) = bounded(LOADS_AHEAD);
    (receiver, thread::spawn(move || read_rounds(&order, &sender)))
}

fn read_rounds(order: &Order, sender: &Sender<Delivery>) -> Result<Vec<FileReport>, InputError> {
    let more_than_one = order.rounds != Some(1);
    let mut kept = more_than_one.then(Kept::default);
    let mut reports = Vec::new();
    let mut round = 0;
    while order.rounds.is_none_or(|rounds| round < rounds) {
        let mut any = false;
        if round > 0
            && let Some(kept) = &kept
        {
            for load in &kept.loads {
                any = true;
                if sender.send(Delivery { round, load: Arc::clone(load) }).is_err() {
                    return Ok(reports);
                }
            }
        } else {
            let progress = order.progress.as_ref().filter(|_| round == 0).map(Arc::clone);
            let options = InputOptions { progress, ..InputOptions::default() };
            let mut input = Input::open(&order.paths, options)?;
            let mut listening = true;
            while listening && let Some(block) = input.next_block() {
                any = true;
                let load = Arc::new(Load::new(block, input.interfaces(), order.admission));
                kept = kept.and_then(|kept| kept.with(&load));
                listening = sender.send(Delivery { round, load }).is_ok();
            }
            // A file that failed in any round has failed.
            if round == 0 || input.reports().iter().any(|report| report.error.is_some()) {
                reports = input.reports().to_vec();
            }
            if !listening {
                return Ok(reports);
            }
        }
        if !any {
            break;
        }
        round += 1;
    }
    Ok(reports)
}

impl Load {
    fn new(block: Block, interfaces: &[Interface], admission: Admission) -> Self {
        let all = block.bytes.all();
        let entries = block
            .frames
            .iter()
            .map(|frame| {
                let interface = interfaces.get(usize::from(frame.interface));
                let fcs_bytes = interface.and_then(|i| i.fcs_bytes).unwrap_or(0);
                let fate = match admission.judge(frame, frame.bytes_in(all), fcs_bytes) {
                    Ok(admitted) => Fate::Send { bytes: admitted.bytes, zeros: admitted.zeros },
                    Err(refusal) => Fate::Refuse(refusal),
                };
                Entry { time_ns: frame.time_ns, offset: frame.offset, fate }
            })
            .collect();
        Self { bytes: block.bytes, entries }
    }

    fn memory_bytes(&self) -> usize {
        let bytes = match &self.bytes {
            BlockBytes::Owned(bytes) => bytes.capacity(),
            // The page cache's, not ours.
            BlockBytes::Mapped { .. } => 0,
        };
        bytes + self.entries.capacity() * size_of::<Entry>()
    }
}

/// The loads of the first round, as long as they are small enough.
#[derive(Default)]
struct Kept {
    loads: Vec<Arc<Load>>,
    bytes: usize,
}

impl Kept {
    fn with(mut self, load: &Arc<Load>) -> Option<Self> {
        self.bytes += load.memory_bytes();
        self.loads.push(Arc::clone(load));
        (self.bytes <= KEPT_BYTES).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const ADMISSION: Admission =
        Admission { max_frame_bytes: 1_514, takes_vlan_tag: true, pad: false };

    /// A capture of frames of these lengths, a microsecond apart.
    fn capture(lengths: &[u32]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = Vec::new();
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1] {
            bytes.extend_from_slice(&u32::to_le_bytes(word));
        }
        for (index, &length) in (0u32..).zip(lengths) {
            for word in [1, index, length, length] {
                bytes.extend_from_slice(&u32::to_le_bytes(word));
            }
            bytes.resize(bytes.len() + length as usize, index as u8);
        }
        file.write_all(&bytes).unwrap();
        file
    }

    fn order(paths: Vec<PathBuf>, rounds: Option<u64>) -> Order {
        Order { paths, rounds, admission: ADMISSION, progress: None }
    }

    #[test]
    fn each_round_gives_the_same_frames() {
        let file = capture(&[60, 2_000, 14]);
        let (deliveries, reports) = start(order(vec![file.path().to_owned()], Some(3)));
        let mut rounds = Vec::new();
        for delivery in deliveries {
            let fates: Vec<_> = delivery
                .load
                .entries
                .iter()
                .map(|entry| match entry.fate {
                    Fate::Send { bytes, .. } => Ok(bytes),
                    Fate::Refuse(refusal) => Err(refusal),
                })
                .collect();
            assert_eq!(fates, [Ok(60), Err(Refusal::TooLong), Ok(14)]);
            rounds.push(delivery.round);
        }
        assert_eq!(rounds, [0, 1, 2]);
        let reports = reports.join().unwrap().unwrap();
        assert_eq!(reports[0].frames, 3);
    }

    #[test]
    fn endless_rounds_end_when_nobody_listens() {
        let file = capture(&[60]);
        let (deliveries, reports) = start(order(vec![file.path().to_owned()], None));
        assert_eq!(deliveries.iter().take(50).map(|d| d.round).max(), Some(49));
        drop(deliveries);
        assert!(reports.join().unwrap().is_ok());
    }

    #[test]
    fn endless_rounds_over_nothing_end() {
        let empty = capture(&[]);
        let missing = PathBuf::from("/nowhere/at.all");
        for path in [empty.path().to_owned(), missing] {
            let (deliveries, reports) = start(order(vec![path], None));
            assert_eq!(deliveries.iter().count(), 0);
            reports.join().unwrap().unwrap();
        }
    }

    #[test]
    fn a_file_that_fails_is_in_the_reports() {
        let good = capture(&[60]);
        let paths = vec![good.path().to_owned(), PathBuf::from("/nowhere/at.all")];
        let (deliveries, reports) = start(order(paths, Some(2)));
        assert_eq!(deliveries.iter().count(), 2);
        let reports = reports.join().unwrap().unwrap();
        assert!(reports[0].error.is_none() && reports[1].error.is_some());
    }
}
