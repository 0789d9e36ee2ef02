//! Whether somebody was at a host's machine: who its console belongs to, and how long its
//! keyboard and pointer had been still.
//!
//! Snapshots say it (`flowtap inputs macos-console`); between two of them the one before
//! counts, for five minutes. A login over the network has no idle time: whoever sits
//! there is not told apart from nobody.
//!
//! Bounded: the newest 8,640 snapshots of a host, and 1,024 hosts.

use super::event::Presence;

/// A snapshot says nothing of what is longer ago.
const VALID_NS: i64 = 300 * SECOND_NS;
/// Nobody is at a console that nobody touched for so long: after ten minutes a Mac on
/// mains turns its screen off by default.
const AWAY_NS: i64 = 600 * SECOND_NS;
/// A day of one each ten seconds.
const MOST: usize = 8_640;
pub(super) const HOSTS: usize = 1_024;
/// Logins over the network that a snapshot keeps.
const REMOTE: usize = 64;
const SECOND_NS: i64 = 1_000_000_000;

/// The name of the machine's own screen and keyboard.
const CONSOLE: &str = "console";

/// What is known of people at a host at some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AtMachine {
    /// Whose the console is; empty: nobody is logged in there.
    pub user: String,
    /// How long nobody had touched its input devices, when that was looked at.
    pub idle_s: Option<i64>,
    /// Terminals of logins over the network.
    pub remote: Vec<String>,
}

impl AtMachine {
    /// Nobody is at the console, as far as that can be told.
    pub fn is_away(&self) -> bool {
        self.user.is_empty() || self.idle_s.is_some_and(|idle_s| idle_s >= AWAY_NS / SECOND_NS)
    }
}

/// Snapshots of one host, in the order of their time.
#[derive(Debug, Default)]
pub(super) struct Presences {
    snapshots: Vec<Snapshot>,
}

#[derive(Debug)]
struct Snapshot {
    at_ns: i64,
    learned_ns: i64,
    /// It said something of the console.
    has_console: bool,
    at: AtMachine,
}

impl Presences {
    /// Adds a line of a snapshot: the console, or a login.
    pub(super) fn add(&mut self, at_ns: i64, learned_ns: i64, presence: &Presence) {
        let place = self.snapshots.partition_point(|snapshot| snapshot.at_ns < at_ns);
        if self.snapshots.get(place).is_none_or(|snapshot| snapshot.at_ns != at_ns) {
            let (has_console, at) = (false, AtMachine::default());
            self.snapshots.insert(place, Snapshot { at_ns, learned_ns, has_console, at });
        }
        let Some(snapshot) = self.snapshots.get_mut(place) else { return };
        let at = &mut snapshot.at;
        if presence.terminal == CONSOLE {
            snapshot.has_console = true;
            at.user.clone_from(&presence.user);
            at.idle_s = presence.idle_ns.map(|ns| ns.div_euclid(SECOND_NS));
        } else if presence.from.is_some() && at.remote.len() < REMOTE {
            at.remote.push(presence.terminal.clone());
        }
        if self.snapshots.len() > MOST {
            self.snapshots.drain(..MOST / 10);
        }
    }

    /// The newest snapshot of the console before a time, of those told by then.
    pub(super) fn at(&self, ns: i64, known_ns: i64) -> Option<&AtMachine> {
        let before = self.snapshots.partition_point(|snapshot| snapshot.at_ns <= ns);
        let valid = self.snapshots.get(..before)?.iter().rev();
        let mut valid = valid.take_while(|it| ns.saturating_sub(it.at_ns) <= VALID_NS);
        valid.find(|it| it.learned_ns <= known_ns && it.has_console).map(|it| &it.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(user: &str, idle_s: i64) -> Presence {
        Presence {
            user: user.to_owned(),
            terminal: CONSOLE.to_owned(),
            from: None,
            idle_ns: Some(idle_s * SECOND_NS),
        }
    }

    #[test]
    fn the_snapshot_before_counts_for_a_while() {
        let mut presences = Presences::default();
        let ssh = Presence {
            terminal: "ttys001".into(),
            from: "192.0.2.1".parse().ok(),
            ..console("bob", 0)
        };
        presences.add(200 * SECOND_NS, 200 * SECOND_NS, &console("ann", 900));
        presences.add(200 * SECOND_NS, 200 * SECOND_NS, &ssh);
        presences.add(100 * SECOND_NS, 100 * SECOND_NS, &console("ann", 3));
        let at = |s: i64| presences.at(s * SECOND_NS, i64::MAX);
        assert_eq!(at(99), None);
        assert!(!at(150).unwrap().is_away());
        assert!(at(200).unwrap().is_away());
        assert_eq!(at(200).unwrap().remote, ["ttys001"]);
        assert_eq!(at(501), None, "five minutes later nothing is known");
        let told_late = presences.at(300 * SECOND_NS, 150 * SECOND_NS).unwrap();
        assert_eq!(told_late.idle_s, Some(3), "what was not told yet is not known");
        let mut nobody = Presences::default();
        nobody.add(0, 0, &console("", 0));
        assert!(nobody.at(0, 0).unwrap().is_away(), "nobody is logged in");
    }

    #[test]
    fn snapshots_are_bounded() {
        let mut presences = Presences::default();
        for at in 0..20_000 {
            presences.add(at, at, &console("ann", at));
        }
        assert!(presences.snapshots.len() <= MOST);
        assert_eq!(presences.at(19_999, i64::MAX).unwrap().idle_s, Some(19_999));
    }
}
