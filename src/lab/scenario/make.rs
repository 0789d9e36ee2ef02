//! A scenario as files: `traffic.pcap`, host maps, logs, `truth.json`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Scenario;
use super::play::{Notes, Played, Stage, play};
use super::truth::Truth;
use super::world::World;
use crate::host::event::HostEvent;
use crate::host::log::MapLog;
use crate::lab::synth::pcap::{PcapOptions, PcapWriter};
use crate::lab::synth::write_behind;

/// Where everything was written.
#[derive(Clone, Debug)]
pub struct Made {
    pub capture: PathBuf,
    /// `map.jsonl`; of several watched hosts `map-HOST.jsonl` each.
    pub maps: Vec<PathBuf>,
    pub access_log: Option<PathBuf>,
    pub vpc_log: Option<PathBuf>,
    pub counters: Option<PathBuf>,
    pub truth: Truth,
    pub played: Played,
}

/// Writes what a scenario gives into a folder.
pub fn make(name: &str, scenario: &Scenario, dir: &Path, seed: u64, scale: f64) -> Result<Made> {
    let world = World::new(scenario, seed)?;
    let mut truth = Truth::new(name, seed, scenario, &world)?;
    fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    let (logs, paths) = Logs::create(dir, &world, "")?;
    let (capture, file) = create(dir, "traffic.pcap")?;
    let mut files = Files { pcap: None, logs };
    let mut failed = None;
    let played = write_behind(file, |out| {
        files.pcap = Some(PcapWriter::new(out, PcapOptions::default())?);
        let played = match play(scenario, &world, seed, scale, &mut files) {
            Ok(played) => played,
            Err(error) => {
                failed = Some(error);
                Played::default()
            }
        };
        if let Some(pcap) = files.pcap.take() {
            pcap.finish()?;
        }
        Ok(played)
    })
    .with_context(|| format!("can't write {}", capture.display()))?;
    if let Some(error) = failed {
        return Err(error);
    }
    files.logs.finish().with_context(|| format!("can't write into {}", dir.display()))?;
    (truth.packets, truth.wire_bytes) = (played.packets, played.wire_bytes);
    write_truth(dir, &truth)?;
    let LogPaths { maps, access_log, vpc_log, counters } = paths;
    Ok(Made { capture, maps, access_log, vpc_log, counters, truth, played })
}

pub(in crate::lab) fn create(dir: &Path, name: &str) -> Result<(PathBuf, File)> {
    let path = dir.join(name);
    let file = File::create(&path).with_context(|| format!("can't create {}", path.display()));
    file.map(|file| (path, file))
}

pub(in crate::lab) fn write_truth(dir: &Path, truth: &Truth) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(truth)?;
    json.push(b'\n');
    fs::write(dir.join("truth.json"), json)
        .with_context(|| format!("can't write into {}", dir.display()))
}

/// What a scenario gives beside packets.
pub(in crate::lab) struct Logs {
    maps: BTreeMap<usize, MapLog<File>>,
    access: Option<BufWriter<File>>,
    vpc: Option<BufWriter<File>>,
    counters: Option<BufWriter<File>>,
}

#[derive(Clone, Debug, Default)]
pub(in crate::lab) struct LogPaths {
    pub(in crate::lab) maps: Vec<PathBuf>,
    pub(in crate::lab) access_log: Option<PathBuf>,
    pub(in crate::lab) vpc_log: Option<PathBuf>,
    pub(in crate::lab) counters: Option<PathBuf>,
}

impl Logs {
    /// Files for what the world's hosts have; `infix` stands before the extension.
    pub(in crate::lab) fn create(
        dir: &Path,
        world: &World,
        infix: &str,
    ) -> Result<(Self, LogPaths)> {
        let watched: Vec<usize> = world
            .hosts
            .iter()
            .enumerate()
            .filter(|(_, host)| host.watched)
            .map(|(at, _)| at)
            .collect();
        let (mut maps, mut paths) = (BTreeMap::new(), LogPaths::default());
        for &at in &watched {
            let name = match watched.as_slice() {
                [_] => format!("map{infix}.jsonl"),
                _ => format!("map{infix}-{}.jsonl", world.hosts[at].name),
            };
            let (path, file) = create(dir, &name)?;
            maps.insert(at, MapLog::new(file));
            paths.maps.push(path);
        }
        let log = |name: &str,
                   extension: &str,
                   wanted: bool|
         -> Result<(Option<PathBuf>, Option<File>)> {
            let name = format!("{name}{infix}.{extension}");
            Ok(wanted.then(|| create(dir, &name)).transpose()?.unzip())
        };
        let (access_log, access) = log("access", "log", world.log_host().is_some())?;
        let has_interfaces = world.hosts.iter().any(|host| host.interface.is_some());
        let (vpc_log, vpc) = log("vpc", "log", has_interfaces)?;
        let has_counters = world.hosts.iter().any(|host| host.counters);
        let (counters, samples) = log("counters", "prom", has_counters)?;
        (paths.access_log, paths.vpc_log, paths.counters) = (access_log, vpc_log, counters);
        let [access, vpc, counters] = [access, vpc, samples].map(|it| it.map(BufWriter::new));
        let logs = Self { maps, access, vpc, counters };
        Ok((logs, paths))
    }

    pub(in crate::lab) fn finish(self) -> io::Result<()> {
        for map in self.maps.into_values() {
            map.finish()?;
        }
        for mut log in [self.access, self.vpc, self.counters].into_iter().flatten() {
            log.flush()?;
        }
        Ok(())
    }
}

impl Notes for Logs {
    fn host_event(&mut self, host: usize, event: &HostEvent) -> io::Result<()> {
        self.maps.get_mut(&host).map_or(Ok(()), |map| map.write(event))
    }

    fn access_line(&mut self, line: &str) -> io::Result<()> {
        self.access.as_mut().map_or(Ok(()), |log| log.write_all(line.as_bytes()))
    }

    fn vpc_line(&mut self, line: &str) -> io::Result<()> {
        self.vpc.as_mut().map_or(Ok(()), |log| log.write_all(line.as_bytes()))
    }

    fn counter_text(&mut self, text: &str) -> io::Result<()> {
        self.counters.as_mut().map_or(Ok(()), |log| log.write_all(text.as_bytes()))
    }
}

struct Files<W: Write> {
    pcap: Option<PcapWriter<W>>,
    logs: Logs,
}

impl<W: Write> Stage for Files<W> {
    fn packet(&mut self, time_ns: i64, frame: &[u8]) -> io::Result<()> {
        self.pcap.as_mut().map_or(Ok(()), |pcap| pcap.write(time_ns, frame))
    }

    fn notes(&mut self) -> &mut dyn Notes {
        &mut self.logs
    }
}
