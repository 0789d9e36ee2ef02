//! Figures of the watchers of hosts, and of what they explain.

use std::collections::BTreeMap;

use super::Page;
use crate::host::coverage::{Coverage, Share};

impl Page {
    pub(super) fn hosts(&mut self, coverage: &Coverage) {
        let map = coverage.map;
        let counters = [
            ("flowtap_host_events_total", "Events that watchers of hosts told.", map.events),
            (
                "flowtap_host_events_lost_total",
                "Events that they or the kernel could not keep.",
                map.lost_events,
            ),
            (
                "flowtap_host_events_unknown_total",
                "Events of kinds that this version does not know.",
                map.unknown_events,
            ),
            (
                "flowtap_host_refused_total",
                "Claims and processes that found no room in the host map.",
                map.refused,
            ),
            (
                "flowtap_host_late_seconds_total",
                "Seconds that were closed before watchers were up to date with them.",
                coverage.late_seconds,
            ),
        ];
        for (name, help, count) in counters {
            self.counter(name, help, count);
        }
        let held = [
            ("flowtap_host_claims", "Claims on sockets in the host map.", map.claims),
            ("flowtap_host_processes", "Processes in the host map.", map.processes),
        ];
        for (name, help, count) in held {
            self.family(name, "gauge", help);
            self.sample(name, &[], count);
        }
        let name = "flowtap_flows_attributed_total";
        let help = "Flow records with a process, by the method that named it.";
        self.shares(name, help, "method", &coverage.attributed);
        let name = "flowtap_flows_unattributed_total";
        let help = "Flow records of a watched host that have no process, by the reason.";
        self.shares(name, help, "reason", &coverage.unattributed);
        let name = "flowtap_flows_not_looked_up_total";
        self.family(
            name,
            "counter",
            "Unanswered flows of floods for which no process was looked for.",
        );
        self.sample(name, &[], coverage.not_looked_up.flows);
    }

    fn shares(&mut self, name: &str, help: &str, label: &str, rows: &BTreeMap<&str, Share>) {
        self.family(name, "counter", help);
        for (value, share) in rows {
            self.sample(name, &[(label, *value)], share.flows);
        }
    }
}
