//! What `flowtap read` knows of hosts, and whether it is of the captures' time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Usage;
use super::host_args::HostArgs;
use super::named::maps_once;
use super::telemetry_args::Split;
use crate::engine::RunOptions;
use crate::host::join::HostKnowledge;
use crate::host::log::{MapRead, read_map};
use crate::host::map::{HostMap, MapLimits};
use crate::telemetry::hosts::read_into_map;
use crate::time::rfc3339;

/// What is known of hosts, read whole before the captures.
pub(super) fn host_knowledge(
    maps: &[PathBuf],
    files: &HostArgs,
    options: &RunOptions,
    split: &Split,
) -> anyhow::Result<(Option<HostKnowledge>, MapSpans)> {
    let known = files.open()?;
    for warning in &known.warnings {
        eprintln!("flowtap: warning: {warning}");
    }
    if let Some(pipe) = split.of_hosts().find(|named| !named.path.is_file()) {
        let why = format!(
            "{}: process telemetry is read twice, for the map and in the order of time: give a file",
            pipe.path.display()
        );
        return Err(Usage(why).into());
    }
    let mut spans = MapSpans::default();
    let mapped = !maps.is_empty() || split.of_hosts().next().is_some();
    if !mapped && files.paths().next().is_none() {
        return Ok((None, spans));
    }
    let map = mapped.then(|| Arc::new(HostMap::new(MapLimits::default())));
    maps_once(maps)?;
    if let Some(map) = &map {
        for path in maps {
            let read = read_map(path, &mut map.writer())?;
            tell(&read);
            spans.add(path, &read);
        }
        read_into_map(split.of_hosts().cloned().collect(), map);
        map.complete();
    }
    let knowledge = HostKnowledge {
        map,
        live: false,
        inventory: known.inventory,
        lists: Some(known.lists),
        home_nets: options.detect.home_nets.clone(),
    };
    Ok((Some(knowledge), spans))
}

fn tell(read: &MapRead) {
    if let Some(first) = &read.first_bad {
        eprintln!(
            "flowtap: warning: {} lines are no events and are left out; the first: {first}",
            read.bad_lines
        );
    }
    if let Some(first) = &read.first_odd {
        eprintln!(
            "flowtap: warning: the times of {} lines can't be right, and processes may be missing \
             from there on; the first: {first}",
            read.odd_times
        );
    }
}

/// How much longer captures may be than the map that was recorded beside them: watchers
/// are up to two seconds behind, and are ended first.
const BESIDE_NS: i64 = 2_000_000_000;

/// The time that the maps of each host cover.
#[derive(Debug, Default)]
pub(super) struct MapSpans(BTreeMap<String, Span>);

#[derive(Debug)]
struct Span {
    /// The first of its maps.
    file: String,
    from_ns: i64,
    until_ns: i64,
}

impl MapSpans {
    fn add(&mut self, path: &Path, read: &MapRead) {
        let (from_ns, until_ns) = (read.from_ns, read.until_ns);
        let new = || Span { file: path.display().to_string(), from_ns, until_ns };
        let span = self.0.entry(read.host.clone()).or_insert_with(new);
        span.from_ns = span.from_ns.min(from_ns);
        span.until_ns = span.until_ns.max(until_ns);
    }

    /// Captures from the first packet to the last are not wholly of the maps' time.
    pub(super) fn warning(&self, (first_ns, last_ns): (i64, i64)) -> Option<String> {
        let is_within = |span: &&Span| {
            first_ns >= span.from_ns.saturating_sub(BESIDE_NS)
                && last_ns <= span.until_ns.saturating_add(BESIDE_NS)
        };
        let mut outside = self.0.values().filter(|span| !is_within(span));
        let span = outside.next()?;
        let others = match outside.count() {
            0 => String::new(),
            1 => " and of that of another host".to_owned(),
            more => format!(" and of those of {more} other hosts"),
        };
        let apart = last_ns < span.from_ns || first_ns > span.until_ns;
        let (partly, clock) = match apart {
            true => ("", "; is a clock or a time zone wrong?"),
            false => (" partly", ""),
        };
        Some(format!(
            "the captures ({} to {}) lie{partly} outside the time of the host map {} \
             ({} to {}){others}: flows there have no process (outside_map){clock}",
            rfc3339(first_ns),
            rfc3339(last_ns),
            span.file,
            rfc3339(span.from_ns),
            rfc3339(span.until_ns),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn spans(maps: &[(&str, i64, i64)]) -> MapSpans {
        let mut spans = MapSpans::default();
        for &(host, from_ns, until_ns) in maps {
            let host = host.to_owned();
            let read = MapRead { host, from_ns, until_ns, ..MapRead::default() };
            spans.add(Path::new("m.jsonl"), &read);
        }
        spans
    }

    #[test]
    fn captures_of_another_time_than_the_map_are_told_with_both_times() {
        let map = spans(&[("h", 100 * S, 200 * S)]);
        // Watchers end a moment before captures do.
        for within in [(100, 200), (99, 201), (150, 151)] {
            assert_eq!(map.warning((within.0 * S, within.1 * S)), None, "{within:?}");
        }
        for partly in [(50, 150), (150, 250), (50, 250)] {
            let said = map.warning((partly.0 * S, partly.1 * S)).expect("told");
            assert!(said.contains("partly outside") && !said.contains("clock"), "{said}");
        }
        for apart in [(10, 20), (300, 400)] {
            let said = map.warning((apart.0 * S, apart.1 * S)).expect("told");
            assert!(said.contains("m.jsonl") && said.contains("clock"), "{said}");
            for time in [apart.0, apart.1, 100, 200] {
                assert!(said.contains(&rfc3339(time * S)), "{time}: {said}");
            }
        }
    }

    #[test]
    fn maps_of_one_host_count_together_and_those_of_others_apart() {
        let map = spans(&[("h", 0, 10 * S), ("h", 11 * S, 20 * S)]);
        assert_eq!(map.warning((0, 20 * S)), None);
        let map = spans(&[("a", 0, 20 * S), ("b", 90 * S, 95 * S), ("c", 80 * S, 85 * S)]);
        let said = map.warning((0, 20 * S)).expect("told");
        assert!(said.contains("of another host"), "{said}");
        assert_eq!(MapSpans::default().warning((0, 20 * S)), None, "no map at all");
    }
}
