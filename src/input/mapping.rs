//! Capture files mapped into memory: the only unsafe code of the input.
//!
//! A mapped file costs no copy and no descriptor. The price: when another
//! process shortens the file while it is mapped, touching the lost pages ends
//! this process with SIGBUS. Nothing can guard against that from inside, so
//! only regular files are mapped, and `Mapping::Never` turns it off.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::Arc;

use memmap2::{Advice, Mmap};

/// Maps the whole of a regular file, read-only.
pub(super) fn map(file: &File) -> io::Result<Arc<Mmap>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "not a regular file"));
    }
    // SAFETY: the map is read-only and private to this process. The bytes can
    // change under us when another process writes to the file: every length
    // read from them is checked against the map's own length before use, and
    // no reference to them is taken for anything but plain bytes. Shortening
    // the file while it is mapped ends the process (module head).
    let map = unsafe { Mmap::map(file)? };
    // The file may have shrunk between open and map: a map longer than the
    // file is the one case that can be seen coming.
    if file.metadata()?.len() < map.len() as u64 {
        return Err(io::Error::other("the file became shorter while it was being opened"));
    }
    // Read ahead further: captures are walked once, front to back. Only advice.
    let _ = map.advise(Advice::Sequential);
    Ok(Arc::new(map))
}
