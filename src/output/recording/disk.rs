//! The thread that writes chunks into the files of the ring.
//!
//! A file holds whole blocks after every write. Where a write fails, what came
//! of it is cut off again, its packets are counted, and the next chunk tries
//! anew: a full disk that has room again goes on being used.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};

use super::Shared;
use super::blocks::{self, Host};
use super::status::{About, add};
use super::tap::{Chunk, Lost, NO_TIME};
use crate::input::pcapng_codes::option;
use crate::output::access::Access;

/// Buffers that one huge packet made larger than this many chunks are let go.
const KEPT_CHUNKS: usize = 2;

pub(super) struct Disk {
    shared: Arc<Shared>,
    host: Host,
    file_bytes: u64,
    chunk_bytes: usize,
    file: Option<Open>,
    /// What goes before a chunk.
    head: Vec<u8>,
    /// Not on disk, and not yet said there.
    missing: Lost,
    /// The last write failed.
    failing: bool,
    wake: Option<Sender<()>>,
}

struct Open {
    file: File,
    bytes: u64,
    /// Interfaces described in it.
    interfaces: usize,
    packets: u64,
}

impl Disk {
    pub(super) fn new(
        shared: Arc<Shared>,
        file_bytes: u64,
        chunk_bytes: usize,
        wake: Option<Sender<()>>,
    ) -> Self {
        let disk = Self {
            shared,
            host: Host::of_this_machine(),
            file_bytes,
            chunk_bytes,
            file: None,
            head: Vec::new(),
            missing: Lost::default(),
            failing: false,
            wake,
        };
        disk.publish();
        disk
    }

    /// Writes until the tap is dropped.
    pub(super) fn run(mut self, chunks: &Receiver<Chunk>, spare: &Sender<Chunk>) {
        for mut chunk in chunks {
            self.take(&chunk);
            if chunk.bytes.capacity() > KEPT_CHUNKS * self.chunk_bytes {
                chunk = Chunk::new(self.chunk_bytes);
            }
            // The tap may be gone.
            let _ = spare.try_send(chunk);
            self.wake();
        }
        if self.file.is_some_and(|open| open.bytes == 0) {
            self.shared.ring.lock().remove_last();
        }
    }

    fn wake(&self) {
        if let Some(wake) = &self.wake {
            // One that waits there already will do.
            let _ = wake.try_send(());
        }
    }

    pub(super) fn take(&mut self, chunk: &Chunk) {
        self.missing.add(chunk.lost);
        let written = self.write(chunk);
        let status = &self.shared.status;
        match written {
            Ok(()) => {
                add(&status.packets, chunk.packets);
                add(&status.bytes, chunk.packet_bytes);
                if std::mem::replace(&mut self.failing, false) {
                    status.notice(About::Resumed, "the recording goes on".to_owned());
                }
            }
            Err(error) => {
                add(&status.write_errors, 1);
                status.lose(chunk.packets, chunk.packet_bytes);
                self.missing.add(Lost { packets: chunk.packets, bytes: chunk.packet_bytes });
                if !std::mem::replace(&mut self.failing, true) {
                    let text = format!(
                        "the recording can't be written: {error}; packets are counted as lost \
                         until it can"
                    );
                    status.notice(About::Failing, text);
                }
            }
        }
        self.publish();
    }

    /// What the ring takes, for those who watch; earlier runs' files count too.
    fn publish(&self) {
        let Shared { ring, status, .. } = &*self.shared;
        let ring = ring.lock();
        status.disk_bytes.store(ring.bytes(), Ordering::Relaxed);
        status.files_removed.store(ring.removed(), Ordering::Relaxed);
    }

    fn write(&mut self, chunk: &Chunk) -> io::Result<()> {
        let full = self.file.as_ref().is_some_and(|open| {
            let length = open.bytes + chunk.bytes.len() as u64;
            open.bytes > 0 && !chunk.bytes.is_empty() && length > self.file_bytes
        });
        if full {
            self.file = None;
        }
        if self.file.is_none() && chunk.bytes.is_empty() {
            return Ok(());
        }
        self.fill_head(chunk);
        if self.file.is_some() && !self.shared.ring.lock().fits_beside_last(self.length(chunk)) {
            // Even the current file has to make room.
            self.file = None;
            self.fill_head(chunk);
        }
        let length = self.length(chunk);
        if !self.shared.ring.lock().make_room(length) {
            return Err(io::Error::other("a packet is larger than the whole recording may be"));
        }
        let open = match &mut self.file {
            Some(open) => open,
            None => self.file.insert(self.shared.begin_file(chunk)?),
        };
        let written = open.file.write_all_at(&self.head, open.bytes).and_then(|()| {
            open.file.write_all_at(&chunk.bytes, open.bytes + self.head.len() as u64)
        });
        if let Err(error) = written {
            // Back to the last whole block; a reader would stop there anyway.
            let _ = open.file.set_len(open.bytes);
            return Err(error);
        }
        open.bytes += length;
        open.interfaces = open.interfaces.max(chunk.interfaces);
        open.packets += chunk.packets;
        self.missing = Lost::default();
        self.shared.ring.lock().grow(length, chunk.latest_ns);
        Ok(())
    }

    fn length(&self, chunk: &Chunk) -> u64 {
        (self.head.len() + chunk.bytes.len()) as u64
    }

    /// Section and clock in a new file, interfaces that it does not have yet,
    /// and what is missing.
    fn fill_head(&mut self, chunk: &Chunk) {
        let head = &mut self.head;
        head.clear();
        // A file whose first write failed has nothing in it yet.
        let (described, packets, empty) = match &self.file {
            Some(open) => (open.interfaces, open.packets, open.bytes == 0),
            None => (0, 0, true),
        };
        if empty {
            blocks::our_section(head, &self.host, &[]);
        }
        let interfaces = self.shared.interfaces.lock();
        for interface in interfaces.get(described..chunk.interfaces).unwrap_or_default() {
            blocks::interface(head, interface);
        }
        drop(interfaces);
        if chunk.interfaces == 0 || chunk.clock_ns == NO_TIME {
            return;
        }
        if self.missing.packets > 0 {
            let comment = format!(
                "{} packets ({} captured bytes) are missing before this place: the disk was too \
                 slow or full",
                self.missing.packets, self.missing.bytes
            );
            let counters = [(option::ISB_USRDELIV, packets)];
            blocks::statistics(head, 0, chunk.clock_ns, &counters, &comment);
        } else if empty {
            blocks::statistics(head, 0, chunk.clock_ns, &[], "");
        }
    }
}

impl Shared {
    /// Creates the next file of the ring.
    fn begin_file(&self, chunk: &Chunk) -> io::Result<Open> {
        let mut ring = self.ring.lock();
        let path = ring.new_path(chunk.begin_ns());
        let file = Access::Owner.options().write(true).create_new(true).open(&path)?;
        ring.add(path, 0);
        add(&self.status.files_begun, 1);
        Ok(Open { file, bytes: 0, interfaces: 0, packets: 0 })
    }
}
