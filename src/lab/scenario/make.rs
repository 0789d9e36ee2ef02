//! A scenario as files: `traffic.pcap`, host maps, logs, `truth.json`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, bail};

use super::play::{Notes, Played, Player, Stage, play};
use super::truth::Truth;
use super::world::World;
use super::{Kind, Scenario};
use crate::host::event::{HostEvent, What};
use crate::host::log::MapLog;
use crate::lab::formats::{Answered, Conversation, Format, Interval, Of};
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
    /// Logs of the formats that were asked for, in their order.
    pub asked: Vec<PathBuf>,
    pub truth: Truth,
    pub played: Played,
}

/// How a scenario is made.
#[derive(Clone, Copy, Debug)]
pub struct Making<'a> {
    pub seed: u64,
    /// Multiplies the rates of what is no attack.
    pub scale: f64,
    /// Logs in these formats beside it.
    pub formats: &'a [Format],
    /// Set, it fails with [`super::Stopped`]; what was written by then stays.
    pub stop: &'a AtomicBool,
}

/// Writes what a scenario gives into a folder.
pub fn make(name: &str, scenario: &Scenario, dir: &Path, seed: u64, scale: f64) -> Result<Made> {
    let stop = AtomicBool::new(false);
    make_with(name, scenario, dir, Making { seed, scale, formats: &[], stop: &stop })
}

/// The same, told more closely.
pub fn make_with(name: &str, scenario: &Scenario, dir: &Path, how: Making<'_>) -> Result<Made> {
    let Making { seed, scale, formats, stop } = how;
    let (world, mut truth) = prepare(name, scenario, how)?;
    fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    let (logs, paths) = Logs::create(dir, &world, "", formats)?;
    let (capture, file) = create(dir, "traffic.pcap")?;
    let mut files = Files { pcap: None, logs };
    let mut failed = None;
    let played = write_behind(file, |out| {
        files.pcap = Some(PcapWriter::new(out, PcapOptions::default())?);
        let played = match play(scenario, &world, seed, scale, stop, &mut files) {
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
    let LogPaths { maps, access_log, vpc_log, counters, asked } = paths;
    Ok(Made { capture, maps, access_log, vpc_log, counters, asked, truth, played })
}

/// All that can be wrong with a scenario before anything of it is written.
pub(super) fn check(name: &str, scenario: &Scenario, how: Making<'_>) -> Result<()> {
    let (world, _) = prepare(name, scenario, how)?;
    Player::new(scenario, &world, how.seed, how.scale).map(drop)
}

fn prepare(name: &str, scenario: &Scenario, how: Making<'_>) -> Result<(World, Truth)> {
    check_formats(name, scenario, how.formats)?;
    let mut world = World::new(scenario, how.seed)?;
    if how.formats.contains(&Format::AwsVpc) {
        world.give_interfaces();
    }
    let truth = Truth::new(name, how.seed, scenario, &world)?;
    Ok((world, truth))
}

/// A log in which nothing could ever stand is a mistake.
fn check_formats(name: &str, scenario: &Scenario, formats: &[Format]) -> Result<()> {
    let asks = |kind| matches!(kind, Kind::Requests | Kind::Exploit);
    for format in formats {
        let missing = match format.of() {
            Of::Requests if !scenario.behaviours.iter().any(|it| asks(it.kind)) => "requests",
            Of::Processes if !scenario.hosts.iter().any(|host| host.watched) => "watched host",
            _ => continue,
        };
        bail!("the scenario {name} has no {missing}: there is nothing for {}", format.name());
    }
    Ok(())
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
    logs: Vec<Log>,
    counters: Option<BufWriter<File>>,
}

/// A file in one format; of processes, of one host.
struct Log {
    format: Format,
    host: Option<(usize, String)>,
    out: BufWriter<File>,
}

impl Log {
    fn create(path: &Path, format: Format, host: Option<(usize, String)>) -> Result<Self> {
        let wrong = || format!("can't write {}", path.display());
        let mut out = BufWriter::new(File::create(path).with_context(wrong)?);
        out.write_all(format.head().as_bytes()).with_context(wrong)?;
        Ok(Self { format, host, out })
    }
}

#[derive(Clone, Debug, Default)]
pub(in crate::lab) struct LogPaths {
    pub(in crate::lab) maps: Vec<PathBuf>,
    pub(in crate::lab) access_log: Option<PathBuf>,
    pub(in crate::lab) vpc_log: Option<PathBuf>,
    pub(in crate::lab) counters: Option<PathBuf>,
    /// Of the formats that were asked for.
    pub(in crate::lab) asked: Vec<PathBuf>,
}

impl Logs {
    /// Files for what the world's hosts have, and for these formats; `infix` stands before
    /// the extension.
    pub(in crate::lab) fn create(
        dir: &Path,
        world: &World,
        infix: &str,
        formats: &[Format],
    ) -> Result<(Self, LogPaths)> {
        let watched: Vec<usize> = world
            .hosts
            .iter()
            .enumerate()
            .filter(|(_, host)| host.watched)
            .map(|(at, _)| at)
            .collect();
        // Of several hosts each has files of its own.
        let of_host = |at: usize| match watched.as_slice() {
            [_] => infix.to_owned(),
            _ => format!("{infix}-{}", world.hosts[at].name),
        };
        let (mut maps, mut paths) = (BTreeMap::new(), LogPaths::default());
        for &at in &watched {
            let (path, file) = create(dir, &format!("map{}.jsonl", of_host(at)))?;
            maps.insert(at, MapLog::new(file));
            paths.maps.push(path);
        }
        let mut logs = Vec::new();
        let has_interfaces = world.hosts.iter().any(|host| host.interface.is_some());
        for (format, name, wanted, slot) in [
            (Format::Combined, "access", world.log_host().is_some(), &mut paths.access_log),
            (Format::AwsVpc, "vpc", has_interfaces, &mut paths.vpc_log),
        ] {
            let is_asked = formats.contains(&format);
            if wanted || is_asked {
                let path = dir.join(format!("{name}{infix}.log"));
                logs.push(Log::create(&path, format, None)?);
                paths.asked.extend(is_asked.then(|| path.clone()));
                *slot = Some(path);
            }
        }
        for &format in formats.iter().filter(|it| !matches!(it, Format::Combined | Format::AwsVpc))
        {
            let hosts: Vec<Option<usize>> = match format.of() {
                Of::Processes => watched.iter().map(|&at| Some(at)).collect(),
                _ => vec![None],
            };
            for host in hosts {
                let infix = host.map_or_else(|| infix.to_owned(), of_host);
                let path = dir.join(format!("{}{infix}.log", format.name()));
                let host = host.map(|at| (at, world.hosts[at].name.clone()));
                logs.push(Log::create(&path, format, host)?);
                paths.asked.push(path);
            }
        }
        let mut counters = None;
        if world.hosts.iter().any(|host| host.counters) {
            let (path, file) = create(dir, &format!("counters{infix}.prom"))?;
            counters = Some(BufWriter::new(file));
            paths.counters = Some(path);
        }
        Ok((Self { maps, logs, counters }, paths))
    }

    pub(in crate::lab) fn finish(self) -> io::Result<()> {
        for map in self.maps.into_values() {
            map.finish()?;
        }
        let logs = self.logs.into_iter().map(|log| log.out);
        for mut log in logs.chain(self.counters) {
            log.flush()?;
        }
        Ok(())
    }

    fn write(&mut self, line: impl Fn(&Log) -> String) -> io::Result<()> {
        for log in &mut self.logs {
            let line = line(log);
            log.out.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}

impl Notes for Logs {
    fn host_event(&mut self, host: usize, event: &HostEvent) -> io::Result<()> {
        if let What::ProcessStart(process) = &event.what {
            self.write(|log| match &log.host {
                Some((at, name)) if *at == host => log.format.process(name, process),
                _ => String::new(),
            })?;
        }
        self.maps.get_mut(&host).map_or(Ok(()), |map| map.write(event))
    }

    fn answered(&mut self, answered: &Answered<'_>) -> io::Result<()> {
        self.write(|log| log.format.request(answered))
    }

    fn interval(&mut self, flow: &Interval<'_>) -> io::Result<()> {
        self.write(|log| log.format.interval(flow))
    }

    fn conversation(&mut self, conversation: &Conversation) -> io::Result<()> {
        self.write(|log| log.format.conversation(conversation))
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
