//! A run from input to alerts: what it is told, what it says, and the threads
//! that it starts. The calling thread is the correlation stage. Start at [`run`].

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use crossbeam_channel::{Sender, bounded, unbounded};

use super::accounting::{Accounting, Overload};
use super::correlation::Correlation;
use super::dedup::DedupSettings;
use super::feed::{SidedCount, Vantage, WindowFeed};
use super::reload::{Reload, Reloads};
use super::sensor::SensorEvent;
use super::sequencer::{Sequencer, offline_hash_state};
use super::shard::Shard;
use super::window::{Assembled, Assembler, ChunkPool, WindowSettings};
use super::worker::{IDLE_WAIT, Pool, Shared, Source};
use crate::alert;
use crate::alert::Alert;
use crate::baseline::Lent;
use crate::detect::analytic::Inputs;
use crate::detect::{DetectSettings, Interest};
use crate::entity::{Bytes, ReportedCounts};
use crate::flow::settings::{TableSettings, Wanted};
use crate::flow::table::TableCounters;
use crate::flow::totals::{FlowTotals, InferredLoss};
use crate::flow::{Ended, FlowRecord, Timeouts};
use crate::host::coverage::Coverage;
use crate::host::join::HostKnowledge;
use crate::host::side::FlowHosts;
use crate::input::filter::Filter;
use crate::input::live::{LiveStatus, TapStatus};
use crate::input::{Counters, FileReport, Input, Interface, LATENESS_S, LIVE_WAIT};
use crate::lock::Lock;
use crate::packet::{DecodeOptions, Decoder};
use crate::telemetry::Observation;
use crate::telemetry::counters::series::Growth;
use crate::telemetry::feed::Feed;
use crate::telemetry::report::SourceReport;

const SECOND_NS: i64 = 1_000_000_000;

/// Outputs a shard may be ahead of the correlation stage: bounds memory when
/// writing is slower than reading.
const OUTPUTS_IN_FLIGHT_PER_SHARD: usize = 4;

/// Pieces of its tail that a shard may be ahead of the merge at the end.
const TAILS_IN_FLIGHT: usize = 2;

/// Everything a run can be told.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Worker threads, each with a shard of the flows; at least 1.
    pub workers: usize,
    pub decode: DecodeOptions,
    pub timeouts: Timeouts,
    /// Flows held at once, over all workers.
    pub max_flows: usize,
    /// How far behind the stream's clock a packet still counts in its second.
    pub lateness_s: i64,
    pub dedup: Option<DedupSettings>,
    pub filter: Option<Arc<Filter>>,
    pub detect: DetectSettings,
    /// Off: flows and windows alone, which is what detection is measured against
    /// (`benches/pipeline.rs`).
    pub detects: bool,
    /// Where the input is live.
    pub live: Option<LiveRun>,
    /// What is known of hosts: records are joined to it.
    pub hosts: Option<HostKnowledge>,
    /// Logs, exports and counters beside the packets.
    pub telemetry: Option<Feed>,
    /// What entities are held against. Taken while the run goes on, and given back with
    /// what it taught.
    pub baselines: Option<Lent>,
    /// Where other settings of detection come in while the run goes on.
    pub reloads: Option<Arc<Reloads>>,
    /// The process has no other run: what detection held stays where it is, since at the
    /// process's end the kernel takes pages back in less time than it takes to free what is
    /// on them.
    pub leaves_memory: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            workers: thread::available_parallelism().map_or(1, usize::from),
            decode: DecodeOptions::default(),
            timeouts: Timeouts::default(),
            max_flows: 1 << 20,
            lateness_s: LATENESS_S,
            dedup: None,
            filter: None,
            detect: DetectSettings::default(),
            detects: true,
            live: None,
            hosts: None,
            telemetry: None,
            baselines: None,
            reloads: None,
            leaves_memory: false,
        }
    }
}

/// What a live run is told beside. Its hash keys are drawn anew, since attackers
/// choose tuples; no result depends on them.
#[derive(Clone, Debug)]
pub struct LiveRun {
    pub status: Arc<LiveStatus>,
    /// A filter runs in the kernel.
    pub filter_in_kernel: bool,
    /// Seconds without a packet after which an interface counts as silent.
    pub silent_after_s: u64,
    /// Interfaces that an earlier run heard packets at, and in which second the last: they
    /// can be silent from the start.
    pub heard_before: BTreeMap<String, i64>,
    /// The memory of a flood is taken from the kernel before there is one.
    pub preallocates: bool,
    /// Set while somebody watches: windows then hold payload sizes in fine bins.
    pub watched: Arc<AtomicBool>,
}

/// Takes what a run says along the way. Every call comes from one thread, in an
/// order that does not depend on the number of workers.
pub trait RecordSink {
    /// A finished record, in the records' final order.
    fn record(&mut self, record: FlowRecord) -> io::Result<()>;

    /// What another source observed; `source` is its place in the run's list of
    /// sources.
    fn observed(&mut self, _source: u16, _: &Observation, _: &Joined<'_>) -> io::Result<()> {
        Ok(())
    }

    /// An alert that was opened or has a new revision; with `closed`, its last.
    fn alert(&mut self, _alert: &Alert, _closed: bool) {}

    /// A second that is complete and had packets, before it is closed. Most
    /// sinks have no use for it: what it costs is up to the sink.
    fn window(&mut self, _: &Assembled) {}

    /// Something happened to the sensor of a live run.
    fn sensor_event(&mut self, _: &SensorEvent) {}

    /// Settings changed, or could not: from here on what is told was judged by
    /// those in force.
    fn reloaded(&mut self, _: &Reload) {}

    /// Where hosts are watched: what became of the flows so far. Told before each
    /// second's end.
    fn hosts(&mut self, _: &Coverage) {}

    /// What kinds of telemetry there were so far. Told before each second's end.
    fn inputs(&mut self, _: &Inputs) {}

    /// All seconds before this one are closed: their records and alerts have
    /// been given.
    fn closed_before(&mut self, _second: i64, _: FlowGauge) {}

    /// False spares the run the making of records: flows are only counted, and joined
    /// to hosts where those are known.
    fn wants_records(&self) -> bool {
        true
    }
}

/// What the correlation stage knows beside an observation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Joined<'a> {
    /// Of a flow: the hosts at its ends.
    pub hosts: Option<&'a FlowHosts>,
    /// Of counters: by how much they grew since the source's last reading of them.
    pub growth: Option<&'a Growth>,
}

/// The flow tables of all shards, by the time that a second is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowGauge {
    /// Flows in the tables now.
    pub held: u64,
    /// Flows begun since the start; one cut by the active time-out begins anew.
    pub begun: u64,
    /// What was left out until then; zero but of a live run.
    pub overload: Overload,
}

impl FlowGauge {
    pub(super) fn merge(&mut self, other: Self) {
        self.held += other.held;
        self.begun += other.begun;
        self.overload.merge(other.overload);
    }
}

impl<F: FnMut(&FlowRecord)> RecordSink for F {
    fn record(&mut self, record: FlowRecord) -> io::Result<()> {
        self(&record);
        Ok(())
    }
}

/// What a run found out, besides the records.
#[derive(Debug)]
pub struct RunReport {
    pub accounting: Accounting,
    /// Records.
    pub flows: u64,
    pub table: TableCounters,
    /// Sums over all flows.
    pub totals: FlowTotals,
    pub late_packets: u64,
    pub input: Counters,
    pub files: Vec<FileReport>,
    pub interfaces: Vec<Interface>,
    pub sided: Vec<(Vantage, SidedCount)>,
    pub alerts: Vec<Alert>,
    pub detection: alert::Counters,
    pub workers: usize,
    /// How much of it has a process, where hosts are known.
    pub coverage: Option<Coverage>,
    /// What kinds of telemetry there were.
    pub inputs: Inputs,
    /// What became of reported flows in the measures of entities.
    pub reported: ReportedCounts,
    /// Of packets, as far as entities looked at them.
    pub bytes: Bytes,
    /// Logs, exports and counters, in the order in which they were named.
    pub sources: Vec<SourceReport>,
    /// Of a live run.
    pub capture: Option<LiveCapture>,
    /// The sink refused a record; the run went on without it.
    pub write_error: Option<io::Error>,
}

/// What a live run leaves behind beside its packets.
#[derive(Debug)]
pub struct LiveCapture {
    pub taps: Vec<TapStatus>,
    /// By tap, of all flows.
    pub inferred: Vec<InferredLoss>,
    pub sensor: String,
    /// At the end.
    pub clock_synchronised: Option<bool>,
    pub filter_in_kernel: bool,
}

impl RunReport {
    /// No record was lost or cut short by the table's cap.
    pub fn flows_complete(&self) -> bool {
        let TableCounters { evicted, refused_packets, sampled_packets, .. } = self.table;
        evicted == 0 && refused_packets == 0 && sampled_packets == 0
    }

    /// Some records of other sources came after those of later times had been judged. Live
    /// a source that tells late is no loss as long as what it tells of is still open.
    pub fn left_out_unordered(&self) -> bool {
        let is_read = self.capture.is_none();
        self.reported.late > 0 || is_read && self.sources.iter().any(|source| source.late > 0)
    }
}

/// Says that no more records come of a worker, so that the correlation stage need not wait;
/// of one that panicked as well.
struct Ends<'a>(&'a Sender<Ended>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let _ = self.0.send(Ended::default());
    }
}

/// Names of a flow tell who is at its ends, and what is usual.
pub(super) fn wants_names(options: &RunOptions) -> bool {
    options.hosts.is_some() || options.baselines.is_some()
}

/// Reads `input` to its end.
///
/// # Panics
/// When a worker panicked, which is a bug: the panic is passed on.
pub fn run(input: Input, options: &RunOptions, sink: &mut dyn RecordSink) -> RunReport {
    let workers = options.workers.max(1);
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded()).unzip();
    let origins = input.origins();
    let hash_state =
        if options.live.is_some() { ahash::RandomState::new() } else { offline_hash_state() };
    let wanted = if sink.wants_records() {
        Wanted::Records
    } else if options.detects || options.hosts.is_some() {
        Wanted::Outlines
    } else {
        Wanted::Counts
    };
    let shared = Shared {
        read_ahead: input.read_ahead(),
        source: Lock::new(Source { input, clock_ns: i64::MIN, blocks: 0, done: false }),
        sequencer: Sequencer::new(senders),
        pool: Arc::new(Pool::default()),
        failed: AtomicBool::new(false),
        workers,
        decoder: Decoder::new(options.decode),
        filter: options.filter.clone(),
        dedup: options.dedup,
        extracts: options.detects,
        names_alone: wanted == Wanted::Outlines && wants_names(options),
        hash_state: hash_state.clone(),
        idle_wait: if options.live.is_some() { LIVE_WAIT } else { IDLE_WAIT },
    };
    let table = TableSettings {
        timeouts: options.timeouts,
        max_flows: options.max_flows.div_ceil(workers).max(1),
        lateness_ns: options.lateness_s.max(0).saturating_mul(SECOND_NS),
        wanted,
        names: wants_names(options),
    };
    let windows = WindowSettings::default();
    let chunks = Arc::new(ChunkPool::default());
    let assembler = Assembler::new(windows, Interest::of(&options.detect), Arc::clone(&chunks));
    let mut correlation = Correlation::new(workers, options, assembler, Arc::clone(&origins), sink);
    let preallocates = options.live.as_ref().is_some_and(|live| live.preallocates);
    let watched = options.live.as_ref().map(|live| Arc::clone(&live.watched));
    let tails: Vec<_> = (0..workers).map(|_| bounded(TAILS_IN_FLIGHT)).collect();
    let (out, outputs) = bounded(workers * OUTPUTS_IN_FLIGHT_PER_SHARD);
    let finished = thread::scope(|scope| {
        let handles: Vec<_> = inboxes
            .iter()
            .enumerate()
            .map(|(id, inbox)| {
                let (shared, out, tail) = (&shared, out.clone(), &tails[id].0);
                let mut feed = WindowFeed::new(windows, Arc::clone(&chunks));
                feed.watched = watched.clone();
                scope.spawn(move || {
                    let mut shard =
                        Shard::new(table, shared.dedup, feed, shared.hash_state.clone());
                    if preallocates {
                        // By the thread that will use it: memory near its processor.
                        shard.preallocate();
                    }
                    let ends = Ends(tail);
                    let (shard, ledger) = shared.work(id, shard, inbox, out, tail);
                    drop(ends);
                    // Here, while the correlation stage is at the last flows: giving a
                    // table's memory back takes a while.
                    (shard.into_sums(), ledger)
                })
            })
            .collect();
        drop(out);
        correlation.follow(&outputs);
        correlation.end_tails(tails.iter().map(|(_, ended)| ended));
        correlation.finish_telemetry();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    let mut accounting = Accounting::default();
    let mut counters = TableCounters::default();
    let mut totals: Option<FlowTotals> = None;
    let (mut flows, mut late_packets) = (0, 0);
    for (sums, ledger) in finished {
        accounting.merge(&ledger);
        accounting.merge(&sums.accounting);
        counters.merge(&sums.counters);
        match &mut totals {
            None => totals = Some(sums.totals),
            Some(totals) => totals.merge(&sums.totals),
        }
        flows += sums.flows;
        late_packets += sums.late_packets;
    }
    let source = shared.source.into_inner();
    let input = source.input;
    let coverage = correlation.coverage();
    let inputs = correlation.detection.inputs().clone();
    let (reported, bytes) = (correlation.reported.counts, correlation.entities.bytes);
    let (alerts, detection, sided, write_error) = correlation.finish();
    let totals = totals.unwrap_or_else(|| FlowTotals::new(hash_state));
    let by_tap = |status: &LiveStatus| {
        status.sum_by_tap(|add| origins.by_name(&totals.inferred_losses, add))
    };
    RunReport {
        accounting,
        flows,
        table: counters,
        late_packets,
        input: input.counters(),
        files: input.reports().to_vec(),
        interfaces: input.interfaces().to_vec(),
        sided,
        alerts,
        detection,
        workers,
        coverage,
        inputs,
        reported,
        bytes,
        sources: options.telemetry.as_ref().map(Feed::finish).unwrap_or_default(),
        capture: options.live.as_ref().map(|live| LiveCapture {
            inferred: by_tap(&live.status),
            sensor: live.status.sensor().to_owned(),
            clock_synchronised: live.status.clock_synchronised(),
            taps: live.status.taps(),
            filter_in_kernel: live.filter_in_kernel,
        }),
        totals,
        write_error,
    }
}

impl TableCounters {
    fn merge(&mut self, other: &Self) {
        self.conversations += other.conversations;
        self.conversations_inexact |= other.conversations_inexact;
        self.evicted += other.evicted;
        self.refused_packets += other.refused_packets;
        self.sampled_packets += other.sampled_packets;
        self.peak_flows += other.peak_flows;
    }
}
