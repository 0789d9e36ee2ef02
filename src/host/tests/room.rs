//! What ended makes room.

use super::*;
use crate::host::workload::Workload;

#[test]
fn containers_that_ended_make_room_and_those_with_processes_stay() {
    let limits = MapLimits { workloads: 8, ..MapLimits::default() };
    let map = Arc::new(HostMap::new(limits));
    let mut writer = map.writer();
    writer.apply(&start());
    let mut run = |n: u32, ends: bool| {
        let (second, container) = (i64::from(n) * 60, format!("c{n}"));
        let workload = Workload { container: container.clone(), ..Workload::default() };
        writer.apply(&at(second * S, What::Workload(Box::new(workload))));
        let process = Process { id: pid(n), container, ..Process::default() };
        writer.apply(&at(second * S, What::ProcessStart(Box::new(process))));
        if ends {
            writer.apply(&at((second + 1) * S, What::ProcessExit(pid(n))));
        }
        map.forget_before((second - 120) * S);
    };
    run(0, false);
    (1..100).for_each(|n| run(n, true));
    let mut left: Vec<String> = map.workloads.iter().map(|known| known.key().1.clone()).collect();
    left.sort();
    assert_eq!(left.first().map(String::as_str), Some("c0"), "it still runs");
    assert!(left.contains(&"c99".to_owned()) && left.contains(&"c97".to_owned()), "{left:?}");
    assert!(left.len() <= 8, "{left:?}");
    assert_eq!(map.counters().refused, 0, "there is room for each that starts");
}
