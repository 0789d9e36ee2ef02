//! One interface: whether its frames come in, and come in as they were on the
//! wire.

use std::fs;

use super::Check;
use super::ethtool::{DeviceRing, Ethtool, Offloads};
use crate::input::live::probe::{self, InterfaceFacts};

/// linux/if.h, in /sys/class/net/*/flags.
const IFF_PROMISC: u32 = 0x100;

/// All interfaces of the network namespace but loopback.
pub(super) fn names() -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split_once(':').map(|(name, _)| name.trim()));
    names.filter(|&name| name != "lo").map(str::to_owned).collect()
}

pub(super) fn checks(name: &str) -> Vec<Check> {
    let facts = match probe::interface(name) {
        Ok(facts) => facts,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let there = names().join(", ");
            let check = Check::failing("interface", "there is no such interface", "").remedy(
                if name == "any" {
                    format!("repeat -i for several interfaces; there are: {there}")
                } else {
                    format!("there are: {there}")
                },
            );
            return vec![check.of(name)];
        }
        Err(error) => {
            return vec![Check::failing("interface", error.to_string(), "").of(name)];
        }
    };
    let mut checks = vec![state(name, &facts), link(&facts), mtu(&facts), promiscuity(name)];
    if let Ok(driver) = Ethtool::open() {
        checks.push(offloads(name, driver.offloads(name).ok()));
        checks.push(device_ring(name, driver.ring(name).ok()));
        checks.push(if driver.has_hardware_stamps(name).unwrap_or(false) {
            Check::ok("time_stamps", "by the device (--hardware-stamps)")
        } else {
            Check::ok("time_stamps", "by the kernel")
        });
    }
    checks.push(drops(facts.drops));
    checks.into_iter().map(|check| check.of(name)).collect()
}

fn state(name: &str, facts: &InterfaceFacts) -> Check {
    const NAME: &str = "state";
    const MEANING: &str = "nothing comes in until it is";
    match (facts.up, facts.running) {
        (true, true) => Check::ok(NAME, "up"),
        (true, false) => Check::warning(NAME, "up, without a carrier", "nothing comes in")
            .remedy("look at the cable and at the other end"),
        (false, _) => Check::warning(NAME, "down", MEANING.replace("it is", "it is up"))
            .remedy(format!("ip link set {name} up")),
    }
}

fn link(facts: &InterfaceFacts) -> Check {
    const NAME: &str = "link_type";
    match facts.link {
        Some(link) => {
            Check::ok(NAME, format!("{} (hardware type {})", link.name(), facts.hardware))
        }
        None => Check::failing(
            NAME,
            format!("hardware type {}", facts.hardware),
            "its frames are not understood",
        ),
    }
}

fn mtu(facts: &InterfaceFacts) -> Check {
    Check::ok("mtu", format!("{} bytes", facts.mtu_bytes))
}

fn promiscuity(name: &str) -> Check {
    const NAME: &str = "promiscuous";
    let text = fs::read_to_string(format!("/sys/class/net/{name}/flags")).unwrap_or_default();
    let flags = text.trim().strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
    match flags {
        Some(flags) if flags & IFF_PROMISC != 0 => Check::ok(NAME, "on"),
        Some(_) => Check::ok(NAME, "off (a capture turns it on for its time)"),
        None => Check::ok(NAME, "unknown"),
    }
}

/// Frames that an offload put together, or has not cut yet, are no frames of
/// the wire.
fn offloads(name: &str, found: Option<Offloads>) -> Check {
    const NAME: &str = "offloads";
    let Some(offloads) = found else { return Check::ok(NAME, "the driver tells of none") };
    let falsifying = [
        ("gro", offloads.gro),
        ("lro", offloads.lro),
        ("gso", offloads.gso),
        ("tso", offloads.tso),
    ];
    let on: Vec<&str> = falsifying.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    // The tag comes beside the frame then, and is put back.
    let vlan = if offloads.rx_vlan { "; rxvlan on (tags are put back)" } else { "" };
    if on.is_empty() {
        return Check::ok(NAME, format!("gro, lro, gso, tso off{vlan}"));
    }
    let command: Vec<String> = on.iter().map(|name| format!("{name} off")).collect();
    Check::warning(
        NAME,
        format!("{} on{vlan}", on.join(", ")),
        "several packets come as one: sizes and counts are not those on the wire",
    )
    .remedy(format!("ethtool -K {name} {}", command.join(" ")))
}

fn device_ring(name: &str, ring: Option<DeviceRing>) -> Check {
    const NAME: &str = "device_ring";
    match ring {
        Some(DeviceRing { slots, most }) if slots < most => Check::warning(
            NAME,
            format!("{slots} of {most} slots"),
            "bursts overrun it sooner than they have to",
        )
        .remedy(format!("ethtool -G {name} rx {most}")),
        Some(DeviceRing { slots, .. }) => Check::ok(NAME, format!("{slots} slots")),
        None => Check::ok(NAME, "none (a virtual device)"),
    }
}

fn drops(drops: Option<u64>) -> Check {
    const NAME: &str = "drops";
    match drops {
        Some(0) => Check::ok(NAME, "none so far"),
        Some(drops) => Check::warning(
            NAME,
            format!("{drops} so far"),
            "frames were dropped by the device or its driver: a capture at that time missed them",
        ),
        None => Check::ok(NAME, "not told"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn offloads_that_falsify_sizes_come_with_the_command_that_ends_them() {
        let found = Offloads { gro: true, tso: true, rx_vlan: true, ..Offloads::default() };
        let check = offloads("eth0", Some(found));
        assert_eq!(check.status, Status::Warning);
        assert_eq!(check.found, "gro, tso on; rxvlan on (tags are put back)");
        assert_eq!(check.remedy, "ethtool -K eth0 gro off tso off");
        let found = Offloads { rx_vlan: true, ..Offloads::default() };
        assert_eq!(offloads("eth0", Some(found)).status, Status::Ok);
    }

    #[test]
    fn a_device_ring_below_its_size_is_told_with_the_command() {
        let check = device_ring("eth0", Some(DeviceRing { slots: 512, most: 4_096 }));
        assert_eq!(check.remedy, "ethtool -G eth0 rx 4096");
        let full = device_ring("eth0", Some(DeviceRing { slots: 4_096, most: 4_096 }));
        assert_eq!(full.status, Status::Ok);
    }

    #[test]
    fn drops_and_states_are_warnings() {
        assert_eq!(drops(Some(0)).status, Status::Ok);
        assert_eq!(drops(Some(1)).status, Status::Warning);
        let facts = |up, running| InterfaceFacts {
            up,
            running,
            loopback: false,
            mtu_bytes: 1_500,
            hardware: 1,
            link: None,
            drops: None,
        };
        assert_eq!(state("x", &facts(true, true)).status, Status::Ok);
        assert_eq!(state("x", &facts(true, false)).status, Status::Warning);
        assert_eq!(state("x", &facts(false, false)).remedy, "ip link set x up");
        assert_eq!(link(&facts(true, true)).status, Status::Failing);
    }
}
