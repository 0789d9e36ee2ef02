//! Runs a provider of host events beside a test and keeps what it tells.
#![allow(dead_code, reason = "each test program uses its own part of the harness")]

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flowtap::host::attribution::Method;
use flowtap::host::event::{HostEvent, Socket, What};
use flowtap::host::provider::network::NetworkWatch;
use flowtap::host::provider::{EventSink, Provider, ProviderError, Stop};

/// A provider at work; ends when dropped.
pub(crate) struct Watch {
    events: Arc<Mutex<Vec<HostEvent>>>,
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(provider: impl Provider + 'static) -> Self {
        let method = provider.method();
        Self::run(method, move |sink, stop| Box::new(provider).run(sink, stop))
    }

    pub(crate) fn network(watch: NetworkWatch) -> Self {
        Self::start(watch)
    }

    fn run(
        method: Method,
        run: impl FnOnce(&EventSink, &Stop) -> Result<(), ProviderError> + Send + 'static,
    ) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let (sender, receiver) = crossbeam_channel::bounded(4096);
        let sink = EventSink::new(method, sender);
        let stop = Stop::default();
        let kept = Arc::clone(&events);
        let stopped = stop.clone();
        let threads = vec![
            thread::spawn(move || {
                for (_, event) in receiver {
                    kept.lock().unwrap().push(event);
                }
            }),
            thread::spawn(move || run(&sink, &stopped).unwrap()),
        ];
        Self { events, stop, threads }
    }

    /// Up to now.
    pub(crate) fn events(&self) -> MutexGuard<'_, Vec<HostEvent>> {
        self.events.lock().unwrap()
    }

    /// Sockets open now, each as it was last told.
    pub(crate) fn open(&self) -> Vec<Socket> {
        let mut open: Vec<Socket> = Vec::new();
        for event in self.events().iter() {
            match &event.what {
                What::SocketOpen(socket) => {
                    open.retain(|other| !same(other, socket));
                    open.push(socket.clone());
                }
                What::SocketClose(socket) => open.retain(|other| !same(other, socket)),
                _ => {}
            }
        }
        open
    }

    /// Waits for an open socket.
    pub(crate) fn wait(&self, what: &str, mut fits: impl FnMut(&Socket) -> bool) -> Socket {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let open = self.open();
            if let Some(socket) = open.iter().find(|socket| fits(socket)) {
                return socket.clone();
            }
            assert!(Instant::now() < deadline, "no {what} among {open:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until no open socket is like this.
    pub(crate) fn wait_gone(&self, what: &str, mut fits: impl FnMut(&Socket) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.open().iter().any(&mut fits) {
            assert!(Instant::now() < deadline, "{what} is still there");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for an event.
    pub(crate) fn wait_event<T>(&self, what: &str, mut fits: impl FnMut(&What) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = self.events().iter().find_map(|event| fits(&event.what)) {
                return found;
            }
            assert!(Instant::now() < deadline, "no {what}: {:#?}", self.events());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn same(one: &Socket, other: &Socket) -> bool {
    one.netns == other.netns
        && match (one.cookie, other.cookie) {
            (Some(one), Some(other)) => one == other,
            _ => one.inode == other.inode,
        }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.set();
        for thread in self.threads.drain(..).rev() {
            let ended = thread.join();
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}
