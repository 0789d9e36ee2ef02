//! When packets last came in at each interface, kept beside the results (`.flowtap.heard`):
//! a port that fell silent is told after a restart too.
//!
//! Kept by a thread of its own, since a disk may not answer. Of a run that is killed the
//! last minute is missing. Start at [`Heard::start`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::run_file::Owed;
use super::sink::now_ns;
use crate::cli::rundir::write_whole;
use crate::input::live::{LiveStatus, TapStatus};

const FILE: &str = ".flowtap.heard";

/// A port that was last used longer ago may be a spare by now; one that is used on some
/// day of each week is not.
const WITHIN_S: i64 = 7 * 86_400;

/// Far less than what is told by it: days.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Between two attempts to write what a full disk left owed.
const OWED_INTERVAL: Duration = Duration::from_secs(5);

/// Thousands of interfaces.
const MOST_BYTES: u64 = 1 << 18;

/// By interface, as it was named: the second of its last packet.
pub(super) type Times = BTreeMap<String, i64>;

/// Which packets of an interface a run hears at all: what is behind a filter is silent where
/// the filter is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listening {
    pub(super) filter: Option<String>,
    pub(super) promiscuous: bool,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    listening: Listening,
    times: Times,
}

/// What earlier runs in the folder heard that listened so, as far as it still means something.
pub(super) fn earlier(dir: &Path, listening: &Listening, now_s: i64) -> Times {
    let mut text = String::new();
    let read =
        File::open(dir.join(FILE)).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
    let kept: Option<Kept> = read.ok().and_then(|_| serde_json::from_str(&text).ok());
    let kept = kept.filter(|kept| kept.listening == *listening);
    let mut times = kept.map(|kept| kept.times).unwrap_or_default();
    // Nor does a clock that was wrong make anything silent.
    times.retain(|_, last_s| (now_s.saturating_sub(WITHIN_S)..=now_s).contains(last_s));
    times
}

/// Keeps the times of a run.
pub(super) struct Heard {
    ending: Sender<()>,
    thread: JoinHandle<()>,
}

impl Heard {
    /// Also writes what is `owed`, once there is room.
    pub(super) fn start(
        dir: &Path,
        listening: Listening,
        earlier: Times,
        status: Arc<LiveStatus>,
        mut owed: Option<Owed>,
    ) -> io::Result<Self> {
        let (ending, ended) = mpsc::channel();
        let mut book = Book::new(dir, listening, earlier);
        let keep = move || {
            loop {
                let wait = if owed.is_some() { OWED_INTERVAL } else { LOOK_INTERVAL };
                let goes_on = ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout);
                owed = owed.filter(|owed| owed.settle().is_err());
                book.look(&status.taps(), now_ns().div_euclid(1_000_000_000));
                if !goes_on {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("heard".to_owned()).spawn(keep)?;
        Ok(Self { ending, thread })
    }

    /// Writes the last ones.
    pub(super) fn finish(self) {
        drop(self.ending);
        let _ = self.thread.join();
    }
}

struct Book {
    path: PathBuf,
    kept: Kept,
    /// Of each interface at the last look.
    frames: Vec<u64>,
}

impl Book {
    fn new(dir: &Path, listening: Listening, times: Times) -> Self {
        Self { path: dir.join(FILE), kept: Kept { listening, times }, frames: Vec::new() }
    }

    fn look(&mut self, taps: &[TapStatus], now_s: i64) {
        self.frames.resize(taps.len(), 0);
        let mut is_news = false;
        for (tap, frames) in taps.iter().zip(&mut self.frames) {
            if tap.frames > *frames {
                *frames = tap.frames;
                self.kept.times.insert(tap.name.clone(), now_s);
                is_news = true;
            }
        }
        if is_news && let Ok(text) = serde_json::to_vec(&self.kept) {
            // A full disk is told by those who write results.
            let _ = write_whole(&self.path, &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tap(name: &str, frames: u64) -> TapStatus {
        TapStatus { name: name.to_owned(), frames, ..TapStatus::default() }
    }

    fn all() -> Listening {
        Listening { filter: None, promiscuous: true }
    }

    fn run(dir: &Path, listening: &Listening, taps: &[[TapStatus; 2]], now_s: i64) {
        let mut book = Book::new(dir, listening.clone(), earlier(dir, listening, now_s));
        taps.iter().for_each(|taps| book.look(taps, now_s));
    }

    #[test]
    fn what_was_heard_is_known_to_the_next_run_and_the_one_after_it() {
        let dir = tempfile::tempdir().expect("a folder");
        const DAY: i64 = 86_400;
        let earlier = |now_s| earlier(dir.path(), &all(), now_s);
        assert_eq!(earlier(DAY), Times::new());
        let run = |taps: &[[TapStatus; 2]], now_s| run(dir.path(), &all(), taps, now_s);
        run(&[[tap("eth0", 0), tap("eth1", 5)], [tap("eth0", 0), tap("eth1", 5)]], DAY);
        // Another start, in which one of them hears nothing.
        run(&[[tap("eth0", 3), tap("eth1", 0)]], 2 * DAY);
        let both = Times::from([("eth0".to_owned(), 2 * DAY), ("eth1".to_owned(), DAY)]);
        assert_eq!(earlier(3 * DAY), both);
        let left = |now_s| earlier(now_s).into_keys().collect::<Vec<_>>();
        assert_eq!(left(8 * DAY + 1), ["eth0"], "the other was last used over a week ago");
        assert_eq!(left(DAY), ["eth1"], "the clock is behind");
        std::fs::write(dir.path().join(FILE), "{\"eth0\":").expect("written");
        assert_eq!(earlier(3 * DAY), Times::new(), "somebody else's");
    }

    #[test]
    fn what_was_heard_through_another_filter_says_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        run(dir.path(), &all(), &[[tap("eth0", 3), tap("eth1", 5)]], 100);
        let filtered = Listening { filter: Some("port 9".to_owned()), ..all() };
        let own_alone = Listening { promiscuous: false, ..all() };
        let heard = |listening: &Listening| earlier(dir.path(), listening, 200).len();
        assert_eq!([&all(), &filtered, &own_alone].map(heard), [2, 0, 0]);
        // Nor is it kept for those that come after it.
        run(dir.path(), &filtered, &[[tap("eth0", 1), tap("eth1", 0)]], 200);
        assert_eq!([&all(), &filtered, &own_alone].map(heard), [0, 1, 0]);
    }
}
