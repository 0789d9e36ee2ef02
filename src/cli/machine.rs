//! What defaults are sized by.

use std::fs;

/// The machine's memory, or what the control group may have of it. Not what is
/// free at the moment: the same command does the same on every run.
pub(super) fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    });
    // "max" where there is no limit; the root group has no such file.
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    machine.into_iter().chain(group).min()
}

/// Memory of each ring: what was asked for, or a 128th of the machine's memory for
/// all together: 0.15 s of standstill at 10 Gbit/s on a machine with 24 GiB, and
/// never a burden. The bounds: a quarter of a second of 1 Gbit/s, and what is
/// cleared within a second of the start.
pub(super) fn ring_bytes(asked_mib: Option<u32>, workers: usize, interfaces: usize) -> usize {
    let rings = workers.saturating_mul(interfaces).max(1) as u64;
    let share = || memory_bytes().map_or(0, |bytes| bytes / 128 / rings) >> 20;
    let mib = asked_mib.map_or_else(|| share().clamp(32, 256), u64::from);
    (mib as usize) << 20
}
