//! What a file is by its first bytes; its name is never asked.

use super::{pcap, pcapng};

/// First bytes that recognition looks at: a tar archive says so at byte 257,
/// record layouts of pcap want some records.
pub(super) const HEAD_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
    Lz4,
    Xz,
}

impl Compression {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Xz => "xz",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    Pcap,
    Pcapng,
    Compressed(Compression),
    /// What it is, with its article, and what to do.
    Other {
        found: String,
        advice: &'static str,
    },
}

const CONVERT: &str = "convert it with `editcap -F pcap IN OUT`";
const UNPACK: &str = "unpack it first";
const NAME_CAPTURES: &str = "name captures, or logs of a kind that `flowtap inputs` lists";

/// Magic, name with article, advice.
type Known = (&'static [u8], &'static str, &'static str);

/// Formats that are refused by name. Longer magics stand before their prefixes.
const OTHERS: &[Known] = &[
    (b"snoop\0\0\0", "a snoop capture", CONVERT),
    (b"btsnoop\0", "a btsnoop capture (Bluetooth)", CONVERT),
    (b"GMBU", "a Microsoft Network Monitor 2 capture", CONVERT),
    (b"RTSS", "a Microsoft Network Monitor 1 capture", CONVERT),
    (b"TRSNIFF data", "a Network General Sniffer capture", CONVERT),
    (b"XCP\0", "a NetXRay capture", CONVERT),
    (b"\xaa\xaa\xaa\xaa", "a 5View capture", CONVERT),
    (b"\x05VNF", "a Visual Networks capture", CONVERT),
    (b"\x7fver", "an OmniPeek capture", CONVERT),
    (b"iptrace ", "an AIX iptrace capture", CONVERT),
    (b"EyeSDN", "an EyeSDN trace", CONVERT),
    (b"#!rtpplay1.0 ", "an RTP dump", CONVERT),
    (b"\x00\x00\x02\x00\x12\x05\x00\x10", "a K12 capture", CONVERT),
    (b"\xac\x01\x00\x1c", "an Ixia capture", CONVERT),
    (b"\xab\x01\x00\x1c", "an Ixia capture", CONVERT),
    (b"\x1c\x00\x01\xac", "an Ixia capture", CONVERT),
    (b"\x1c\x00\x01\xab", "an Ixia capture", CONVERT),
    (b"\xcd\x34\xb2\xa1", "a pcap variant (magic a1b234cd)", CONVERT),
    (b"\xa1\xb2\x34\xcd", "a pcap variant (magic a1b234cd)", CONVERT),
    (b"\x4d\x3c\x2b\xa1", "a Navtel capture", CONVERT),
    (b"\xa1\x2b\x3c\x4d", "a Navtel capture", CONVERT),
    (b"PK\x03\x04", "a ZIP archive", UNPACK),
    (b"PK\x05\x06", "an empty ZIP archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"BZh", "a bzip2 file", UNPACK),
    (b"\x5d\x00\x00", "an LZMA file of the old kind", UNPACK),
    (b"LZIP", "an lzip file", UNPACK),
    (b"\x1f\x9d", "a file of `compress`", UNPACK),
    (b"\x1f\xa0", "a file of `compress`", UNPACK),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    (b"\x7fELF", "an ELF program", NAME_CAPTURES),
    (b"MZ", "a Windows program", NAME_CAPTURES),
    (b"%PDF", "a PDF document", NAME_CAPTURES),
    (b"\x89PNG", "a PNG picture", NAME_CAPTURES),
    (b"GIF8", "a GIF picture", NAME_CAPTURES),
    (b"\xff\xd8\xff", "a JPEG picture", NAME_CAPTURES),
    (b"SQLite format 3\0", "an SQLite database", NAME_CAPTURES),
    (b"PAR1", "a Parquet file", NAME_CAPTURES),
    (b"ElfFile\0", "a Windows event log", NAME_CAPTURES),
    (b"<?xml", "an XML document", NAME_CAPTURES),
];

const JSON: &str = "JSON text";

/// What this program writes, which has a place of its own.
struct Own {
    name: &'static str,
    advice: &'static str,
    /// All in the first line.
    marks: &'static [&'static [u8]],
}

const OWN: [Own; 3] = [
    Own {
        name: "a host map",
        advice: "give it to `--procs`",
        marks: &[b"\"event\":\"map.start\""],
    },
    Own {
        name: "flow records of a run",
        advice: "`flowtap flows --run DIR` looks over those of the run in DIR",
        marks: &[b"{\"schema_version\":", b"\"proto_name\":", b"\"fwd\":"],
    },
    Own {
        name: "alerts of a run",
        advice: "`flowtap flows --run DIR` and `flowtap alerts list --run DIR` look over the run \
                 in DIR",
        marks: &[b"\"revision\":", b"\"detector\":", b"\"severity\":"],
    },
];

impl Own {
    fn is(&self, head: &[u8]) -> bool {
        let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
        self.marks.iter().all(|mark| contains(line, mark))
    }
}

pub(super) fn sniff(head: &[u8]) -> Sniffed {
    if pcap::is_pcap(head) {
        return Sniffed::Pcap;
    }
    if pcapng::is_pcapng(head) {
        return Sniffed::Pcapng;
    }
    if let Some(compression) = compression(head) {
        return Sniffed::Compressed(compression);
    }
    let (found, advice) = name(head);
    Sniffed::Other { found, advice }
}

/// By magic: RFC 1952, RFC 8878, the LZ4 frame format, the .xz format.
fn compression(head: &[u8]) -> Option<Compression> {
    const ZSTD: u32 = 0xfd2f_b528;
    const LZ4: u32 = 0x184d_2204;
    const LZ4_LEGACY: u32 = 0x184c_2102;
    // Sixteen magics that Zstandard and LZ4 share; Zstandard's writers use them.
    const SKIPPABLE: u32 = 0x184d_2a50;
    if head.starts_with(&[0x1f, 0x8b]) {
        return Some(Compression::Gzip);
    }
    if head.starts_with(b"\xfd7zXZ\0") {
        return Some(Compression::Xz);
    }
    match u32::from_le_bytes(*head.first_chunk::<4>()?) {
        ZSTD => Some(Compression::Zstd),
        magic if magic & 0xffff_fff0 == SKIPPABLE => Some(Compression::Zstd),
        LZ4 | LZ4_LEGACY => Some(Compression::Lz4),
        _ => None,
    }
}

fn name(head: &[u8]) -> (String, &'static str) {
    if head.is_empty() {
        return ("an empty file".to_owned(), NAME_CAPTURES);
    }
    if let Some((_, name, advice)) = OTHERS.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return ((*name).to_owned(), advice);
    }
    if head.get(257..262) == Some(b"ustar") {
        return ("a tar archive".to_owned(), UNPACK);
    }
    // 0a 0d 0d 0a with its carriage returns changed or dropped.
    if head.starts_with(b"\x0a\x0a\x0a")
        || head.starts_with(b"\x0d\x0a\x0d\x0a")
        || head.starts_with(b"\x0a\x0a\x1c")
    {
        return (
            "a pcapng capture spoilt by a transfer in text mode".to_owned(),
            "transfer it again in binary mode",
        );
    }
    if contains(head.get(..256).unwrap_or(head), b"NetScaler") {
        return ("a NetScaler trace".to_owned(), CONVERT);
    }
    let text = text(head);
    // Letters can make a chain of records too.
    if text.is_none() && is_erf(head) {
        return ("an Endace ERF capture".to_owned(), CONVERT);
    }
    if head.iter().all(|&b| b == 0) {
        return ("a run of zero bytes".to_owned(), NAME_CAPTURES);
    }
    if let Some(own) = OWN.iter().find(|own| text == Some(JSON) && own.is(head)) {
        return (own.name.to_owned(), own.advice);
    }
    if let Some(name) = text {
        return (name.to_owned(), NAME_CAPTURES);
    }
    let magic: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
    (format!("of no known format (it begins with {})", magic.join(" ")), NAME_CAPTURES)
}

/// ERF has no magic: records of known types (1 to 48), whose lengths lead from
/// one to the next, with times that do not run backwards.
fn is_erf(head: &[u8]) -> bool {
    const RECORDS: usize = 3;
    let mut rest = head;
    let mut previous = 0;
    for _ in 0..RECORDS {
        let Some(header) = rest.first_chunk::<16>() else { return false };
        let time = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let kind = header[8] & 0x7f;
        let length = u16::from_be_bytes([header[10], header[11]]);
        if !(1..=48).contains(&kind) || length < 16 || time < previous || time == 0 {
            return false;
        }
        previous = time;
        rest = rest.get(usize::from(length)..).unwrap_or_default();
    }
    true
}

fn text(head: &[u8]) -> Option<&'static str> {
    let sample = head.get(..4096).unwrap_or(head);
    // A character may be cut at the sample's end.
    let valid = match std::str::from_utf8(sample) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(sample.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    if valid.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return None;
    }
    let start = valid.trim_start_matches('\u{feff}').trim_start();
    let lower: String = start.chars().take(16).collect::<String>().to_ascii_lowercase();
    Some(if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        "an HTML page"
    } else if lower.starts_with('{') || lower.starts_with('[') {
        JSON
    } else {
        "text"
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(head: &[u8]) -> String {
        match sniff(head) {
            Sniffed::Other { found, .. } => found,
            other => panic!("recognised as {other:?}"),
        }
    }

    #[test]
    fn what_is_no_capture_is_called_by_its_name() {
        assert_eq!(found(b""), "an empty file");
        assert_eq!(found(b"snoop\0\0\0\0\0\0\x02"), "a snoop capture");
        assert_eq!(found(b"PK\x03\x04\x14\0"), "a ZIP archive");
        assert_eq!(
            found(b"version https://git-lfs.github.com/spec/v1\n"),
            "a Git LFS pointer, not the file itself"
        );
        assert_eq!(found(b"\n<!DOCTYPE html><html>"), "an HTML page");
        assert_eq!(found("caf\u{e9} au lait".as_bytes()), "text");
        assert_eq!(found(b"{\"a\": 1}"), "JSON text");
        assert_eq!(found(&[0; 100]), "a run of zero bytes");
        assert_eq!(found(&[0x0a, 0x0a, 0x0a, 0x1c, 0, 0]), found(&[0x0d, 0x0a, 0x0d, 0x0a]));
        assert!(found(b"\x01\x02\x03").contains("01 02 03"));
        let mut tar = vec![b'e'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(found(&tar), "a tar archive");
    }

    #[test]
    fn a_chain_of_erf_records_is_named() {
        let mut erf = Vec::new();
        for second in 1..=3_u32 {
            erf.extend_from_slice(&0_u32.to_le_bytes());
            erf.extend_from_slice(&second.to_le_bytes());
            erf.extend_from_slice(&[2, 4, 0, 32, 0, 0, 0, 14]);
            erf.extend_from_slice(&[0xee; 16]);
        }
        assert_eq!(found(&erf), "an Endace ERF capture");
    }

    /// The places of its letters have the form of three records of ERF.
    #[test]
    fn text_is_no_erf_whatever_its_letters() {
        let mut letters = vec![b' '; 64 << 10];
        letters[..12].copy_from_slice(b"[\n  {\n    \"_");
        assert!(is_erf(&letters), "it is to be told apart");
        assert_eq!(found(&letters), "JSON text");
    }

    #[test]
    fn compression_is_seen_by_magic() {
        for (head, expected) in [
            (&b"\x1f\x8b\x08"[..], Compression::Gzip),
            (b"\x28\xb5\x2f\xfd\x00", Compression::Zstd),
            (b"\x5e\x2a\x4d\x18\x00", Compression::Zstd),
            (b"\x04\x22\x4d\x18\x64", Compression::Lz4),
            (b"\xfd7zXZ\0\0", Compression::Xz),
        ] {
            assert_eq!(sniff(head), Sniffed::Compressed(expected));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_name(head: Vec<u8>) {
            let _ = sniff(&head);
        }
    }
}
