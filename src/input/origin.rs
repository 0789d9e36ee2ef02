//! Where packets came from, as records say it.
//!
//! The input notes while it hands frames out; the correlation stage asks when a
//! record or an alert is told. What is noted lies at places of the stream, never
//! at times of the clock on the wall, so that a recording read again says the
//! same. With one interface it costs one comparison a block.

use std::sync::Arc;

use super::block::Frame;
use super::report::Interface;
use crate::lock::Lock;

/// Who saw a record's packets. What is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Id of the sensor that captured.
    pub sensor: String,
    /// Where the first packet was seen.
    pub interface: String,
    /// Where the first packet of the other direction was seen, if elsewhere.
    pub other_interface: String,
    /// Whether the clock that stamped them followed a reference; of a flow, when the
    /// first packet of each direction came.
    pub clock_synchronised: Option<bool>,
}

impl Origin {
    fn known(self) -> Option<Arc<Self>> {
        (self != Self::default()).then(|| Arc::new(self))
    }
}

/// Changes of the clock that are kept. A clock gained and lost each minute makes
/// as many in over a month.
const MAX_CLOCK_CHANGES: usize = 1 << 16;

/// Interfaces that an alert names: an appliance has a few, a pcapng file may have thousands.
const MOST_NAMED: usize = 16;

/// Shared between the input, which writes, and who asks.
#[derive(Debug, Default)]
pub(crate) struct Origins(Lock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The input's table, as far as it has grown.
    interfaces: Vec<Interface>,
    /// Interfaces with packets, and where the stream's clock stood at the first.
    used: Vec<(i64, u16)>,
    /// State of the clock from where the stream's clock stood there.
    clock: Vec<(i64, Option<bool>)>,
}

impl Origins {
    /// The origin of a flow by the interfaces of its directions.
    pub(crate) fn of_flow(&self, first: u16, other: Option<u16>) -> Option<Arc<Origin>> {
        let known = self.0.lock();
        let first = known.interfaces.get(usize::from(first))?;
        let other = other.and_then(|other| known.interfaces.get(usize::from(other)));
        let clocks = [Some(first), other].into_iter().flatten();
        let origin = Origin {
            sensor: first.sensor.clone(),
            interface: first.name.clone(),
            other_interface: other
                .filter(|other| other.name != first.name)
                .map_or_else(String::new, |other| other.name.clone()),
            clock_synchronised: all(clocks.map(|interface| interface.clock_synchronised)),
        };
        origin.known()
    }

    /// Calls `add` with each interface's name and what `sums` has for it.
    pub(crate) fn by_name<T: Copy>(&self, sums: &[T], mut add: impl FnMut(&str, T)) {
        let known = self.0.lock();
        known.interfaces.iter().zip(sums).for_each(|(of, &sum)| add(&of.name, sum));
    }

    /// Names of the interfaces that anything came in through up to `end_ns`, the first ones
    /// first.
    pub(crate) fn interfaces_until(&self, end_ns: i64) -> Vec<String> {
        let known = self.0.lock();
        let mut names: Vec<String> = Vec::new();
        for &(_, index) in known.used.iter().take_while(|&&(at_ns, _)| at_ns < end_ns) {
            let Some(interface) = known.interfaces.get(usize::from(index)) else { continue };
            let is_new = !interface.name.is_empty() && !names.contains(&interface.name);
            if is_new && names.len() < MOST_NAMED {
                names.push(interface.name.clone());
            }
        }
        names
    }

    /// The origin of all that came in from `start_ns` to `end_ns`. Sensor and
    /// interface are told where everything so far came from one: what an alert is
    /// about may lie before its start.
    pub(crate) fn of_span(&self, start_ns: i64, end_ns: i64) -> Origin {
        let known = self.0.lock();
        let used = known.used.iter().take_while(|&&(at_ns, _)| at_ns < end_ns);
        let mut used = used.filter_map(|&(_, index)| known.interfaces.get(usize::from(index)));
        let Some(first) = used.next() else { return Origin::default() };
        let (mut sensor, mut name) = (Some(&first.sensor), Some(&first.name));
        for other in used {
            sensor = sensor.filter(|&sensor| *sensor == other.sensor);
            name = name.filter(|&name| *name == other.name && sensor.is_some());
        }
        let begun = known.clock.partition_point(|&(at_ns, _)| at_ns <= start_ns).saturating_sub(1);
        let ended = known.clock.partition_point(|&(at_ns, _)| at_ns < end_ns);
        let clock = known.clock.get(begun..ended.max(begun)).unwrap_or_default();
        Origin {
            sensor: sensor.cloned().unwrap_or_default(),
            interface: name.cloned().unwrap_or_default(),
            other_interface: String::new(),
            clock_synchronised: all(clock.iter().map(|&(_, state)| state)),
        }
    }
}

/// False where any is, nothing where any is unknown.
fn all(states: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut sum = None;
    for state in states {
        sum = match (sum, state) {
            (Some(Some(false)), _) | (_, Some(false)) => Some(Some(false)),
            (Some(None), _) | (_, None) => Some(None),
            _ => Some(Some(true)),
        };
    }
    sum.flatten()
}

/// The input's side.
#[derive(Debug, Default)]
pub(super) struct Watch {
    origins: Arc<Origins>,
    /// Interfaces told so far.
    told: usize,
    /// By interface: it had packets.
    used: Vec<bool>,
    /// Interface of the last frame.
    last: Option<u16>,
    clock: Option<Option<bool>>,
    clock_changes: usize,
}

impl Watch {
    pub(super) fn origins(&self) -> Arc<Origins> {
        Arc::clone(&self.origins)
    }

    /// Notes frames on their way out; the stream's clock stood at `latest_ns`.
    pub(super) fn note(&mut self, frames: &[Frame], latest_ns: i64, interfaces: &[Interface]) {
        if interfaces.len() > self.told {
            let new = interfaces.get(self.told..).unwrap_or_default();
            self.origins.0.lock().interfaces.extend_from_slice(new);
            self.told = interfaces.len();
            self.used.resize(self.told, false);
        }
        if self.told <= 1 && self.last.is_some() {
            return;
        }
        let mut latest_ns = latest_ns;
        for frame in frames {
            latest_ns = latest_ns.max(frame.time_ns);
            if self.last != Some(frame.interface) {
                self.last = Some(frame.interface);
                self.change(frame.interface, latest_ns, interfaces);
            }
        }
    }

    #[cold]
    fn change(&mut self, interface: u16, latest_ns: i64, interfaces: &[Interface]) {
        let Some(described) = interfaces.get(usize::from(interface)) else { return };
        if let Some(used) = self.used.get_mut(usize::from(interface))
            && !std::mem::replace(used, true)
        {
            self.origins.0.lock().used.push((latest_ns, interface));
        }
        let state = described.clock_synchronised;
        if self.clock == Some(state) || self.clock_changes >= MAX_CLOCK_CHANGES {
            return;
        }
        self.clock_changes += 1;
        // After so many changes it is not to be relied on.
        let last = self.clock_changes == MAX_CLOCK_CHANGES;
        self.clock = Some(state);
        let state = if last { state.and(Some(false)) } else { state };
        self.origins.0.lock().clock.push((latest_ns, state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::LinkType;

    fn interface(name: &str, sensor: &str, clock_synchronised: Option<bool>) -> Interface {
        Interface {
            file: 0,
            section: 0,
            position: 0,
            name: name.to_owned(),
            description: String::new(),
            link: LinkType::ETHERNET,
            snaplen_bytes: 0,
            tsresol: 9,
            fcs_bytes: None,
            sensor: sensor.to_owned(),
            clock_synchronised,
        }
    }

    fn frames(of: &[(i64, u16)]) -> Vec<Frame> {
        let frame = |&(time_ns, interface)| Frame {
            time_ns,
            offset: 0,
            captured_bytes: 0,
            wire_bytes: 0,
            link: LinkType::ETHERNET,
            interface,
            flags: 0,
        };
        of.iter().map(frame).collect()
    }

    fn tap(clock: Option<bool>) -> Interface {
        interface("eth0", "probe", clock)
    }

    #[test]
    fn a_span_knows_the_clock_of_its_whole_length() {
        let table = [tap(Some(true)), tap(Some(false))];
        let all = frames(&[(10, 0), (20, 0), (30, 1), (40, 1), (50, 0), (60, 0)]);
        // However the stream is cut into blocks.
        for cut in 0..=all.len() {
            let mut watch = Watch::default();
            let (before, after) = all.split_at(cut);
            let latest_ns = before.last().map_or(i64::MIN, |frame| frame.time_ns);
            watch.note(before, i64::MIN, &table[..1 + usize::from(cut > 2)]);
            watch.note(after, latest_ns, &table);
            let origins = watch.origins();
            for (start_ns, end_ns, expected) in [
                (10, 30, Some(true)),
                (10, 31, Some(false)),
                (35, 40, Some(false)),
                (49, 60, Some(false)),
                (50, 60, Some(true)),
                (0, 5, None),
            ] {
                let origin = origins.of_span(start_ns, end_ns);
                assert_eq!(origin.clock_synchronised, expected, "{start_ns} {end_ns} cut {cut}");
            }
            assert_eq!(origins.of_span(0, 70).interface, "eth0");
            assert_eq!(origins.interfaces_until(70), ["eth0"]);
            assert_eq!(origins.of_span(0, 70).sensor, "probe");
        }
    }

    #[test]
    fn a_span_names_an_interface_only_while_there_was_one() {
        let table = [tap(None), interface("eth1", "probe", None), interface("eth1", "b", None)];
        let mut watch = Watch::default();
        watch.note(&frames(&[(10, 0), (20, 1), (30, 2)]), i64::MIN, &table);
        let origins = watch.origins();
        let told = |end_ns| {
            let Origin { sensor, interface, .. } = origins.of_span(0, end_ns);
            (sensor, interface)
        };
        let pair = |sensor: &str, name: &str| (sensor.to_owned(), name.to_owned());
        assert_eq!(told(15), pair("probe", "eth0"));
        assert_eq!(told(25), pair("probe", ""));
        assert_eq!(told(35), pair("", ""));
        assert_eq!(origins.interfaces_until(15), ["eth0"]);
        assert_eq!(origins.interfaces_until(35), ["eth0", "eth1"]);
    }

    #[test]
    fn a_flow_over_two_interfaces_names_both() {
        let table = [tap(Some(true)), interface("eth1", "probe", Some(false)), tap(Some(false))];
        let mut watch = Watch::default();
        watch.note(&frames(&[(10, 0)]), i64::MIN, &table);
        let origins = watch.origins();
        let both = origins.of_flow(0, Some(1)).expect("known");
        assert_eq!((&*both.interface, &*both.other_interface), ("eth0", "eth1"));
        assert_eq!(both.clock_synchronised, Some(false));
        let one = origins.of_flow(0, Some(2)).expect("known");
        assert_eq!((&*one.other_interface, one.clock_synchronised), ("", Some(false)));
        assert_eq!(origins.of_flow(0, None).expect("known").clock_synchronised, Some(true));
        assert_eq!(origins.of_flow(9, None), None);
    }

    #[test]
    fn what_a_file_does_not_say_is_no_origin() {
        let mut watch = Watch::default();
        watch.note(&frames(&[(10, 0)]), i64::MIN, &[interface("", "", None)]);
        assert_eq!(watch.origins().of_flow(0, None), None);
        assert_eq!(watch.origins().of_span(0, 20), Origin::default());
    }
}
