use super::*;
use crate::telemetry::decode::{Bad, Context, Out};
use crate::telemetry::label;
use crate::telemetry::observation::Observation;
use crate::telemetry::sample::{CounterSample, Reading, Subject};
use crate::telemetry::tests::decode;
use series::Series;

const MODIFIED_NS: i64 = 1_772_360_200_000_000_000;
const CONTAINER: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";
const POD: &str = "f9e8d7c6b5a493827160f5e4d3c2b1a0f9e8d7c6b5a493827160f5e4d3c2b1a0";

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/counters/", $name))
    };
}

fn read(kind: &Kind, bytes: &[u8]) -> (Vec<CounterSample>, Out, Vec<Bad>) {
    read_of(kind, &Context { modified_ns: Some(MODIFIED_NS), ..Context::default() }, bytes)
}

fn read_of(kind: &Kind, context: &Context, bytes: &[u8]) -> (Vec<CounterSample>, Out, Vec<Bad>) {
    let (mut out, bad) = decode(kind, context, bytes);
    let samples = std::mem::take(&mut out.observations).into_iter().map(|observation| {
        let Observation::Counter(sample) = observation else { panic!("{observation:?}") };
        *sample
    });
    (samples.collect(), out, bad)
}

/// Bytes received and sent.
fn bytes(sample: &CounterSample) -> (Option<u64>, Option<u64>) {
    (sample.received_bytes, sample.sent_bytes)
}

fn label<'a>(sample: &'a CounterSample, name: &str) -> Option<&'a str> {
    sample.labels.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
}

#[test]
fn interfaces_are_read_with_the_recorders_times_and_namespaces() {
    let (samples, out, bad) = read(&proc_net_dev::KIND, fixture!("proc-net-dev.log"));
    assert_eq!((bad, out.bad_parts), (vec![], [].into()));
    assert_eq!(samples.len(), 12);
    let veth = &samples[2];
    assert_eq!(
        (veth.time_ns, &*veth.subject.interface),
        (1_795_630_727_820_239_762, "vethd95ba24")
    );
    assert_eq!(bytes(veth), (Some(569_674), Some(570_856)));
    assert_eq!((veth.received_packets, veth.sent_packets), (Some(397), Some(410)));
    assert_eq!((samples[1].received_drops, samples[1].sent_drops), (Some(0), Some(2)));
    assert_eq!(veth.subject.netns, None);
    let inside = &samples[5];
    assert_eq!((inside.subject.netns, &*inside.subject.interface), (Some(4_026_532_322), "eth0"));
    assert!(inside.subject.container.starts_with("931abeeaae46"));
    assert_eq!(samples[6].subject, samples[0].subject);
    // What the host's end of the pair sends, the container's receives.
    let mut series = Series::default();
    let grown: Vec<_> = samples.iter().filter_map(|sample| series.take(sample)).collect();
    let of = |name: &str| grown.iter().find(|growth| &*growth.subject.interface == name).unwrap();
    assert_eq!((of("eth0").received_bytes, of("eth0").sent_bytes), (Some(27_398), Some(27_398)));
    assert_eq!(of("vethd95ba24").sent_bytes, of("eth0").received_bytes);
    assert_eq!((grown.len(), series.counts.resets), (6, 0));
}

const SNAPSHOT: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
eth0:1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0
";

#[test]
fn a_snapshot_without_a_time_has_the_files_and_of_several_only_the_last() {
    let (samples, out, bad) = read(&proc_net_dev::KIND, SNAPSHOT.as_bytes());
    assert_eq!((bad, out.bad_parts), (vec![], [].into()));
    assert_eq!((samples.len(), samples[0].time_ns), (1, MODIFIED_NS));

    let later = SNAPSHOT.replace("eth0:1", "eth0:5");
    let (samples, out, _) = read(&proc_net_dev::KIND, format!("{SNAPSHOT}{later}").as_bytes());
    assert_eq!((samples.len(), samples[0].received_bytes), (1, Some(5)));
    let untimed = "counters of a snapshot without a time";
    assert_eq!(out.bad_parts, [(untimed, 1)].into());

    // Behind one that has a time there is none that could be told.
    let log = format!("1772360102\n{SNAPSHOT}{later}");
    let (samples, out, _) = read(&proc_net_dev::KIND, log.as_bytes());
    assert_eq!((samples.len(), samples[0].time_ns), (1, 1_772_360_102_000_000_000));
    assert_eq!(out.bad_parts, [(untimed, 1)].into());
    // Nor where the source is no file.
    let (samples, out, _) = read_of(&proc_net_dev::KIND, &Context::default(), SNAPSHOT.as_bytes());
    assert_eq!((samples.len(), out.bad_parts), (0, [(untimed, 1)].into()));
}

#[test]
fn the_recorder_says_what_a_snapshot_is_about() {
    let log = format!(
        "# time 2026-03-01T10:15:02Z\n# host web-7\n# netns 42\n{SNAPSHOT}2026-03-01T10:15:12+00:00\n{SNAPSHOT}"
    );
    let context = Context { host: Some("given".into()), ..Context::default() };
    let (samples, _, bad) = read_of(&proc_net_dev::KIND, &context, log.as_bytes());
    assert_eq!(bad, []);
    let subjects: Vec<_> =
        samples.iter().map(|sample| (&*sample.subject.host, sample.subject.netns)).collect();
    assert_eq!(subjects, [("web-7", Some(42)), ("given", None)]);
    assert_eq!(samples[1].time_ns - samples[0].time_ns, 10_000_000_000);
}

#[test]
fn lines_of_interfaces_that_make_no_sense_are_told() {
    for (line, reason) in [
        ("eth0: 1 2 3", "fewer numbers than columns"),
        ("eth0: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0 0", "more numbers than columns"),
        ("eth0: -1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0", "not a number"),
        ("eth0: 99999999999999999999 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0", "not a number"),
        ("words", "not an interface"),
        (" face |bytes packets|bytes packets", "other columns"),
    ] {
        let (samples, _, bad) = read(&proc_net_dev::KIND, format!("{SNAPSHOT}{line}\n").as_bytes());
        assert_eq!((samples.len(), bad.len()), (1, 1), "{line}");
        assert_eq!(bad[0].reason, reason);
    }
    let (_, _, bad) = read(&proc_net_dev::KIND, b"eth0: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n");
    assert_eq!(bad[0].reason, "no header before it");
}

#[test]
fn docker_stats_are_rounded_and_say_so() {
    let (samples, out, bad) = read(&containers::DOCKER, fixture!("docker-stats.log"));
    assert_eq!((bad, out.bad_parts), (vec![], [].into()));
    assert_eq!(samples.len(), 4);
    let job = &samples[0];
    assert_eq!(job.time_ns, 1_795_630_710_479_842_762);
    assert_eq!((&*job.subject.container, &*job.subject.container_name), ("b24320cbf577", "job-1"));
    assert_eq!(bytes(job), (Some(144_000), Some(143_000)));
    assert_eq!(label(job, label::ROUNDED), Some("1000"));
    let mut series = Series::default();
    let sent: Vec<_> =
        samples.iter().filter_map(|sample| series.take(sample)?.sent_bytes).collect();
    assert_eq!(sent, [72_000, 129_000]);
}

#[test]
fn a_stream_of_docker_stats_clears_the_screen() {
    let (samples, out, bad) = read(&containers::DOCKER, fixture!("docker-stats-stream.log"));
    assert_eq!(bad, []);
    // Seven snapshots of two containers without times: the last one has the file's.
    assert_eq!((samples.len(), samples[0].time_ns), (2, MODIFIED_NS));
    assert_eq!(out.bad_parts, [("counters of a snapshot without a time", 12)].into());
}

#[test]
fn podman_stats_are_objects_over_several_lines() {
    let (samples, out, bad) = read(&containers::PODMAN, fixture!("podman-stats.log"));
    assert_eq!((bad, out.bad_parts), (vec![], [].into()));
    assert_eq!(samples.len(), 4);
    assert_eq!(samples[0].time_ns, 1_795_630_786_017_260_564);
    assert_eq!(
        (&*samples[1].subject.container, bytes(&samples[1])),
        ("df8a79bbf1de", (Some(516), Some(1256)))
    );
    // On one line too.
    let (samples, _, bad) = read(
        &containers::PODMAN,
        b"[{\"id\":\"a1\",\"name\":\"x\",\"net_io\":\"1B / 2B\"}]\n[{\"id\":\"a2\",\"net_io\":\"-- / --\"}]\n",
    );
    assert_eq!((samples.len(), bad), (1, vec![]));
    assert_eq!(
        (bytes(&samples[0]), label(&samples[0], label::ROUNDED)),
        ((Some(1), Some(2)), None)
    );
}

#[test]
fn containers_that_make_no_sense_are_told() {
    for (line, reason) in [
        ("{\"ID\":\"a\",\"NetIO\":\"1kB\"}", "no bytes received and sent"),
        ("{\"ID\":\"a\",\"NetIO\":\"1XB / 2kB\"}", "no bytes received and sent"),
        ("{\"NetIO\":\"1kB / 2kB\"}", "no container"),
        ("{\"ID\":7}", "not a container"),
        ("CONTAINER ID   NAME", "no JSON object"),
    ] {
        let (samples, _, bad) = read(&containers::DOCKER, format!("{line}\n").as_bytes());
        assert_eq!((samples.len(), bad.len()), (0, 1), "{line}");
        assert_eq!(bad[0].reason, reason, "{line}");
    }
}

#[test]
fn the_docker_engine_has_exact_totals_by_interface() {
    let (samples, _, bad) = read(&docker_api::KIND, fixture!("docker-api-stats.json"));
    assert_eq!(bad, []);
    assert_eq!(samples.len(), 5);
    let first = &samples[0];
    assert_eq!(first.time_ns, 1_795_630_722_684_225_138);
    assert_eq!(bytes(first), (Some(429_540), Some(428_358)));
    assert_eq!((first.received_packets, first.sent_packets), (Some(312), Some(299)));
    assert_eq!((first.received_drops, first.sent_drops), (Some(0), Some(0)));
    assert_eq!((&*first.subject.container_name, &*first.subject.interface), ("web-1", "eth0"));
    assert_eq!((first.subject.container.len(), &*samples[4].subject.container_name), (64, "job-1"));
    let mut series = Series::default();
    let sent: u64 = samples
        .iter()
        .filter_map(|sample| series.take(sample))
        .filter_map(|growth| growth.sent_bytes)
        .sum();
    assert_eq!(sent, 511_994 - 428_358);

    let (_, out, bad) = read(
        &docker_api::KIND,
        br#"{"read":"0001-01-01T00:00:00Z","preread":"","id":"a"}{"read":"2026-03-01T10:15:02Z","id":"a"}
            {"read":"today","id":"a"}{"read":"2026-03-01T10:15:02Z"}"#,
    );
    assert_eq!(
        out.passed,
        [("container that is not running", 1), ("container without a network of its own", 1)]
            .into()
    );
    assert_eq!(
        bad.iter().map(|bad| bad.reason).collect::<Vec<_>>(),
        ["not a time", "no container"]
    );
}

#[test]
fn pods_have_the_networks_of_their_runtime() {
    let context = Context { host: Some("node-1".into()), ..Context::default() };
    let (samples, out, bad) = read_of(&cri::KIND, &context, fixture!("crictl-statsp.json"));
    assert_eq!((bad, out.passed), (vec![], [("pod without a network of its own", 1)].into()));
    let subject = |interface: &str| Subject {
        host: "node-1".into(),
        container: POD.into(),
        pod: "cart-0".into(),
        namespace: "shop".into(),
        interface: interface.into(),
        ..Subject::default()
    };
    let found: Vec<_> =
        samples.iter().map(|sample| (sample.subject.clone(), bytes(sample))).collect();
    assert_eq!(
        found,
        [(subject("eth0"), (Some(2_400_000), Some(6_800_000))), (subject("net1"), (Some(5), None))]
    );
    assert_eq!(samples[0].time_ns, 1_772_360_102_114_903_000);
}

#[test]
fn node_exporter_is_put_together_by_interface() {
    let (samples, out, bad) = read(&prometheus::KIND, fixture!("node-exporter.prom"));
    assert_eq!((bad, out.bad_parts), (vec![], [].into()));
    assert_eq!(samples.len(), 6);
    let veth = &samples[1];
    assert_eq!(
        (veth.time_ns, &*veth.subject.interface),
        (1_795_630_731_338_798_875, "veth8cc56ad")
    );
    assert_eq!((&*veth.subject.host, bytes(veth)), ("node-1", (Some(667_730), Some(668_716))));
    assert!(veth.received_packets.is_some() && veth.sent_drops.is_some());
    let mut series = Series::default();
    let sent: Vec<_> =
        samples.iter().filter_map(|sample| series.take(sample)?.sent_bytes).collect();
    assert_eq!(sent, [0, 27_398, 27_398]);
}

#[test]
fn cadvisor_says_whose_interface_it_is() {
    let (samples, out, bad) = read(&prometheus::KIND, fixture!("cadvisor.prom"));
    assert_eq!((bad, out.bad_parts), (vec![], [].into()));
    assert_eq!(samples.len(), 6);
    let docker = &samples[0];
    assert_eq!(docker.time_ns, 1_772_360_101_900_000_000);
    assert_eq!(
        docker.subject,
        Subject {
            container: CONTAINER.into(),
            container_name: "web-1".into(),
            image: "shop/web:1".into(),
            interface: "eth0".into(),
            ..Subject::default()
        }
    );
    assert_eq!(label(docker, "prometheus.container_label_com_docker_compose_service"), Some("web"));
    assert_eq!(bytes(docker), (Some(1_200_000), Some(3_400_000)));
    assert_eq!((docker.received_drops, docker.sent_packets), (Some(2), Some(3400)));
    assert_eq!(docker.received_packets, None);
    let pod = &samples[1].subject;
    assert_eq!((&*pod.container, &*pod.pod, &*pod.namespace), (POD, "cart-0", "shop"));
    // The whole host, apart from what node_exporter says of the same interface.
    assert_eq!((&*samples[2].subject.container, &*samples[2].subject.container_name), ("/", ""));
    let mut series = Series::default();
    let sent: Vec<_> =
        samples.iter().filter_map(|sample| series.take(sample)?.sent_bytes).collect();
    assert_eq!(sent, [6_000_000, 12_000_000, 60_000_000]);
}

#[test]
fn openmetrics_has_seconds_exemplars_and_an_end() {
    let (samples, _, bad) = read(&prometheus::KIND, fixture!("openmetrics.prom"));
    assert_eq!(bad, []);
    assert_eq!(samples.len(), 2);
    assert_eq!(samples[0].time_ns, 1_772_360_102_500_000_000);
    assert_eq!((&*samples[0].subject.host, samples[0].sent_bytes), ("node-1:9100", Some(1000)));
    assert_eq!(&*samples[1].subject.interface, "wlan \"home\"");
    assert_eq!(label(&samples[0], "prometheus.job"), Some("node"));
}

#[test]
fn metrics_that_make_no_sense_are_told() {
    for (line, reason) in [
        ("node_network_receive_bytes_total{device=\"a\"} NaN", "not a count"),
        ("node_network_receive_bytes_total{device=\"a\"} 1 soon", "not a time"),
        ("node_network_receive_bytes_total{device=\"a} 1", "not labels"),
        ("node_network_receive_bytes_total{device=\"a\"}", "no value"),
    ] {
        let (samples, _, bad) = read(&prometheus::KIND, line.as_bytes());
        assert_eq!((samples.len(), bad.len()), (0, 1), "{line}");
        assert_eq!(bad[0].reason, reason, "{line}");
    }
}

#[test]
fn cloudwatch_sums_are_of_periods() {
    let context = Context { host: Some("web".into()), ..Context::default() };
    let (samples, out, bad) =
        read_of(&cloudwatch::KIND, &context, fixture!("cloudwatch-statistics.json"));
    assert_eq!(bad, []);
    assert_eq!(out.bad_parts, [("neither a sum nor an average of so many", 1)].into());
    const MINUTE_NS: i64 = 60_000_000_000;
    const START_NS: i64 = 1_772_360_100_000_000_000;
    let found: Vec<_> =
        samples.iter().map(|sample| (sample.reading, sample.time_ns, bytes(sample))).collect();
    let since = |start_ns, sent| {
        (Reading::Since { start_ns }, start_ns + 5 * MINUTE_NS, (None, Some(sent)))
    };
    assert_eq!(
        found,
        [
            since(START_NS, 1_234_567),
            since(START_NS + 5 * MINUTE_NS, 2_345_678),
            since(START_NS + 15 * MINUTE_NS, 5_002_500),
        ]
    );
    assert_eq!(&*samples[0].subject.host, "web");
}

#[test]
fn cloudwatch_metrics_of_one_instance_and_period_are_one_sample() {
    let (samples, out, bad) = read(&cloudwatch::KIND, fixture!("cloudwatch-data.json"));
    assert_eq!((bad, out.passed), (vec![], [("other metric", 1)].into()));
    let found: Vec<_> = samples
        .iter()
        .map(|sample| (&*sample.subject.instance, bytes(sample), sample.sent_packets))
        .collect();
    assert_eq!(
        found,
        [
            ("i-0123456789abcdef0", (Some(600), Some(1100)), None),
            ("i-0123456789abcdef0", (Some(700), Some(1200)), None),
            ("i-0123456789abcdef0", (None, Some(90_000_000)), None),
            // One alone: of five minutes.
            ("i-0fedcba9876543210", (None, None), Some(12)),
        ]
    );
    let lengths: Vec<_> = samples
        .iter()
        .map(|sample| match sample.reading {
            Reading::Since { start_ns } => (sample.time_ns - start_ns) / 1_000_000_000,
            Reading::Total => 0,
        })
        .collect();
    assert_eq!(lengths, [60, 60, 60, 300]);
}
