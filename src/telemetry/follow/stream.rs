//! Standard input: read as it comes, to its end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::framing::Mark;
use super::state::Saved;
use super::{Closed, Engine, Event, Opened, SourceId, Step, Told};

pub(super) const PIECE_BYTES: usize = 256 << 10;

const SOURCE: SourceId = SourceId(0);

/// A pipe can't be read again: nothing of it is kept across restarts.
pub(super) struct Stream {
    /// Until its end.
    file: Option<File>,
    name: &'static str,
    events: VecDeque<Event>,
    ignored: bool,
}

impl Stream {
    pub(super) fn stdin() -> io::Result<Self> {
        // Not std's own: it would keep bytes in a buffer that poll knows nothing of.
        let own = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self::new(own.into(), "standard input"))
    }

    pub(super) fn new(file: File, name: &'static str) -> Self {
        let opened = Opened::new(SOURCE, name.to_owned());
        let events = VecDeque::from([Event::Opened(opened)]);
        Self { file: Some(file), name, events, ignored: false }
    }
}

impl Engine for Stream {
    fn step(&mut self, _: Instant, buffer: &mut Vec<u8>) -> Step {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Step::Event(event);
            }
            let Some(file) = &mut self.file else { return Step::Ended };
            match read_ready(file, buffer) {
                Ok(None) => return Step::Waiting,
                Ok(Some(n)) if n > 0 => {
                    if !self.ignored {
                        return Step::Bytes(SOURCE, 0..n);
                    }
                    continue;
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    let (name, error) = (self.name.to_owned(), error.to_string());
                    self.events.push_back(Event::Told(Told::Unreadable { name, error }));
                }
            }
            self.file = None;
            if !self.ignored {
                self.events.push_back(Event::Closed(SOURCE, Closed::Ended));
            }
        }
    }

    fn acknowledge(&mut self, _: SourceId, _: Mark) {}

    fn ignore(&mut self, _: SourceId) {
        self.ignored = true;
    }

    fn save(&mut self, _: &mut Saved) {}
}

/// What can be read without waiting: nothing where there is nothing for now, zero
/// bytes at the end.
pub(super) fn read_ready(
    file: &mut (impl Read + AsFd),
    buffer: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ready = match poll(&mut [PollFd::new(&*file, PollFlags::IN)], Some(&now)) {
        Ok(ready) => ready,
        Err(rustix::io::Errno::INTR) => 0,
        Err(error) => return Err(error.into()),
    };
    if ready == 0 {
        return Ok(None);
    }
    buffer.resize(PIECE_BYTES, 0);
    match file.read(buffer) {
        Ok(n) => Ok(Some(n)),
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
