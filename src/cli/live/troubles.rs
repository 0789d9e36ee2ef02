//! What goes wrong behind the capture: files that can't be written, packets that are
//! missing in the recording, receivers that get no alerts. Told once when it begins and
//! once when it is over, and held meanwhile for `/health`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::output::recording::{About, Notice};
use crate::output::rolling::OutputEvent;
use crate::service::deliver::DeliveryChange;

/// The recording goes on when nothing was lost for so long. A disk that is nearly full
/// takes a chunk now and then: without this each would be told.
const STEADY: Duration = Duration::from_secs(10);

/// Something to tell.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    pub(super) kind: &'static str,
    pub(super) text: String,
    /// The receiver that it is about, where it is not for that one.
    pub(super) not_to: Option<String>,
}

impl Told {
    fn new(kind: &'static str, text: String) -> Self {
        Self { kind, text, not_to: None }
    }
}

#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// What is so now, by what it is about.
    open: BTreeMap<String, String>,
    recording: Recording,
}

#[derive(Debug, Default)]
struct Recording {
    /// The last chunk could not be written.
    failing: bool,
    /// Packets lost until the last look.
    lost: u64,
    /// Lost before, and when it was so last.
    outage: Option<(u64, Instant)>,
}

impl Troubles {
    /// What is wrong now, for people.
    pub(super) fn reasons(&self) -> impl Iterator<Item = &str> {
        self.open.values().map(String::as_str)
    }

    pub(super) fn output(&mut self, event: &OutputEvent) -> Told {
        let text = event.to_string();
        let kind = match event {
            OutputEvent::WritingFailed { kind, .. } => {
                self.open.insert(format!("output {}", kind.name()), text.clone());
                "output.failing"
            }
            OutputEvent::WritingResumed { kind, .. } => {
                self.open.remove(&format!("output {}", kind.name()));
                "output.resumed"
            }
            OutputEvent::QueueFull => {
                self.open.insert("output".to_owned(), text.clone());
                "output.failing"
            }
            OutputEvent::QueueDrained { .. } => {
                self.open.remove("output");
                "output.resumed"
            }
            // Nothing is lost, and that it is over is not told.
            OutputEvent::RetentionFailed { .. } => "output.unremoved",
        };
        Told::new(kind, text)
    }

    pub(super) fn delivery(&mut self, change: &DeliveryChange) -> Told {
        let text = change.to_string();
        let (kind, target) = match change {
            // They wait in its queue: nothing is lost yet.
            DeliveryChange::Failing { target, .. } => ("delivery.failing", target),
            DeliveryChange::Losing { target, .. } => {
                self.open.insert(format!("delivery {target}"), text.clone());
                ("delivery.losing", target)
            }
            DeliveryChange::Recovered { target, .. } => {
                self.open.remove(&format!("delivery {target}"));
                return Told::new("delivery.resumed", text);
            }
        };
        Told { not_to: Some(target.clone()), ..Told::new(kind, text) }
    }

    /// Once a second: what the recording said since, and what it has lost so far.
    pub(super) fn recording(
        &mut self,
        notices: Vec<Notice>,
        lost_packets: u64,
        now: Instant,
    ) -> Vec<Told> {
        const KEY: &str = "recording";
        let mut told = Vec::new();
        let recording = &mut self.recording;
        let mut wrong = None;
        for Notice { about, text } in notices {
            match about {
                About::Failing => {
                    recording.failing = true;
                    wrong = Some(text);
                }
                About::Resumed => recording.failing = false,
                About::Evidence => told.push(Told::new("evidence.failing", text)),
            }
        }
        let before = std::mem::replace(&mut recording.lost, lost_packets);
        if wrong.is_none() && lost_packets > before {
            let text = "packets are missing in the recording: the disk is too slow or full";
            wrong = Some(text.to_owned());
        }
        match (wrong, &mut recording.outage) {
            (Some(_), Some((_, last))) => *last = now,
            (Some(text), none) => {
                *none = Some((before, now));
                self.open.insert(KEY.to_owned(), text.clone());
                told.push(Told::new("recording.failing", text));
            }
            (None, Some((before, last)))
                if !recording.failing && now.duration_since(*last) >= STEADY =>
            {
                let lost = lost_packets - *before;
                let text = format!("the recording goes on; {lost} packets are missing in it");
                recording.outage = None;
                self.open.remove(KEY);
                told.push(Told::new("recording.resumed", text));
            }
            _ => {}
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use crate::output::rolling::Kind;

    fn reasons(troubles: &Troubles) -> Vec<&str> {
        troubles.reasons().collect()
    }

    #[test]
    fn files_that_fail_are_a_reason_until_all_are_written_again() {
        let mut troubles = Troubles::default();
        let failed = |kind| OutputEvent::WritingFailed {
            kind,
            path: "/out".into(),
            error: "No space left on device".to_owned(),
        };
        let resumed =
            |kind| OutputEvent::WritingResumed { kind, path: "/out".into(), lost: 3, failed_ns: 7 };
        for kind in [Kind::Alerts, Kind::Flows(Format::Ndjson)] {
            assert_eq!(troubles.output(&failed(kind)).kind, "output.failing");
        }
        assert_eq!(troubles.output(&OutputEvent::QueueFull).kind, "output.failing");
        assert_eq!(troubles.output(&resumed(Kind::Alerts)).kind, "output.resumed");
        assert_eq!(troubles.output(&OutputEvent::QueueDrained { lost: 1 }).kind, "output.resumed");
        let left = reasons(&troubles);
        assert!(left.len() == 1 && left[0].contains("No space left"), "{left:?}");
        troubles.output(&resumed(Kind::Flows(Format::Ndjson)));
        assert!(reasons(&troubles).is_empty());
    }

    #[test]
    fn a_receiver_that_loses_alerts_is_told_to_the_others_and_its_return_to_all() {
        let mut troubles = Troubles::default();
        let target = || "unix:/a".to_owned();
        let failing = DeliveryChange::Failing { target: target(), error: "gone".to_owned() };
        let losing = DeliveryChange::Losing { target: target(), why: "full".to_owned() };
        let told = troubles.delivery(&failing);
        assert_eq!((told.kind, told.not_to), ("delivery.failing", Some(target())));
        assert!(reasons(&troubles).is_empty(), "nothing is lost yet");
        let told = troubles.delivery(&losing);
        assert_eq!((told.kind, told.not_to), ("delivery.losing", Some(target())));
        assert_eq!(reasons(&troubles), ["alerts to unix:/a are lost: full"]);
        let told = troubles.delivery(&DeliveryChange::Recovered { target: target(), lost: 5 });
        assert_eq!((told.kind, told.not_to), ("delivery.resumed", None));
        assert!(reasons(&troubles).is_empty());
    }

    #[test]
    fn a_recording_that_fails_now_and_then_is_told_once_and_once_when_it_is_steady() {
        let mut troubles = Troubles::default();
        let start = Instant::now();
        let notice = |about| vec![Notice { about, text: format!("{about:?}") }];
        let mut look = |notices, lost, second| {
            let told = troubles.recording(notices, lost, start + Duration::from_secs(second));
            let told: Vec<_> = told.into_iter().map(|told| (told.kind, told.text)).collect();
            (told, troubles.reasons().count())
        };
        assert_eq!(look(vec![], 0, 0), (vec![], 0));
        let (told, open) = look(notice(About::Failing), 10, 1);
        assert_eq!((&*told, open), (&[("recording.failing", "Failing".to_owned())][..], 1));
        assert_eq!(look(notice(About::Resumed), 10, 2), (vec![], 1));
        assert_eq!(look(notice(About::Failing), 15, 3), (vec![], 1));
        assert_eq!(look(vec![], 15, 30), (vec![], 1), "it fails still");
        assert_eq!(look(notice(About::Resumed), 15, 31).1, 0);
        let (told, open) = look(vec![], 16, 40);
        assert_eq!((told[0].0, open), ("recording.failing", 1), "too slow, though nothing failed");
        assert_eq!(look(vec![], 16, 49), (vec![], 1));
        let (told, open) = look(vec![], 16, 50);
        let text = "the recording goes on; 1 packets are missing in it".to_owned();
        assert_eq!((&*told, open), (&[("recording.resumed", text)][..], 0));
        let (told, open) = look(notice(About::Evidence), 16, 51);
        assert_eq!((told[0].0, open), ("evidence.failing", 0));
    }
}
