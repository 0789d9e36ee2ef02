//! A process that is killed: this test runs itself as that process.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use super::super::names::{ALERTS, FLOWS_NDJSON};
use super::*;

/// Names the folder to the process that is going to be killed.
const CHILD: &str = "FLOWTAP_TEST_KILLED";

/// Half a second of the child's, which is made twice as long as one: on a machine that does
/// six other things the writer has less of it to write what it was told of.
const TICK: Duration = Duration::from_secs(1);

/// Run by the test below, which kills it. Says after each second how many
/// records must be in the files by now: those of the seconds before.
#[test]
#[ignore = "run by another test"]
fn writes_until_it_is_killed() {
    // Nobody else names a folder: then this is one of all tests, the ignored ones too.
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let rotation = Rotation { every: Some(Duration::from_secs(3)), bytes: None };
    let formats = Format::ALL.to_vec();
    let options = RollingOptions { rotation, formats, ..options(Path::new(&folder)) };
    let mut output = RollingOutput::open(&options, START_NS).expect("opened");
    let (mut pushed, mut alerts) = (0, 0);
    for second in 1.. {
        println!("safe {pushed} {alerts}");
        let begin = Instant::now();
        while begin.elapsed() < TICK {
            for _ in 0..100 {
                pushed += 1;
                output.record(FlowRecord { start_ns: START_NS + pushed, ..samples::tcp() });
            }
            sleep(Duration::from_millis(5));
        }
        alerts += 1;
        output.alert(&Alert { revision: alerts, ..samples::alert() });
        output.second(START_NS + second * SECOND_NS);
        sleep(TICK);
    }
}

#[test]
fn a_killed_process_loses_no_more_than_the_last_second() {
    let folder = tempfile::tempdir().expect("folder");
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("output::rolling::tests::killed::writes_until_it_is_killed")
        .env(CHILD, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut safe = (0, 0);
    let mut told = 0;
    for line in BufReader::new(child.stdout.take().expect("pipe")).lines() {
        let line = line.expect("line");
        let Some(numbers) = line.strip_prefix("safe ") else { continue };
        let (records, alerts) = numbers.split_once(' ').expect("two numbers");
        safe = (records.parse().expect("number"), alerts.parse().expect("number"));
        told += 1;
        if told == 6 {
            // In the middle of a second.
            sleep(TICK / 3);
            child.kill().expect("SIGKILL");
            break;
        }
    }
    child.wait().expect("killed");
    assert!(told == 6 && safe.0 > 1000 && safe.1 == 5, "{told} {safe:?}");
    let parts = files(folder.path()).keys().filter(|name| name.ends_with(".part")).count();
    assert!(parts > 0, "killed while it wrote");

    // The next run finds what was left.
    let options = options(folder.path());
    let output = RollingOutput::open(&options, START_NS).expect("opened");
    let recovered = output.recovered().to_vec();
    assert_eq!(recovered.len(), parts);
    output.finish(PATIENCE);
    let unreadable = |found: &Recovered| matches!(found.outcome, Recovery::Unfinished { .. });
    let unfinished = recovered.iter().filter(|found| unreadable(found)).count();
    // A row group that was not full yet was nowhere but in memory.
    assert!(unfinished <= usize::from(cfg!(feature = "parquet")), "{recovered:?}");
    #[cfg(feature = "parquet")]
    assert!(
        files(folder.path()).keys().any(|name| name.ends_with(".parquet")),
        "earlier ones are whole"
    );
    for found in recovered.iter().filter(|found| !unreadable(found)) {
        let Recovery::Completed { records, .. } = found.outcome else { panic!("{found}") };
        let name = found.path.file_name().and_then(|name| name.to_str()).expect("name");
        let stem = FileName::parse_any(&[&FLOW_STEMS[..], &ALERT_STEMS].concat(), name)
            .expect("ours")
            .stem;
        let one = files(folder.path()).into_iter().filter(|(other, _)| other == name).collect();
        assert_eq!(lines(&one, stem).len() as u64, records, "{found}");
    }
    let files: BTreeMap<_, _> = files(folder.path())
        .into_iter()
        .filter(|(name, _)| !name.ends_with(".unfinished"))
        .collect();
    // Records are numbered by their start: none is missing in front of the last, however many
    // a fast machine wrote.
    let first = |count: usize| -> Vec<FlowRecord> {
        (START_NS + 1..)
            .take(count)
            .map(|start_ns| FlowRecord { start_ns, ..samples::tcp() })
            .collect()
    };
    for format in [Format::Ndjson, Format::Csv, Format::Zeek] {
        let lines = lines(&files, Kind::Flows(format).stem());
        assert!(lines.len() >= safe.0, "{}: {} of {}", format.name(), lines.len(), safe.0);
        assert!(lines == expected(format, &first(lines.len())), "{}", format.name());
    }
    let (eve_alerts, eve_flows) = eve_lines(&files);
    assert!(
        eve_flows == expected(Format::Eve, &first(eve_flows.len())) && eve_flows.len() >= safe.0
    );
    assert!(eve_alerts.len() >= safe.1 && lines(&files, ALERTS).len() >= safe.1);
    assert!(lines(&files, FLOWS_NDJSON).len() >= safe.0);
}
