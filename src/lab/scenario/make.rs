//! A scenario as files: `traffic.pcap`, host maps, logs, `truth.json`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Scenario;
use super::play::{Played, Stage, play};
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
    pub truth: Truth,
    pub played: Played,
}

/// Writes what a scenario gives into a folder.
pub fn make(name: &str, scenario: &Scenario, dir: &Path, seed: u64, scale: f64) -> Result<Made> {
    let world = World::new(scenario, seed)?;
    let mut truth = Truth::new(name, seed, scenario, &world)?;
    fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    let create = |name: &str| {
        let path = dir.join(name);
        let file = File::create(&path).with_context(|| format!("can't create {}", path.display()));
        file.map(|file| (path, file))
    };
    let watched: Vec<usize> =
        world.hosts.iter().enumerate().filter(|(_, host)| host.watched).map(|(at, _)| at).collect();
    let (mut maps, mut map_paths) = (BTreeMap::new(), Vec::new());
    for &at in &watched {
        let name = match watched.as_slice() {
            [_] => "map.jsonl".to_owned(),
            _ => format!("map-{}.jsonl", world.hosts[at].name),
        };
        let (path, file) = create(&name)?;
        maps.insert(at, MapLog::new(file));
        map_paths.push(path);
    }
    let access = world.log_host().map(|_| create("access.log")).transpose()?;
    let has_interfaces = world.hosts.iter().any(|host| host.interface.is_some());
    let vpc = has_interfaces.then(|| create("vpc.log")).transpose()?;
    let (access_log, access) = access.unzip();
    let (vpc_log, vpc) = vpc.unzip();
    let (capture, file) = create("traffic.pcap")?;
    let mut files = Files {
        pcap: None,
        maps,
        access: access.map(BufWriter::new),
        vpc: vpc.map(BufWriter::new),
    };
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
    files.finish().with_context(|| format!("can't write into {}", dir.display()))?;
    (truth.packets, truth.wire_bytes) = (played.packets, played.wire_bytes);
    let mut json = serde_json::to_vec_pretty(&truth)?;
    json.push(b'\n');
    fs::write(dir.join("truth.json"), json)
        .with_context(|| format!("can't write into {}", dir.display()))?;
    Ok(Made { capture, maps: map_paths, access_log, vpc_log, truth, played })
}

struct Files<W: Write> {
    pcap: Option<PcapWriter<W>>,
    maps: BTreeMap<usize, MapLog<File>>,
    access: Option<BufWriter<File>>,
    vpc: Option<BufWriter<File>>,
}

impl<W: Write> Files<W> {
    fn finish(self) -> io::Result<()> {
        for map in self.maps.into_values() {
            map.finish()?;
        }
        for mut log in [self.access, self.vpc].into_iter().flatten() {
            log.flush()?;
        }
        Ok(())
    }
}

impl<W: Write> Stage for Files<W> {
    fn packet(&mut self, time_ns: i64, frame: &[u8]) -> io::Result<()> {
        self.pcap.as_mut().map_or(Ok(()), |pcap| pcap.write(time_ns, frame))
    }

    fn host_event(&mut self, host: usize, event: &HostEvent) -> io::Result<()> {
        self.maps.get_mut(&host).map_or(Ok(()), |map| map.write(event))
    }

    fn access_line(&mut self, line: &str) -> io::Result<()> {
        self.access.as_mut().map_or(Ok(()), |log| log.write_all(line.as_bytes()))
    }

    fn vpc_line(&mut self, line: &str) -> io::Result<()> {
        self.vpc.as_mut().map_or(Ok(()), |log| log.write_all(line.as_bytes()))
    }
}
