//! One source: a log file, or standard input, read in chunks of observations.
//!
//! Start at [`recognise_path`] and [`Source::open`].

use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::decode::{Bad, Context, Decoder, HAND_ON_BYTES, Out};
use super::export::capture::Captured;
use super::framing::{Framing, Next, Records};
use super::kind::{HEAD_BYTES, Head, Kind, recognise};
use super::observation::Observation;
use super::report::SourceReport;
use crate::input::ending;
use crate::input::peek::peek;
use crate::input::text::open_lines;

/// Records that are decoded before their observations are handed on: enough that
/// handing on costs nothing, few enough to stay in the cache.
const CHUNK_RECORDS: usize = 256;

/// What a file is by its content; nothing for what is no telemetry.
pub fn recognise_path(path: &Path) -> io::Result<Option<&'static Kind>> {
    let mut bytes = Vec::new();
    open_lines(path)?.take(HEAD_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(recognise(&Head::new(&bytes, bytes.len() < HEAD_BYTES)))
}

/// What a pipe or standard input is by its first bytes: whether a capture, and else what
/// kind of telemetry, if any. What was looked into is still read when it is opened.
pub(crate) fn recognise_stream(path: &Path) -> io::Result<(bool, Option<&'static Kind>)> {
    let peeked = peek(path)?;
    let kind = || recognise(&Head::new(&peeked.head, peeked.whole));
    Ok((peeked.is_capture, if peeked.is_capture { None } else { kind() }))
}

/// When a file was last changed.
pub fn modified_ns(path: &Path) -> Option<i64> {
    let modified = path.metadata().ok()?.modified().ok()?;
    i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

/// What is to be read, and as what.
#[derive(Clone, Debug)]
pub struct Named {
    pub path: PathBuf,
    pub kind: &'static Kind,
    pub context: Context,
}

impl Named {
    /// A file by its path, as its content says or as the user does.
    pub fn new(path: &Path, kind: &'static Kind, context: &Context) -> Self {
        let name = path.display().to_string();
        let context = Context { name, modified_ns: modified_ns(path), ..context.clone() };
        Self { path: path.to_owned(), kind, context }
    }

    /// Can be read twice.
    pub(super) fn is_file(&self) -> bool {
        self.path.is_file()
    }
}

/// A source that is being read.
pub struct Source {
    read: Option<From>,
    decoder: Option<Box<dyn Decoder>>,
    out: Out,
    on_host: Option<Arc<str>>,
    is_file: bool,
    pub(super) report: SourceReport,
}

enum From {
    Records(Box<Records<Box<dyn BufRead + Send>>>),
    Whole(PathBuf),
    /// A whole file that the decoder has opened.
    Parts,
    /// Datagrams in a capture.
    Captured(Box<Captured>),
}

impl Source {
    /// Opens a file as what it was recognised as. What can't be opened says so in its
    /// report, as does a format of the user's that makes no sense.
    pub fn open(named: &Named) -> Self {
        let mut report = SourceReport::new(&named.context.name, named.kind);
        let (read, decoder) = match open(named) {
            Ok((read, decoder)) => (Some(read), Some(decoder)),
            Err(error) => {
                report.error = Some(error);
                (None, None)
            }
        };
        let on_host = named.context.host.clone();
        let is_file = named.is_file();
        Self { read, decoder, out: Out::default(), on_host, is_file, report }
    }

    /// The next observations, in the source's order; none at all at its end. Where
    /// reading fails, what was read before is handed out, and the report says why.
    pub fn chunk(&mut self) -> Vec<Observation> {
        while self.out.observations.is_empty() && self.read.is_some() {
            if let Err(error) = self.fill() {
                self.report.error = Some(error.to_string());
                self.read = None;
            }
        }
        for observation in &mut self.out.observations {
            if let Observation::Request(request) = observation {
                request.on_host.clone_from(&self.on_host);
            }
            self.report.count(observation);
        }
        self.report.take_tallies(&mut self.out);
        std::mem::take(&mut self.out.observations)
    }

    fn fill(&mut self) -> io::Result<()> {
        // A stream ends by itself, once its writer's last has come.
        if self.is_file && ending::is_wanted() {
            self.read = None;
            self.report.error = Some("stopped before its end".to_owned());
            return Ok(());
        }
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        let records = match &mut self.read {
            Some(From::Records(records)) => records,
            Some(From::Whole(path)) => {
                let path = std::mem::take(path);
                self.read = Some(From::Parts);
                self.report.bytes = path.metadata().map_or(0, |about| about.len());
                return decoder.file(&path, &mut self.out);
            }
            Some(From::Parts) => {
                if !decoder.next_part(&mut self.out)? {
                    self.read = None;
                }
                return Ok(());
            }
            Some(From::Captured(captured)) => {
                match captured.next(&mut **decoder, &mut self.out) {
                    Some(taken) => {
                        self.report.records += taken.datagrams;
                        self.report.bytes += taken.bytes;
                        for (frame, bad) in &taken.bad {
                            *self.report.bad.entry(bad.reason).or_default() += 1;
                            let told = || format!("frame {frame}: {bad}");
                            self.report.first_bad.get_or_insert_with(told);
                        }
                    }
                    None => {
                        self.report.error = captured.error();
                        self.read = None;
                    }
                }
                return Ok(());
            }
            None => return Ok(()),
        };
        let began_bytes = records.read_bytes();
        for _ in 0..CHUNK_RECORDS {
            if records.read_bytes() - began_bytes >= HAND_ON_BYTES {
                break;
            }
            let bad = match records.next_record()? {
                Next::Record(record) => decoder.record(record, &mut self.out).err(),
                Next::TooLong => Some(Bad::new("longer than is read")),
                Next::NoJson => Some(Bad::new("no JSON")),
                Next::End => {
                    decoder.end(&mut self.out);
                    self.read = None;
                    return Ok(());
                }
            };
            self.report.records += 1;
            self.report.bytes = records.read_bytes();
            if let Some(bad) = bad {
                self.report.count_bad(&bad, records.began_in_line());
            }
        }
        Ok(())
    }

    pub fn report(&self) -> &SourceReport {
        &self.report
    }
}

type Opened = (From, Box<dyn Decoder>);

fn open(named: &Named) -> Result<Opened, String> {
    let decoder = (named.kind.decoder)(&named.context)?;
    let read = match named.kind.framing {
        Framing::File => From::Whole(named.path.clone()),
        Framing::Datagrams => {
            let captured = Captured::open(&named.path, named.kind);
            From::Captured(Box::new(captured.map_err(|error| error.to_string())?))
        }
        framing @ (Framing::Lines | Framing::Json | Framing::LargeJson) => {
            let lines = open_lines(&named.path).map_err(|error| error.to_string())?;
            From::Records(Box::new(Records::new(lines, framing)))
        }
    };
    Ok((read, decoder))
}
