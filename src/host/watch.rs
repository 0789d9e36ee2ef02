//! Providers under way: their events as one stream.
//!
//! Each has a thread; [`watch`] takes what they tell, adds which container a
//! process belongs to, and hands it on. The stream's own time is that of the
//! provider that is furthest behind. Ends when told to stop, when nobody takes
//! the events any more, or when no provider is left.

use std::collections::BTreeMap;
use std::io;
use std::thread;

use crossbeam_channel::bounded;

use super::attribution::Method;
use super::event::{HostEvent, MapStart, ProviderState, What};
use super::provider::{EventSink, Provider, Stop};

/// Events on their way from providers: a second of a busy host.
const QUEUE_EVENTS: usize = 1 << 14;

/// Takes the stream's events; an error ends the watch.
pub type TakeEvent<'a> = &'a mut dyn FnMut(&HostEvent) -> io::Result<()>;

/// Adds to an event what the watcher alone can know, and may put others before it.
pub trait Enrich {
    fn enrich(&mut self, event: &mut HostEvent, before: &mut Vec<HostEvent>);
}

/// Where nothing is to be added.
impl Enrich for () {
    fn enrich(&mut self, _: &mut HostEvent, _: &mut Vec<HostEvent>) {}
}

/// Runs the providers, each of another method, until told to stop.
pub fn watch(
    providers: Vec<Box<dyn Provider>>,
    (start_ns, start): (i64, MapStart),
    stop: &Stop,
    enrich: &mut dyn Enrich,
    take: TakeEvent<'_>,
) -> io::Result<()> {
    take(&HostEvent { time_ns: start_ns, what: What::Start(start) })?;
    let (events, queue) = bounded(QUEUE_EVENTS);
    // Up to when each has told everything.
    let mut told: BTreeMap<Method, i64> = BTreeMap::new();
    thread::scope(|scope| {
        for provider in providers {
            let method = provider.method();
            told.insert(method, i64::MIN);
            let sink = EventSink::new(method, events.clone());
            scope.spawn(move || {
                sink.tell(start_ns, state(method, None));
                let ended = provider.run(&sink, stop);
                let reason = ended.map_or_else(|error| error.to_string(), |()| String::new());
                sink.tell(start_ns, state(method, Some(reason)));
            });
        }
        drop(events);
        let mut result = Ok(());
        let (mut told_before_ns, mut last_ns) = (i64::MIN, start_ns);
        let mut before = Vec::new();
        for (method, mut event) in &queue {
            // What came after nobody listened any more only lets its provider end.
            if result.is_err() {
                continue;
            }
            last_ns = last_ns.max(event.time_ns);
            match &event.what {
                What::Time => {
                    told.entry(method).and_modify(|ns| *ns = event.time_ns.max(*ns));
                    let all_ns = told.values().copied().min().unwrap_or(i64::MIN);
                    if all_ns <= told_before_ns {
                        continue;
                    }
                    told_before_ns = all_ns;
                    event.time_ns = all_ns;
                }
                What::Provider(ProviderState { running: false, .. }) => {
                    told.remove(&method);
                    event.time_ns = last_ns;
                }
                _ => enrich.enrich(&mut event, &mut before),
            }
            result =
                before.drain(..).try_for_each(|event| take(&event)).and_then(|()| take(&event));
            if result.is_err() {
                stop.set();
            }
        }
        result
    })
}

fn state(method: Method, ended: Option<String>) -> What {
    let running = ended.is_none();
    What::Provider(ProviderState { method, running, reason: ended.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::provider::ProviderError;

    /// Says that it is up to date at these times, and ends.
    struct Told(Method, Vec<i64>, Option<&'static str>);

    impl Provider for Told {
        fn method(&self) -> Method {
            self.0
        }

        fn run(self: Box<Self>, events: &EventSink, _: &Stop) -> Result<(), ProviderError> {
            for &ns in &self.1 {
                events.told_before(ns);
            }
            match self.2 {
                Some(what) => Err(ProviderError::Unavailable { what, reason: "gone".to_owned() }),
                None => Ok(()),
            }
        }
    }

    fn heard(providers: Vec<Box<dyn Provider>>, mut most: usize) -> (Vec<HostEvent>, bool) {
        let (mut heard, stop) = (Vec::new(), Stop::default());
        let result = watch(providers, (5, MapStart::default()), &stop, &mut (), &mut |event| {
            if most == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            most -= 1;
            heard.push(event.clone());
            Ok(())
        });
        assert_eq!(result.is_err(), stop.is_set(), "who takes no more ends all");
        (heard, result.is_ok())
    }

    #[test]
    fn the_stream_is_as_late_as_its_latest_provider() {
        let providers: Vec<Box<dyn Provider>> = vec![
            Box::new(Told(Method::Ebpf, vec![10, 20, 30], None)),
            Box::new(Told(Method::Polling, vec![15], Some("a socket"))),
        ];
        let (events, whole) = heard(providers, usize::MAX);
        assert!(whole);
        let times = events.iter().filter(|event| event.what == What::Time);
        let times: Vec<i64> = times.map(|event| event.time_ns).collect();
        assert!(times.is_sorted() && times.iter().all(|&ns| ns <= 30), "{times:?}");
        let ends: Vec<&str> = events
            .iter()
            .filter_map(|event| match &event.what {
                What::Provider(state) if !state.running => Some(&*state.reason),
                _ => None,
            })
            .collect();
        assert_eq!(ends.len(), 2);
        assert!(ends.contains(&"a socket: gone"), "{ends:?}");
    }

    #[test]
    fn who_takes_no_more_ends_the_watch() {
        let endless = Told(Method::Ebpf, (0..100_000).collect(), None);
        let (events, whole) = heard(vec![Box::new(endless)], 7);
        assert_eq!((events.len(), whole), (7, false));
    }
}
