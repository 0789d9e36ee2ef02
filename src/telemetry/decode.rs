//! What a decoder is given, and what it says.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::names::Names;
use super::observation::{FlowGap, FlowReport, HostReport, Observation};
use super::request::Request;
use super::sample::CounterSample;
use crate::host::event::HostEvent;

/// Longest record that is read, of any kind; longer ones are passed over and
/// counted. The longest real ones are audit records and process events with all
/// their arguments and environment.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// Of records, that are read before what came of them is handed on: a few lines of a
/// megabyte weigh as much as thousands of usual ones.
pub(super) const HAND_ON_BYTES: u64 = MAX_RECORD_BYTES as u64;

/// Names of fields that no decoder knows that are counted one by one; any further
/// ones are counted together.
pub(super) const MAX_UNKNOWN_FIELDS: usize = 256;

/// Reads the records of one source, one after the other.
///
/// May keep state between records (headers, templates, records that belong
/// together), within bounds of its own. Never panics on any bytes.
pub trait Decoder: Send {
    /// One record as the kind's framing cuts it: a line without its line break, or
    /// a JSON value. Observations go to `out`, in any number; one that was made
    /// before the record turned out bad stays.
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad>;

    /// One datagram of an export, as it came from `exporter`.
    fn datagram(
        &mut self,
        _exporter: SocketAddr,
        _received_ns: i64,
        _datagram: &[u8],
        _: &mut Out,
    ) -> Result<(), Bad> {
        Err(Bad::new("this kind has no datagrams"))
    }

    /// The source has ended, or a followed file was rotated: hands out what waited
    /// for more, as far as it is complete.
    fn end(&mut self, _: &mut Out) {}

    /// Of kinds whose framing is [`super::framing::Framing::File`]: reads all of it, or
    /// opens it and leaves the reading to [`Self::next_part`].
    fn file(&mut self, path: &Path, _: &mut Out) -> io::Result<()> {
        Err(io::Error::other(format!("{} is not read whole", path.display())))
    }

    /// After [`Self::file`], until it says `false`: reads on, as much as fits well in
    /// memory.
    fn next_part(&mut self, _: &mut Out) -> io::Result<bool> {
        Ok(false)
    }
}

/// Why a record was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// What it is counted under: of a kind a handful, in words (`no address`).
    pub reason: &'static str,
    /// What exactly, for the first one that is told. Never over a few hundred bytes.
    pub detail: String,
}

impl Bad {
    pub fn new(reason: &'static str) -> Self {
        Self { reason, detail: String::new() }
    }

    /// With the value that made no sense, cut and escaped.
    pub fn value(reason: &'static str, value: &[u8]) -> Self {
        const MOST: usize = 60;
        let text = String::from_utf8_lossy(&value[..value.len().min(MOST)]);
        let more = if value.len() > MOST { "..." } else { "" };
        Self { reason, detail: format!("'{}{more}'", text.escape_debug()) }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => f.write_str(self.reason),
            detail => write!(f, "{}: {detail}", self.reason),
        }
    }
}

/// What a decoder is told before its first record.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Name of the source as the user gave it.
    pub name: String,
    /// The order of fields or the format string of a configurable kind (`--fields`).
    pub format: Option<String>,
    /// When the file was last changed: of snapshots without a time in them their time,
    /// of times without a year the year that is not after it.
    pub modified_ns: Option<i64>,
    /// The host that it is about, where the user says so and the source does not.
    pub host: Option<Arc<str>>,
}

/// Takes what decoders say.
#[derive(Debug, Default)]
pub struct Out {
    pub observations: Vec<Observation>,
    pub names: Names,
    /// Records that are well-formed and say nothing that is used, by what they are
    /// (`nodata`, `event type alert`).
    pub passed: BTreeMap<&'static str, u64>,
    /// Values of fields that the decoder does not know, by the fields' names.
    pub unknown_fields: BTreeMap<Arc<str>, u64>,
    /// Values of fields that are unknown and over the bound on their names.
    pub further_unknown_fields: u64,
    /// What the source says that it lost itself, by what (`skipdata`, `audit lost`).
    pub lost: BTreeMap<&'static str, u64>,
    /// Of each reason: bad parts of records that were otherwise used.
    pub bad_parts: BTreeMap<&'static str, u64>,
    /// What people should know of a source that is received, each told once.
    pub notices: Vec<String>,
}

impl Out {
    pub fn flow(&mut self, flow: impl Into<Box<FlowReport>>) {
        self.observations.push(Observation::Flow(flow.into()));
    }

    pub fn request(&mut self, request: Request) {
        self.observations.push(Observation::Request(Box::new(request)));
    }

    pub fn host(&mut self, host: &Arc<str>, event: HostEvent) {
        let report = HostReport { host: Arc::clone(host), event };
        self.observations.push(Observation::Host(Box::new(report)));
    }

    pub fn counter(&mut self, sample: CounterSample) {
        self.observations.push(Observation::Counter(Box::new(sample)));
    }

    /// A record that is fine and says nothing that is used.
    pub fn pass(&mut self, what: &'static str) {
        *self.passed.entry(what).or_default() += 1;
    }

    /// The source says that flows are missing here; what it says of how many is for
    /// [`Self::lost`].
    pub fn gap(&mut self, gap: FlowGap) {
        self.observations.push(Observation::Gap(Box::new(gap)));
    }

    /// The source says that it lost so many of `what`.
    pub fn lost(&mut self, what: &'static str, count: u64) {
        *self.lost.entry(what).or_default() += count;
    }

    /// A value that made no sense in a record that is used without it.
    pub fn bad_part(&mut self, reason: &'static str) {
        *self.bad_parts.entry(reason).or_default() += 1;
    }

    /// A field that the decoder does not know had a value.
    pub fn unknown_field(&mut self, name: &str) {
        if let Some(count) = self.unknown_fields.get_mut(name) {
            *count += 1;
        } else if self.unknown_fields.len() < MAX_UNKNOWN_FIELDS {
            self.unknown_fields.insert(name.into(), 1);
        } else {
            self.further_unknown_fields += 1;
        }
    }
}
