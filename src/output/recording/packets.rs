//! A pcapng file of chosen packets.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::blocks::{self, Host};
use crate::input::{Frame, Interface};

/// Writes packets under comments. Interfaces are described when their first
/// packet comes.
#[derive(Debug)]
pub(super) struct PacketFile {
    out: BufWriter<File>,
    block: Vec<u8>,
    /// Place in the section of each interface of the source.
    places: Vec<Option<u32>>,
    described: u32,
}

impl PacketFile {
    /// Begins the file's one section; `host` is where the packets were captured.
    pub(super) fn begin(file: File, host: &Host, comments: &[&str]) -> io::Result<Self> {
        let mut block = Vec::new();
        blocks::our_section(&mut block, host, comments);
        let mut out = BufWriter::new(file);
        out.write_all(&block)?;
        Ok(Self { out, block, places: Vec::new(), described: 0 })
    }

    /// Adds a packet of a source whose interfaces are `interfaces`.
    pub(super) fn packet(
        &mut self,
        interfaces: &[Interface],
        frame: &Frame,
        data: &[u8],
        comment: &str,
    ) -> io::Result<()> {
        let index = usize::from(frame.interface);
        self.block.clear();
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
        }
        let place = match self.places.get(index).copied().flatten() {
            Some(place) => place,
            None => {
                let Some(interface) = interfaces.get(index) else {
                    return Err(io::Error::other("a packet of an unknown interface"));
                };
                blocks::interface(&mut self.block, interface);
                let place = self.described;
                self.described += 1;
                if let Some(slot) = self.places.get_mut(index) {
                    *slot = Some(place);
                }
                place
            }
        };
        let block = &mut self.block;
        blocks::packet(block, place, frame.time_ns, frame.wire_bytes, data, comment);
        self.out.write_all(block)
    }

    /// Leaves whole blocks in the file.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}
