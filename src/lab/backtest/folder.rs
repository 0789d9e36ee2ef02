//! The recorded flows of a run's folder: looked over once for their times, then read
//! again for each value.
//!
//! A line that is no flow record is left out, counted, and the first of them are told
//! with file and line. Memory does not grow with the files.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use crate::engine::recorded::Named;
use crate::flow::FlowRecord;
use crate::input::text::{next_line, open_lines};
use crate::output::reread::Reread;

/// No record of ours is longer by far.
const MOST_LINE_BYTES: usize = 1 << 20;
/// Lines that are no records, told one by one.
const MOST_TOLD: usize = 10;
const DAY_NS: i64 = 86_400_000_000_000;

/// Files of flows, looked over.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    files: Vec<FileOf>,
    /// Start of the first flow and end of the last, of those that are chosen.
    pub first_ns: i64,
    pub last_ns: i64,
    /// Flows that begin before are left out.
    from_ns: i64,
    /// The longest that a flow was decided after its start.
    pub horizon_ns: i64,
    pub flows: u64,
    /// What is named at the ends of some flows.
    pub named: Named,
    pub bad_lines: u64,
    /// The first of them: file, line and why.
    pub bad: Vec<String>,
}

#[derive(Clone, Debug)]
struct FileOf {
    path: PathBuf,
    /// When its input ended, for flows that the end cut off.
    ended_ns: i64,
}

impl Folder {
    /// Looks over files in the order in which they were written. With `days`, only flows
    /// of the last so many are chosen.
    pub fn survey(paths: &[PathBuf], days: Option<u64>) -> Self {
        let mut all = Self::pass(paths, i64::MIN);
        let Some(days) = days else { return all };
        let back_ns = i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(DAY_NS);
        let from_ns = all.last_ns.saturating_sub(back_ns);
        if all.first_ns >= from_ns {
            return all;
        }
        // What is wrong with lines is told of all.
        let (bad_lines, bad) = (all.bad_lines, std::mem::take(&mut all.bad));
        Self { bad_lines, bad, ..Self::pass(paths, from_ns) }
    }

    fn pass(paths: &[PathBuf], from_ns: i64) -> Self {
        let mut folder = Self { from_ns, first_ns: i64::MAX, last_ns: i64::MIN, ..Self::default() };
        for path in paths {
            folder.look_over(path);
        }
        if folder.flows == 0 {
            (folder.first_ns, folder.last_ns) = (0, 0);
        }
        folder
    }

    fn look_over(&mut self, path: &Path) {
        let mut reread = Reread::default();
        let (mut ended_ns, mut undecided_ns) = (i64::MIN, i64::MAX);
        let trouble = each_line(path, |number, line| {
            let read = line.ok_or_else(|| TOO_LONG.to_owned()).and_then(|line| {
                reread.record(line, i64::MIN).map(|record| (record, is_undecided(line)))
            });
            let (record, is_undecided) = match read {
                Ok(read) => read,
                Err(why) => return self.tell(path, number, &why),
            };
            ended_ns = ended_ns.max(record.decided_ns);
            if record.start_ns < self.from_ns {
                return;
            }
            self.flows += 1;
            let hosts = record.hosts.as_deref();
            for side in hosts.iter().flat_map(|hosts| [&hosts.src, &hosts.dst]).flatten() {
                self.named.processes |= side.process.is_some();
                self.named.instances |= side.instance.is_some();
            }
            self.first_ns = self.first_ns.min(record.start_ns);
            self.last_ns = self.last_ns.max(record.end_ns);
            if is_undecided {
                undecided_ns = undecided_ns.min(record.start_ns);
            }
            let held_ns = record.decided_ns.saturating_sub(record.start_ns);
            self.horizon_ns = self.horizon_ns.max(held_ns);
        });
        if let Err((number, why)) = trouble {
            self.tell(path, number, &why);
        }
        if undecided_ns < i64::MAX {
            self.horizon_ns = self.horizon_ns.max(ended_ns.saturating_sub(undecided_ns));
        }
        self.files.push(FileOf { path: path.to_owned(), ended_ns });
    }

    fn tell(&mut self, path: &Path, number: u64, why: &str) {
        self.bad_lines += 1;
        if self.bad.len() < MOST_TOLD {
            self.bad.push(format!("{} line {number}: {why}", path.display()));
        }
    }

    /// Days from the first flow's start to the last one's end.
    pub fn days(&self) -> f64 {
        self.last_ns.saturating_sub(self.first_ns) as f64 / DAY_NS as f64
    }

    /// All records, in the order of the files. What is none was told before.
    pub fn records(&self) -> impl Iterator<Item = FlowRecord> + Send + '_ {
        let mut reread = Reread::default();
        let mut files = self.files.iter();
        let mut open: Option<(Box<dyn BufRead + Send>, i64)> = None;
        let mut line = Vec::new();
        std::iter::from_fn(move || {
            loop {
                let Some((lines, ended_ns)) = &mut open else {
                    let file = files.next()?;
                    open = open_lines(&file.path).ok().map(|lines| (lines, file.ended_ns));
                    continue;
                };
                match next_line(&mut **lines, &mut line, MOST_LINE_BYTES) {
                    Ok(Some(true)) => match reread.record(&line, *ended_ns) {
                        Ok(record) if record.start_ns >= self.from_ns => return Some(record),
                        Ok(_) | Err(_) => {}
                    },
                    Ok(None) => {}
                    Ok(Some(false)) | Err(_) => open = None,
                }
            }
        })
    }
}

/// The input ended before the flow did: such lines have no `decided`.
fn is_undecided(line: &[u8]) -> bool {
    memchr::memmem::find(line, b"\"end_reason\":\"end_of_input\"").is_some()
}

const TOO_LONG: &str = "longer than any flow record";

/// Shows every line that is not empty with its number; nothing in place of one that is
/// too long. Where reading ends in trouble: at which line, and why.
fn each_line(path: &Path, mut show: impl FnMut(u64, Option<&[u8]>)) -> Result<(), (u64, String)> {
    let mut number = 0;
    let unread =
        |number: u64, error: &std::io::Error| (number + 1, format!("can't read on: {error}"));
    let mut lines = open_lines(path).map_err(|error| unread(0, &error))?;
    let mut line = Vec::new();
    loop {
        match next_line(&mut *lines, &mut line, MOST_LINE_BYTES) {
            Ok(Some(false)) => return Ok(()),
            Ok(Some(true)) => {
                number += 1;
                if !line.trim_ascii().is_empty() {
                    show(number, Some(&line));
                }
            }
            Ok(None) => {
                number += 1;
                show(number, None);
            }
            Err(error) => return Err(unread(number, &error)),
        }
    }
}
