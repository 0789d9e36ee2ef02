//! The control socket: a running service answers those on the same machine.
//!
//! A Unix socket, mode 0660, JSON lines. A client sends one request a line;
//! `{"watch":"screen"}` is answered with a [`Snapshot`] a second until the
//! client goes. Anything else is answered with `{"schema":...,"error":...}`.
//!
//! The run never waits for a client: it puts a line into queues, and who does
//! not take it in time is dropped. Clients, their requests and the time they
//! may take are bounded. Nothing is computed while nobody watches. Start at
//! [`ControlServer::start`], [`Collector`] and [`Client`].

mod client;
mod collect;
mod place;
mod snapshot;
pub(crate) mod talkers;
#[cfg(test)]
mod tests;

use std::io::{self, Read as _, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use serde::{Deserialize, Serialize};

pub use client::{Client, ClientError};
pub use collect::{Collector, WINDOW_S};
pub use place::{ControlError, default_path, places};
pub use snapshot::{
    AlertLine, Alerts, Conversation, Conversations, Event, Hosts, Interface, PayloadSizes,
    Protocol, Rates, SCHEMA, Snapshot, Talker,
};

use crate::lock::Lock;
use place::Place;

/// Connections at once: more screens than a team has open, and few threads.
const CLIENTS: usize = 16;
/// Longest request. Those known take 20 bytes.
const REQUEST_BYTES: usize = 4 << 10;
/// For a request to be whole. Also how long a client that says nothing stays.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// For a snapshot to be taken.
const WRITE_TIME: Duration = Duration::from_secs(2);
/// Snapshots that wait for a client; with more it is dropped.
const WAITING: usize = 3;

/// The server; it ends, and its socket goes, when dropped.
#[derive(Debug)]
pub struct ControlServer {
    shared: Arc<Shared>,
    listener: UnixListener,
    thread: Option<JoinHandle<()>>,
    place: Place,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    clients: AtomicUsize,
    watchers: Lock<Vec<Sender<Arc<str>>>>,
    watched: Arc<AtomicBool>,
}

/// The socket, taken and not answered at yet: before rights are given up.
#[derive(Debug)]
pub struct ControlSocket {
    place: Place,
    listener: UnixListener,
}

impl ControlSocket {
    pub fn take(path: &Path) -> Result<Self, ControlError> {
        let (place, listener) = Place::take(path)?;
        Ok(Self { place, listener })
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }
}

impl ControlServer {
    /// Takes the socket and answers from now on.
    pub fn start(path: &Path, watched: Arc<AtomicBool>) -> Result<Self, ControlError> {
        Self::serve(ControlSocket::take(path)?, watched)
    }

    /// Answers from now on. `watched` is set while a client wants snapshots.
    pub fn serve(socket: ControlSocket, watched: Arc<AtomicBool>) -> Result<Self, ControlError> {
        let ControlSocket { place, listener } = socket;
        let failed = |error| ControlError::Io { path: place.path().to_owned(), error };
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            clients: AtomicUsize::new(0),
            watchers: Lock::new(Vec::new()),
            watched,
        });
        let (theirs, accepting) = (Arc::clone(&shared), listener.try_clone().map_err(failed)?);
        let accept = move || accept(&accepting, &theirs);
        let thread = Builder::new().name("control".to_owned()).spawn(accept).map_err(failed)?;
        Ok(Self { shared, listener, thread: Some(thread), place })
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Gives a snapshot to all who watch; drops those whose queue is full.
    pub fn publish(&self, snapshot: &Snapshot) {
        let mut line = serde_json::to_string(snapshot).unwrap_or_default();
        line.push('\n');
        let line: Arc<str> = line.into();
        let mut watchers = self.shared.watchers.lock();
        watchers.retain(|watcher| match watcher.try_send(Arc::clone(&line)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        });
        self.shared.watched.store(!watchers.is_empty(), Ordering::Relaxed);
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        /// A thread that was woken needs far less.
        const PATIENCE: Duration = Duration::from_secs(1);
        self.shared.stop.store(true, Ordering::Release);
        // Ends the queues, and so the clients' threads.
        self.shared.watchers.lock().clear();
        // Shutting a listener down wakes who waits in accept.
        let woken = self.listener.try_clone().and_then(|listener| {
            UnixStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both)
        });
        let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) else { return };
        let since = Instant::now();
        while !thread.is_finished() && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished() {
            // One that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    /// After a failure that lasts, such as no file descriptor left.
    const REST: Duration = Duration::from_millis(100);
    loop {
        let accepted = listener.accept();
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let Ok((stream, _)) = accepted else {
            std::thread::sleep(REST);
            continue;
        };
        if shared.clients.fetch_add(1, Ordering::AcqRel) >= CLIENTS {
            shared.clients.fetch_sub(1, Ordering::AcqRel);
            // It never blocks: a fresh socket has room for a line.
            let _ = say_error(&stream, "too many clients");
            continue;
        }
        let theirs = Arc::clone(shared);
        let serve = move || {
            // Whatever goes wrong is the client's loss alone.
            let _ = serve(&stream, &theirs);
            theirs.clients.fetch_sub(1, Ordering::AcqRel);
        };
        if Builder::new().name("control".to_owned()).spawn(serve).is_err() {
            shared.clients.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// What a client may ask for.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Request {
    Watch(View),
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum View {
    Screen,
}

#[derive(Debug, Serialize)]
struct Refusal<'a> {
    schema: &'static str,
    error: &'a str,
}

fn serve(stream: &UnixStream, shared: &Shared) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIME))?;
    let mut requests = Requests { stream, waiting: Vec::new() };
    loop {
        match requests.next()? {
            Ok(Request::Watch(View::Screen)) => return watch(stream, shared),
            Err(refusal) => say_error(stream, &refusal.text)?,
        }
        // A line without an end in sight: what comes next is part of it.
        if requests.waiting.len() >= REQUEST_BYTES {
            return Ok(());
        }
    }
}

/// Gives one snapshot after the other.
fn watch(mut stream: &UnixStream, shared: &Shared) -> io::Result<()> {
    let (give, take): (Sender<Arc<str>>, Receiver<Arc<str>>) = bounded(WAITING);
    {
        let mut watchers = shared.watchers.lock();
        if shared.stop.load(Ordering::Acquire) {
            return Ok(());
        }
        watchers.push(give);
        shared.watched.store(true, Ordering::Relaxed);
    }
    for line in take {
        write_by(&mut stream, line.as_bytes(), Instant::now() + WRITE_TIME)?;
    }
    Ok(())
}

fn write_by(stream: &mut &UnixStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        let written = stream.write(bytes)?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn say_error(mut stream: &UnixStream, error: &str) -> io::Result<()> {
    let refusal = Refusal { schema: SCHEMA, error };
    let line = serde_json::to_string(&refusal).unwrap_or_default() + "\n";
    stream.write_all(line.as_bytes())
}

/// Why a line is no request.
struct Refused {
    text: String,
}

/// A client's requests, line by line.
struct Requests<'a> {
    stream: &'a UnixStream,
    waiting: Vec<u8>,
}

impl Requests<'_> {
    /// An error when the client is gone or takes too long.
    fn next(&mut self) -> io::Result<Result<Request, Refused>> {
        let deadline = Instant::now() + REQUEST_TIME;
        let mut chunk = [0; 1_024];
        loop {
            if let Some(end) = self.waiting.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.waiting.drain(..=end).collect();
                return Ok(parse(&line));
            }
            if self.waiting.len() >= REQUEST_BYTES {
                return Ok(Err(Refused { text: "the request is too long".to_owned() }));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut stream = self.stream;
            match stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.waiting.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            }
        }
    }
}

fn parse(line: &[u8]) -> Result<Request, Refused> {
    let known = "known is {\"watch\":\"screen\"}";
    serde_json::from_slice(line)
        .map_err(|error| Refused { text: format!("no request that is known: {error}; {known}") })
}
