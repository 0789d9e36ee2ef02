use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::output::ndjson::flow_line;
use crate::output::samples;

fn read(record: &FlowRecord) -> FlowRecord {
    Reread::default().record(flow_line(record).as_bytes(), record.decided_ns).unwrap()
}

/// What stands in the line of a record, but for what is not read back.
fn kept(record: &FlowRecord) -> Value {
    let mut line: Value = serde_json::from_str(&flow_line(record)).unwrap();
    let fields = line.as_object_mut().unwrap();
    fields.remove("tunnels");
    // Samples turn one-way messages round, which no packet does.
    if matches!(record.key.proto, 1 | 58) {
        fields.remove("community_id");
    }
    for end in ["src_host", "dst_host"] {
        let Some(side) = fields.get_mut(end).and_then(Value::as_object_mut) else { continue };
        if let Some(how) = side.get_mut("attribution").and_then(Value::as_object_mut) {
            how.remove("reason");
            if how.is_empty() {
                side.remove("attribution");
            }
        }
        if side.is_empty() {
            fields.remove(end);
        }
    }
    if let Some(app) = fields.get_mut("app") {
        for hint in app.as_object_mut().unwrap().values_mut() {
            for name in ["query_type", "response_code", "version"] {
                hint.as_object_mut().unwrap().remove(name);
            }
        }
    }
    // Sums of squares went through a square root and back.
    for way in ["fwd", "rev"] {
        for group in ["payload_sizes", "gaps"] {
            if let Some(group) = fields.get_mut(way).and_then(|way| way.get_mut(group)) {
                group.as_object_mut().unwrap().retain(|name, _| !name.starts_with("stddev"));
            }
        }
    }
    line
}

#[test]
fn a_record_written_down_by_hand_reads_back_as_it_was() {
    for record in [samples::tcp(), samples::dns(), samples::icmp()] {
        let again = read(&record);
        assert_eq!(kept(&again), kept(&record));
        assert_eq!((again.key, again.forward_is_a_to_b), (record.key, record.forward_is_a_to_b));
        assert_eq!(again.fwd.gaps.sum_ns, record.fwd.gaps.sum_ns);
        assert_eq!(again.fwd.sizes.bins, record.fwd.sizes.bins);
    }
}

#[test]
fn what_is_no_flow_record_says_why() {
    let line = flow_line(&samples::tcp());
    let why = |line: &str| Reread::default().record(line.trim_end().as_bytes(), 0).unwrap_err();
    assert_eq!(why(&line[..line.len() / 2]), "it is cut off");
    assert!(why("{\"ts\":1,\"uid\":\"C1\"}").starts_with("no flow record: missing field"));
    assert!(why("# a comment").starts_with("no JSON: "));
    assert_eq!(
        why(&line.replace("\"schema_version\":2", "\"schema_version\":9")),
        "a flow record of layout 9; this program reads 2"
    );
    assert_eq!(why(&line.replace("2026-11-21T09:30:00.0", "yesterday ")), "start is no time");
    assert!(
        why(&line.replace("\"state\":\"closed\"", "\"state\":\"odd\"")).starts_with("state is")
    );
    assert!(why(&line.replace("02:00:00:00:00:0a", "02:00:00")).contains("MAC"));
    assert!(
        why(&line.replace("\"dst_ip\":\"198.51.100.7\"", "\"dst_ip\":\"2001:db8::1\""))
            .contains("two versions")
    );
}

#[test]
fn a_process_that_many_records_name_is_held_once() {
    let mut reread = Reread::default();
    let record = FlowRecord { hosts: Some(Box::new(samples::hosts::hosts())), ..samples::tcp() };
    let mut process = || {
        let again = reread.record(flow_line(&record).as_bytes(), 0).unwrap();
        again.hosts.unwrap().src.unwrap().process.unwrap()
    };
    let (first, second) = (process(), process());
    assert!(Arc::ptr_eq(&first, &second));
}

proptest! {
    #[test]
    fn any_record_reads_back_as_it_was(seed: u64) {
        let record = samples::random(seed);
        prop_assert_eq!(kept(&read(&record)), kept(&record));
    }

    #[test]
    fn no_line_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..2_000) {
        let _ = Reread::default().record(&bytes, 0);
        let mut line = flow_line(&samples::tcp()).into_bytes();
        line.truncate(cut);
        let at = bytes.len() * 7 % line.len().max(1);
        if let (Some(slot), Some(&byte)) = (line.get_mut(at), bytes.first()) {
            *slot = byte;
        }
        let _ = Reread::default().record(&line, 0);
    }
}
