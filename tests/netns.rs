//! The harness of network namespaces: what it promises to tests.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;

use support::netns::{LinkOptions, Netns};

fn is_there(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

#[test]
fn both_ends_of_a_link_reach_each_other_and_nothing_is_left() {
    let Some(mut net) = Netns::or_skip("both_ends_of_a_link", 2, &["ping"]) else { return };
    let links = [(); 2].map(|()| net.join(0, 1, LinkOptions::default()));
    for link in &links {
        for (space, other) in [(0, 1), (1, 0)] {
            for address in [&link.ipv4[other], &link.ipv6[other]] {
                net.run(space, ["ping", "-q", "-c1", "-W5", address]);
            }
        }
        assert!(net.counter(0, &link.names[0], "rx_packets") > 0);
        // Made inside: the host never saw it.
        assert!(!Path::new("/sys/class/net").join(&link.names[0]).exists());
    }
    let names = [net.name(0).to_owned(), net.name(1).to_owned()];
    assert!(names.iter().all(|name| is_there(name)));
    drop(net);
    assert!(!names.iter().any(|name| is_there(name)));
}

#[test]
fn a_test_that_fails_leaves_neither_namespace_nor_process() {
    if Netns::or_skip("a_test_that_fails", 0, &[]).is_none() {
        return;
    }
    let (sender, receiver) = mpsc::channel();
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let net = Netns::new(1);
        let running = net.spawn(net.command(0, ["sleep", "600"]));
        sender.send((net.name(0).to_owned(), running.child.id())).unwrap();
        panic!("on purpose");
    }));
    assert!(failed.is_err());
    let (name, process) = receiver.recv().unwrap();
    assert!(!is_there(&name));
    assert!(!Path::new("/proc").join(process.to_string()).exists());
}

#[test]
fn a_link_has_the_mtu_and_the_offloads_that_were_asked_for() {
    let Some(mut net) = Netns::or_skip("a_link_has_the_mtu", 2, &["ethtool"]) else { return };
    for offloads in [true, false] {
        let options = LinkOptions { mtu: 4_000, offloads, addresses: true };
        let link = net.join(0, 1, options);
        for space in 0..2 {
            let name = link.names[space].as_str();
            let shown = net.run(space, ["ip", "link", "show", name]).stdout;
            assert!(String::from_utf8(shown).unwrap().contains(" mtu 4000 "));
            let features = net.run(space, ["ethtool", "-k", name]).stdout;
            let features = String::from_utf8(features).unwrap();
            for feature in ["tx-checksumming", "tcp-segmentation-offload", "generic-segmentation"] {
                let line = features.lines().find(|line| line.starts_with(feature)).unwrap();
                assert_eq!(line.contains(": on"), offloads, "{line}");
            }
        }
    }
}

#[test]
fn a_quiet_link_carries_nothing_of_its_own() {
    let Some(mut net) = Netns::or_skip("a_quiet_link", 2, &[]) else { return };
    let link = net.join(0, 1, LinkOptions::quiet());
    // Router solicitations and reports of IPv6 would come at once.
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(net.counter(0, &link.names[0], "rx_packets"), 0);
    assert_eq!(net.counter(1, &link.names[1], "rx_packets"), 0);
}
