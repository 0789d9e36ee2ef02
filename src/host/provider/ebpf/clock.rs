//! From the kernel's clock since boot to the wall clock that stamps packets.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// What the wall clock is ahead of the clock since boot, as last seen. It is
/// looked at again and again, since the wall clock is set and slewed.
#[derive(Debug)]
pub(super) struct Clock {
    ahead_ns: i64,
}

impl Clock {
    pub(super) fn new() -> Self {
        let mut clock = Self { ahead_ns: 0 };
        clock.sample();
        clock
    }

    /// Of three looks the one that took least: the reader may lose the processor
    /// between the two clocks.
    pub(super) fn sample(&mut self) {
        let look = |_| {
            let before = ns(clock_gettime(ClockId::Boottime));
            let wall = ns(clock_gettime(ClockId::Realtime));
            let after = ns(clock_gettime(ClockId::Boottime));
            (after - before, wall - (before + (after - before) / 2))
        };
        if let Some((_, ahead_ns)) = (0..3).map(look).min_by_key(|(took_ns, _)| *took_ns) {
            self.ahead_ns = ahead_ns;
        }
    }

    pub(super) fn wall_ns(&self, since_boot_ns: u64) -> i64 {
        i64::try_from(since_boot_ns).unwrap_or(i64::MAX).saturating_add(self.ahead_ns)
    }

    pub(super) fn now_ns(&self) -> i64 {
        ns(clock_gettime(ClockId::Boottime)).saturating_add(self.ahead_ns)
    }
}

fn ns(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}
