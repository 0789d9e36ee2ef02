//! The filter machine on arbitrary frames: programs as libpcap compiles them,
//! run on whatever was captured of whatever length.
#![no_main]

use std::sync::LazyLock;

use flowtap::input::filter::Filter;
use flowtap::packet::LinkType;
use libfuzzer_sys::fuzz_target;

static FILTERS: LazyLock<Vec<Filter>> = LazyLock::new(|| {
    let expressions = [
        "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
        "vlan and ip6 and udp portrange 1000-2000",
        "greater 1000 or less 60",
        "icmp[icmptype] == icmp-echo and ip[6:2] & 0x1fff = 0",
        "ether[12:2] > 1500 and ip proto \\sctp",
    ];
    expressions.iter().filter_map(|expression| Filter::compile(expression).ok()).collect()
});

fuzz_target!(|input: &[u8]| {
    let Some(([link, more], data)) = input.split_first_chunk::<2>() else { return };
    let link = LinkType([1, 101, 113, 276, 105, 127, 0, 12][usize::from(link % 8)]);
    for filter in FILTERS.iter() {
        filter.matches(link, data, data.len() as u32 + u32::from(*more) * 8);
    }
});
