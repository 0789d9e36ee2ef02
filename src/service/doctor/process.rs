//! What this process may do.

use caps::{CapSet, Capability};

use super::Check;
use crate::service::confine::how_to_get_cap_net_raw;

/// Rings, files of a run, receivers and scrapers need a few dozen.
const OPEN_FILES: u64 = 1_024;

pub(super) fn checks() -> Vec<Check> {
    vec![cap_net_raw(), open_files(), locked_memory()]
}

fn cap_net_raw() -> Check {
    const NAME: &str = "cap_net_raw";
    let has = |set| caps::has_cap(None, set, Capability::CAP_NET_RAW).unwrap_or(false);
    let (effective, permitted) = (has(CapSet::Effective), has(CapSet::Permitted));
    if effective {
        return Check::ok(NAME, "effective");
    }
    let found = if permitted { "permitted, not effective" } else { "missing" };
    let check = Check::failing(NAME, found, "no packet can be captured without it");
    check.remedy(how_to_get_cap_net_raw())
}

fn open_files() -> Check {
    const NAME: &str = "open_files";
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    match soft_limit(&limits, "Max open files") {
        Some(limit) if limit < OPEN_FILES => {
            let meaning = "files of a run, receivers and scrapers may find no descriptor left";
            Check::warning(NAME, format!("at most {limit}"), meaning)
                .remedy(format!("ulimit -n {OPEN_FILES}    (systemd: LimitNOFILE={OPEN_FILES})"))
        }
        Some(u64::MAX) => Check::ok(NAME, "unlimited"),
        Some(limit) => Check::ok(NAME, format!("at most {limit}")),
        None => Check::warning(NAME, "unknown", "/proc/self/limits can't be read"),
    }
}

/// Rings are not counted in it; BPF maps of kernels before 5.11 are.
fn locked_memory() -> Check {
    const NAME: &str = "locked_memory";
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    match soft_limit(&limits, "Max locked memory") {
        Some(u64::MAX) => Check::ok(NAME, "unlimited"),
        Some(limit) => {
            Check::ok(NAME, format!("at most {} KiB (rings are not counted)", limit / 1_024))
        }
        None => Check::warning(NAME, "unknown", "/proc/self/limits can't be read"),
    }
}

/// The soft limit of a line of /proc/self/limits; `u64::MAX` for none.
fn soft_limit(table: &str, name: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_from_their_own_line() {
        let table = "Limit                     Soft Limit           Hard Limit           Units\n\
                     Max open files            1024                 524288               files\n\
                     Max locked memory         unlimited            unlimited            bytes\n";
        assert_eq!(soft_limit(table, "Max open files"), Some(1_024));
        assert_eq!(soft_limit(table, "Max locked memory"), Some(u64::MAX));
        assert_eq!(soft_limit(table, "Max nice priority"), None);
    }
}
