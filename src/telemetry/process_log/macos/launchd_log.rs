//! What `launchd` logs of the jobs that it starts: that one was spawned, why, and
//! that it exited.

use crate::host::process::{Context, Process};
use crate::telemetry::process_log::command::{cut, short_name};
use crate::telemetry::text::number;

use super::process::process_id;

/// The first process of a Mac.
pub(super) const LAUNCHD: u32 = 1;

const MAX_LABEL_BYTES: usize = 256;

/// A message about a job.
#[derive(Debug, PartialEq)]
pub(super) enum Job {
    Spawned(Box<Process>),
    Exited { pid: u32 },
}

impl Job {
    /// The job stands in the entry's subsystem: `gui/501/com.example.agent [501]`.
    /// Nothing for other messages.
    pub(super) fn of(subsystem: &str, message: &str, time_ns: i64) -> Option<Self> {
        let (job, its_pid) = match subsystem.trim_end_matches(':').rsplit_once(" [") {
            Some((job, pid)) => (job, pid.strip_suffix(']').and_then(pid_of)),
            None => (subsystem, None),
        };
        if message.starts_with("exited due to ") {
            return its_pid.map(|pid| Self::Exited { pid });
        }
        let spawned = message.strip_prefix("Successfully spawned ")?;
        let (named, _why) = spawned.split_once("] because ")?;
        let (name, pid) = named.rsplit_once('[')?;
        let pid = pid_of(pid)?;
        let mut parts = job.splitn(3, '/');
        let (domain, uid, label) = match (parts.next(), parts.next(), parts.next()) {
            (Some(domain), Some(uid), Some(label)) => (domain, pid_of(uid), label),
            (Some(domain), Some(label), None) => (domain, None, label),
            _ => ("", None, job),
        };
        Some(Self::Spawned(Box::new(Process {
            id: process_id(pid, Some(time_ns)),
            started_ns: Some(time_ns),
            parent: Some(process_id(LAUNCHD, None)),
            name: short_name(name),
            uid: uid.filter(|_| matches!(domain, "gui" | "user" | "login")),
            context: match domain {
                "gui" if label.starts_with("application.") => Some(Context::Gui),
                // Of other agents in a session some have windows and most have none.
                "system" | "user" => Some(Context::None),
                _ => None,
            },
            unit: cut(label, MAX_LABEL_BYTES).to_owned(),
            ..Process::default()
        })))
    }
}

fn pid_of(text: &str) -> Option<u32> {
    number(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawned(subsystem: &str) -> Process {
        let message = "Successfully spawned flood[501] because ipc (mach)";
        match Job::of(subsystem, message, 7_000_000_000) {
            Some(Job::Spawned(process)) => *process,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn jobs_have_a_label_and_a_session() {
        let agent = spawned("user/501/com.example.flood [501]");
        assert_eq!((agent.id.pid, agent.id.start_ticks, agent.uid), (501, 700, Some(501)));
        assert_eq!((&*agent.name, &*agent.unit), ("flood", "com.example.flood"));
        assert_eq!(agent.context, Some(Context::None));
        let daemon = spawned("system/com.example.flood [501]");
        assert_eq!((daemon.uid, &*daemon.unit), (None, "com.example.flood"));
        let app = spawned("gui/501/application.com.example.net.1.2 [501]");
        assert_eq!((app.context, app.uid), (Some(Context::Gui), Some(501)));
        assert_eq!(spawned("gui/501/com.example.agent [501]").context, None);
    }

    #[test]
    fn an_exit_is_of_the_job() {
        let exit = Job::of("system/com.example.x [501]", "exited due to exit(0), ran for 9ms", 0);
        assert_eq!(exit, Some(Job::Exited { pid: 501 }));
        for (subsystem, message) in [
            ("", "exited due to exit(0)"),
            ("system/x [501]", "service inactive: x"),
            ("system/x [501]", "Successfully spawned x[y] because ipc"),
            ("system/x [501]", "Successfully spawned x"),
        ] {
            assert_eq!(Job::of(subsystem, message, 0), None);
        }
    }
}
