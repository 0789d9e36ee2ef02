//! Which of the five analytics a run could see: active, degraded or blind, and why.
//!
//! Follows from the kinds of telemetry that were there, never from what was found.
//! Start at [`states`].

use serde::Serialize;

use crate::detect::analytic::Inputs;
use crate::host::coverage::{Coverage, Share};

/// Of AN0223, whose second stage is a shell or this.
const NO_METADATA: &str =
    "metadata access is not seen: of the second stage shells alone, where programs are known";

/// An analytic of ATT&CK in this run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnalyticState {
    pub id: &'static str,
    pub about: &'static str,
    pub state: State,
    /// What is missing, and what that means.
    pub missing: Vec<Gap>,
    /// Of the run's flows those that have what it judges.
    pub attributed: Share,
    /// What that is: a process, a container, an instance.
    pub attributed_to: &'static str,
    /// Share of all flows and of all their bytes, three digits.
    pub flows_share: f64,
    pub bytes_share: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Active,
    Degraded,
    Blind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub what: &'static str,
    pub means: &'static str,
    /// Without it there is nothing to see.
    pub blind: bool,
}

/// What a run was given, with sums of all its flows.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    pub inputs: &'a Inputs,
    pub hosts: Option<&'a Coverage>,
    pub flows: u64,
    pub wire_bytes: u64,
    /// Of the flows those that came in VXLAN or GENEVE.
    pub flows_in_vni: u64,
    /// A source of flows says that it left some out (AWS: SKIPDATA).
    pub flow_records_lost: bool,
    /// Records came after those of later times had been judged.
    pub records_unordered: bool,
    /// Much was sent from one end outside the home networks to another.
    pub senders_unknown: bool,
    /// There are flow logs of AWS, which never hold traffic of its platform.
    pub platform_omitted: bool,
}

impl Given<'_> {
    /// Most of the packets are copies of a cloud's traffic mirror, as far as these can be
    /// told from an overlay: what the collector itself exchanges lies beside them.
    fn is_mirrored(&self) -> bool {
        self.flows_in_vni * 2 > self.flows
    }
}

/// All five, in the order of ANALYTICS.
pub fn states(given: &Given<'_>) -> Vec<AnalyticState> {
    let inputs = given.inputs;
    let traffic = inputs.packets || inputs.flow_logs;
    let gap = |there: bool, what, means| (!there).then_some(Gap { what, means, blind: false });
    let blind = |there: bool, what, means| (!there).then_some(Gap { what, means, blind: true });
    let baseline = || {
        gap(
            inputs.baseline,
            "baseline",
            "judged by absolute thresholds and patterns alone; confidence is capped",
        )
    };
    let by_packets = |means| gap(inputs.packets || !inputs.flow_logs, "packets", means);
    let whole = || {
        gap(
            !given.flow_records_lost,
            "all flow records",
            "a source says that it left some out: what they held is not seen",
        )
    };
    let in_order = || {
        gap(
            !given.records_unordered,
            "order of time in a source's records",
            "some came too late to be judged: give its parts as files of their own",
        )
    };
    let at_home = || {
        gap(
            !given.senders_unknown,
            "home network of some senders",
            "senders outside the home networks are nobody's: --home-net or an inventory names them",
        )
    };
    // Packets from elsewhere than a mirror have what mirrors and flow logs leave out.
    let by_mirror = |means| {
        let what = "metadata, NTP, DHCP or ARP in a cloud's traffic mirror (VXLAN, GENEVE)";
        gap(!given.is_mirrored(), what, means)
    };
    let by_aws = |means| {
        let is_seen = inputs.packets && !given.is_mirrored();
        let what = "metadata, Amazon DNS, DHCP or time traffic in AWS flow logs";
        gap(is_seen || !given.platform_omitted, what, means)
    };
    let process = given.hosts.map(Coverage::named).unwrap_or_default();
    let workloads = given.hosts.map(|hosts| hosts.in_workloads).unwrap_or_default();
    let instances = given.hosts.map(|hosts| hosts.with_instance).unwrap_or_default();
    let make = |id, about, gaps: Vec<Option<Gap>>, attributed_to, attributed: Share| {
        let off = blind(!inputs.undetected, "detection", "it was left out: --no-detection");
        let missing: Vec<Gap> = [off].into_iter().chain(gaps).flatten().collect();
        let state = match missing.iter().any(|gap| gap.blind) {
            true => State::Blind,
            false if missing.is_empty() => State::Active,
            false => State::Degraded,
        };
        AnalyticState {
            id,
            about,
            state,
            missing,
            attributed,
            attributed_to,
            flows_share: share(attributed.flows, given.flows),
            bytes_share: share(attributed.wire_bytes, given.wire_bytes),
        }
    };
    vec![
        make(
            "AN0972",
            "instance floods one destination",
            vec![
                blind(traffic, "packets or flow logs", "no egress is seen"),
                gap(inputs.inventory, "inventory", "an address stands for its instance"),
                at_home(),
                by_packets("rates are means over the logs' intervals, never of a second"),
                by_mirror("floods at or by these are not seen"),
                by_aws("floods at these are not seen"),
                whole(),
                in_order(),
                baseline(),
            ],
            "an instance",
            instances,
        ),
        make(
            "AN0223",
            "exploit, then a shell or metadata, then new egress",
            vec![
                blind(
                    inputs.request_logs || inputs.packets,
                    "request logs or packets",
                    "no request is seen: the chain has no first stage",
                ),
                blind(traffic, "packets or flow logs", "no egress is seen: no third stage"),
                gap(inputs.request_logs, "request logs", "requests are seen in clear text alone"),
                gap(
                    inputs.host_map,
                    "process telemetry",
                    "neither shells nor metadata access are seen: no second stage",
                ),
                by_mirror(NO_METADATA),
                by_aws(NO_METADATA),
                whole(),
                in_order(),
                baseline(),
            ],
            "a process",
            process,
        ),
        make(
            "AN0971",
            "a program floods, nobody at the machine",
            vec![
                blind(traffic || inputs.host_map, "packets or flow logs", "no rate is seen"),
                gap(
                    inputs.host_map,
                    "process telemetry",
                    "a flood names no program: low confidence, as a possible analytic only",
                ),
                by_mirror("floods at or by these are not seen"),
                by_aws("floods at these are not seen"),
                baseline(),
            ],
            "a process",
            process,
        ),
        make(
            "AN0083",
            "container sends too much, or relays",
            vec![
                blind(
                    inputs.host_map || inputs.counters,
                    "container telemetry",
                    "no container is known: floods stand as a possible analytic only",
                ),
                blind(
                    traffic || inputs.counters,
                    "packets, flow logs or counters",
                    "no volume is seen",
                ),
                gap(
                    inputs.host_map,
                    "process telemetry",
                    "counters alone: no peers, and containers of a pod are one",
                ),
                gap(
                    inputs.counters,
                    "interface counters",
                    "what leaves by other paths than the capture's is not seen",
                ),
                by_mirror("volume by these is not seen"),
                by_aws("volume to these is not seen"),
                whole(),
                in_order(),
                baseline(),
            ],
            "a container",
            workloads,
        ),
        make(
            "AN0031",
            "odd payloads of programs that do not talk",
            vec![
                blind(traffic, "packets or flow logs", "no traffic is seen"),
                blind(inputs.host_map, "process telemetry", "no flow has a program to judge"),
                by_packets("no payload sizes and no entropy: ratios and timing alone"),
                by_mirror("what hides in these is not seen"),
                by_aws("tunnels through Amazon DNS, and what hides in these, are not seen"),
                whole(),
                in_order(),
                baseline(),
            ],
            "a process",
            process,
        ),
    ]
}

fn share(part: u64, whole: u64) -> f64 {
    crate::detect::round3(part as f64 / whole.max(1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(inputs: &Inputs) -> Given<'_> {
        Given {
            inputs,
            hosts: None,
            flows: 10,
            wire_bytes: 1_000,
            flows_in_vni: 0,
            flow_records_lost: false,
            records_unordered: false,
            senders_unknown: false,
            platform_omitted: false,
        }
    }

    fn of(inputs: &Inputs) -> Vec<(State, usize)> {
        let given = given(inputs);
        states(&given).iter().map(|state| (state.state, state.missing.len())).collect()
    }

    #[test]
    fn what_is_missing_makes_an_analytic_degraded_or_blind() {
        use State::{Active, Blind, Degraded};
        let nothing = of(&Inputs::default());
        assert!(nothing.iter().all(|(state, _)| *state == Blind), "{nothing:?}");
        let packets = of(&Inputs { packets: true, ..Inputs::default() });
        let states: Vec<State> = packets.iter().map(|(state, _)| *state).collect();
        assert_eq!(states, [Degraded, Degraded, Degraded, Blind, Blind]);
        let all = Inputs {
            undetected: false,
            packets: true,
            host_map: true,
            inventory: true,
            baseline: true,
            request_logs: true,
            flow_logs: true,
            counters: true,
        };
        assert!(of(&all).iter().all(|state| *state == (Active, 0)), "{all:?}");
        let strangers = Given { senders_unknown: true, ..given(&all) };
        let degraded: Vec<_> = super::states(&strangers)
            .into_iter()
            .filter_map(|it| (it.state == Degraded).then_some(it.id))
            .collect();
        assert_eq!(degraded, ["AN0972"]);
        let skipped = Given { flow_records_lost: true, ..given(&all) };
        let unordered = Given { records_unordered: true, ..given(&all) };
        for given in [skipped, unordered] {
            let states = super::states(&given);
            let degraded: Vec<_> = states.iter().filter(|it| it.state == Degraded).collect();
            assert_eq!(degraded.len(), 4, "all but what programs do by themselves: {degraded:?}");
        }
        let off = of(&Inputs { undetected: true, ..all });
        assert!(off.iter().all(|state| *state == (Blind, 1)), "{off:?}");
    }

    /// The analytics that name a gap of which the words begin like this.
    fn that_lack(given: &Given<'_>, what: &str) -> Vec<&'static str> {
        let lacks = |state: &AnalyticState| {
            state.state != State::Active
                && state.missing.iter().any(|gap| gap.what.starts_with(what))
        };
        states(given).iter().filter(|state| lacks(state)).map(|state| state.id).collect()
    }

    #[test]
    fn what_mirrors_and_flow_logs_of_aws_never_carry_is_named() {
        const OF_MIRRORS: &str = "metadata, NTP, DHCP or ARP";
        const OF_LOGS: &str = "metadata, Amazon DNS, DHCP or time traffic";
        let all = ["AN0972", "AN0223", "AN0971", "AN0083", "AN0031"];
        let packets = Inputs { packets: true, host_map: true, ..Inputs::default() };
        let mirror = Given { flows_in_vni: 9, ..given(&packets) };
        assert_eq!(that_lack(&mirror, OF_MIRRORS), all);
        let chain = &states(&mirror)[1];
        assert!(chain.missing.iter().any(|gap| gap.means == NO_METADATA), "{chain:?}");
        let beside = Given { flows_in_vni: 5, ..mirror };
        assert!(that_lack(&beside, OF_MIRRORS).is_empty(), "a tunnel beside other traffic");

        let logs = Inputs { flow_logs: true, host_map: true, ..Inputs::default() };
        let aws = Given { platform_omitted: true, flows: 0, ..given(&logs) };
        assert_eq!(that_lack(&aws, OF_LOGS), all);
        let azure = Given { platform_omitted: false, ..aws };
        assert!(that_lack(&azure, OF_LOGS).is_empty());
        let both = Inputs { packets: true, ..logs };
        let with_packets = Given { inputs: &both, flows: 10, ..aws };
        assert!(that_lack(&with_packets, OF_LOGS).is_empty(), "packets hold them");
        let with_mirror = Given { flows_in_vni: 10, ..with_packets };
        assert_eq!(that_lack(&with_mirror, OF_LOGS), all, "neither holds them");
    }

    #[test]
    fn shares_are_of_all_flows() {
        let mut hosts = Coverage::default();
        hosts.attributed.insert("ebpf", Share { flows: 5, packets: 50, wire_bytes: 250 });
        let inputs = Inputs { packets: true, host_map: true, ..Inputs::default() };
        let given = Given { hosts: Some(&hosts), ..given(&inputs) };
        let of_process = &states(&given)[4];
        assert_eq!((of_process.flows_share, of_process.bytes_share), (0.5, 0.25));
    }
}
