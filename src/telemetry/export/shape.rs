//! Whether a datagram is an export by its whole shape, among traffic of any kind: the
//! two bytes of a version are those of many a DNS message too.

use super::reader::Reader;

/// Whether the lengths in a datagram of NetFlow, IPFIX or sFlow add up to its own.
pub(super) fn is_whole(datagram: &[u8]) -> bool {
    let mut rest = Reader(datagram);
    let whole = match rest.u16() {
        Some(5) => of_records(rest, datagram.len(), 48),
        Some(7) => of_records(rest, datagram.len(), 52),
        Some(9) => rest.take(18).map(|_| of_sets(rest, 1)),
        Some(10) => rest.u16().map(|length| {
            usize::from(length) == datagram.len() && rest.take(12).is_some_and(|_| of_sets(rest, 3))
        }),
        Some(0) => of_samples(rest),
        _ => None,
    };
    whole.unwrap_or(false)
}

fn of_records(mut rest: Reader<'_>, length: usize, record_bytes: usize) -> Option<bool> {
    const HEADER_BYTES: usize = 24;
    let count = usize::from(rest.u16()?);
    Some(count > 0 && length == HEADER_BYTES + count * record_bytes)
}

/// Sets one after the other, with numbers up to `last` or of templates.
fn of_sets(mut rest: Reader<'_>, last: u16) -> bool {
    const HEADER_BYTES: u16 = 4;
    while let Some((id, length)) = rest.u16().zip(rest.u16()) {
        let known = id <= last || id >= 256;
        let content = length.checked_sub(HEADER_BYTES);
        if !known || content.and_then(|length| rest.take(length.into())).is_none() {
            return false;
        }
    }
    true
}

/// sFlow: what follows the upper half of its version.
fn of_samples(mut rest: Reader<'_>) -> Option<bool> {
    if rest.u16()? != 5 {
        return Some(false);
    }
    let address_bytes = match rest.u32()? {
        1 => 4,
        2 => 16,
        _ => return Some(false),
    };
    // Sub-agent, number, uptime.
    rest.take(address_bytes + 12)?;
    for _ in 0..rest.u32()? {
        rest.u32()?;
        let length = rest.u32()? as usize;
        rest.take(length)?;
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::export::fixture::datagrams;

    #[test]
    fn exports_are_whole_and_nothing_shorter_is() {
        let all: [&[u8]; 5] = [
            include_bytes!("../../../tests/fixtures/export/softflowd-v5.pcap"),
            include_bytes!("../../../tests/fixtures/export/softflowd-v9.pcap"),
            include_bytes!("../../../tests/fixtures/export/softflowd-v10.pcap"),
            include_bytes!("../../../tests/fixtures/export/pmacct-v10.pcap"),
            include_bytes!("../../../tests/fixtures/export/pmacct-sflow.pcap"),
        ];
        for capture in all {
            for datagram in datagrams(capture) {
                assert!(is_whole(&datagram));
                let version = datagram[1];
                for length in 0..datagram.len() {
                    let cut = &datagram[..length];
                    // v9 does not say its length: it may end behind any set.
                    assert!(version == 9 || !is_whole(cut), "{length} of {}", datagram.len());
                }
            }
        }
    }

    #[test]
    fn a_dns_message_with_the_number_of_a_version_is_none() {
        for id in [5, 7, 9, 10] {
            let mut query = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7];
            query.extend(b"example\x03com\0\0\x01\0\x01");
            assert!(!is_whole(&query), "{id}");
        }
        assert!(!is_whole(&[0, 0, 0, 5]));
        assert!(!is_whole(&[]));
    }
}
