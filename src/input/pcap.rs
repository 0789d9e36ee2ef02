//! pcap files: micro- and nanoseconds, both byte orders, "modified" records.
//!
//! Start at [`parse_header`]; [`PcapWalker`] then indexes records in place. It
//! is the tightest loop of the serial stage: one bounds check and one push a
//! record, and a look whether its time is no magic number: files that were joined byte by
//! byte have headers between their records. Packets longer than the header's snap length are taken as they are:
//! real captures have them.

use super::block::frame_flag;
use super::report::{FileReport, Interface};
use super::walk::{Found, Limits, MAX_CAPTURED_BYTES, MAX_WIRE_BYTES, Notes, Stop, Walked, frame};
use crate::packet::LinkType;

pub(super) const FILE_HEADER_BYTES: usize = 24;

/// Seconds, fraction, captured length, length on the wire.
const RECORD_BYTES: usize = 16;
/// A. Kuznetsov's patch of libpcap adds interface, protocol, packet type.
const MODIFIED_RECORD_BYTES: usize = 24;
/// A later form of the same patch, as one distribution shipped it, adds CPUs.
const LONG_RECORD_BYTES: usize = 28;

const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const MAGIC_MODIFIED: u32 = 0xa1b2_cd34;

/// Records looked at to choose between record layouts: one can fit by chance.
const PROBE_RECORDS: usize = 4;

/// True when these are the first bytes of a pcap file.
pub(super) fn is_pcap(head: &[u8]) -> bool {
    head.first_chunk::<4>().is_some_and(|magic| {
        [u32::from_le_bytes(*magic), u32::from_be_bytes(*magic)]
            .iter()
            .any(|m| matches!(*m, MAGIC_MICROS | MAGIC_NANOS | MAGIC_MODIFIED))
    })
}

/// Which of a record's two lengths comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    /// Before version 2.3.
    WireFirst,
    /// Version 2.3 was written both ways: the captured one can't be longer.
    Guess,
}

/// The 24 bytes that a file begins with.
#[derive(Clone, Copy, Debug)]
struct FileHeader {
    form: Form,
    /// Seconds from UTC, and digits that count: everybody writes 0 today.
    zone_s: i32,
    digits: u32,
    snaplen_bytes: u32,
}

/// What has to be the same for two files' records to be read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    big_endian: bool,
    magic: u32,
    major: u16,
    minor: u16,
    link_field: u32,
}

impl FileHeader {
    /// Where the first bytes are a magic number.
    fn read(bytes: &[u8; FILE_HEADER_BYTES]) -> Option<Self> {
        let is_magic = |magic| matches!(magic, MAGIC_MICROS | MAGIC_NANOS | MAGIC_MODIFIED);
        let first = [bytes[0], bytes[1], bytes[2], bytes[3]];
        let big_endian = is_magic(u32::from_be_bytes(first));
        let u16_at = |at: usize| {
            let bytes = [bytes[at], bytes[at + 1]];
            if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
        };
        let u32_at = |at: usize| {
            let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let magic = u32_at(0);
        is_magic(magic).then(|| Self {
            form: Form {
                big_endian,
                magic,
                major: u16_at(4),
                minor: u16_at(6),
                link_field: u32_at(20),
            },
            zone_s: u32_at(8).cast_signed(),
            digits: u32_at(12),
            snaplen_bytes: u32_at(16),
        })
    }

    /// Whether it is one also where a packet's record is expected. As a record it would be of
    /// one instant of 2055 and of a packet of no bytes, or shorter than what was captured of it.
    fn is_believed(&self) -> bool {
        const DAY_S: u32 = 86_400;
        const MOST_DIGITS: u32 = 9;
        (self.form.major, self.form.minor) == (2, 4)
            && self.zone_s.unsigned_abs() <= DAY_S
            && self.digits <= MOST_DIGITS
    }
}

/// The first half of every magic number.
const MAGIC_HALF: u32 = MAGIC_MICROS >> 16;

/// Whether a record's time may be the magic number of another file, of either byte order: all
/// that is asked of every record.
#[inline(always)]
fn may_be_magic(seconds: u32) -> bool {
    seconds >> 16 == MAGIC_HALF || seconds & 0xffff == (MAGIC_HALF as u16).swap_bytes() as u32
}

/// Walks the records after the file header.
#[derive(Clone, Debug)]
pub(super) struct PcapWalker {
    form: Form,
    nanos: bool,
    record_bytes: usize,
    lengths: Lengths,
    link: LinkType,
    fcs_bytes: Option<u8>,
    interface: u16,
    /// As the last header said.
    snaplen_bytes: u32,
}

/// Reads the file header at the start of `head`; the bytes after it decide
/// between record layouts. The error says what makes no sense.
pub(super) fn parse_header(head: &[u8], notes: &mut Notes<'_>) -> Result<PcapWalker, String> {
    let Some(header) = head.first_chunk::<FILE_HEADER_BYTES>() else {
        return Err(format!("the file ends inside its header ({} of 24 bytes)", head.len()));
    };
    let FileHeader { form, snaplen_bytes, .. } =
        FileHeader::read(header).ok_or("it has no magic number")?;
    let Form { big_endian, magic, major, minor, link_field } = form;

    if major != 2 {
        notes.report.warn(format!("pcap version {major}.{minor} is unknown; read as 2.4"));
    }
    let (link, fcs_bytes) = split_link_field(link_field, notes.report);
    let nanos = magic == MAGIC_NANOS;
    let mut walker = PcapWalker {
        form,
        nanos,
        record_bytes: RECORD_BYTES,
        lengths: match (major, minor) {
            (2, 0..=2) => Lengths::WireFirst,
            (2, 3) => Lengths::Guess,
            _ => Lengths::CapturedFirst,
        },
        link,
        fcs_bytes,
        interface: 0,
        snaplen_bytes,
    };
    let candidates = if magic == MAGIC_MODIFIED {
        [MODIFIED_RECORD_BYTES, LONG_RECORD_BYTES, RECORD_BYTES]
    } else {
        [RECORD_BYTES, MODIFIED_RECORD_BYTES, LONG_RECORD_BYTES]
    };
    let records = &head[FILE_HEADER_BYTES..];
    walker.record_bytes = candidates
        .into_iter()
        .find(|&candidate| walker.fits(records, candidate, candidate == candidates[0]))
        .unwrap_or(candidates[0]);
    if magic != MAGIC_MODIFIED && walker.record_bytes != RECORD_BYTES {
        notes.report.warn(format!(
            "record headers are {} bytes long, not the 16 that the magic number says",
            walker.record_bytes
        ));
    }

    let modified = magic == MAGIC_MODIFIED || walker.record_bytes != RECORD_BYTES;
    notes.report.format = format!(
        "pcap{}{}{}",
        if modified { ", modified" } else { "" },
        if nanos { ", nanoseconds" } else { "" },
        if big_endian { ", big-endian" } else { "" },
    );
    walker.interface =
        walker.enter(notes).ok_or("there are more than 65,536 interfaces in all inputs")?;
    Ok(walker)
}

/// The header's last field holds the link type in its low 16 bits, the length
/// of the frame check sequence in units of 16 bits in its top four, valid when
/// bit 26 is set, and bits that ought to be zero between them.
fn split_link_field(field: u32, report: &mut FileReport) -> (LinkType, Option<u8>) {
    let link = LinkType((field & 0xffff) as u16);
    let has_fcs = field & 0x0400_0000 != 0;
    let fcs_bytes = has_fcs.then_some(((field >> 28) * 2) as u8);
    if field & 0x03ff_0000 != 0 {
        report.warn(format!(
            "reserved bits of the link type are set (0x{field:08x}); read as link type {}",
            link.0
        ));
    }
    (link, fcs_bytes)
}

impl PcapWalker {
    /// Tells of its interface.
    fn enter(&self, notes: &mut Notes<'_>) -> Option<u16> {
        notes.interfaces.enter(Interface {
            file: notes.file,
            section: 0,
            position: 0,
            name: String::new(),
            description: String::new(),
            link: self.link,
            snaplen_bytes: self.snaplen_bytes,
            tsresol: if self.nanos { 9 } else { 6 },
            sensor: String::new(),
            clock_synchronised: None,
            fcs_bytes: self.fcs_bytes,
        })
    }

    pub(super) fn walk(
        &mut self,
        bytes: &[u8],
        at: usize,
        limits: Limits,
        found: &mut Found,
        notes: &mut Notes<'_>,
    ) -> Walked {
        match (self.form.big_endian, self.nanos) {
            (false, false) => self.walk_as::<false, false>(bytes, at, limits, found, notes),
            (false, true) => self.walk_as::<false, true>(bytes, at, limits, found, notes),
            (true, false) => self.walk_as::<true, false>(bytes, at, limits, found, notes),
            (true, true) => self.walk_as::<true, true>(bytes, at, limits, found, notes),
        }
    }

    /// Where a record's time may be a magic number. `None` if it is a record all the same;
    /// otherwise the header of another file, which is passed over or where the walk stops.
    #[cold]
    fn meet_header(&mut self, bytes: &[u8], notes: &mut Notes<'_>) -> Option<Result<(), Stop>> {
        let Some(header) = bytes.first_chunk::<FILE_HEADER_BYTES>() else {
            return is_pcap(bytes).then_some(Err(Stop::Need(FILE_HEADER_BYTES)));
        };
        let header = FileHeader::read(header).filter(FileHeader::is_believed)?;
        if header.form != self.form {
            return Some(Err(Stop::Another));
        }
        if header.snaplen_bytes != self.snaplen_bytes {
            self.snaplen_bytes = header.snaplen_bytes;
            // The same interface, whose largest is kept.
            let _ = self.enter(notes);
        }
        Some(Ok(()))
    }

    fn walk_as<const BIG: bool, const NANOS: bool>(
        &mut self,
        bytes: &[u8],
        start: usize,
        limits: Limits,
        found: &mut Found,
        notes: &mut Notes<'_>,
    ) -> Walked {
        let (lengths, link, interface) = (self.lengths, self.link, self.interface);
        let header_bytes = self.record_bytes;
        let at_most = bytes.len().min(limits.bytes).saturating_sub(start) / header_bytes + 1;
        found.frames.reserve(at_most.min(limits.frames));
        // A copy, so that the loop keeps it in registers.
        let mut tally = found.tally;
        let begun = found.frames.len();
        let mut at = start;
        let stop = loop {
            if found.frames.len() >= limits.frames || at >= limits.bytes {
                break Stop::Limit;
            }
            let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk::<RECORD_BYTES>) else {
                break Stop::Need(header_bytes);
            };
            let record = Record::read::<BIG>(header);
            if may_be_magic(record.seconds) {
                match self.meet_header(&bytes[at..], notes) {
                    None => {}
                    Some(Ok(())) => {
                        at += FILE_HEADER_BYTES;
                        continue;
                    }
                    Some(Err(stop)) => break stop,
                }
            }
            let (captured, claimed) = record.lengths(lengths);
            if captured > MAX_CAPTURED_BYTES {
                break Stop::Damage(format!(
                    "a packet record claims {captured} captured bytes (at most \
                     {MAX_CAPTURED_BYTES} are believed)"
                ));
            }
            let data = at + header_bytes;
            let end = data + captured as usize;
            if end > bytes.len() {
                break Stop::Need(end - at);
            }
            let (unit_ns, fraction_end) =
                if NANOS { (1, 1_000_000_000) } else { (1_000, 1_000_000) };
            let (fraction, flags) = if record.fraction < fraction_end {
                (record.fraction, 0)
            } else {
                (0, frame_flag::TIME_ANOMALY)
            };
            let time_ns = i64::from(record.seconds) * 1_000_000_000 + i64::from(fraction) * unit_ns;
            let frame = frame(time_ns, data, captured, claimed, link, interface, flags);
            tally.add_unbounded(&frame);
            found.frames.push(frame);
            at = end;
        };
        tally.bound(&found.frames[begun..]);
        found.tally = tally;
        Walked { at, stop }
    }

    pub(super) fn record_bytes(&self) -> usize {
        self.record_bytes
    }

    /// Cut to what a record's time can say.
    pub(super) fn in_its_unit(&self, time_ns: i64) -> i64 {
        if self.nanos { time_ns } else { time_ns - time_ns.rem_euclid(1_000) }
    }

    /// Writes a record; false where its time does not fit. A snap length of 0 cuts nothing.
    pub(super) fn encode(
        &self,
        time_ns: i64,
        data: &[u8],
        snaplen: u32,
        out: &mut Vec<u8>,
    ) -> bool {
        let Ok(seconds) = u32::try_from(time_ns.div_euclid(1_000_000_000)) else { return false };
        let fraction_ns = time_ns.rem_euclid(1_000_000_000) as u32;
        let captured = cut(data, snaplen);
        let lengths = match self.lengths {
            Lengths::CapturedFirst | Lengths::Guess => [captured.len(), data.len()],
            Lengths::WireFirst => [data.len(), captured.len()],
        };
        let fraction = if self.nanos { fraction_ns } else { fraction_ns / 1_000 };
        let start = out.len();
        for field in [seconds, fraction, lengths[0] as u32, lengths[1] as u32] {
            let bytes =
                if self.form.big_endian { field.to_be_bytes() } else { field.to_le_bytes() };
            out.extend_from_slice(&bytes);
        }
        // What the longer layouts add (interface, protocol, packet type) is not known.
        out.resize(start + self.record_bytes, 0);
        out.extend_from_slice(captured);
        true
    }

    /// True when the first records make sense with headers of `record_bytes`.
    /// The layout that the magic number names needs one, any other needs two:
    /// chance must not overrule the writer.
    fn fits(&self, records: &[u8], record_bytes: usize, named: bool) -> bool {
        let fraction_end = if self.nanos { 1_000_000_000 } else { 1_000_000 };
        let mut at = 0;
        let mut seen = 0;
        while seen < PROBE_RECORDS {
            let Some(header) = records.get(at..).and_then(<[u8]>::first_chunk::<RECORD_BYTES>)
            else {
                break;
            };
            let record = if self.form.big_endian {
                Record::read::<true>(header)
            } else {
                Record::read::<false>(header)
            };
            let header = records.get(at..).and_then(<[u8]>::first_chunk);
            if header.and_then(FileHeader::read).is_some_and(|header| header.is_believed()) {
                // Another file's: what the first one has says no more.
                break;
            }
            let (captured, claimed) = record.lengths(self.lengths);
            let sensible = captured <= claimed
                && captured <= MAX_CAPTURED_BYTES
                && claimed <= MAX_WIRE_BYTES
                && record.fraction < fraction_end;
            if !sensible {
                return false;
            }
            seen += 1;
            at += record_bytes + captured as usize;
        }
        named || seen > 1
    }
}

/// What a snap length leaves of a frame; 0 is none.
pub(super) fn cut(data: &[u8], snaplen: u32) -> &[u8] {
    if snaplen == 0 { data } else { data.get(..snaplen as usize).unwrap_or(data) }
}

/// The four fields that every layout starts with.
struct Record {
    seconds: u32,
    fraction: u32,
    first_length: u32,
    second_length: u32,
}

impl Record {
    #[inline(always)]
    fn read<const BIG: bool>(header: &[u8; RECORD_BYTES]) -> Self {
        let field = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            if BIG { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        Self {
            seconds: field(0),
            fraction: field(4),
            first_length: field(8),
            second_length: field(12),
        }
    }

    /// Captured and wire length.
    #[inline(always)]
    fn lengths(&self, order: Lengths) -> (u32, u32) {
        let swap = match order {
            Lengths::CapturedFirst => false,
            Lengths::WireFirst => true,
            Lengths::Guess => self.first_length > self.second_length,
        };
        if swap {
            (self.second_length, self.first_length)
        } else {
            (self.first_length, self.second_length)
        }
    }
}
