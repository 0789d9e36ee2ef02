//! Watches processes and sockets from within the kernel: the strongest provider.
//!
//! Small programs (`bpf/`, C of ours, compiled by the build) sit at tracepoints
//! and at the sockets' hooks of the root control group. They say which process
//! made, connected and used each socket, and which addresses the packets of
//! sockets have that know none themselves; and they tell each process with its
//! command line when it starts, so that one that lives for ten milliseconds is
//! known as well as a daemon. Nothing here reads a packet's contents beyond its
//! headers, changes a packet, or holds anything up.
//!
//! What answers a question, and why it is not something else:
//!
//! - **Who sends**: `sock_send_length` and `sock_recv_length`, at the end of each
//!   call. They run in the process that calls, so forks, sockets passed on and
//!   shared ones come out right. (`fentry` and kprobes would do as well, but many
//!   kernels have neither.)
//! - **Which addresses**: `net_dev_queue`, where every packet passes with its
//!   socket, those of packet sockets too. The hook of control groups for packets
//!   sees no packet sockets and runs on each packet of TCP.
//! - **Who connects or listens**: `inet_sock_set_state`. A connection's own port is
//!   chosen after that, so it is told with the first packet.
//! - **Who made it**: `cgroup/sock_create`, the only place where the maker of a
//!   datagram socket is seen before its first packet; and `cgroup/post_bind`, which
//!   names whoever waits for datagrams and never reads them.
//! - **Who has it now**: a socket that another process or program used before is told
//!   with each turn, so that the earlier one's claim ends there. After four turns in
//!   some seconds each user is told now and then, and all are meant.
//! - **What a process has become**: its user, session and executable are compared with
//!   what was told at each use that is told; `/proc` is not asked for it.
//!
//! `current` is not trusted where packets pass: a packet that waited for a
//! neighbour's address leaves from an interrupt of whoever runs. There the socket's
//! last user decides, and the call that sends has the last word.
//!
//! What it does not see: packets that a packet socket sends past the queue
//! (`PACKET_QDISC_BYPASS`) or from a transmit ring whose headers lie in pages, and
//! `AF_XDP`: of the first two the socket itself is told, without addresses.
//!
//! Start at [`Ebpf::new`].

mod clock;
mod load;
mod proc_side;
mod raw;

use std::time::{Duration, Instant};

use self::clock::Clock;
use self::load::Loaded;
use self::proc_side::ProcSide;
use super::proc::Secrets;
use super::{EventSink, Provider, ProviderError, Stop, TIME_INTERVAL};
use crate::host::attribution::Method;
use crate::host::event::{HostEvent, What};

pub use self::load::available;

/// How often the kernel's ring is read. The programs never wake the reader: an
/// interrupt for each event would cost more than a look each hundredth of a second.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// An event is stamped before it has its place in the ring, and processors differ:
/// within this time events are put in order.
const ORDER_WINDOW_NS: i64 = 5_000_000;

/// Events that are read at once before they are told: bounds memory, whatever the
/// kernel has.
const BATCH_EVENTS: usize = 16_384;

/// Batches at the end: more than the ring holds, so that what it has is told, and
/// not endless while events go on.
const LAST_BATCHES: usize = 12;

/// The provider. Its programs are at work from when it was made.
#[derive(Debug)]
pub struct Ebpf {
    loaded: Loaded,
    clock: Clock,
    /// Read and not yet told, since earlier ones may follow.
    waiting: Vec<HostEvent>,
    lost_events: u64,
    proc_side: ProcSide,
}

impl Ebpf {
    /// Loads and attaches the programs. Rights are needed only here.
    pub fn new(secrets: Secrets) -> Result<Self, ProviderError> {
        available()?;
        Ok(Self {
            loaded: Loaded::new()?,
            clock: Clock::new(),
            waiting: Vec::new(),
            lost_events: 0,
            proc_side: ProcSide::new(secrets),
        })
    }

    /// Reads what the ring has. The time before which all is in `waiting`.
    fn read_ring(&mut self) -> i64 {
        self.clock.sample();
        let before_ns = self.clock.now_ns();
        let mut newest_ns = i64::MIN;
        for _ in 0..BATCH_EVENTS {
            let Some(bytes) = self.loaded.ring.next() else {
                return before_ns - ORDER_WINDOW_NS;
            };
            match raw::parse(&bytes, &self.clock) {
                Some(mut event) => {
                    newest_ns = newest_ns.max(event.time_ns);
                    if let What::ProcessStart(process) | What::ProcessExec(process) =
                        &mut event.what
                    {
                        self.proc_side.complete(process);
                    }
                    self.waiting.push(event);
                }
                None => self.lost_events += 1,
            }
        }
        newest_ns.min(before_ns) - ORDER_WINDOW_NS
    }

    /// False when nobody listens.
    fn tell_until(&mut self, events: &EventSink, until_ns: i64) -> bool {
        self.waiting.sort_by_key(|event| event.time_ns);
        let ready = self.waiting.partition_point(|event| event.time_ns < until_ns);
        self.waiting.drain(..ready).all(|event| events.tell(event.time_ns, event.what))
    }

    fn tell_lost(&mut self, events: &EventSink, until_ns: i64) -> Result<bool, ProviderError> {
        let lost = self.lost_events + self.loaded.take_lost()?;
        self.lost_events = 0;
        Ok(lost == 0 || events.lost(until_ns, lost))
    }
}

impl Provider for Ebpf {
    fn method(&self) -> Method {
        Method::Ebpf
    }

    fn run(mut self: Box<Self>, events: &EventSink, stop: &Stop) -> Result<(), ProviderError> {
        if !self.proc_side.tell_what_is_there(events)? {
            return Ok(());
        }
        let mut said = Instant::now();
        loop {
            let last = stop.is_set();
            let mut until_ns = self.read_ring();
            if last {
                for _ in 1..LAST_BATCHES {
                    self.read_ring();
                }
                until_ns = i64::MAX;
            }
            if !self.tell_until(events, until_ns) {
                return Ok(());
            }
            if last || said.elapsed() >= TIME_INTERVAL / 2 {
                let until_ns = if last { self.clock.now_ns() } else { until_ns };
                if !self.tell_lost(events, until_ns)? || !events.told_before(until_ns) {
                    return Ok(());
                }
                said = Instant::now();
            }
            if last {
                return Ok(());
            }
            stop.sleep(LOOK_INTERVAL);
        }
    }
}
