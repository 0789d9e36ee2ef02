//! Live labs: real tools in network namespaces, a live capture beside them, and a score.
//!
//! A scenario ([`plan`]) names hosts, servers, who runs which [`tool`] against whom, and
//! what is expected of detection. [`run`] makes a namespace a host and a bridge between
//! them, starts servers and `flowtap live`, then the behaviours at their times; at the end
//! it writes what really happened (`truth.json`) and what was raised.
//!
//! Nothing here ever sends to another network: no link leads out of the namespaces, and a
//! destination that is no host of the scenario is refused before anything is made. It runs
//! no text of a scenario as a command: tools and their fields are a fixed list. Everything
//! is bounded in time and count, ended by its own process id, and removed at the end; what a
//! lab that was killed has left is removed by [`remove_leftovers`].
//!
//! ```text
//! plan ──▶ site ──▶ servers ──▶ capture ──▶ behaviours ──▶ record, score
//! TOML     netns    program     live        program        truth.json
//! ```

mod capture;
pub mod plan;
mod program;
mod record;
mod server;
mod site;
mod stage;
pub mod text;
pub mod tool;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

pub use capture::Listening;
pub use site::remove_leftovers;

use capture::Capture;
use plan::Plan;
use program::{Running, last_line, now_ns};
use record::{Family, Record};
use site::{Folder, HOST_INTERFACE, LOOK, SWITCH_INTERFACE, Site};
use stage::Stage;
use tool::{ALWAYS, Program};

use crate::alert::{Severity, time_text};
use crate::lab::scenario::score::{Report, score};

/// iodined asks for its interface first; all others listen at once.
const SERVES_WITHIN: Duration = Duration::from_secs(20);

/// The last packets are seen, and watchers have told who sent them.
const SETTLES: Duration = Duration::from_millis(1_500);

#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Folder for truth, alerts and logs; without it they are removed at the end.
    pub output: Option<PathBuf>,
    pub listening: Listening,
    /// Alerts below it are no false ones.
    pub least: Severity,
}

/// What a lab came to.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub scenario: String,
    pub score: Report,
    pub ran: Vec<Told>,
    /// What was left out, and why.
    pub skipped: Vec<String>,
    pub packets: u64,
    /// By the capture; then figures say little.
    pub lost_packets: u64,
}

/// What became of a behaviour.
#[derive(Debug, Serialize)]
pub struct Told {
    pub label: String,
    pub tool: &'static str,
    pub from: String,
    pub to: String,
    pub runs: u64,
    pub start: String,
    pub end: String,
    pub failed_runs: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The line with its figures, or else the last.
    pub said: String,
}

/// Why namespaces can't be made, if so.
pub fn check_rights() -> Result<()> {
    use caps::{CapSet, Capability};

    let needed = [Capability::CAP_NET_ADMIN, Capability::CAP_SYS_ADMIN, Capability::CAP_NET_RAW];
    let has = |it: &Capability| caps::has_cap(None, CapSet::Effective, *it).unwrap_or(false);
    let missing: Vec<String> =
        needed.iter().filter(|it| !has(it)).map(ToString::to_string).collect();
    ensure!(
        missing.is_empty(),
        "a live lab makes network namespaces: run it as root (missing: {})",
        missing.join(", ")
    );
    Ok(())
}

/// Runs a scenario; `stop` ends it early, in order. `told` hears what happens.
///
/// Everything that it starts ends with the thread that calls it.
pub fn run(
    plan: &Plan,
    options: &RunOptions,
    stop: &AtomicBool,
    mut told: impl FnMut(&str),
) -> Result<Outcome> {
    check_rights()?;
    let missing = Missing::of(plan)?;
    for name in remove_leftovers()? {
        told(&format!("removed {name}, which a lab that was killed had left"));
    }
    let folder = Folder::new()?;
    let output = options.output.clone().unwrap_or_else(|| folder.path.join("output"));
    let mut site = Site::new(&plan.hosts)?;
    let lab = Lab { plan, options, missing: &missing, site: &site, files: &folder.path, stop };
    let outcome = lab.run(&output, &mut told);
    // Also after a failure, which counts for more.
    let removed = site.remove();
    let outcome = outcome?;
    removed?;
    Ok(outcome)
}

/// What is done without, because its program is not installed.
struct Missing {
    servers: Vec<bool>,
    actions: Vec<bool>,
    told: Vec<String>,
}

impl Missing {
    fn of(plan: &Plan) -> Result<Self> {
        let mut missing = Self { servers: Vec::new(), actions: Vec::new(), told: Vec::new() };
        let mut needed: Vec<Program> = lacking(ALWAYS);
        for at in &plan.servers {
            let server = &at.server;
            let lacking = lacking(server.tool.programs());
            let is_left_out = server.optional && !lacking.is_empty();
            missing.servers.push(is_left_out);
            if is_left_out {
                let (tool, host) = (server.tool.name(), &server.host);
                missing.told.push(format!("{tool} of {host}: there is no {}", named(&lacking)));
            } else {
                needed.extend(lacking);
            }
        }
        for action in &plan.actions {
            let it = &action.behaviour;
            let lacking = lacking(it.tool.programs());
            let server = action.server.and_then(|at| missing.servers.get(at));
            let tunnel = action.through.and_then(|at| missing.actions.get(at));
            let lacks_other = [server, tunnel].into_iter().flatten().any(|it| *it);
            let is_left_out = it.optional && (lacks_other || !lacking.is_empty());
            missing.actions.push(is_left_out);
            if is_left_out {
                let why = match lacking.is_empty() {
                    true => "what it needs is left out".to_owned(),
                    false => format!("there is no {}", named(&lacking)),
                };
                missing.told.push(format!("{}: {why}", it.label));
                continue;
            }
            let label = &it.label;
            ensure!(!lacks_other, "behaviour {label} needs what is left out: make it optional too");
            needed.extend(lacking);
        }
        needed.sort_by_key(|it| it.name);
        needed.dedup();
        ensure!(needed.is_empty(), "there is no {}", named(&needed));
        Ok(missing)
    }
}

fn lacking(programs: &[Program]) -> Vec<Program> {
    programs.iter().filter(|it| !it.is_installed()).copied().collect()
}

fn named(programs: &[Program]) -> String {
    let name = |it: &Program| format!("{} (Debian: {})", it.name, it.package);
    programs.iter().map(name).collect::<Vec<_>>().join(", ")
}

struct Lab<'a> {
    plan: &'a Plan,
    options: &'a RunOptions,
    missing: &'a Missing,
    site: &'a Site,
    files: &'a Path,
    stop: &'a AtomicBool,
}

impl Lab<'_> {
    fn run(&self, output: &Path, told: &mut impl FnMut(&str)) -> Result<Outcome> {
        let plan = self.plan;
        let logs = output.join("tools");
        fs::create_dir_all(&logs).with_context(|| format!("can't make {}", logs.display()))?;
        let mut servers = Vec::new();
        for at in 0..plan.servers.len() {
            servers.push(self.serve(at, &logs)?);
        }
        let stage = Stage::new(plan, self.site, &self.missing.actions, self.files, &logs)?;
        let (space, interface) = match plan.capture {
            Some(host) => (self.site.space(host), HOST_INTERFACE),
            None => (self.site.switch(), SWITCH_INTERFACE),
        };
        let inside = plan.hosts.iter().filter(|host| !host.outside);
        let home: Vec<String> = inside.map(|host| format!("{}/32", host.address)).collect();
        let how = &self.options.listening;
        let mut capture =
            Capture::start(space, interface, &home, plan.duration, how, output, self.stop)?;
        let start_ns = now_ns();
        told(&format!("{}: {} s at the most", plan.name, plan.duration.as_secs_f64()));
        let runs = self.play(stage, &mut servers, &mut capture)?;
        let settled = Instant::now() + SETTLES;
        while Instant::now() < settled {
            self.pause()?;
            capture.look()?;
        }
        let end_ns = now_ns();
        let captured = capture.finish()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let servers = servers.iter().map(|it| it.as_ref().map(Running::id)).collect();
        let family = Family::read(&output.join("map.jsonl"))?;
        let record = Record { runs, servers, start_ns, end_ns, boot, family };
        let truth = record.truth(plan, captured.packets, captured.wire_bytes);
        let mut json = serde_json::to_vec_pretty(&truth)?;
        json.push(b'\n');
        fs::write(output.join("truth.json"), json)
            .with_context(|| format!("can't write into {}", output.display()))?;
        Ok(Outcome {
            scenario: plan.name.clone(),
            score: score(&truth, &captured.alerts, self.options.least)?,
            ran: self.told(&record, &logs),
            skipped: self.missing.told.clone(),
            packets: captured.packets,
            lost_packets: captured.lost_packets,
        })
    }

    /// Starts a server, and comes back once it answers.
    fn serve(&self, at: usize, logs: &Path) -> Result<Option<Running>> {
        if self.missing.servers.get(at).copied().unwrap_or(false) {
            return Ok(None);
        }
        let it = &self.plan.servers[at];
        let (tool, host) = (it.server.tool, &it.server.host);
        let name = format!("{}-{host}-{}", tool.name(), it.port);
        let dir = self.files.join(&name);
        let address = self.plan.hosts[it.host].address;
        let line = server::line(it, address, &dir)?;
        let log = logs.join(format!("{name}.log"));
        let space = self.site.space(it.host);
        let mut running = Running::start(space, &line, &dir, &log)?;
        let until = Instant::now() + SERVES_WITHIN;
        while !server::is_served(running.id().pid, it) {
            let why = || format!("{} of {host}: {}", tool.name(), last_line(&program::said(&log)));
            if running.ended()?.is_some() {
                bail!("{}", why());
            }
            ensure!(Instant::now() < until, "does not answer: {}", why());
            self.pause()?;
        }
        Ok(Some(running))
    }

    /// The behaviours, to their end.
    fn play(
        &self,
        mut stage: Stage<'_>,
        servers: &mut [Option<Running>],
        capture: &mut Capture,
    ) -> Result<Vec<Vec<program::Ran>>> {
        stage.begin();
        while !stage.look()? {
            for (at, server) in servers.iter_mut().enumerate() {
                let Some(running) = server else { continue };
                if running.ended()?.is_some() {
                    let it = &self.plan.servers[at].server;
                    let said = last_line(&running.said());
                    bail!("{} of {} has ended: {said}", it.tool.name(), it.host);
                }
            }
            capture.look()?;
            self.pause()?;
        }
        stage.finish()
    }

    fn pause(&self) -> Result<()> {
        ensure!(!self.stop.load(Ordering::Relaxed), "interrupted: the lab was removed");
        std::thread::sleep(LOOK);
        Ok(())
    }

    fn told(&self, record: &Record, logs: &Path) -> Vec<Told> {
        let tell = |(at, action): (usize, &plan::Action)| {
            let (start_ns, end_ns) = record.span(at)?;
            let runs = record.runs.get(at)?;
            let it = &action.behaviour;
            let said = program::said(&logs.join(format!("{}.log", it.label)));
            let figures = said.lines().rev().find(|line| line.contains(it.tool.figures()));
            let failed = || runs.iter().filter_map(|ran| ran.failure.as_ref());
            Some(Told {
                label: it.label.clone(),
                tool: it.tool.name(),
                from: it.from.clone(),
                to: it.to.clone(),
                runs: runs.len() as u64,
                start: time_text(start_ns),
                end: time_text(end_ns),
                failed_runs: failed().count() as u64,
                failure: failed().next().cloned(),
                said: last_line(figures.unwrap_or(&said)),
            })
        };
        self.plan.actions.iter().enumerate().filter_map(tell).collect()
    }
}
