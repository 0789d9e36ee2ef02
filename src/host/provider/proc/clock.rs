//! The kernel's clocks to the wall clock.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Hundredths of a second: the unit of start times in `/proc/PID/stat`.
const NS_PER_TICK: i64 = 10_000_000;

/// Differences between the wall clock and the kernel's two clocks since boot,
/// at one time. Take it again now and then: somebody may set the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct KernelClock {
    monotonic_to_wall_ns: i64,
    boot_to_wall_ns: i64,
}

impl KernelClock {
    pub fn now() -> Self {
        Self {
            monotonic_to_wall_ns: to_wall_ns(ClockId::Monotonic),
            boot_to_wall_ns: to_wall_ns(ClockId::Boottime),
        }
    }

    pub fn wall_now_ns() -> i64 {
        ns(clock_gettime(ClockId::Realtime))
    }

    /// Wall time of a stamp of `CLOCK_MONOTONIC` (connector, `bpf_ktime_get_ns`).
    pub fn monotonic_to_wall_ns(&self, monotonic_ns: u64) -> i64 {
        i64::try_from(monotonic_ns).unwrap_or(i64::MAX).saturating_add(self.monotonic_to_wall_ns)
    }

    /// Wall time of a process's start, to a hundredth of a second.
    pub fn start_to_wall_ns(&self, start_ticks: u64) -> i64 {
        i64::try_from(start_ticks)
            .unwrap_or(i64::MAX)
            .saturating_mul(NS_PER_TICK)
            .saturating_add(self.boot_to_wall_ns)
    }

    /// Start time as `/proc` would have it of a process that began at `wall_ns`. A
    /// process that began at the very edge of a tick may be off by one.
    pub fn wall_to_start_ticks(&self, wall_ns: i64) -> u64 {
        u64::try_from(wall_ns.saturating_sub(self.boot_to_wall_ns) / NS_PER_TICK).unwrap_or(0)
    }
}

/// What to add to a time of `clock`. Another program may run between two
/// readings, so the tightest of three counts.
fn to_wall_ns(clock: ClockId) -> i64 {
    let sample = || {
        let before = ns(clock_gettime(clock));
        let wall = ns(clock_gettime(ClockId::Realtime));
        let after = ns(clock_gettime(clock));
        (after - before, wall - (before + (after - before) / 2))
    };
    let samples = [sample(), sample(), sample()];
    samples.iter().min().map_or(0, |&(_, difference)| difference)
}

fn ns(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_now_become_now() {
        let monotonic = ns(clock_gettime(ClockId::Monotonic));
        let wall = KernelClock::wall_now_ns();
        let told = KernelClock::now().monotonic_to_wall_ns(monotonic.unsigned_abs());
        assert!((told - wall).abs() < 50_000_000, "{told} is not near {wall}");
    }

    #[test]
    fn ticks_and_wall_time_agree() {
        let clock = KernelClock::now();
        for ticks in [0, 1, 77, 360_000] {
            let wall = clock.start_to_wall_ns(ticks);
            assert_eq!(clock.wall_to_start_ticks(wall), ticks);
            assert_eq!(clock.wall_to_start_ticks(wall + NS_PER_TICK - 1), ticks);
        }
    }

    #[test]
    fn absurd_stamps_do_not_overflow() {
        let clock = KernelClock::now();
        assert_eq!(clock.monotonic_to_wall_ns(u64::MAX), i64::MAX);
        assert_eq!(clock.start_to_wall_ns(u64::MAX), i64::MAX);
        assert_eq!(clock.wall_to_start_ticks(i64::MIN), 0);
    }
}
