//! The background with attack packets between its own.
//!
//! Background packets are copied with the bytes of their records; which comes next is
//! decided by the times that [`Input`] gives them, which a wrong stamp does not upset.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use std::collections::HashMap;

use anyhow::{Result, anyhow, bail};

use super::learn::Tags;
use crate::input::raw::{Piece, RawCapture};
use crate::input::{Block, BlockBytes, Frame, Input, InputOptions};

/// MAC addresses before a frame's EtherType.
const MACS_BYTES: usize = 12;
const ETHERNET_BYTES: usize = 14;

pub(super) struct Merge<W: Write> {
    out: W,
    raw: RawCapture,
    /// Times of the packets that `raw` gives.
    input: Input,
    block: Option<Block>,
    at: usize,
    /// The background's next packet, which is not written yet.
    next: Option<Next>,
    /// Which interface attack packets name in which section: that of its first packet, so
    /// that a conversation stays on one.
    interface: Option<(u32, u32)>,
    /// VLAN tags of hosts that have any.
    tags: HashMap<IpAddr, Tags>,
    /// Reused for frames with tags, and for records.
    frame: Vec<u8>,
    record: Vec<u8>,
    pub(super) attack_packets: u64,
    pub(super) attack_bytes: u64,
}

#[derive(Debug)]
struct Next {
    time_ns: i64,
    record: Vec<u8>,
}

impl<W: Write> Merge<W> {
    pub(super) fn open(path: &Path, out: W, tags: HashMap<IpAddr, Tags>) -> Result<Self> {
        let mut merge = Self {
            out,
            raw: RawCapture::open(path)?,
            input: Input::open(&[path.to_owned()], InputOptions::default())?,
            block: None,
            at: 0,
            next: Some(Next { time_ns: i64::MIN, record: Vec::new() }),
            interface: None,
            tags,
            frame: Vec::new(),
            record: Vec::new(),
            attack_packets: 0,
            attack_bytes: 0,
        };
        merge.advance()?;
        Ok(merge)
    }

    /// Puts a packet of an attack in, behind everything of the background that is not
    /// later. Packets come in the order of time.
    pub(super) fn attack(&mut self, time_ns: i64, frame: &[u8]) -> Result<()> {
        loop {
            let Some(next) = &self.next else {
                bail!("the background ended before the attack: it changed while it was read");
            };
            let written_ns = self
                .interface
                .and_then(|(_, interface)| self.raw.in_its_unit(interface, time_ns))
                .ok_or_else(|| anyhow!("the background can't hold the time of the attack"))?;
            if next.time_ns > written_ns {
                break;
            }
            self.pass()?;
        }
        self.tagged(frame);
        self.record.clear();
        let (_, interface) = self.interface.unwrap_or_default();
        if !self.raw.encode(interface, time_ns, &self.frame, &mut self.record) {
            bail!("the background can't hold the time of the attack");
        }
        self.out.write_all(&self.record)?;
        self.attack_packets += 1;
        self.attack_bytes += self.frame.len() as u64;
        Ok(())
    }

    /// What is left of the background.
    pub(super) fn finish(mut self) -> Result<(u64, u64, W)> {
        while self.next.is_some() {
            self.pass()?;
        }
        self.out.flush()?;
        Ok((self.attack_packets, self.attack_bytes, self.out))
    }

    /// Writes the background's packet that is due, and what follows it up to the next.
    fn pass(&mut self) -> Result<()> {
        if let Some(next) = &self.next {
            self.out.write_all(&next.record)?;
        }
        self.advance()
    }

    fn advance(&mut self) -> Result<()> {
        let mut record = self.next.take().map(|next| next.record).unwrap_or_default();
        record.clear();
        loop {
            match self.raw.next()? {
                None => break,
                Some(Piece::Other(bytes)) => self.out.write_all(bytes)?,
                Some(Piece::Packet(packet)) => {
                    record.extend_from_slice(packet.record);
                    let local = packet.local_interface;
                    let (frame, data) = next_frame(&mut self.input, &mut self.block, &mut self.at)
                        .ok_or_else(changed)?;
                    if data != packet.data {
                        return Err(changed());
                    }
                    self.next = Some(Next { time_ns: frame.time_ns, record });
                    let section = self.raw.sections();
                    if self.interface.is_none_or(|(of, _)| of != section) {
                        self.interface = Some((section, local));
                    }
                    return Ok(());
                }
            }
        }
        match next_frame(&mut self.input, &mut self.block, &mut self.at) {
            None => Ok(()),
            Some(_) => Err(changed()),
        }
    }

    /// The frame as its host's are on the wire, in `self.frame`.
    fn tagged(&mut self, frame: &[u8]) {
        self.frame.clear();
        let tags = match self.tags.is_empty() {
            true => None,
            false => ends(frame).into_iter().flatten().find_map(|end| self.tags.get(&end)),
        };
        match (tags, frame.split_at_checked(MACS_BYTES)) {
            (Some(tags), Some((macs, rest))) => {
                self.frame.extend_from_slice(macs);
                self.frame.extend_from_slice(tags.bytes());
                self.frame.extend_from_slice(rest);
            }
            _ => self.frame.extend_from_slice(frame),
        }
    }
}

fn changed() -> anyhow::Error {
    anyhow!("the background changed while it was read: copy it first")
}

/// The next frame of the background as it is read, with its bytes.
fn next_frame<'a>(
    input: &mut Input,
    block: &'a mut Option<Block>,
    at: &mut usize,
) -> Option<(Frame, &'a [u8])> {
    while block.as_ref().is_none_or(|block| *at >= block.frames.len()) {
        if let Some(Block { bytes: BlockBytes::Owned(bytes), frames, .. }) = block.take() {
            input.recycle(bytes, frames);
        }
        *block = Some(input.next_block()?);
        *at = 0;
    }
    let block = block.as_ref()?;
    let frame = *block.frames.get(*at)?;
    *at += 1;
    Some((frame, block.bytes.frame(&frame)))
}

/// Source and destination of a frame that was made here, without tags.
fn ends(frame: &[u8]) -> Option<[IpAddr; 2]> {
    let ip = frame.get(ETHERNET_BYTES..)?;
    let v4 = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<4>()?));
    let v6 = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<16>()?));
    match ip.first()? >> 4 {
        4 => Some([v4(12)?, v4(16)?]),
        _ => Some([v6(8)?, v6(24)?]),
    }
}
