//! Counters.

use super::*;

#[test]
fn nettop_counts_by_process() {
    let (out, bad) = read(fixture!("nettop-processes.csv"), "nettop");
    assert_eq!(bad, []);
    let samples = samples(&out);
    assert_eq!(samples.len(), 6);
    let curl: Vec<_> =
        samples.iter().filter(|sample| &*sample.subject.process == "curl.600").collect();
    assert_eq!(curl[0].time_ns, T + 520_044_000);
    assert_eq!(curl[1].time_ns, T + 15 * S + 520_144_000);
    assert_eq!((curl[0].sent_bytes, curl[1].sent_bytes), (Some(1000), Some(450_001_000)));
    assert_eq!((curl[1].reading, curl[1].sent_packets), (Reading::Total, None));
    assert_eq!(&*curl[0].subject.host, "mac1");
    assert_eq!(started(&events(&out), 620).name, "com.example.Net");
    assert!(out.unknown_fields.is_empty(), "{:?}", out.unknown_fields);
}

#[test]
fn nettop_without_a_date_ends_when_the_file_was_changed() {
    let (name, bytes) = fixture!("nettop-processes.csv");
    let (dated, _) = read((name, bytes), "nettop");
    let from = bytes.iter().position(|&byte| byte == b'\n').expect("a line") + 1;
    let end_ns = T + 15 * S + 520_144_000;
    let (undated, bad) = read_at(name, &bytes[from..], "nettop", Some(end_ns));
    assert_eq!(bad, []);
    assert_eq!(dated.observations, undated.observations);
}

#[test]
fn nettop_tells_sockets_as_they_come_and_go() {
    let (out, bad) = read(fixture!("nettop-sockets.csv"), "nettop");
    assert_eq!(bad, []);
    let events = events(&out);
    let used: Vec<_> = events
        .iter()
        .filter_map(|(_, what)| match what {
            What::SocketUse(socket) => Some(socket),
            _ => None,
        })
        .collect();
    // Not again where nothing moved.
    assert_eq!(used.len(), 4);
    let curl = used[2];
    assert_eq!((curl.local_port, curl.remote_port, curl.basis), (50123, 443, Basis::Used));
    assert_eq!(curl.process, Some(ProcessId { pid: 600, start_ticks: 0 }));
    assert_eq!(used[3].remote, "2001:db8::9".parse().ok());
    let [listener] = opened(&events)[..] else { panic!("a listener") };
    assert_eq!((listener.kind, listener.basis), (SocketKind::Listener, Basis::Holds));
    assert!(listener.dual_stack);
    let closed = (T + 15 * S + 520_021_000, &What::SocketClose((*curl).clone()));
    assert_eq!(events.last(), Some(&closed));
}

#[test]
fn nettop_has_packets_among_chosen_columns() {
    let (name, bytes) = fixture!("nettop-columns.csv");
    let (out, bad) = read_at(name, bytes, "nettop", Some(T));
    assert_eq!(bad, []);
    let samples = samples(&out);
    assert_eq!((samples[0].sent_packets, samples[0].received_packets), (Some(300_100), Some(50)));
    assert!(samples.iter().all(|sample| sample.time_ns == T));
}
