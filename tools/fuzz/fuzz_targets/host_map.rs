//! Host maps: lines as a file, a watcher or an importer may have them, and the map
//! that they fill asked about the sockets that they named.
#![no_main]

use std::sync::Arc;

use flowtap::host::event::{HostEvent, What};
use flowtap::host::map::{HostMap, MapLimits};
use flowtap::host::resolve::Question;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let limits = MapLimits { claims: 64, processes: 32, translations: 32, workloads: 8, addresses: 16 };
    let map = Arc::new(HostMap::new(limits));
    let mut writer = map.writer();
    let mut asked = Vec::new();
    for line in input.split(|&byte| byte == b'\n') {
        let Ok(event) = serde_json::from_slice::<HostEvent>(line) else { continue };
        writer.apply(&event);
        if let What::SocketOpen(socket) | What::SocketUse(socket) = &event.what
            && let (Some(local), Some(remote)) = (socket.local, socket.remote)
        {
            asked.push(Question {
                protocol: socket.protocol,
                local,
                local_port: socket.local_port,
                remote,
                remote_port: socket.remote_port,
                sent: true,
                start_ns: event.time_ns,
                end_ns: event.time_ns.saturating_add(1),
                known_ns: event.time_ns,
            });
        }
        let text = serde_json::to_vec(&event).expect("events are written");
        let again: HostEvent = serde_json::from_slice(&text).expect("and read again");
        assert_eq!(again, event);
    }
    for question in &asked {
        if let Ok(Some(answer)) = map.resolve(question) {
            map.process_at(answer.process, question.start_ns, question.known_ns);
        }
    }
    map.forget_before(0);
    let counters = map.counters();
    assert!(counters.claims <= 64 && counters.processes <= 32);
});
