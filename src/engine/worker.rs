//! A capture worker: decodes blocks, and owns one shard of the flows.
//!
//! Workers share the input (one block at a time, behind a lock) and the
//! sequencer (one lock a block). Nothing is shared or locked for a packet.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::accounting::Accounting;
use super::batch::{Batch, BlockData, Decoded, Emptied, FragmentRow, LinkKind, LinkRow, Rows};
use super::dedup::{DedupMode, DedupSettings, routed_digest};
use super::sequencer::{Sequencer, shard_of};
use super::shard::{Shard, ShardOutput};
use super::window::features::concerns;
use crate::flow::app::{may_begin, may_tell};
use crate::flow::{Ended, reads_names};
use crate::input::filter::Filter;
use crate::input::{Block, Frame, Input, Next, ReadAhead, frame_flag};
use crate::lock::Lock;
use crate::packet::{Decoder, Direct, Facts, PacketRow, Shape, Verdict, row_flag};

/// Blocks between the input and the last shard for each worker: enough that nobody
/// waits for one whose processor the correlation stage has at the time. Of 1 MiB each, and
/// about as much for what was decoded from it.
const BLOCKS_IN_FLIGHT_PER_WORKER: usize = 6;

/// How long a worker without work sleeps at first before it looks for some again: where
/// the others are at work a block is done in about that time.
pub(crate) const IDLE_WAIT: Duration = Duration::from_micros(200);

/// The same where nobody else has any either; live it is so long from the start.
const MOST_IDLE_WAIT: Duration = Duration::from_millis(5);

/// What all workers of a run see.
pub(crate) struct Shared {
    pub(crate) source: Lock<Source>,
    pub(crate) read_ahead: Option<Arc<ReadAhead>>,
    pub(crate) sequencer: Sequencer,
    pub(crate) pool: Arc<Pool>,
    /// A worker panicked: everybody stops.
    pub(crate) failed: AtomicBool,
    pub(crate) workers: usize,
    pub(crate) decoder: Decoder,
    pub(crate) filter: Option<Arc<Filter>>,
    pub(crate) dedup: Option<DedupSettings>,
    /// Detectors ask for what packets say.
    pub(crate) extracts: bool,
    /// Of what flows say nothing but names is wanted.
    pub(crate) names_alone: bool,
    pub(crate) hash_state: ahash::RandomState,
    /// How long a worker without work sleeps at first before it looks at the input again.
    pub(crate) idle_wait: Duration,
}

pub(crate) struct Source {
    pub(crate) input: Input,
    /// The stream's clock before the next block.
    pub(crate) clock_ns: i64,
    pub(crate) blocks: u64,
    pub(crate) done: bool,
}

/// Buffers to use again, and the number of blocks under way.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    in_flight: AtomicUsize,
    bytes: Lock<Vec<Vec<u8>>>,
    frames: Lock<Vec<Vec<Frame>>>,
    rows: Lock<Vec<Rows>>,
}

fn take<T>(from: &Lock<Vec<T>>) -> Option<T> {
    from.lock().pop()
}

fn give<T>(to: &Lock<Vec<T>>, value: T) {
    to.lock().push(value);
}

impl Pool {
    /// A block has been through all shards.
    pub(crate) fn block_done(&self, bytes: Vec<u8>) {
        if bytes.capacity() > 0 {
            give(&self.bytes, bytes);
        }
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    /// Runs one worker to the end of the stream. Returns its shard and what it
    /// filtered out.
    pub(crate) fn work(
        &self,
        id: usize,
        mut shard: Shard,
        inbox: &Receiver<Batch>,
        out: Sender<ShardOutput>,
        tail: &Sender<Ended>,
    ) -> (Shard, Accounting) {
        let guard = FailureGuard(&self.failed);
        let mut ledger = Accounting::default();
        let mut facts = Facts::default();
        let mut emptied = Emptied::default();
        let cap = BLOCKS_IN_FLIGHT_PER_WORKER * self.workers;
        let mut idle_wait = self.idle_wait;
        loop {
            let mut batch = inbox.try_recv().ok();
            if batch.is_none() {
                let room = self.pool.in_flight.load(Ordering::Acquire) < cap;
                if room && let Some((block, clock_ns)) = self.next_block() {
                    let decoded = self.decode(block, clock_ns, emptied, &mut facts, &mut ledger);
                    emptied = self.sequencer.submit(decoded);
                    continue;
                }
                match self.wait(inbox, idle_wait) {
                    Ok(received) => batch = Some(received),
                    Err(RecvTimeoutError::Timeout) if !self.failed.load(Ordering::Acquire) => {
                        idle_wait = (2 * idle_wait).min(MOST_IDLE_WAIT.max(self.idle_wait));
                    }
                    Err(_) => break,
                }
            }
            let Some(batch) = batch else { continue };
            idle_wait = self.idle_wait;
            shard.take(&batch);
            if batch.end {
                shard.finish(id, batch.latest_ns, out, tail);
                break;
            }
            let output = shard.close(id, batch.closed_before_s);
            let Batch { mut rows, data, .. } = batch;
            drop(data);
            rows.clear();
            give(&self.pool.rows, rows);
            if let Some(output) = output {
                // The correlation stage only leaves early when it has panicked.
                let _ = out.send(output);
            }
        }
        guard.disarm();
        (shard, ledger)
    }

    /// The next batch, if one comes in time.
    fn wait(&self, inbox: &Receiver<Batch>, time: Duration) -> Result<Batch, RecvTimeoutError> {
        if self.workers == 1 && inbox.is_empty() {
            // Nobody else sends: a channel would look again and again before it slept.
            std::thread::sleep(time);
            return Err(RecvTimeoutError::Timeout);
        }
        inbox.recv_timeout(time)
    }

    fn next_block(&self) -> Option<(Block, i64)> {
        let mut bytes = take(&self.pool.bytes).unwrap_or_default();
        if let Some(ahead) = &self.read_ahead {
            // Copying from the file needs no turn.
            let unused = ahead.fill(std::mem::take(&mut bytes), self.workers);
            // The input has buffers of its own for what is not read ahead.
            if let Some(unused) = unused.filter(|unused| unused.capacity() > 0) {
                give(&self.pool.bytes, unused);
            }
        }
        let mut source = self.source.lock();
        if source.done {
            return None;
        }
        source.input.recycle(bytes, take(&self.pool.frames).unwrap_or_default());
        let block = match source.input.poll() {
            Next::Block(block) => Some(block),
            Next::Nothing => return None,
            Next::End => None,
        };
        if let Some(block) = block {
            let clock_ns = source.clock_ns;
            source.clock_ns = block.latest_ns;
            source.blocks += 1;
            self.pool.in_flight.fetch_add(1, Ordering::AcqRel);
            return Some((block, clock_ns));
        }
        source.done = true;
        let (blocks, latest_ns) = (source.blocks, source.clock_ns);
        drop(source);
        self.sequencer.finish(blocks, latest_ns);
        None
    }

    fn decode(
        &self,
        block: Block,
        mut clock_ns: i64,
        emptied: Emptied,
        facts: &mut Facts,
        ledger: &mut Accounting,
    ) -> Decoded {
        let Emptied { mut rows, mut fragments } = emptied;
        let share = block.frames.len() / self.workers;
        rows.extend((0..self.workers).map(|_| {
            let mut rows = take(&self.pool.rows).unwrap_or_default();
            rows.reserve(share + share / 4, self.dedup.is_some());
            rows
        }));
        let all = block.bytes.all();
        for (at, frame) in block.frames.iter().enumerate() {
            let data = frame.bytes_in(all);
            clock_ns = clock_ns.max(frame.time_ns);
            if let Some(filter) = &self.filter
                && !filter.matches(frame.link, data, frame.wire_bytes)
            {
                ledger.filtered.add(frame.wire_bytes);
                continue;
            }
            let (wire_bytes, decoder) = (frame.wire_bytes, &self.decoder);
            let push = Push { frame, at: at as u16, clock_ns, data, all, rows: &mut rows };
            // Code of its own for each: see `packet::direct`.
            let is_direct = match decoder.shape(frame.link, data) {
                Some(Shape::Tcp4) => {
                    self.push(decoder.direct::<false, false>(data, wire_bytes), push)
                }
                Some(Shape::Udp4) => {
                    self.push(decoder.direct::<false, true>(data, wire_bytes), push)
                }
                Some(Shape::Tcp6) => {
                    self.push(decoder.direct::<true, false>(data, wire_bytes), push)
                }
                Some(Shape::Udp6) => {
                    self.push(decoder.direct::<true, true>(data, wire_bytes), push)
                }
                None => false,
            };
            if is_direct {
                continue;
            }
            let kind = match self.decoder.general(frame.link, data, frame.wire_bytes, facts) {
                Verdict::Flow => {
                    let hash = facts.key.hash(&self.hash_state);
                    let digest = self.digest(data, frame, Some(facts.ip_offset));
                    facts.row_of(frame, hash, at as u16, clock_ns);
                    facts.row.flags |= self.speaks(&facts.row, all);
                    self.mark_names(&mut facts.row, all);
                    if let Some(fragment) = facts.fragment {
                        let Facts { row, tunnels, .. } = *facts;
                        fragments.push(FragmentRow { row, fragment, digest, tunnels });
                    } else {
                        let rows = &mut rows[shard_of(hash, self.workers)];
                        rows.push_tunneled(facts.row, digest, &facts.tunnels);
                    }
                    continue;
                }
                Verdict::NonIp(ether_type) => LinkKind::NonIp(ether_type),
                Verdict::Malformed(reason) => LinkKind::Malformed(reason),
            };
            let digest = self.digest(data, frame, None).unwrap_or_default();
            let shard = shard_of(digest, self.workers);
            rows[shard].links.push(LinkRow {
                time_ns: frame.time_ns,
                index: block.first_frame + at as u64,
                digest,
                wire_bytes: frame.wire_bytes,
                kind,
                src_mac: facts.macs.src(),
                dst_mac: facts.macs.dst(),
                has_mac: facts.has_mac,
                vlan: facts.row.innermost_vlan(),
                arp_target: arp_target(kind, data, facts),
                late: frame.flags & frame_flag::LATE != 0,
            });
        }
        let Block { sequence, first_frame, bytes, frames, closed_before_s, shed, .. } = block;
        give(&self.pool.frames, frames);
        let data = Arc::new(BlockData::new(bytes, Some(Arc::clone(&self.pool))));
        Decoded { sequence, rows, fragments, data, closed_before_s, first_frame, shed }
    }

    /// False where there is nothing.
    #[inline(always)]
    fn push(&self, direct: Option<Direct>, to: Push<'_>) -> bool {
        let Some(mut direct) = direct else { return false };
        let hash = direct.hash(&self.hash_state);
        let digest = self.digest(to.data, to.frame, Some(direct.ip_offset));
        direct.row.put_in_stream(to.frame, hash, to.at, to.clock_ns);
        direct.row.flags |= self.speaks(&direct.row, to.all);
        let row = to.rows[shard_of(hash, self.workers)].push(direct.row, digest);
        self.mark_names(row, to.all);
        true
    }

    /// What a packet is marked with whose payload may be a message. Here, where its bytes are
    /// at hand: on the way to its shard they leave the cache.
    #[inline(always)]
    fn speaks(&self, row: &PacketRow, bytes: &[u8]) -> u16 {
        if !self.extracts || !concerns(row, bytes) {
            return 0;
        }
        row_flag::SPEAKS | if reads_names(&row.key, false) { row_flag::TELLS } else { 0 }
    }

    /// The same of names, of a packet where it stays: its address is given away.
    #[inline(always)]
    fn mark_names(&self, row: &mut PacketRow, bytes: &[u8]) {
        if self.names_alone
            && row.payload_captured > 0
            && let Some(&first) = bytes.get(row.payload_at as usize)
            && may_begin(row, first)
        {
            mark_names(row, bytes);
        }
    }

    /// Nothing without `--dedup`.
    #[inline(always)]
    fn digest(&self, data: &[u8], frame: &Frame, ip_offset: Option<u32>) -> Option<u64> {
        Some(self.digest_for(self.dedup?, data, frame, ip_offset))
    }

    #[inline(never)]
    fn digest_for(
        &self,
        dedup: DedupSettings,
        data: &[u8],
        frame: &Frame,
        ip_offset: Option<u32>,
    ) -> u64 {
        let routed = ip_offset
            .filter(|_| dedup.mode == DedupMode::Routed)
            .and_then(|offset| routed_digest(data, offset as usize, &self.hash_state));
        routed.unwrap_or_else(|| {
            let mut hasher = self.hash_state.build_hasher();
            hasher.write(data);
            hasher.write_u32(frame.wire_bytes);
            hasher.finish()
        })
    }
}

/// Where a packet comes from, and where it goes.
struct Push<'a> {
    frame: &'a Frame,
    /// The frame's place in its block.
    at: u16,
    clock_ns: i64,
    data: &'a [u8],
    /// The block's bytes.
    all: &'a [u8],
    rows: &'a mut [Rows],
}

/// Called where the payload may begin so that it tells names.
#[inline(never)]
fn mark_names(row: &mut PacketRow, bytes: &[u8]) {
    let payload = bytes.get(row.payload_at as usize..).unwrap_or_default();
    let payload = &payload[..payload.len().min(row.payload_captured as usize)];
    if may_tell(row, payload) {
        row.flags |= row_flag::TELLS;
    }
}

/// Target address of an ARP request over Ethernet (RFC 826).
fn arp_target(kind: LinkKind, data: &[u8], facts: &Facts) -> Option<[u8; 4]> {
    const ARP: u16 = 0x0806;
    const REQUEST: [u8; 2] = [0, 1];
    if !matches!(kind, LinkKind::NonIp(ARP)) || !facts.has_mac {
        return None;
    }
    let arp = data.get(14 + 4 * facts.vlans.ids().count()..)?;
    let packet = arp.first_chunk::<28>()?;
    (packet[6..8] == REQUEST).then(|| [packet[24], packet[25], packet[26], packet[27]])
}

/// Tells the other workers when this one unwinds.
struct FailureGuard<'a>(&'a AtomicBool);

impl FailureGuard<'_> {
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for FailureGuard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
