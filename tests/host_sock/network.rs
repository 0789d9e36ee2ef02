//! Addresses, counters and translated connections in namespaces.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use crate::host_watch::Watch;
use crate::support::netns::{LinkOptions, Netns};
use flowtap::host::event::What;
use flowtap::host::provider::network::NetworkWatch;

fn inode(net: &Netns, space: usize) -> u64 {
    std::fs::metadata(format!("/run/netns/{}", net.name(space))).unwrap().ino()
}

#[test]
fn addresses_and_counters_of_a_namespace_are_told() {
    let Some(mut net) = Netns::or_skip("addresses_and_counters", 2, &["ping"]) else { return };
    let link = net.join(0, 1, LinkOptions::default());
    net.run(0, ["ping", "-q", "-c1", "-W5", &link.ipv4[1]]);
    let watch = Watch::network(NetworkWatch { counter_interval: Duration::from_millis(200) });
    for space in 0..2 {
        let netns = Some(inode(&net, space));
        for address in [&link.ipv4[space], &link.ipv6[space]] {
            let address: IpAddr = address.parse().unwrap();
            let up = watch.wait_event("address", |what| match what {
                What::AddressUp(up) if up.address == address && up.netns == netns => {
                    Some(up.clone())
                }
                _ => None,
            });
            assert_eq!(up.interface, link.names[space]);
        }
        let counted = net.counter(space, &link.names[space], "rx_bytes");
        let counters = watch.wait_event("counters", |what| match what {
            What::Counters(counters)
                if counters.netns == netns
                    && counters.interface == link.names[space]
                    && counters.received_bytes >= counted =>
            {
                Some(counters.clone())
            }
            _ => None,
        });
        assert!(counters.received_packets > 0 && counters.sent_bytes > 0);
    }
    // Taken away again.
    let gone: IpAddr = link.ipv4[0].parse().unwrap();
    net.run(0, ["ip", "address", "flush", "dev", &link.names[0]]);
    watch.wait_event("address down", |what| match what {
        What::AddressDown(down) if down.address == gone => Some(()),
        _ => None,
    });
}

#[test]
fn a_masqueraded_connection_is_told_with_both_sides() {
    let Some(mut net) = Netns::or_skip("a_masqueraded_connection", 3, &["nft", "python3"]) else {
        return;
    };
    // Inside, gateway, outside.
    let inner = net.join(0, 1, LinkOptions::default());
    let outer = net.join(1, 2, LinkOptions::default());
    net.run(1, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    net.run(0, ["ip", "route", "add", "default", "via", &inner.ipv4[1]]);
    let rules = format!(
        "table ip t {{ chain c {{ type nat hook postrouting priority 100; oifname \"{}\" masquerade; }}; }}",
        outer.names[0]
    );
    net.run(1, ["nft", &rules]);
    let send = |port: u16| {
        let script = format!(
            "import socket; s = socket.socket(2, 2); s.bind(('', {port})); s.sendto(b'x', ('{}', 53))",
            outer.ipv4[1]
        );
        net.run(0, ["/usr/bin/python3", "-c", &script]);
    };
    // One before the watch begins, in the dump; one after, by notice.
    send(4001);
    let watch = Watch::network(NetworkWatch::default());
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let expect = |port: u16| {
        let nat = watch.wait_event("translated connection", |what| match what {
            What::Nat(nat) if nat.original.src_port == port => Some(nat.clone()),
            _ => None,
        });
        assert_eq!((nat.protocol, nat.netns), (17, Some(inode(&net, 1))));
        assert_eq!(
            (nat.original.src, nat.original.dst),
            (address(&inner.ipv4[0]), address(&outer.ipv4[1]))
        );
        assert_eq!(
            (nat.reply.src, nat.reply.dst),
            (address(&outer.ipv4[1]), address(&outer.ipv4[0]))
        );
        assert_eq!((nat.original.dst_port, nat.reply.src_port), (53, 53));
    };
    expect(4001);
    send(4002);
    expect(4002);
    // Its end: the kernel lets go of what ran out of time at the latest when it shows it.
    net.run(1, ["sh", "-c", "echo 1 > /proc/sys/net/netfilter/nf_conntrack_udp_timeout"]);
    send(4003);
    expect(4003);
    net.run(1, ["sh", "-c", "sleep 2; cat /proc/net/nf_conntrack"]);
    let ended = watch.wait_event("end of a translated connection", |what| match what {
        What::NatEnd(nat) => Some(nat.clone()),
        _ => None,
    });
    assert_eq!((ended.original.src_port, ended.netns), (4003, Some(inode(&net, 1))));
    // In the inner namespace nothing is translated.
    let events = watch.events();
    let elsewhere = events.iter().filter(|event| {
        matches!(&event.what, What::Nat(nat) if nat.netns != Some(inode(&net, 1)) && nat.original.dst_port == 53)
    });
    assert_eq!(elsewhere.count(), 0);
}
