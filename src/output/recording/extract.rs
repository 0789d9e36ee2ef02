//! The packets of one alert out of captures, into a file of their own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::blocks::Host;
use super::packets::PacketFile;
use super::selector::{Selector, Sight};
use crate::input::filter::Filter;
use crate::input::{FileReport, Frame, Input, InputError, InputOptions, Interface};
use crate::output::access::Access;
use crate::whole_file;

/// Which packets are wanted, and under what comments.
#[derive(Debug)]
pub struct Wanted<'a> {
    pub selector: Selector,
    pub from_ns: i64,
    pub to_ns: i64,
    /// What the run left out is no packet of its alert.
    pub filter: Option<Filter>,
    /// Of each packet.
    pub comment: &'a str,
    /// Of the file.
    pub section_comment: &'a str,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Extraction {
    pub packets: u64,
    /// Captures that held any, with how many.
    pub files: Vec<(PathBuf, u64)>,
    /// Of all captures that were read.
    pub reports: Vec<FileReport>,
}

/// Writes the wanted packets of `captures` into a new file, in the order of the
/// stream that they are together. Without any, nothing is written.
pub fn extract(
    captures: &[PathBuf],
    wanted: &Wanted<'_>,
    to: &Path,
) -> Result<Extraction, ExtractError> {
    let mut extraction = Extraction::default();
    // Each by itself first: most of a ring has nothing of the alert.
    for capture in captures {
        let mut packets = 0;
        let reports = read(std::slice::from_ref(capture), wanted, |_, _, _| {
            packets += 1;
            Ok(())
        })?;
        extraction.reports.extend(reports);
        if packets > 0 {
            extraction.files.push((capture.clone(), packets));
        }
    }
    if extraction.files.is_empty() {
        return Ok(extraction);
    }
    let holding: Vec<PathBuf> = extraction.files.iter().map(|(path, _)| path.clone()).collect();
    extraction.packets =
        whole_file::write(to, Access::Owner, |file| write(&holding, wanted, file))?;
    Ok(extraction)
}

fn write(captures: &[PathBuf], wanted: &Wanted<'_>, file: File) -> Result<u64, ExtractError> {
    let mut packets = 0;
    let mut file = PacketFile::begin(file, &Host::default(), &[wanted.section_comment])?;
    read(captures, wanted, |interfaces, frame, data| {
        packets += 1;
        file.packet(interfaces, frame, data, wanted.comment)
    })?;
    file.finish()?;
    Ok(packets)
}

/// Why nothing could be taken out.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn read(
    captures: &[PathBuf],
    wanted: &Wanted<'_>,
    mut show: impl FnMut(&[Interface], &Frame, &[u8]) -> io::Result<()>,
) -> Result<Vec<FileReport>, ExtractError> {
    let mut input = Input::open(captures, InputOptions::default())?;
    let mut sight = Sight::default();
    while let Some(block) = input.next_block() {
        for frame in &block.frames {
            if !(wanted.from_ns..=wanted.to_ns).contains(&frame.time_ns) {
                continue;
            }
            let data = block.bytes.frame(frame);
            let counted = |filter: &Filter| filter.matches(frame.link, data, frame.wire_bytes);
            if !wanted.filter.as_ref().is_none_or(counted) {
                continue;
            }
            sight.look(frame, data);
            if wanted.selector.chooses(&sight) {
                show(input.interfaces(), frame, data)?;
            }
        }
        if let crate::input::BlockBytes::Owned(bytes) = block.bytes {
            input.recycle(bytes, block.frames);
        }
    }
    Ok(input.reports().to_vec())
}
