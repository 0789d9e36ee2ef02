//! What holds for every kind.

use proptest::prelude::*;

use super::decode::{Context, Out};
use super::framing::{Framing, Next, Records};
use super::kind::{Head, kinds, recognise};
use super::{Bad, Kind};

/// All of `bytes` through a kind's framing and decoder.
pub(crate) fn decode(kind: &Kind, context: &Context, bytes: &[u8]) -> (Out, Vec<Bad>) {
    let mut decoder = (kind.decoder)(context).expect("a decoder");
    let mut records = Records::new(bytes, kind.framing);
    let (mut out, mut bad) = (Out::default(), Vec::new());
    loop {
        match records.next_record().expect("memory can be read") {
            Next::Record(record) => bad.extend(decoder.record(record, &mut out).err()),
            Next::TooLong => bad.push(Bad::new("too long")),
            Next::NoJson => bad.push(Bad::new("no JSON")),
            Next::End => break,
        }
    }
    decoder.end(&mut out);
    (out, bad)
}

fn of_records() -> impl Iterator<Item = &'static Kind> {
    kinds()
        .filter(|kind| matches!(kind.framing, Framing::Lines | Framing::Json | Framing::LargeJson))
}

#[test]
fn every_sample_is_recognised_as_its_own_kind_and_read() {
    for kind in of_records() {
        let head = Head::new(kind.sample.as_bytes(), true);
        let found = recognise(&head).map(|kind| kind.name);
        assert_eq!(found, Some(kind.name), "{}", kind.sample);
        let context =
            Context { modified_ns: Some(1_772_360_102_000_000_000), ..Context::default() };
        let (out, bad) = decode(kind, &context, kind.sample.as_bytes());
        assert_eq!(bad, [], "{}", kind.name);
        assert!(!out.observations.is_empty(), "{}", kind.name);
    }
}

#[test]
fn no_sample_is_recognised_by_another_kind() {
    for kind in of_records() {
        let head = Head::new(kind.sample.as_bytes(), true);
        for other in kinds().filter(|other| other.name != kind.name) {
            assert!(!(other.recognise)(&head), "{} takes {}", other.name, kind.name);
        }
    }
}

#[test]
fn names_of_kinds_are_unique_and_words() {
    let mut names: Vec<_> = kinds().map(|kind| kind.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    for name in names {
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        );
    }
}

/// Lines that have broken parsers: long, nested, not UTF-8, numbers out of range.
fn hostile() -> Vec<Vec<u8>> {
    let mut nested = br#"{"a":"#.repeat(1000);
    nested.extend(b"1");
    nested.extend(b"}".repeat(1000));
    vec![
        vec![b'a'; 3 << 20],
        b"[".repeat(1 << 20),
        nested,
        b"\xff\xfe\x00\x80 \xc3\x28".to_vec(),
        b"\"".to_vec(),
        b"{\"records\":[".to_vec(),
        b"{\"a\":\"\n{\"b\":1}".to_vec(),
        b"99999999999999999999999 -1 1e400".to_vec(),
    ]
}

#[test]
fn hostile_records_are_bad_or_passed_over_at_bounded_memory() {
    for kind in of_records() {
        for bytes in hostile() {
            // Alone, and after what makes the decoder trust its input.
            decode(kind, &Context::default(), &bytes);
            let mut after = kind.sample.as_bytes().to_vec();
            after.push(b'\n');
            after.extend(&bytes);
            let (out, _) = decode(kind, &Context::default(), &after);
            assert!(out.observations.len() < 1000, "{}", kind.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_decoded_without_a_panic(bytes: Vec<u8>) {
        for kind in of_records() {
            decode(kind, &Context::default(), &bytes);
            let _ = (kind.recognise)(&Head::new(&bytes, true));
        }
    }

    /// A sample with some bytes changed comes further into a decoder than noise.
    #[test]
    fn damaged_samples_are_decoded_without_a_panic(
        seed: usize, changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..8), cut: usize,
    ) {
        let all: Vec<_> = of_records().collect();
        let kind = all[seed % all.len()];
        let mut bytes = kind.sample.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(1 + cut % bytes.len());
        decode(kind, &Context::default(), &bytes);
    }

    /// Where a reader's buffer ends makes no difference to the records.
    #[test]
    fn records_do_not_depend_on_the_buffer(
        parts in prop::collection::vec("[a-z{}\\[\\]\", \\\\\n]{0,12}", 0..20), capacity in 1_usize..40, json: bool,
    ) {
        let bytes = parts.concat().into_bytes();
        let framing = if json { Framing::Json } else { Framing::Lines };
        let all = |capacity: usize| {
            let input = std::io::BufReader::with_capacity(capacity, &bytes[..]);
            let mut records = Records::new(input, framing);
            let mut found = Vec::new();
            loop {
                match records.next_record().expect("memory can be read") {
                    Next::End => break,
                    next => found.push(format!("{next:?}")),
                }
            }
            prop_assert_eq!(records.read_bytes(), bytes.len() as u64);
            Ok(found)
        };
        prop_assert_eq!(all(capacity)?, all(1 << 16)?);
    }
}
