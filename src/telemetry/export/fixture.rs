//! Datagrams of the captures among the fixtures.

/// UDP payloads of a classic capture of Ethernet and IPv4 without options, as tcpdump
/// writes it of the loopback interface.
pub(super) fn datagrams(capture: &[u8]) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut rest = &capture[24..];
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let [.., a, b, c, d, _, _, _, _] = *header;
        let (frame, after) = after.split_at(u32::from_le_bytes([a, b, c, d]) as usize);
        if frame[12..14] == [8, 0] && frame[23] == 17 {
            datagrams.push(frame[42..].to_vec());
        }
        rest = after;
    }
    assert!(!datagrams.is_empty());
    datagrams
}
