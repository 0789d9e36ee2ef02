//! The thread that lists and reads.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::{Builder, Runtime};

use super::super::super::framing::Mark;
use super::super::super::kind::HEAD_BYTES;
use super::super::unpack::Packing;
use super::known::{From, Known, Version};
use super::{Closed, Event, Message, Opened, SourceId, Told};

/// Objects that are to be read, of one listing; further ones are in the next.
const MAX_NEW: usize = 4096;

const PIECE_BYTES: usize = 256 << 10;

/// Errors that are told; the same one once, as each listing would bring it again.
const MAX_TOLD: usize = 256;

/// Objects to read, by last change and key.
type Listed = BTreeMap<(i64, String), ObjectMeta>;

pub(super) struct Worker {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    known: Arc<Mutex<Known>>,
    messages: SyncSender<Message>,
    runtime: Arc<Runtime>,
    /// What is there at the first listing is not read.
    passes_over: bool,
    listing: u64,
    next_id: u64,
    told: HashSet<String>,
    told_too_many: bool,
}

/// The consumer is gone.
struct Gone;

impl Worker {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        prefix: Path,
        known: Arc<Mutex<Known>>,
        messages: SyncSender<Message>,
        passes_over: bool,
    ) -> io::Result<Self> {
        let runtime = Arc::new(Builder::new_current_thread().enable_all().build()?);
        Ok(Self {
            store,
            prefix,
            known,
            messages,
            runtime,
            passes_over,
            listing: 0,
            next_id: 0,
            told: HashSet::new(),
            told_too_many: false,
        })
    }

    pub(super) fn run(mut self, stopped: &Receiver<()>, pause: Duration) {
        loop {
            let more = match self.look() {
                Ok(more) => more,
                Err(Gone) => return,
            };
            let pause = if more { Duration::ZERO } else { pause };
            match stopped.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Lists, and reads what is new; whether there is more of it.
    fn look(&mut self) -> Result<bool, Gone> {
        let (new, more) = match self.list() {
            Ok(listed) => listed,
            Err(error) => {
                let name = format!("objects below {}", self.prefix);
                self.tell_unreadable(name, &error.to_string())?;
                return Ok(false);
            }
        };
        for about in new.into_values() {
            self.read(&about)?;
        }
        let forgot = self.known().forget(self.listing);
        if forgot && !std::mem::replace(&mut self.told_too_many, true) {
            self.send(Message::Event(Event::Told(Told::TooManyFiles)))?;
        }
        Ok(more)
    }

    /// What is to be read, and whether there is more.
    fn list(&mut self) -> object_store::Result<(Listed, bool)> {
        self.listing += 1;
        let mut new = BTreeMap::new();
        let mut more = false;
        let runtime = Arc::clone(&self.runtime);
        let store = Arc::clone(&self.store);
        let mut objects = store.list(Some(&self.prefix));
        while let Some(about) = runtime.block_on(objects.next()) {
            let about = about?;
            let (key, version) = (about.location.to_string(), Version::of(&about));
            let mut known = self.known();
            if known.from(&key, &version, self.listing).is_none() {
                continue;
            }
            if self.passes_over {
                known.pass_over(&key, version, self.listing);
                continue;
            }
            drop(known);
            new.insert((version.modified_ns, key), about);
            if new.len() > MAX_NEW {
                new.pop_last();
                more = true;
            }
        }
        self.passes_over = false;
        self.known().listed();
        Ok((new, more))
    }

    fn read(&mut self, about: &ObjectMeta) -> Result<(), Gone> {
        let (key, version) = (about.location.to_string(), Version::of(about));
        let from = self.known().from(&key, &version, self.listing);
        let Some(From { mark, source }) = from else { return Ok(()) };
        let mut head = Vec::new();
        let mut object = match self.open(about, mark, &mut head) {
            Ok(object) => object,
            Err(error) => return self.fail(&key, source, &error),
        };
        let id = match source {
            Some(id) => id,
            None => {
                let id = SourceId(self.next_id);
                self.next_id += 1;
                let modified_ns = Some(version.modified_ns);
                self.known().begin(&key, version, id, mark, self.listing);
                let opened =
                    Opened { modified_ns, from: mark, head, ..Opened::new(id, key.clone()) };
                self.send(Message::Opened { key: key.clone(), opened })?;
                id
            }
        };
        loop {
            let mut piece = Vec::new();
            let read = (&mut object).take(PIECE_BYTES as u64).read_to_end(&mut piece);
            if !piece.is_empty() {
                let wanted = self.known().hand_out(&key, piece.len());
                if !wanted {
                    break;
                }
                self.send(Message::Bytes(id, piece))?;
            } else if read.is_ok() {
                break;
            }
            if let Err(error) = read {
                return self.fail(&key, Some(id), &error);
            }
        }
        self.known().end(&key);
        self.send(Message::Closed(id, Closed::Ended))
    }

    /// The unpacked bytes of an object from a mark on, and its first ones before it.
    fn open(
        &self,
        about: &ObjectMeta,
        mark: Mark,
        head: &mut Vec<u8>,
    ) -> io::Result<Box<dyn Read + Send>> {
        let got = self.runtime.block_on(self.store.get(&about.location))?;
        let runtime = Arc::clone(&self.runtime);
        let mut body = Body { runtime, stream: got.into_stream(), chunk: bytes::Bytes::new() };
        let mut magic = Vec::new();
        (&mut body).take(Packing::MAGIC_BYTES as u64).read_to_end(&mut magic)?;
        let packing = Packing::of(&magic);
        let packed = io::Cursor::new(magic).chain(body);
        let mut object: Box<dyn Read + Send> = match packing {
            Some(packing) => packing.unpack(packed)?,
            None => Box::new(packed),
        };
        (&mut object).take(mark.offset.min(HEAD_BYTES as u64)).read_to_end(head)?;
        let left = mark.offset - head.len() as u64;
        io::copy(&mut (&mut object).take(left), &mut io::sink())?;
        Ok(object)
    }

    /// What the network did is tried again with the next listing; what is damaged is not.
    fn fail(&mut self, key: &str, source: Option<SourceId>, error: &io::Error) -> Result<(), Gone> {
        self.tell_unreadable(key.to_owned(), &error.to_string())?;
        let Some(id) = source else { return Ok(()) };
        let damaged = matches!(
            error.kind(),
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof
        );
        if damaged || error.kind() == ErrorKind::NotFound {
            self.known().end(key);
            self.send(Message::Closed(id, Closed::Broken))?;
        }
        Ok(())
    }

    fn tell_unreadable(&mut self, name: String, error: &str) -> Result<(), Gone> {
        if self.told.len() == MAX_TOLD || !self.told.insert(format!("{name}: {error}")) {
            return Ok(());
        }
        let error = error.to_owned();
        self.send(Message::Event(Event::Told(Told::Unreadable { name, error })))
    }

    fn send(&self, message: Message) -> Result<(), Gone> {
        self.messages.send(message).map_err(|_| Gone)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An object's bytes as they come.
struct Body {
    runtime: Arc<Runtime>,
    stream: BoxStream<'static, object_store::Result<bytes::Bytes>>,
    chunk: bytes::Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let Some(chunk) = self.runtime.block_on(self.stream.next()) else { return Ok(0) };
            self.chunk = chunk?;
        }
        let n = buffer.len().min(self.chunk.len());
        buffer[..n].copy_from_slice(&self.chunk.split_to(n));
        Ok(n)
    }
}
