//! What sources tell of hosts, into a map: of one host one writer, whichever of its
//! sources says it, in the order of time.
//!
//! Start at [`read_into_map`].

use std::collections::HashMap;
use std::sync::Arc;

use super::merge::Merge;
use super::observation::{HostReport, Observation};
use super::source::Named;
use crate::host::event::What;
use crate::host::map::{HostMap, MapWriter};
use crate::host::starts::Starts;

/// Reads what sources tell of hosts. What is wrong with them stands in the run's
/// report, where they are read again.
pub fn read_into_map(sources: Vec<Named>, map: &Arc<HostMap>) {
    let mut hosts = HashMap::<Whose, Host, ahash::RandomState>::default();
    let mut merge = Merge::new(sources);
    while let Some(batch) = merge.next_batch() {
        for observed in batch.observed {
            let Observation::Host(report) = observed.observation else { continue };
            let whose = match report.host.is_empty() {
                true => Whose::Nameless(observed.source),
                false => Whose::Host(Arc::clone(&report.host)),
            };
            hosts.entry(whose).or_insert_with(|| Host::new(map.writer())).apply(*report);
        }
    }
    for host in hosts.into_values() {
        host.writer.ended(host.last_ns);
    }
}

/// Sources that name no host are about one each.
#[derive(PartialEq, Eq, Hash)]
enum Whose {
    Host(Arc<str>),
    Nameless(u16),
}

struct Host {
    writer: MapWriter,
    starts: Starts,
    /// Of the source that said it; those that know none join whatever there is.
    boot: Option<String>,
    last_ns: i64,
}

impl Host {
    fn new(writer: MapWriter) -> Self {
        Self { writer, starts: Starts::default(), boot: None, last_ns: i64::MIN }
    }

    fn apply(&mut self, report: HostReport) {
        let mut event = report.event;
        self.last_ns = self.last_ns.max(event.time_ns);
        if event.what == What::Time {
            // The source has told all; others of the host may not have.
            return;
        }
        if let What::Start(start) = &event.what {
            let is_same = |boot: &String| start.boot.is_empty() || *boot == start.boot;
            if self.boot.as_ref().is_some_and(is_same) {
                return;
            }
            let is_news = self.boot.replace(start.boot.clone()).is_some_and(|boot| boot.is_empty());
            if is_news {
                // The first that knows which boot it is: the host has not changed.
                return;
            }
            self.starts = Starts::default();
        }
        self.starts.fill(&mut event);
        self.writer.apply(&event);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::host::join::{HostKnowledge, Joiner};
    use crate::host::map::MapLimits;
    use crate::host::process::ProcessId;
    use crate::host::resolve::{Answer, Question};
    use crate::telemetry::Context;
    use crate::telemetry::kind::named;

    const S: i64 = 1_000_000_000;
    /// 2026-03-01T10:15:00Z.
    const T: i64 = 1_772_360_100 * S;

    const PS: &str = "2026-03-01T10:15:01Z\n\
        PID PPID TTY USER UID STARTED COMMAND\n\
        400 1 ttys001 alice 501 Sun Mar  1 10:01:00 2026 -zsh\n\
        501 400 ttys001 alice 501 Sun Mar  1 10:14:59 2026 ping -f 192.0.2.1\n";
    const LSOF: &str = "2026-03-01T10:15:02Z\n\
        p501\ncping\nu501\nLalice\nf3\ntIPv4\nd0x11\nPICMP\nn*:*\n\
        p400\nczsh\nf4\ntIPv4\nd0x12\nPUDP\nn192.0.2.7:41400->198.51.100.9:53\n";

    fn map_of(folder: &Path, host: Option<&str>, texts: &[(&str, &str)]) -> Arc<HostMap> {
        let context = Context { host: host.map(Arc::from), ..Context::default() };
        let sources = texts.iter().map(|(kind, text)| {
            let path = folder.join(kind);
            std::fs::write(&path, text).expect("a file");
            Named::new(&path, named(kind).expect("a kind"), &context)
        });
        let map = Arc::new(HostMap::new(MapLimits::default()));
        read_into_map(sources.collect(), &map);
        map.complete();
        map
    }

    fn asked(map: &HostMap, protocol: u8, local_port: u16) -> Option<Answer> {
        let question = Question {
            protocol,
            local: "192.0.2.7".parse().expect("an address"),
            local_port,
            remote: "198.51.100.9".parse().expect("an address"),
            remote_port: if protocol == 17 { 53 } else { 0 },
            sent: true,
            by_kernel: false,
            // What was recorded says nothing of later.
            start_ns: T + S,
            end_ns: T + 2 * S,
            begun_by_ns: T + S,
            known_ns: i64::MAX,
        };
        map.resolve(&question).ok().flatten()
    }

    fn start_of(answer: &Answer) -> u64 {
        answer.process.id.start_ticks
    }

    #[test]
    fn what_two_programs_say_of_one_host_is_of_one_process() {
        let folder = tempfile::tempdir().expect("a folder");
        // Whatever their order on the command line.
        for texts in [[("ps", PS), ("lsof", LSOF)], [("lsof", LSOF), ("ps", PS)]] {
            let map = map_of(folder.path(), Some("mac1"), &texts);
            let shell = asked(&map, 17, 41400).expect("the shell");
            assert_eq!((shell.process.id.pid, start_of(&shell)), (400, 177_235_926_000));
            let ping = asked(&map, 1, 7).expect("ping");
            assert_eq!((ping.process.id.pid, start_of(&ping)), (501, 177_236_009_900));
        }
    }

    #[test]
    fn sources_that_name_no_host_are_about_one_each() {
        let folder = tempfile::tempdir().expect("a folder");
        let map = map_of(folder.path(), None, &[("ps", PS), ("lsof", LSOF)]);
        assert_eq!(start_of(&asked(&map, 17, 41400).expect("the shell")), 0);
    }

    /// The same at another time of 2026-03-01.
    fn at(text: &str, clock: &str) -> String {
        let (_, rest) = text.split_once('\n').expect("a line of date");
        format!("2026-03-01T{clock}Z\n{rest}")
    }

    #[test]
    fn a_socket_that_was_told_before_its_process_is_that_processs() {
        let folder = tempfile::tempdir().expect("a folder");
        for (lsof, ps) in
            [("10:15:01", "10:15:02"), ("10:15:01", "10:15:01"), ("10:14:59", "10:15:40")]
        {
            let (lsof, ps) = (at(LSOF, lsof), at(PS, ps));
            let map = map_of(folder.path(), Some("mac1"), &[("lsof", &lsof), ("ps", &ps)]);
            let ping = asked(&map, 1, 7).expect("ping");
            assert_eq!((ping.process.id.pid, start_of(&ping)), (501, 177_236_009_900));
            assert!(ping.others.is_empty(), "{:?}", ping.others);
            let ran = map.process_at(ping.process, T + S, T + S).expect("a program");
            assert_eq!(ran.process.args, ["ping", "-f", "192.0.2.1"]);
        }
    }

    #[test]
    fn a_number_that_is_given_again_is_not_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        // What had the number 501 at 10:15:02 was gone when ping began.
        let later = PS.replace("10:14:59 2026", "10:15:30 2026");
        let later = at(&later, "10:15:40");
        let map = map_of(folder.path(), Some("mac1"), &[("lsof", LSOF), ("ps", &later)]);
        let unknown = asked(&map, 1, 7).expect("a number");
        assert_eq!((unknown.process.id.pid, start_of(&unknown)), (501, 0));
        let shell = asked(&map, 17, 41400).expect("the shell");
        assert_eq!(start_of(&shell), 177_235_926_000, "it began before");
    }

    #[test]
    fn a_process_begins_once_whoever_saw_it_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, shell) = LSOF.split_once("n*:*\n").expect("sockets of the shell");
        let lsof = format!("2026-03-01T10:14:50Z\n{shell}") + &at(LSOF, "10:15:01");
        let map = map_of(folder.path(), Some("mac1"), &[("lsof", &lsof), ("ps", PS)]);
        let mut joiner = Joiner::new(HostKnowledge { map: Some(map), ..HostKnowledge::default() });
        let begun = joiner.take_execs(i64::MAX);
        let ids: Vec<_> = begun.iter().map(|exec| exec.process.process.id).collect();
        assert_eq!(ids, [ProcessId { pid: 501, start_ticks: 177_236_009_900 }]);
    }

    #[test]
    fn a_snapshot_that_was_cut_short_ends_no_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, _) = PS.split_once("501 400").expect("a row of ping");
        let ps = at(PS, "10:14:59") + &at(first, "10:15:00") + &at(PS, "10:15:05");
        let lsof = at(LSOF, "10:14:59") + &at(LSOF, "10:15:10");
        let map = map_of(folder.path(), Some("mac1"), &[("ps", &ps), ("lsof", &lsof)]);
        let ping = asked(&map, 1, 7).expect("ping");
        assert_eq!((ping.process.id.pid, start_of(&ping)), (501, 177_236_009_900));
    }

    #[test]
    fn a_map_reaches_to_the_last_snapshot_though_nothing_changed_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let once = at(LSOF, "10:14:00");
        let map = map_of(folder.path(), Some("mac1"), &[("lsof", &once)]);
        assert_eq!(asked(&map, 17, 41400), None);
        let twice = once + &at(LSOF, "10:16:00");
        let map = map_of(folder.path(), Some("mac1"), &[("lsof", &twice)]);
        assert_eq!(asked(&map, 17, 41400).map(|shell| shell.process.id.pid), Some(400));
    }
}
