//! Application hints from arbitrary payloads: two messages of one flow, so
//! that joining with what is known already runs too.
#![no_main]

use flowtap::flow::app::{MAX_DNS_ADDRESSES, MAX_TEXT_BYTES, Payload, inspect};
use libfuzzer_sys::fuzz_target;

/// Transport and port that open each parser's door.
const DOORS: [(u8, u16); 5] = [(6, 443), (17, 443), (17, 53), (6, 53), (17, 5353)];

fuzz_target!(|data: &[u8]| {
    let Some((&[door, split], bytes)) = data.split_first_chunk::<2>() else { return };
    let (proto, dst_port) = DOORS[usize::from(door) % DOORS.len()];
    let (first, second) = bytes.split_at(usize::from(split) * bytes.len() / 255);
    let mut info = None;
    for (bytes, from_originator) in [(first, true), (second, false), (bytes, true)] {
        inspect(Payload { proto, src_port: 50_000, dst_port, from_originator, bytes }, &mut info);
    }
    if let Some(dns) = info.as_ref().and_then(|app| app.dns.as_ref()) {
        assert!(dns.addresses.len() <= MAX_DNS_ADDRESSES);
    }
    if let Some(http) = info.and_then(|app| app.http) {
        for text in [http.method, http.host, http.path, http.user_agent].into_iter().flatten() {
            assert!(text.len() <= MAX_TEXT_BYTES && text.is_ascii());
        }
    }
});
