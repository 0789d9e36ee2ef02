//! What the system says about an interface: whether a default route leads
//! through it, and how many packets it dropped.
//!
//! Reads /proc/net and /sys/class/net, and changes nothing. Routes of tables
//! other than the main one are not seen for IPv4. Start at [`default_route`].

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// An unreachable, blackhole or prohibit route leads nowhere (RTF_REJECT).
const REJECT: u32 = 0x0200;

/// Tunnels to everywhere are written as two halves of all addresses, which go
/// before a default route: prefixes of one bit count as one.
const LONGEST_DEFAULT_PREFIX: u32 = 1;

/// An interface with a default route by which frames sent out of `name` could
/// leave the lab: `name` itself, or one stacked above or below it (bridge, bond,
/// VLAN). `None` when there is none.
pub(super) fn default_route(name: &str) -> Option<String> {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let mut routed = routed_v4(&text("/proc/net/route"));
    routed.extend(routed_v6(&text("/proc/net/ipv6_route")));
    stacked(name, &|name| neighbours(Path::new("/sys/class/net"), name))
        .into_iter()
        .find(|name| routed.contains(name))
}

/// Packets that the interface dropped instead of sending, so far.
pub(super) fn dropped_packets(name: &str) -> Option<u64> {
    dropped_in(&fs::read_to_string("/proc/net/dev").ok()?, name)
}

/// The dropped column of the sending half, `/proc/net/dev`.
fn dropped_in(text: &str, name: &str) -> Option<u64> {
    const COLUMN: usize = 11;

    text.lines().find_map(|line| {
        let (interface, counters) = line.split_once(':')?;
        (interface.trim() == name).then(|| counters.split_whitespace().nth(COLUMN)?.parse().ok())?
    })
}

/// Interfaces with a default route of IPv4.
fn routed_v4(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [interface, _, _, flags, _, _, _, mask, ..] = fields[..] else { return None };
            let flags = u32::from_str_radix(flags, 16).ok()?;
            let prefix = u32::from_str_radix(mask, 16).ok()?.count_ones();
            leads_everywhere(flags, prefix).then(|| interface.to_owned())
        })
        .collect()
}

/// Interfaces with a default route of IPv6.
fn routed_v6(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, prefix, .., flags, interface] = fields[..] else { return None };
            let flags = u32::from_str_radix(flags, 16).ok()?;
            let prefix = u32::from_str_radix(prefix, 16).ok()?;
            leads_everywhere(flags, prefix).then(|| interface.to_owned())
        })
        .collect()
}

fn leads_everywhere(flags: u32, prefix: u32) -> bool {
    flags & REJECT == 0 && prefix <= LONGEST_DEFAULT_PREFIX
}

/// `name` and everything that is stacked with it, over any number of steps.
fn stacked(name: &str, neighbours: &dyn Fn(&str) -> Vec<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::from([name.to_owned()]);
    let mut to_ask = vec![name.to_owned()];
    while let Some(name) = to_ask.pop() {
        for neighbour in neighbours(&name) {
            if found.insert(neighbour.clone()) {
                to_ask.push(neighbour);
            }
        }
    }
    found
}

/// The links `upper_NAME` and `lower_NAME` of an interface in sysfs.
fn neighbours(sysfs: &Path, name: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(sysfs.join(name)) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let link = entry.file_name().into_string().ok()?;
            link.strip_prefix("upper_").or_else(|| link.strip_prefix("lower_")).map(str::to_owned)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // As a machine writes them, columns and all.
    const V4: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t00000080\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0
*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0
";
    const V6: &str = "\
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth2
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";
    const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    2    3    4     5          6         7      100       9   10   11   12    13      14         15
 eth0:8000 80 0 0 0 0 0 0 9000 90 0 77 0 0 0 0
";

    #[test]
    fn default_routes_are_told_from_others() {
        assert_eq!(Vec::from_iter(routed_v4(V4)), ["eth0", "tun0"]);
        assert_eq!(Vec::from_iter(routed_v6(V6)), ["eth2"]);
        assert!(routed_v4("").is_empty() && routed_v6("nonsense\n\n1 2\n").is_empty());
    }

    #[test]
    fn everything_stacked_with_an_interface_is_asked_once() {
        // A VLAN on a bond of two, and a bridge that has nothing to do with it.
        let neighbours = |name: &str| -> Vec<String> {
            let names: &[&str] = match name {
                "eth0" | "eth1" => &["bond0"],
                "bond0" => &["eth0", "eth1", "bond0.7"],
                "bond0.7" => &["bond0"],
                "br0" => &["veth0"],
                _ => &[],
            };
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let found = stacked("eth0", &neighbours);
        assert_eq!(Vec::from_iter(found), ["bond0", "bond0.7", "eth0", "eth1"]);
    }

    #[test]
    fn links_of_sysfs_name_the_neighbours() {
        let sysfs = tempfile::tempdir().unwrap();
        let eth0 = sysfs.path().join("eth0");
        fs::create_dir(&eth0).unwrap();
        for name in ["upper_br0", "lower_eno1", "mtu", "statistics"] {
            fs::write(eth0.join(name), "").unwrap();
        }
        let mut found = neighbours(sysfs.path(), "eth0");
        found.sort();
        assert_eq!(found, ["br0", "eno1"]);
        assert!(neighbours(sysfs.path(), "eth9").is_empty());
    }

    #[test]
    fn dropped_packets_are_those_of_the_sending_half() {
        assert_eq!(dropped_in(DEV, "lo"), Some(11));
        assert_eq!(dropped_in(DEV, "eth0"), Some(77));
        assert_eq!(dropped_in(DEV, "eth1"), None);
    }
}
