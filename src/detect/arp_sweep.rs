//! ARP sweep: one station asks for many addresses of the link.
//!
//! Method: distinct target addresses of ARP requests (RFC 826) from one MAC in
//! two minutes (twice as many in five). 64 is a quarter of a /24; a router asks
//! for fewer, a host for a handful. Memory: 256 stations, further ones are not
//! looked at while these are active.

use std::collections::BTreeMap;

use serde_json::json;

use super::horizon::Horizon;
use super::{Context, Detector, Direction, Family, Finding, Rule, Shape, Subject, Traffic, Window};
use crate::alert::Entity;
use crate::engine::window::Station;

#[derive(Debug, Default)]
pub struct ArpSweep {
    stations: BTreeMap<Station, Horizon>,
    refused: u64,
}

const ARP: u16 = 0x0806;
const STATIONS: usize = 256;

const FORMULA: &str = "distinct targets of ARP requests from one MAC >= arp_sweep_hosts in two \
                       minutes (twice in five)";

impl Detector for ArpSweep {
    fn name(&self) -> &'static str {
        "arp_sweep"
    }

    fn observe(&mut self, window: &Window<'_>, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        let slice = window.slice;
        let second = slice.second();
        for (key, stats) in slice.links().table().sorted() {
            if key.ether_type != ARP || key.station.mac.is_none() || stats.targets.is_empty() {
                continue;
            }
            if self.stations.len() >= STATIONS && !self.stations.contains_key(&key.station) {
                self.stations.retain(|_, horizon| horizon.packets(second) > 0);
                if self.stations.len() >= STATIONS {
                    self.refused += 1;
                    continue;
                }
            }
            let horizon = self.stations.entry(key.station).or_default();
            horizon.add(second, stats.frames, 0).targets.merge(&stats.targets);
            let wanted = ctx.settings.arp_sweep_hosts;
            let (recent, long) = (horizon.recent(second), horizon.long(second));
            let (threshold, probes) = if recent.targets.estimate() >= wanted {
                (wanted, recent)
            } else if long.targets.estimate() >= 2 * wanted {
                (2 * wanted, long)
            } else {
                continue;
            };
            let targets = probes.targets.estimate();
            out.push(Finding {
                start_second: probes.since.unwrap_or(second),
                opens: true,
                kind: "arp",
                direction: Direction::Internal,
                shape: Shape::OneToMany,
                measured: targets,
                traffic: Traffic {
                    packets: stats.frames,
                    wire_bytes: stats.wire_bytes,
                    ..Traffic::default()
                },
                destinations: targets,
                details: [
                    ("distinct_targets", json!(targets)),
                    ("requests", json!(probes.packets)),
                ]
                .into(),
                ..Finding::new(
                    "arp_sweep",
                    Family::Scan,
                    second,
                    Subject::Station(key.station, ARP),
                    Entity::station(&key.station),
                    Rule { name: "arp_sweep_hosts", threshold, unit: "hosts", formula: FORMULA },
                )
            });
        }
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}
