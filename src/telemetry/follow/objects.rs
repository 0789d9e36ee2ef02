//! Objects of an S3-compatible store below a prefix: each is read once, those that
//! come later too.
//!
//! A thread asks and reads, since the network can take its time; at most a few pieces
//! are ahead of the consumer. Objects do not grow: one that was written anew is read as
//! another. The order is that of their last change, then of their keys.

mod known;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;

use super::super::framing::Mark;
use super::state::Saved;
use super::{Closed, Engine, Event, Opened, Options, SourceId, Step, Told};
use known::Known;
pub(super) use known::SavedObjects;
use worker::Worker;

/// Pieces that are read ahead of the consumer.
const AHEAD: usize = 4;

/// What the thread says.
enum Message {
    Event(Event),
    Opened { key: String, opened: Opened },
    Bytes(SourceId, Vec<u8>),
    Closed(SourceId, Closed),
}

pub(super) struct Objects {
    messages: Receiver<Message>,
    /// Ends the thread when it is dropped.
    _stop: SyncSender<()>,
    known: Arc<Mutex<Known>>,
    /// Those open and those not acknowledged to their ends.
    keys: HashMap<SourceId, String>,
    /// Those open that are not wanted, of which pieces may be on their way.
    ignored: HashSet<SourceId>,
}

impl Objects {
    /// `s3://bucket/prefix`. Who asks and where is taken from the environment, as other
    /// programs do (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, ...), and from
    /// `settings`, by object_store's names, first.
    pub(super) fn start(
        url: &str,
        settings: &[(String, String)],
        saved: Option<SavedObjects>,
        options: &Options,
    ) -> Result<Self, String> {
        let rest = url.strip_prefix("s3://").ok_or("no URL of the form s3://bucket/prefix")?;
        let (_, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        // One for the whole process; another may be there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env().with_url(url);
        for (key, value) in settings {
            let key: AmazonS3ConfigKey = key.parse().map_err(|_| format!("no setting '{key}'"))?;
            builder = builder.with_config(key, value);
        }
        let store: Arc<dyn ObjectStore> = Arc::new(builder.build().map_err(|e| e.to_string())?);
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|e| e.to_string())?;
        let is_first = saved.is_none() && !options.from_start;
        let known = Arc::new(Mutex::new(Known::new(saved)));
        let (sender, messages) = sync_channel(AHEAD);
        let (stop, stopped) = sync_channel(0);
        let pause = options.object_pause;
        let worker = Worker::new(store, prefix, Arc::clone(&known), sender, is_first)
            .map_err(|error| error.to_string())?;
        std::thread::Builder::new()
            .name("follow-objects".into())
            .spawn(move || worker.run(&stopped, pause))
            .map_err(|error| error.to_string())?;
        Ok(Self { messages, _stop: stop, known, keys: HashMap::new(), ignored: HashSet::new() })
    }
}

impl Engine for Objects {
    fn step(&mut self, _: Instant, buffer: &mut Vec<u8>) -> Step {
        loop {
            return match self.messages.try_recv() {
                Ok(Message::Event(event)) => Step::Event(event),
                Ok(Message::Opened { key, opened }) => {
                    self.keys.insert(opened.source, key);
                    Step::Event(Event::Opened(opened))
                }
                Ok(Message::Bytes(source, _)) if self.ignored.contains(&source) => continue,
                Ok(Message::Bytes(source, bytes)) => {
                    *buffer = bytes;
                    Step::Bytes(source, 0..buffer.len())
                }
                Ok(Message::Closed(source, why)) => {
                    self.ignored.remove(&source);
                    Step::Event(Event::Closed(source, why))
                }
                Err(TryRecvError::Empty) => Step::Waiting,
                Err(TryRecvError::Disconnected) => Step::Ended,
            };
        }
    }

    fn acknowledge(&mut self, source: SourceId, mark: Mark) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = self.keys.get(&source)
            && known.acknowledge(key, source, mark)
        {
            self.keys.remove(&source);
        }
    }

    fn ignore(&mut self, source: SourceId) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = self.keys.remove(&source) {
            known.ignore(&key, source);
            self.ignored.insert(source);
        }
    }

    fn has_changed(&mut self) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).has_changed()
    }

    fn save(&mut self, saved: &mut Saved) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        saved.objects = known.saved();
    }
}
