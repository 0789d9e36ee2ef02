//! Behaviours on their way: each tool started at its time, again and again where it is to
//! be, and ended at its end.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::plan::{Action, Plan};
use super::program::{Ran, Running, last_line, said};
use super::site::Site;
use super::tool::{TUNNEL_IS_UP, client};

/// Runs of one behaviour at a time; one that waits for an answer does not hold up the next.
const MOST_AT_A_TIME: usize = 8;

pub(super) struct Stage<'a> {
    plan: &'a Plan,
    site: &'a Site,
    files: &'a Path,
    begun: Instant,
    doings: Vec<Doing>,
}

struct Doing {
    /// In turn.
    lines: Vec<Vec<String>>,
    log: PathBuf,
    running: Vec<Running>,
    runs: Vec<Ran>,
    started: usize,
    /// When it is started next; never again without it.
    next: Option<Duration>,
}

impl<'a> Stage<'a> {
    /// `left_out`: behaviours that are not done.
    pub(super) fn new(
        plan: &'a Plan,
        site: &'a Site,
        left_out: &[bool],
        files: &'a Path,
        logs: &Path,
    ) -> Result<Self> {
        let doing = |(at, action): (usize, &Action)| -> Result<Doing> {
            let label = &action.behaviour.label;
            let is_done = left_out.get(at).copied().unwrap_or(false);
            Ok(Doing {
                lines: match is_done {
                    true => Vec::new(),
                    false => {
                        client(plan, action, files).with_context(|| format!("behaviour {label}"))?
                    }
                },
                log: logs.join(format!("{label}.log")),
                running: Vec::new(),
                runs: Vec::new(),
                started: 0,
                next: (!is_done && action.start < action.end).then_some(action.start),
            })
        };
        let doings = plan.actions.iter().enumerate().map(doing).collect::<Result<_>>()?;
        Ok(Self { plan, site, files, begun: Instant::now(), doings })
    }

    /// Time starts now.
    pub(super) fn begin(&mut self) {
        self.begun = Instant::now();
    }

    /// Does what is due; whether all is done.
    pub(super) fn look(&mut self) -> Result<bool> {
        let now = self.begun.elapsed();
        let mut all_done = true;
        for at in 0..self.doings.len() {
            let action = &self.plan.actions[at];
            self.reap(at)?;
            if now >= action.end {
                let doing = &mut self.doings[at];
                if doing.next.is_some() && doing.started == 0 {
                    bail!("{}", self.why_never(action));
                }
                doing.next = None;
                doing.running.iter_mut().for_each(Running::end);
            }
            let doing = &self.doings[at];
            let is_due = doing.next.is_some_and(|next| now >= next);
            if is_due && self.tunnel_is_up(action) && doing.running.len() < MOST_AT_A_TIME {
                self.start(at, now)?;
            }
            let doing = &self.doings[at];
            all_done &= doing.next.is_none() && doing.running.is_empty();
        }
        Ok(all_done)
    }

    /// All runs of each behaviour.
    pub(super) fn finish(self) -> Result<Vec<Vec<Ran>>> {
        let finish = |mut doing: Doing| -> Result<Vec<Ran>> {
            for running in doing.running {
                doing.runs.push(running.finish()?);
            }
            Ok(doing.runs)
        };
        self.doings.into_iter().map(finish).collect()
    }

    fn start(&mut self, at: usize, now: Duration) -> Result<()> {
        let action = &self.plan.actions[at];
        let doing = &mut self.doings[at];
        let line = doing.started % doing.lines.len().max(1);
        let Some(line) = doing.lines.get(line) else { return Ok(()) };
        let space = self.site.space(action.from);
        let running = Running::start(space, line, self.files, &doing.log)
            .with_context(|| format!("behaviour {}", action.behaviour.label))?;
        doing.running.push(running);
        doing.started += 1;
        let gap = action.behaviour.gap_s.map(Duration::from_secs_f64);
        // Who is behind does not catch up in a burst that nobody asked for.
        doing.next = gap.map(|gap| doing.next.unwrap_or(now).saturating_add(gap).max(now));
        Ok(())
    }

    fn reap(&mut self, at: usize) -> Result<()> {
        let doing = &mut self.doings[at];
        let mut still = Vec::with_capacity(doing.running.len());
        for mut running in doing.running.drain(..) {
            match running.ended()? {
                Some(ran) => doing.runs.push(ran),
                None => still.push(running),
            }
        }
        doing.running = still;
        Ok(())
    }

    fn tunnel_is_up(&self, action: &Action) -> bool {
        let Some(tunnel) = action.through.and_then(|at| self.doings.get(at)) else { return true };
        !tunnel.running.is_empty() && said(&tunnel.log).contains(TUNNEL_IS_UP)
    }

    fn why_never(&self, action: &Action) -> String {
        let label = &action.behaviour.label;
        match action.through.and_then(|at| self.doings.get(at)) {
            Some(tunnel) => {
                let said = last_line(&said(&tunnel.log));
                format!("behaviour {label}: its tunnel did not come up: {said}")
            }
            None => format!("behaviour {label} was never started"),
        }
    }
}
