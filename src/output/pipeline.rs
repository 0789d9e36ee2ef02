//! Records to files with several threads: chunks are encoded side by side and
//! written in order.
//!
//! The caller fills a chunk and hands it to the threads; each takes one,
//! encodes it for every format, and puts it down. Whoever puts down the chunk
//! that is next in the files writes it, and those behind it that are ready. So
//! the files are the same bytes for any number of threads. The number of
//! chunks is fixed: where writing is slower than reading, [`Pipeline::push`]
//! waits for an empty one. Chunks and their buffers are used again.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Encoder, FlowWriter, Piece};
use crate::flow::FlowRecord;

/// Chunks beside those that the threads hold: one that is being filled and one
/// that waits for its turn in the file.
const SPARE_CHUNKS: usize = 2;

/// Writes records into the files of several formats.
pub struct Pipeline {
    filling: Option<Chunk>,
    chunk_records: usize,
    empty: Receiver<Chunk>,
    /// `None` at the end: the threads stop.
    full: Option<Sender<Chunk>>,
    threads: Vec<JoinHandle<()>>,
    files: Arc<Files>,
    chunks: u64,
}

/// Records on their way.
#[derive(Default)]
struct Chunk {
    /// Its place in the files.
    position: u64,
    records: Vec<FlowRecord>,
    /// One for each format.
    made: Vec<Made>,
}

#[derive(Default)]
struct Made {
    piece: Piece,
    error: Option<io::Error>,
}

/// What the threads share.
struct Files {
    encoders: Vec<Arc<dyn Encoder>>,
    order: Mutex<Order>,
}

#[derive(Default)]
struct Order {
    /// Position of the chunk that the files want next.
    next: u64,
    /// Encoded and not yet next.
    waiting: Vec<Chunk>,
    /// Absent while a thread writes.
    writers: Option<Vec<Writer>>,
    /// A thread panicked, which is a bug: passed on at the end.
    panic: Option<Box<dyn Any + Send>>,
}

struct Writer {
    file: Box<dyn FlowWriter>,
    /// The first one. Nothing is written behind a gap.
    error: Option<io::Error>,
}

impl Pipeline {
    /// Starts `threads` threads, at least one.
    pub fn start(writers: Vec<Box<dyn FlowWriter>>, threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let encoders: Vec<_> = writers.iter().map(|writer| writer.encoder()).collect();
        let chunk_records =
            encoders.iter().map(|encoder| encoder.chunk_records()).max().unwrap_or(1).max(1);
        let writers = writers.into_iter().map(|file| Writer { file, error: None }).collect();
        let order = Order { writers: Some(writers), ..Order::default() };
        let files = Arc::new(Files { encoders, order: Mutex::new(order) });
        let chunks = threads + SPARE_CHUNKS;
        let (full, take) = bounded::<Chunk>(chunks);
        let (give_back, empty) = bounded(chunks);
        for _ in 0..chunks {
            let made = files.encoders.iter().map(|_| Made::default()).collect();
            // The receiver stands above, and there is room.
            let _ = give_back.send(Chunk { made, ..Chunk::default() });
        }
        let threads = (0..threads)
            .map(|_| {
                let (files, take) = (Arc::clone(&files), take.clone());
                let give_back = give_back.clone();
                thread::Builder::new()
                    .name("flowtap-write".to_owned())
                    .spawn(move || take.iter().for_each(|chunk| files.put(chunk, &give_back)))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            filling: None,
            chunk_records,
            empty,
            full: Some(full),
            threads,
            files,
            chunks: 0,
        })
    }

    /// Adds a record. Waits while all chunks are under way; what could not be
    /// written shows at the end.
    #[inline] // else a record is copied once more
    pub fn push(&mut self, record: FlowRecord) {
        if self.filling.is_none() {
            self.filling = self.empty.recv().ok();
        }
        let Some(chunk) = &mut self.filling else { return };
        chunk.records.push(record);
        if chunk.records.len() >= self.chunk_records {
            self.hand_on();
        }
    }

    /// Waits until everything is in the files, and ends them. The first error
    /// of the first format that had one.
    ///
    /// # Panics
    /// When an encoder or a writer panicked, which is a bug: the panic is
    /// passed on.
    pub fn finish(mut self) -> io::Result<()> {
        self.hand_on();
        drop(self.full.take());
        for thread in self.threads.drain(..) {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        let mut order = self.files.lock();
        if let Some(panic) = order.panic.take() {
            resume_unwind(panic);
        }
        let mut result = Ok(());
        for Writer { file, error } in order.writers.take().unwrap_or_default() {
            // Every file is ended, also behind one that failed.
            let ended = error.map_or_else(|| file.finish(), Err);
            result = result.and(ended);
        }
        result
    }

    fn hand_on(&mut self) {
        if let (Some(mut chunk), Some(full)) = (self.filling.take(), &self.full) {
            chunk.position = self.chunks;
            self.chunks += 1;
            // The threads stay until the sender is gone.
            let _ = full.send(chunk);
        }
    }
}

impl Files {
    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encodes a chunk, then writes what can be written. A panic does not stop
    /// the other chunks: whoever fills them would wait for ever.
    fn put(&self, mut chunk: Chunk, give_back: &Sender<Chunk>) {
        let panic = catch_unwind(AssertUnwindSafe(|| chunk.encode(&self.encoders))).err();
        let mut order = self.lock();
        order.panic = order.panic.take().or(panic);
        order.waiting.push(chunk);
        loop {
            let next = order.next;
            let at = order.waiting.iter().position(|chunk| chunk.position == next);
            let Some(at) = at else { break };
            let Some(mut writers) = order.writers.take() else { break };
            let mut chunk = order.waiting.swap_remove(at);
            drop(order);
            let panic = catch_unwind(AssertUnwindSafe(|| chunk.write(&mut writers))).err();
            // Nobody wants it at the end.
            let _ = give_back.send(chunk);
            order = self.lock();
            order.panic = order.panic.take().or(panic);
            order.writers = Some(writers);
            order.next += 1;
        }
    }
}

impl Chunk {
    fn encode(&mut self, encoders: &[Arc<dyn Encoder>]) {
        for (encoder, made) in encoders.iter().zip(&mut self.made) {
            made.error = encoder.encode(&self.records, &mut made.piece).err();
        }
        // Here and not where it is written, which is one at a time.
        self.records.clear();
    }

    fn write(&mut self, writers: &mut [Writer]) {
        for (writer, made) in writers.iter_mut().zip(&mut self.made) {
            if writer.error.is_none() {
                let result = made.error.take().map_or(Ok(()), Err);
                writer.error = result.and_then(|()| writer.file.append(&mut made.piece)).err();
            }
            made.piece.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::output::samples;

    /// Notes what it is given; slow or failing where told.
    struct Notes {
        text: Arc<Mutex<Vec<u8>>>,
        fails_after_bytes: usize,
    }

    struct Starts {
        panics: bool,
    }

    impl Encoder for Starts {
        fn encode(&self, records: &[FlowRecord], piece: &mut Piece) -> io::Result<()> {
            assert!(!self.panics, "as told");
            let first = records.first().map_or(0, |record| record.start_ns);
            // Neighbours take different times, so that they overtake each other.
            thread::sleep(Duration::from_micros(first as u64 % 7 * 300));
            for record in records {
                piece.bytes.extend_from_slice(format!("{}\n", record.start_ns).as_bytes());
            }
            Ok(())
        }

        fn chunk_records(&self) -> usize {
            3
        }
    }

    impl FlowWriter for Notes {
        fn encoder(&self) -> Arc<dyn Encoder> {
            Arc::new(Starts { panics: self.fails_after_bytes == 0 })
        }

        fn append(&mut self, piece: &mut Piece) -> io::Result<()> {
            let mut text = self.text.lock().expect("lock");
            text.extend_from_slice(&piece.bytes);
            if text.len() > self.fails_after_bytes {
                return Err(io::Error::other("full"));
            }
            Ok(())
        }

        fn finish(self: Box<Self>) -> io::Result<()> {
            self.text.lock().expect("lock").extend_from_slice(b"end");
            Ok(())
        }
    }

    fn run(records: usize, threads: usize, limits: &[usize]) -> (io::Result<()>, Vec<String>) {
        let texts: Vec<_> = limits.iter().map(|_| Arc::new(Mutex::new(Vec::new()))).collect();
        let writers = texts.iter().zip(limits).map(|(text, &fails_after_bytes)| {
            Box::new(Notes { text: Arc::clone(text), fails_after_bytes }) as Box<dyn FlowWriter>
        });
        let mut pipeline = Pipeline::start(writers.collect(), threads).expect("threads");
        for n in 0..records {
            pipeline.push(FlowRecord { start_ns: n as i64 * n as i64, ..samples::dns() });
        }
        let result = pipeline.finish();
        let text = |text: &Arc<Mutex<Vec<u8>>>| {
            String::from_utf8(text.lock().expect("lock").clone()).expect("UTF-8")
        };
        (result, texts.iter().map(text).collect())
    }

    #[test]
    fn every_record_is_written_once_and_in_order_by_any_number_of_threads() {
        for threads in [0, 1, 2, 8] {
            for records in [0, 1, 3, 100] {
                let (result, texts) = run(records, threads, &[usize::MAX; 2]);
                let mut expected: String = (0..records).map(|n| format!("{}\n", n * n)).collect();
                expected.push_str("end");
                assert!(result.is_ok());
                assert_eq!(texts, [expected.clone(), expected], "{threads} threads");
            }
        }
    }

    #[test]
    fn a_file_that_fails_ends_there_and_the_others_go_on() {
        let (result, texts) = run(100, 3, &[20, usize::MAX]);
        assert_eq!(result.expect_err("full").to_string(), "full");
        assert!(texts[0].len() < 50 && !texts[0].ends_with("end"), "{}", texts[0]);
        assert_eq!(texts[1].lines().count(), 101);
    }

    #[test]
    fn a_panic_of_an_encoder_reaches_the_caller() {
        let panic = catch_unwind(|| run(100, 2, &[0])).expect_err("passed on");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"as told"));
    }
}
