//! pcapng files (IETF draft-ietf-opsawg-pcapng).
//!
//! [`PcapngWalker`] indexes packet blocks in place: enhanced, simple, and the
//! obsolete one. Sections and interfaces change its state, interface statistics
//! go to the report, everything else (names, secrets, journal entries, custom
//! and unknown blocks) is skipped by its length, however long. Section lengths
//! are not believed: block lengths say all.

use super::block::{Frame, frame_flag};
use super::error::{InputError, InputErrorKind};
use super::pcapng_codes::Observer;
use super::pcapng_codes::{BYTE_ORDER_MAGIC, block::*};
use super::pcapng_drops::{Drops, Told};
use super::pcapng_options::{
    InterfaceOptions, Resolution, is_our_section, lost_before_packet, statistics,
};
use super::report::Interface;
use super::walk::{Found, Limits, MAX_CAPTURED_BYTES, Notes, Stop, UNTIMED, Walked, frame};
use crate::output::recording::blocks::BlockWriter;
use crate::packet::LinkType;

/// Type and total length before the body, total length after it.
const BLOCK_HEAD_BYTES: usize = 8;
const BLOCK_TAIL_BYTES: usize = 4;
const SMALLEST_BLOCK_BYTES: u32 = 12;

/// Where the packet begins in the body of an enhanced or obsolete packet block.
const DATA_AT: usize = 20;

/// Blocks that are read, rather than skipped, hold a packet and its options,
/// or some options: nothing a writer has reason to make longer.
const MAX_READ_BLOCK_BYTES: u32 = MAX_CAPTURED_BYTES + (1 << 20);

/// True when these are the first bytes of a pcapng file.
pub(super) fn is_pcapng(head: &[u8]) -> bool {
    let magic = BYTE_ORDER_MAGIC;
    head.starts_with(&SECTION_HEADER.to_le_bytes())
        && head.get(8..12).is_some_and(|m| m == magic.to_le_bytes() || m == magic.to_be_bytes())
}

/// An interface of the current section.
#[derive(Clone, Copy, Debug)]
struct Local {
    link: LinkType,
    snaplen_bytes: u32,
    interface: u16,
    resolution: Resolution,
    drops: Told,
}

/// A block that is passed over without being held.
#[derive(Clone, Copy, Debug)]
struct Skip {
    body_bytes: u64,
    total_bytes: u32,
}

/// Walks the blocks of a file, section after section.
#[derive(Debug, Default)]
pub(super) struct PcapngWalker {
    big_endian: bool,
    sections: u32,
    interfaces: Vec<Local>,
    skip: Option<Skip>,
    /// Of the current section: only its block lengths mean anything to us.
    unknown_version: bool,
    /// Of the current section: we recorded it, so statistics are clock marks, and
    /// interfaces say who captured.
    ours: bool,
    /// Drops reported by earlier sections.
    earlier_drops: Drops,
    /// Said once.
    stray_statistics: bool,
}

impl PcapngWalker {
    pub(super) fn walk(
        &mut self,
        bytes: &[u8],
        mut at: usize,
        limits: Limits,
        found: &mut Found,
        notes: &mut Notes<'_>,
    ) -> Walked {
        let stop = loop {
            if found.frames.len() >= limits.frames || at >= limits.bytes {
                break Stop::Limit;
            }
            match self.block(bytes, at, found, notes) {
                Ok(next) => at = next,
                Err(Pause::Skipped(to, need)) => {
                    at = to;
                    break Stop::Need(need);
                }
                Err(Pause::Need(bytes)) => break Stop::Need(bytes),
                Err(Pause::Mark) => break Stop::Limit,
                Err(Pause::Damage(what)) => break Stop::Damage(what),
            }
        };
        Walked { at, stop }
    }

    /// Takes the block (or what is left of a skipped one) at `at`; says where
    /// the next one begins.
    #[inline]
    fn block(
        &mut self,
        bytes: &[u8],
        at: usize,
        found: &mut Found,
        notes: &mut Notes<'_>,
    ) -> Result<usize, Pause> {
        if let Some(skip) = self.skip {
            return self.skip_on(bytes, at, skip);
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let kind = self.u32_at(rest, 0).ok_or(Pause::Need(BLOCK_HEAD_BYTES))?;
        if kind == SECTION_HEADER {
            self.learn_byte_order(rest)?;
        } else if self.sections == 0 {
            return Err(Pause::Damage("the first block is no section header".to_owned()));
        }
        let total = self.u32_at(rest, 4).ok_or(Pause::Need(BLOCK_HEAD_BYTES))?;
        if total < SMALLEST_BLOCK_BYTES || total % 4 != 0 {
            return Err(Pause::Damage(format!(
                "a block (type 0x{kind:08x}) claims a length of {total} bytes; lengths are \
                 multiples of 4 from 12 up"
            )));
        }
        let understood = matches!(
            kind,
            INTERFACE_DESCRIPTION
                | OBSOLETE_PACKET
                | SIMPLE_PACKET
                | INTERFACE_STATISTICS
                | ENHANCED_PACKET
        );
        if kind != SECTION_HEADER && (self.unknown_version || !understood) {
            let skip = Skip { body_bytes: u64::from(total) - 12, total_bytes: total };
            self.skip = Some(skip);
            return self.skip_on(bytes, at + BLOCK_HEAD_BYTES, skip);
        }
        if total > MAX_READ_BLOCK_BYTES {
            return Err(Pause::Damage(format!(
                "a block (type 0x{kind:08x}) claims a length of {total} bytes (at most \
                 {MAX_READ_BLOCK_BYTES} are believed)"
            )));
        }
        let total_bytes = total as usize;
        let block = rest.get(..total_bytes).ok_or(Pause::Need(total_bytes))?;
        let tail = self.u32_at(block, total_bytes - BLOCK_TAIL_BYTES);
        if tail != Some(total) {
            return Err(mismatch(kind, total, tail.unwrap_or(0)));
        }
        let body = block.get(BLOCK_HEAD_BYTES..total_bytes - BLOCK_TAIL_BYTES).unwrap_or_default();
        let body_at = at + BLOCK_HEAD_BYTES;
        match kind {
            ENHANCED_PACKET => {
                let frame = self.enhanced(body, body_at)?;
                let data_end = DATA_AT + (frame.captured_bytes as usize).next_multiple_of(4);
                if body.len() > data_end {
                    self.count_lost_before(body, data_end);
                }
                found.push(frame);
            }
            SIMPLE_PACKET => found.push(self.simple(body, body_at)?),
            OBSOLETE_PACKET => {
                found.push(self.obsolete(body, body_at)?);
                self.count_lost_before_obsolete(body);
            }
            INTERFACE_DESCRIPTION => self.describe(body, notes)?,
            INTERFACE_STATISTICS => {
                if self.ours {
                    self.mark_clock(body, found)?;
                }
                self.count_drops(body, notes);
            }
            _ => self.begin_section(body, notes)?,
        }
        Ok(at + total_bytes)
    }

    /// Interface, time (high, low), captured, wire length, data, options.
    #[inline]
    fn enhanced(&self, body: &[u8], body_at: usize) -> Result<Frame, Pause> {
        let Some(fixed) = body.first_chunk::<20>() else { return Err(too_short("packet", body)) };
        let field = |at| self.u32_at(fixed, at).unwrap_or(0);
        self.packet(
            field(0),
            u64::from(field(4)) << 32 | u64::from(field(8)),
            (field(12), field(16)),
            body,
            body_at,
        )
    }

    /// As enhanced, with a 16-bit interface and a 16-bit drop count.
    fn obsolete(&self, body: &[u8], body_at: usize) -> Result<Frame, Pause> {
        let Some(fixed) = body.first_chunk::<20>() else { return Err(too_short("packet", body)) };
        let field = |at| self.u32_at(fixed, at).unwrap_or(0);
        let interface = self.u16_at(fixed, 0).unwrap_or(0);
        self.packet(
            u32::from(interface),
            u64::from(field(4)) << 32 | u64::from(field(8)),
            (field(12), field(16)),
            body,
            body_at,
        )
    }

    #[inline]
    fn packet(
        &self,
        interface: u32,
        ticks: u64,
        (captured, claimed): (u32, u32),
        body: &[u8],
        body_at: usize,
    ) -> Result<Frame, Pause> {
        let local = self.interface(interface)?;
        if captured as usize > body.len() - DATA_AT {
            return Err(Pause::Damage(format!(
                "a packet claims {captured} captured bytes in a block that has room for {}",
                body.len() - DATA_AT
            )));
        }
        let (time_ns, flags) = match local.resolution.to_ns(ticks) {
            Some(time_ns) => (time_ns, 0),
            None => (0, frame_flag::TIME_ANOMALY),
        };
        Ok(frame(time_ns, body_at + DATA_AT, captured, claimed, local.link, local.interface, flags))
    }

    /// Wire length, then data cut at the snap length of interface 0; no time.
    fn simple(&self, body: &[u8], body_at: usize) -> Result<Frame, Pause> {
        let local = self.interface(0)?;
        let Some(claimed) = self.u32_at(body, 0) else { return Err(too_short("packet", body)) };
        let snaplen = if local.snaplen_bytes == 0 { u32::MAX } else { local.snaplen_bytes };
        // A block is below 32 MiB here.
        let room = (body.len() - 4) as u32;
        let captured = claimed.min(snaplen).min(room);
        Ok(frame(0, body_at + 4, captured, claimed, local.link, local.interface, UNTIMED))
    }

    #[inline]
    fn interface(&self, index: u32) -> Result<&Local, Pause> {
        self.interfaces.get(index as usize).ok_or_else(|| {
            Pause::Damage(format!(
                "a packet names interface {index}; its section has {}",
                self.interfaces.len()
            ))
        })
    }

    /// The byte order of a section is in its header's body, which is needed to
    /// read even the length before it.
    fn learn_byte_order(&mut self, rest: &[u8]) -> Result<(), Pause> {
        let magic = rest.get(8..12).ok_or(Pause::Need(12))?;
        self.big_endian = magic == BYTE_ORDER_MAGIC.to_be_bytes();
        if !self.big_endian && magic != BYTE_ORDER_MAGIC.to_le_bytes() {
            return Err(Pause::Damage("a section header without a byte-order magic".to_owned()));
        }
        Ok(())
    }

    fn begin_section(&mut self, body: &[u8], notes: &mut Notes<'_>) -> Result<(), Pause> {
        let (Some(major), Some(minor)) = (self.u16_at(body, 4), self.u16_at(body, 6)) else {
            return Err(too_short("section header", body));
        };
        // Minor version 2 exists in the wild and is the same format (draft, section 4.1).
        self.unknown_version = major != 1;
        if self.unknown_version && notes.report.error.is_none() {
            let kind = InputErrorKind::SectionVersion { section: self.sections, major, minor };
            notes.report.error = Some(InputError::new(&notes.report.path, kind));
        }
        self.ours = is_our_section(body.get(16..).unwrap_or_default(), self.big_endian);
        self.earlier_drops = self.total_drops();
        self.interfaces.clear();
        self.sections = self.sections.saturating_add(1);
        if self.sections == 1 {
            let order = if self.big_endian { ", big-endian" } else { "" };
            notes.report.format = format!("pcapng{order}");
        }
        Ok(())
    }

    fn describe(&mut self, body: &[u8], notes: &mut Notes<'_>) -> Result<(), Pause> {
        let (Some(link), Some(snaplen_bytes)) = (self.u16_at(body, 0), self.u32_at(body, 4)) else {
            return Err(too_short("interface description", body));
        };
        let link = LinkType(link);
        let mut options =
            InterfaceOptions::read(body.get(8..).unwrap_or_default(), self.big_endian);
        if !self.ours {
            options.observer = Observer::default();
        }
        let too_many =
            || Pause::Damage("there are more than 65,536 interfaces in all inputs".to_owned());
        // Also bounds the section's own table, whose entries may all be alike.
        let position = u16::try_from(self.interfaces.len()).map_err(|_| too_many())?;
        let interface = notes
            .interfaces
            .enter(Interface {
                file: notes.file,
                section: self.sections.saturating_sub(1),
                position: u32::from(position),
                name: options.name,
                description: options.description,
                link,
                snaplen_bytes,
                tsresol: options.tsresol,
                fcs_bytes: options.fcs_bytes,
                sensor: options.observer.sensor,
                clock_synchronised: options.observer.clock_synchronised,
            })
            .ok_or_else(too_many)?;
        self.interfaces.push(Local {
            link,
            snaplen_bytes,
            interface,
            resolution: Resolution::new(options.tsresol, options.tsoffset_s),
            drops: Told::default(),
        });
        Ok(())
    }

    /// The stream's clock stood at the block's time there. A mark belongs to the
    /// frames after it: those before it end the walk first.
    fn mark_clock(&self, body: &[u8], found: &mut Found) -> Result<(), Pause> {
        if !found.frames.is_empty() {
            return Err(Pause::Mark);
        }
        let field = |at| self.u32_at(body, at);
        let (Some(index), Some(high), Some(low)) = (field(0), field(4), field(8)) else {
            return Ok(());
        };
        let local = usize::try_from(index).ok().and_then(|index| self.interfaces.get(index));
        let ticks = u64::from(high) << 32 | u64::from(low);
        found.mark_ns = found.mark_ns.max(local.and_then(|local| local.resolution.to_ns(ticks)));
        Ok(())
    }

    /// The options of an enhanced packet block, which begin there.
    #[cold]
    fn count_lost_before(&mut self, body: &[u8], options_at: usize) {
        let options = body.get(options_at..).unwrap_or_default();
        let interface = self.u32_at(body, 0).unwrap_or(0);
        if let Some(lost) = lost_before_packet(options, self.big_endian)
            && let Some(local) = self.interfaces.get_mut(interface as usize)
        {
            local.drops.before_packet(lost);
        }
    }

    /// An obsolete packet block always has a count, or says that it has none.
    fn count_lost_before_obsolete(&mut self, body: &[u8]) {
        const UNKNOWN: u16 = u16::MAX;
        let (interface, lost) = (self.u16_at(body, 0), self.u16_at(body, 2));
        if let (Some(interface), Some(lost)) = (interface, lost.filter(|&lost| lost != UNKNOWN))
            && let Some(local) = self.interfaces.get_mut(usize::from(interface))
        {
            local.drops.before_packet(u64::from(lost));
        }
    }

    fn count_drops(&mut self, body: &[u8], notes: &mut Notes<'_>) {
        let Some(index) = self.u32_at(body, 0) else { return };
        let drops = statistics(body.get(12..).unwrap_or_default(), self.big_endian);
        match self.interfaces.get_mut(index as usize) {
            Some(local) => local.drops.statistics(drops.0, drops.1),
            None if !self.stray_statistics => {
                self.stray_statistics = true;
                notes.report.warn(format!(
                    "statistics of interface {index}, which its section does not have"
                ));
            }
            None => {}
        }
    }

    pub(super) fn sections(&self) -> u32 {
        self.sections
    }

    /// Length of the block that ends with these bytes.
    pub(super) fn last_block_bytes(&self, bytes: &[u8]) -> Option<usize> {
        let at = bytes.len().checked_sub(BLOCK_TAIL_BYTES)?;
        self.u32_at(bytes, at).map(|total| total as usize)
    }

    /// The interface that a packet's block names.
    pub(super) fn local_interface(&self, block: &[u8]) -> u32 {
        match self.u32_at(block, 0) {
            Some(ENHANCED_PACKET) => self.u32_at(block, BLOCK_HEAD_BYTES),
            Some(OBSOLETE_PACKET) => self.u16_at(block, BLOCK_HEAD_BYTES).map(u32::from),
            _ => None,
        }
        .unwrap_or(0)
    }

    /// Cut to what the interface's unit of time can say.
    pub(super) fn in_its_unit(&self, local: u32, time_ns: i64) -> Option<i64> {
        let resolution = self.interfaces.get(local as usize)?.resolution;
        resolution.to_ns(resolution.ticks(time_ns)?)
    }

    /// Writes an enhanced packet block; false where the current section has no such
    /// interface or its unit of time can't hold the time.
    pub(super) fn encode(&self, local: u32, time_ns: i64, data: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(interface) = self.interfaces.get(local as usize) else { return false };
        let Some(ticks) = interface.resolution.ticks(time_ns) else { return false };
        let captured = super::pcap::cut(data, interface.snaplen_bytes);
        let mut block = BlockWriter::begin(out, ENHANCED_PACKET, self.big_endian);
        block.u32(local);
        block.ticks(ticks);
        block.u32(captured.len() as u32);
        block.u32(data.len() as u32);
        block.padded(captured);
        block.finish();
        true
    }

    pub(super) fn is_inside_block(&self) -> bool {
        self.skip.is_some()
    }

    /// Sums over the interfaces of all sections.
    pub(super) fn total_drops(&self) -> Drops {
        self.interfaces.iter().fold(self.earlier_drops, |sum, local| sum.with(local.drops))
    }

    fn skip_on(&mut self, bytes: &[u8], at: usize, skip: Skip) -> Result<usize, Pause> {
        let at_hand = bytes.len().saturating_sub(at);
        let passed = skip.body_bytes.min(at_hand as u64);
        let left = Skip { body_bytes: skip.body_bytes - passed, ..skip };
        self.skip = Some(left);
        // No more than what is at hand, so it fits.
        let at = at + passed as usize;
        if left.body_bytes > 0 {
            return Err(Pause::Skipped(at, 1));
        }
        let Some(tail) = self.u32_at(bytes.get(at..).unwrap_or_default(), 0) else {
            return Err(Pause::Skipped(at, BLOCK_TAIL_BYTES));
        };
        self.skip = None;
        if tail != skip.total_bytes {
            return Err(mismatch(0, skip.total_bytes, tail));
        }
        Ok(at + BLOCK_TAIL_BYTES)
    }

    #[inline(always)]
    fn u32_at(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let field = *bytes.get(at..)?.first_chunk::<4>()?;
        Some(if self.big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) })
    }

    #[inline(always)]
    fn u16_at(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let field = *bytes.get(at..)?.first_chunk::<2>()?;
        Some(if self.big_endian { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) })
    }
}

/// Why the walk can't go on here.
enum Pause {
    /// The block takes this many bytes.
    Need(usize),
    /// Skipped up to this offset; this many bytes more are needed there.
    Skipped(usize, usize),
    /// A clock mark lies here, and the frames before it come first.
    Mark,
    Damage(String),
}

#[cold]
fn mismatch(kind: u32, total: u32, tail: u32) -> Pause {
    let kind = if kind == 0 { "skipped block".to_owned() } else { format!("type 0x{kind:08x}") };
    Pause::Damage(format!("a block ({kind}) is {total} bytes long by its head, {tail} by its end"))
}

#[cold]
fn too_short(what: &str, body: &[u8]) -> Pause {
    Pause::Damage(format!("a {what} block of {} bytes is too short", body.len() + 12))
}
