//! Names of flows, until detectors have looked at the minute in which they were known.
//!
//! An alert comes with the minute that it is of, and holds back what was learned of no
//! sooner than that. A flow's names are known when it ends, up to a minute before: they wait
//! for the entity's minute to be learned, or held back, and go with it. Where the entity has
//! none (the flow ended by being quiet), they wait for the first minute after it of anybody.
//!
//! Bounded: [`MOST`] wait at once; others are counted and never learned. None is learned
//! sooner for want of room: an attacker would make some.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::baseline::{Baselines, NameDigest};
use crate::engine::window::Host;
use crate::entity::Minute;

/// Flows of a minute that are known to be learned, each for a place, a workload and a
/// process: about 100 bytes each, 20 MB.
const MOST: usize = 3 * super::MOST_LEARNED;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By the minute's first second, and whose baseline.
    flows: BTreeMap<(i64, Arc<str>), Vec<Flow>>,
    /// Of all.
    count: usize,
    pub(super) refused: u64,
}

/// From one address to another, and what that is called.
#[derive(Debug)]
struct Flow {
    own: Host,
    to: Host,
    names: Vec<NameDigest>,
}

impl Waiting {
    pub(super) fn add(
        &mut self,
        (start_s, key): (i64, Arc<str>),
        (own, to): (Host, Host),
        names: &[NameDigest],
    ) {
        if self.count >= MOST {
            self.refused += 1;
            return;
        }
        self.count += 1;
        let flow = Flow { own, to, names: names.to_vec() };
        self.flows.entry((start_s, key)).or_default().push(flow);
    }

    /// A minute was learned or held back: so is what waited for it, and what waited for
    /// those before.
    pub(super) fn teach(&mut self, minute: &Minute, baselines: &mut Baselines) {
        while let Some(first) = self.flows.first_entry()
            && first.key().0 < minute.start_s
        {
            let (at, flows) = first.remove_entry();
            self.learn(&at, flows, baselines);
        }
        let at = (minute.start_s, Arc::clone(&minute.who.baseline));
        if let Some(flows) = self.flows.remove(&at) {
            self.learn(&at, flows, baselines);
        }
    }

    /// No minute comes any more.
    pub(super) fn end(&mut self, baselines: &mut Baselines) {
        for (at, flows) in std::mem::take(&mut self.flows) {
            self.learn(&at, flows, baselines);
        }
    }

    fn learn(
        &mut self,
        (start_s, key): &(i64, Arc<str>),
        flows: Vec<Flow>,
        baselines: &mut Baselines,
    ) {
        self.count = self.count.saturating_sub(flows.len());
        for Flow { own, to, names } in flows {
            baselines.learn_names(key, (&own, &to), &names, *start_s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::{BaselineSettings, Profile};
    use crate::detect::analytic::testing::{Stream, address, minute};

    const T: i64 = 1_700_000_040;
    const PEER: &str = "203.0.113.7";

    /// Of that address.
    fn minute_of(own: &str, start_s: i64) -> Minute {
        minute(&address(own), start_s, &[Stream::tcp(PEER, 443, (3, 500), (3, 500))])
    }

    fn host(ip: &str) -> Host {
        ip.parse::<std::net::IpAddr>().unwrap().into()
    }

    fn name() -> NameDigest {
        NameDigest::of("www.example.com")
    }

    /// A known address, and a name of its second minute that waits.
    fn noted() -> (Waiting, Baselines, Arc<str>) {
        let mut baselines = Baselines::in_memory(BaselineSettings::default(), true);
        baselines.learn(&minute_of("10.0.0.1", T));
        let key = baselines.known("address:10.0.0.1").unwrap();
        let mut waiting = Waiting::default();
        waiting.add((T + 60, Arc::clone(&key)), (host("10.0.0.1"), host(PEER)), &[name()]);
        (waiting, baselines, key)
    }

    fn knows(baselines: &Baselines, key: &str) -> bool {
        baselines.profile(key).and_then(|profile: &Profile| profile.name(name())).is_some()
    }

    #[test]
    fn a_name_is_learned_with_its_minute_or_the_next_of_anybody() {
        let (mut waiting, mut baselines, key) = noted();
        waiting.teach(&minute_of("10.0.0.1", T), &mut baselines);
        waiting.teach(&minute_of("10.0.0.9", T + 60), &mut baselines);
        assert!(!knows(&baselines, &key), "neither the one before nor another's");
        waiting.teach(&minute_of("10.0.0.1", T + 60), &mut baselines);
        assert!(knows(&baselines, &key));
        let (mut waiting, mut baselines, key) = noted();
        waiting.teach(&minute_of("10.0.0.9", T + 120), &mut baselines);
        assert!(knows(&baselines, &key));
        let (mut waiting, mut baselines, key) = noted();
        waiting.end(&mut baselines);
        assert!(knows(&baselines, &key) && waiting.flows.is_empty());
    }

    #[test]
    fn at_the_bound_names_are_refused_and_none_is_learned_sooner() {
        let (mut waiting, mut baselines, key) = noted();
        let other: Arc<str> = "address:10.0.0.9".into();
        for _ in 0..MOST {
            waiting.add((T, Arc::clone(&other)), (host("10.0.0.9"), host(PEER)), &[]);
        }
        assert_eq!((waiting.count, waiting.refused), (MOST, 1));
        assert!(!knows(&baselines, &key));
        waiting.teach(&minute_of("10.0.0.1", T + 60), &mut baselines);
        assert!(knows(&baselines, &key));
        assert_eq!(waiting.count, 0);
    }
}
