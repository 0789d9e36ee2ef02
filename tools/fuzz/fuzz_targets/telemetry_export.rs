//! Datagrams of exporters, one after the other: each with its length in two bytes in
//! front, as templates and data come in different ones.
#![no_main]

use flowtap::telemetry::export::kind_of;
use flowtap::telemetry::kind::named;
use flowtap::telemetry::{Context, Out};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut decoders = ["netflow", "sflow"].map(|name| {
        let kind = named(name).expect("a kind");
        (kind.decoder)(&Context::default()).expect("a decoder")
    });
    let mut out = Out::default();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk() {
        let (datagram, after) = after.split_at(after.len().min(u16::from_be_bytes(*length).into()));
        let at = usize::from(kind_of(datagram).is_some_and(|kind| kind.name == "sflow"));
        let exporter = ([127, 0, 0, 1], 2055).into();
        let _ = decoders[at].datagram(exporter, 1_772_360_102_000_000_000, datagram, &mut out);
        rest = after;
    }
    for mut decoder in decoders {
        decoder.end(&mut out);
    }
    // The smallest record of a flow has two addresses.
    assert!(out.observations.len() <= data.len() / 8);
});
