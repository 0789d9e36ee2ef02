//! Any events: as a map's lines, and told late.

use proptest::prelude::*;

use super::*;

fn arbitrary_event() -> impl Strategy<Value = HostEvent> {
    let basis = prop_oneof![
        Just(Basis::Used),
        Just(Basis::Opened),
        Just(Basis::Holds),
        Just(Basis::Created)
    ];
    let flags = (any::<bool>(), any::<bool>());
    let socket = (basis, 0..4_u32, 0..3_u64, flags, prop::option::of(0..30_i64)).prop_map(
        |(basis, process, cookie, (exact, alone), since)| {
            let socket = if exact {
                tcp(process, basis)
            } else {
                bound(SocketKind::Stream, 6, None, 40_000, process)
            };
            let since_ns = since.map(|since| since * S);
            let socket = Socket { cookie: Some(cookie), alone, since_ns, ..socket };
            if basis == Basis::Holds && alone {
                let shared_with = vec![pid(process + 1)];
                return Socket { basis: Basis::SharesIt, shared_with, ..socket };
            }
            socket
        },
    );
    let what = prop_oneof![
        4 => socket.clone().prop_map(What::SocketUse),
        2 => socket.prop_map(What::SocketClose),
        1 => (0..4_u32).prop_map(|n| What::ProcessExit(pid(n))),
        2 => (0..4_u32, 0..4_u32, prop::option::of(0..30_i64), any::<bool>()).prop_map(
            |(n, exe, started, exec)| {
                let exe = "x".repeat(exe as usize);
                let started_ns = started.map(|second| second * S);
                let process = Process { id: pid(n), exe, started_ns, ..Process::default() };
                if exec { What::ProcessExec(Box::new(process)) } else { What::ProcessStart(Box::new(process)) }
            },
        ),
        2 => Just(What::Time),
        1 => (1..9_u64).prop_map(|events| What::Lost { method: Method::Ebpf, events }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(up, other)| {
            let What::AddressUp(told) = address(if other { "192.0.2.11" } else { HERE }, 1) else {
                unreachable!()
            };
            if up { What::AddressUp(told) } else { What::AddressDown(told) }
        }),
    ];
    (0..40_i64, what).prop_map(|(second, what)| at(second * S, what))
}

proptest! {
    /// A recorded map gives what the live one gave: what is told after the time of
    /// knowledge changes no answer.
    #[test]
    fn what_is_told_later_changes_nothing(
        mut events in prop::collection::vec(arbitrary_event(), 0..40),
        starts in 0..20_i64,
        length in 0..10_i64,
        is_new in any::<bool>(),
        begins in 0..40_i64,
    ) {
        events.retain(|event| event.time_ns >= begins * S);
        events.sort_by_key(|event| event.time_ns);
        let question = Question {
            local: ip(if is_new { "192.0.2.11" } else { HERE }),
            start_ns: starts * S,
            end_ns: (starts + length) * S,
            known_ns: (starts + length + 1) * S,
            ..from_here()
        };
        let fill = |events: &[HostEvent]| {
            let map = Arc::new(HostMap::new(MapLimits::default()));
            let mut writer: MapWriter = map.writer();
            writer.apply(&HostEvent { time_ns: begins * S, ..start() });
            writer.apply(&at(begins * S, address(HERE, 1)));
            events.iter().for_each(|event| writer.apply(event));
            map
        };
        // Seconds wait until all up to then was told: before the map's first look none is over.
        let told_ns = question.known_ns.max(begins * S);
        let known = events.partition_point(|event| event.time_ns <= told_ns);
        events.insert(known, at(told_ns, What::Time));
        let (live, recorded) = (fill(&events[..=known]), fill(&events));
        let said = |map: &HostMap| {
            let answer = map.resolve(&question);
            let of_it = answer.as_ref().ok().and_then(Option::as_ref);
            let ran = of_it.and_then(|answer| map.program_of(answer, &question));
            (answer, ran.map(|ran| ran.process))
        };
        prop_assert_eq!(said(&live), said(&recorded));
    }

    /// Who is passed over as a stranger is one when asked.
    #[test]
    fn strangers_are_of_no_host_with_a_map(
        mut events in prop::collection::vec(arbitrary_event(), 0..10),
        local in prop::sample::select(vec![HERE, "192.0.2.11", "192.0.2.255", THERE, "224.0.0.1"]),
        sent in any::<bool>(),
        known in 0..40_i64,
    ) {
        events.sort_by_key(|event| event.time_ns);
        let map = Arc::new(HostMap::new(MapLimits::default()));
        let mut writer: MapWriter = map.writer();
        writer.apply(&HostEvent { time_ns: 0, ..start() });
        events.iter().for_each(|event| writer.apply(event));
        let question = Question { local: ip(local), sent, known_ns: known * S, ..from_here() };
        let is_stranger = map.is_stranger(question.local, sent, question.known_ns);
        if is_stranger {
            prop_assert_eq!(map.resolve(&question), Ok(None));
        }
        prop_assert!(is_stranger || local != THERE);
    }

    /// Events keep their meaning as lines of a map.
    #[test]
    fn lines_are_read_as_they_were_written(event in arbitrary_event()) {
        let line = serde_json::to_string(&event).expect("written");
        prop_assert_eq!(serde_json::from_str::<HostEvent>(&line).expect("read"), event);
    }
}

#[test]
fn kinds_and_fields_of_later_versions_are_passed_over() {
    let line = r#"{"time":"2026-11-25T10:00:00Z","event":"process.renamed","pid":5,"x":[1]}"#;
    let event: HostEvent = serde_json::from_str(line).expect("read");
    assert_eq!(event.what, What::Unknown);
    let line = r#"{"time":"2026-11-25T10:00:00.5Z","event":"process.exit","pid":5,"start_ticks":1,"code":0}"#;
    let event: HostEvent = serde_json::from_str(line).expect("read");
    assert_eq!(event.what, What::ProcessExit(ProcessId { pid: 5, start_ticks: 1 }));
}
