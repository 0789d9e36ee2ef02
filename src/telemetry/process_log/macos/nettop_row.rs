//! Rows of `nettop`, by its header.

use std::sync::Arc;

use crate::telemetry::decode::Bad;
use crate::telemetry::names::Names;
use crate::telemetry::text::number;

use super::date::clock_ns;
use super::lsof_name::{Ends, end};

/// Columns that say nothing that is used.
const KNOWN: &[&str] = &[
    "rx_dupe", "rx_ooo", "re-tx", "rtt_avg", "rcvsize", "tx_win", "tc_class", "tc_mgt", "cc_algo",
    "P", "C", "R", "W", "arch", "rtt_var", "rtt_min",
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Time,
    /// The one without a name.
    Who,
    Interface,
    State,
    ReceivedBytes,
    SentBytes,
    ReceivedPackets,
    SentPackets,
    Other,
    Unknown(String),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns(Vec<Column>);

/// What a row counts.
pub(super) struct Row {
    pub(super) clock_ns: Option<i64>,
    pub(super) what: Counted,
    pub(super) received_bytes: Option<u64>,
    pub(super) sent_bytes: Option<u64>,
    pub(super) received_packets: Option<u64>,
    pub(super) sent_packets: Option<u64>,
}

pub(super) enum Counted {
    /// No row: the next sample begins.
    SampleEnds,
    /// `name.pid`.
    Process(Arc<str>),
    /// Of the process above it.
    Socket(Named),
}

/// A socket by its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) protocol: u8,
    pub(super) ipv6: bool,
    pub(super) listens: bool,
    pub(super) ends: Ends,
}

impl Row {
    pub(super) fn sample_ends() -> Self {
        Self {
            clock_ns: None,
            what: Counted::SampleEnds,
            received_bytes: None,
            sent_bytes: None,
            received_packets: None,
            sent_packets: None,
        }
    }
}

fn cells(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let line = line.trim_ascii();
    line.strip_suffix(b",").unwrap_or(line).split(|&byte| byte == b',')
}

impl Columns {
    /// Nothing for what is no header.
    pub(super) fn of_header(line: &[u8]) -> Option<Self> {
        // Through a terminal the first one has control characters before it.
        let controls = line.iter().take_while(|byte| byte.is_ascii_control()).count();
        let line = &line[controls..];
        if !(line.starts_with(b"time,,") || line.starts_with(b",")) || !line.ends_with(b",") {
            return None;
        }
        let column = |name: &[u8]| match name {
            b"time" => Column::Time,
            b"" => Column::Who,
            b"interface" => Column::Interface,
            b"state" => Column::State,
            b"bytes_in" => Column::ReceivedBytes,
            b"bytes_out" => Column::SentBytes,
            b"packets_in" => Column::ReceivedPackets,
            b"packets_out" => Column::SentPackets,
            name => match String::from_utf8_lossy(name) {
                name if KNOWN.contains(&&*name) => Column::Other,
                name => Column::Unknown(name.into_owned()),
            },
        };
        let columns: Vec<_> = cells(line).map(column).collect();
        let counts = [
            Column::ReceivedBytes,
            Column::SentBytes,
            Column::ReceivedPackets,
            Column::SentPackets,
        ];
        let is_header = columns.iter().filter(|column| **column == Column::Who).count() == 1
            && counts.iter().any(|column| columns.contains(column));
        is_header.then_some(Self(columns))
    }

    pub(super) fn unknown(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|column| match column {
            Column::Unknown(name) => Some(name.as_str()),
            _ => None,
        })
    }

    pub(super) fn row(&self, line: &[u8], names: &mut Names) -> Result<Row, Bad> {
        let mut row = Row::sample_ends();
        let (mut who, mut listens) = (None, false);
        let mut found = 0;
        for (column, cell) in self.0.iter().zip(cells(line)) {
            found += 1;
            match column {
                Column::Time => {
                    let clock = clock_ns(cell).ok_or_else(|| Bad::value("no time", cell))?;
                    row.clock_ns = Some(clock);
                }
                Column::Who => who = Some(cell),
                Column::State => listens = cell == b"Listen",
                Column::ReceivedBytes => row.received_bytes = count(cell)?,
                Column::SentBytes => row.sent_bytes = count(cell)?,
                Column::ReceivedPackets => row.received_packets = count(cell)?,
                Column::SentPackets => row.sent_packets = count(cell)?,
                Column::Interface | Column::Other | Column::Unknown(_) => {}
            }
        }
        if found < self.0.len() || cells(line).count() > self.0.len() {
            return Err(Bad::new("not as many columns as the header"));
        }
        let who = who.unwrap_or_default();
        row.what = match named(who, listens) {
            Some(socket) => Counted::Socket(socket?),
            None if pid_of(who).is_some() => Counted::Process(names.of(who)),
            None => return Err(Bad::value("neither a process nor a socket", who)),
        };
        Ok(row)
    }
}

/// Absent where the row has none. With `-x` numbers are whole.
fn count(cell: &[u8]) -> Result<Option<u64>, Bad> {
    match cell {
        b"" | b"-" => Ok(None),
        cell => {
            number(cell).map(Some).ok_or_else(|| Bad::value("no whole number (nettop -x)", cell))
        }
    }
}

/// The number in `name.pid`; names have points of their own.
pub(super) fn pid_of(who: &[u8]) -> Option<u32> {
    let point = who.iter().rposition(|&byte| byte == b'.')?;
    number(&who[point + 1..])
}

/// `tcp4 192.0.2.7:50123<->198.51.100.9:443`; of IPv6 a point stands before the port.
/// Nothing for what is no socket.
fn named(who: &[u8], listens: bool) -> Option<Result<Named, Bad>> {
    let (kind, ends) = (who.get(..5)?, who.get(5..)?);
    let (protocol, ipv6) = match kind {
        b"tcp4 " => (6, false),
        b"tcp6 " => (6, true),
        b"udp4 " => (17, false),
        b"udp6 " => (17, true),
        _ => return None,
    };
    let parsed = || {
        let arrow = ends.windows(3).position(|three| three == b"<->")?;
        let side = |text: &[u8]| {
            // Releases differ in how they write open ends of IPv6.
            let separator = if ipv6 && !text.ends_with(b":*") { b'.' } else { b':' };
            end(text, separator).or_else(|| end(text, b':'))
        };
        let (local, remote) = (side(&ends[..arrow])?, side(&ends[arrow + 3..])?);
        Some(Named { protocol, ipv6, listens, ends: Ends::of(ipv6, local, Some(remote)) })
    };
    Some(parsed().ok_or_else(|| Bad::value("names instead of numbers (nettop -n)", who)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"time,,interface,state,bytes_in,bytes_out,rx_dupe,";

    #[test]
    fn headers_are_told_from_rows() {
        assert!(Columns::of_header(HEADER).is_some());
        assert!(Columns::of_header(b"\x04\x08\x08time,,bytes_in,bytes_out,").is_some());
        assert!(Columns::of_header(b",bytes_in,bytes_out,packets_in,packets_out,").is_some());
        let unknown = Columns::of_header(b"time,,bytes_in,new one,").expect("a header");
        assert_eq!(unknown.unknown().collect::<Vec<_>>(), ["new one"]);
        for line in [&b"time,,interface,state,"[..], b"time,process,bytes_in,", b",,", b"", b"time"]
        {
            assert_eq!(Columns::of_header(line), None);
        }
    }

    #[test]
    fn rows_are_processes_and_sockets() {
        let columns = Columns::of_header(HEADER).expect("a header");
        let mut names = Names::default();
        let mut row = |line: &[u8]| columns.row(line, &mut names);
        let process = row(b"10:15:02.5,Net Tool.app.501,,,12,34,0,").expect("a row");
        assert!(
            matches!(process.what, Counted::Process(ref name) if &**name == "Net Tool.app.501")
        );
        assert_eq!((process.received_bytes, process.sent_bytes), (Some(12), Some(34)));
        assert_eq!(process.sent_packets, None);
        let socket =
            row(b"10:15:02.5,tcp6 2001:db8::7.50123<->2001:db8::9.443,en0,Established,1,2,0,");
        let Counted::Socket(socket) = socket.expect("a row").what else { panic!("no socket") };
        assert_eq!((socket.ends.local_port, socket.ends.remote_port), (50123, 443));
        let open = row(b"10:15:02.5,udp6 *.5353<->*.*,en0,,1,2,,").expect("a row");
        let Counted::Socket(open) = open.what else { panic!("no socket") };
        assert_eq!((open.ends.local_port, open.ends.remote, open.ipv6), (5353, None, true));
        for bad in [
            &b"10:15:02.5,curl.501,,,12 KiB,34,0,"[..],
            b"10:15:02.5,curl.501,,,12",
            b"10:15:02.5,curl.501,,,1,2,3,4,5,",
            b"10:15,curl.501,,,1,2,3,",
            b"10:15:02.5,curl,,,1,2,3,",
            b"10:15:02.5,tcp4 host.example:1<->192.0.2.1:2,,,1,2,3,",
        ] {
            assert!(row(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
