//! Counters of containers, as cAdvisor shows them to Prometheus: `counters.prom`.
//!
//! Counted from the very packets; scraped each [`SCRAPE_S`] seconds, after a line with
//! the time, which is how a recording of scrapes looks (`telemetry::counters`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use super::play::Notes;
use super::talk::Talk;
use super::world::World;

const SECOND_NS: i64 = 1_000_000_000;

/// Between scrapes: cAdvisor's own housekeeping is up to 15 s, a scrape a minute is
/// Prometheus' default; half of that is usual for containers.
const SCRAPE_S: i64 = 30;

/// By family: with Ethernet's header, as interfaces count.
type Sums = [u64; 4];
const FAMILIES: [&str; 4] =
    ["receive_bytes", "receive_packets", "transmit_bytes", "transmit_packets"];

/// Containers on hosts that have counters.
#[derive(Debug)]
pub(super) struct CounterLog {
    sums: BTreeMap<usize, Sums>,
    next_s: i64,
    text: String,
}

impl CounterLog {
    pub(super) fn new(world: &World) -> Self {
        let counted = world.containers.iter().enumerate().filter(|(_, container)| {
            world.hosts.get(container.host).is_some_and(|host| host.counters)
        });
        Self {
            sums: counted.map(|(at, _)| (at, Sums::default())).collect(),
            next_s: world.start_ns.div_euclid(SECOND_NS),
            text: String::new(),
        }
    }

    /// Scrapes that are due by then.
    pub(super) fn advance(
        &mut self,
        now_ns: i64,
        world: &World,
        notes: &mut dyn Notes,
    ) -> io::Result<()> {
        if self.sums.is_empty() {
            return Ok(());
        }
        while self.next_s.saturating_mul(SECOND_NS) <= now_ns {
            self.scrape(world);
            notes.counter_text(&self.text)?;
            self.next_s += SCRAPE_S;
        }
        Ok(())
    }

    pub(super) fn count(&mut self, talk: &Talk, forward: bool, frame_bytes: usize) {
        if self.sums.is_empty() {
            return;
        }
        let (src, dst) =
            if forward { (&talk.client, &talk.server) } else { (&talk.server, &talk.client) };
        let bytes = frame_bytes as u64;
        if let Some(sums) = src.seat.container.and_then(|at| self.sums.get_mut(&at)) {
            sums[2] += bytes;
            sums[3] += 1;
        }
        if let Some(sums) = dst.seat.container.and_then(|at| self.sums.get_mut(&at)) {
            sums[0] += bytes;
            sums[1] += 1;
        }
    }

    fn scrape(&mut self, world: &World) {
        self.text.clear();
        let _ = writeln!(self.text, "{}.000000000", self.next_s);
        for (family, name) in FAMILIES.iter().enumerate() {
            let _ = writeln!(self.text, "# TYPE container_network_{name}_total counter");
            for (&at, sums) in &self.sums {
                let Some(workload) = world.containers.get(at).map(|it| &it.workload) else {
                    continue;
                };
                let _ = writeln!(
                    self.text,
                    "container_network_{name}_total{{id=\"/docker/{}\",image=\"{}\",interface=\"eth0\",name=\"{}\"}} {}",
                    workload.container, workload.image, workload.name, sums[family]
                );
            }
        }
    }
}
