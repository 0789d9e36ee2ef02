//! The packets of one alert, kept within bounds.

use std::io;
use std::path::{Path, PathBuf};

use super::blocks::Host;
use super::evidence::EvidenceSettings;
use super::packets::PacketFile;
use super::selector::{Selector, Sight};
use crate::alert::Alert;
use crate::input::follow::Follower;
use crate::input::{Frame, Interface};
use crate::output::access::Access;
use crate::time::rfc3339;
use crate::whole_file;

const SECOND_NS: i64 = 1_000_000_000;

/// From stage to stage of a sample: what a packet stands for is this times as
/// much, the room half.
const THINNING: u64 = 8;

/// One alert, from its first telling until its packets are complete.
#[derive(Debug)]
pub(super) struct Case {
    alert: Alert,
    selector: Selector,
    begin_ns: i64,
    /// Until then packets had left the ring before they could be taken.
    gone_until_ns: Option<i64>,
    /// Known once the alert is over.
    end_ns: Option<i64>,
    after_ns: i64,
    path: PathBuf,
    file: PacketFile,
    sample: Sample,
}

impl Case {
    /// Begins the file of an alert; nothing when it names nobody in packets.
    pub(super) fn open(
        dir: &Path,
        alert: Alert,
        settings: &EvidenceSettings,
    ) -> io::Result<Option<Self>> {
        let is_id = !alert.id.is_empty() && alert.id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(selector) = Selector::of(&alert).filter(|_| is_id) else { return Ok(None) };
        let path = dir.join(format!("{}.pcapng", alert.id));
        let host = Host::of_this_machine();
        let file = PacketFile::begin(Access::Owner.replace(&path)?, &host, &[&json(&alert)])?;
        let nanos = |seconds: u32| i64::from(seconds) * SECOND_NS;
        Ok(Some(Self {
            begin_ns: alert.start_ns.saturating_sub(nanos(settings.before_s)),
            gone_until_ns: None,
            end_ns: None,
            after_ns: nanos(settings.after_s),
            alert,
            selector,
            path,
            file,
            sample: Sample::new(settings.most_packets, settings.most_bytes),
        }))
    }

    pub(super) fn id(&self) -> &str {
        &self.alert.id
    }

    pub(super) fn begin_ns(&self) -> i64 {
        self.begin_ns
    }

    /// Its packets until then had left the ring already.
    pub(super) fn lacks_until(&mut self, until_ns: i64) {
        self.gone_until_ns = Some(until_ns);
    }

    /// A later revision of the alert.
    pub(super) fn revise(&mut self, alert: Alert, closed: bool) {
        if closed {
            self.end_ns = Some(alert.end_ns.saturating_add(self.after_ns));
        }
        self.alert = alert;
    }

    /// The stream has gone past everything that belongs here.
    pub(super) fn is_over(&self, clock_ns: i64) -> bool {
        self.end_ns.is_some_and(|end_ns| clock_ns > end_ns)
    }

    pub(super) fn spans(&self, time_ns: i64) -> bool {
        time_ns >= self.begin_ns && self.end_ns.is_none_or(|end_ns| time_ns <= end_ns)
    }

    pub(super) fn chooses(&self, sight: &Sight) -> bool {
        self.selector.chooses(sight)
    }

    /// Takes one of its packets; false when the sample leaves it out.
    pub(super) fn take(
        &mut self,
        interfaces: &[Interface],
        frame: &Frame,
        data: &[u8],
    ) -> io::Result<bool> {
        let Some(stands_for) = self.sample.keep(data.len() as u64) else { return Ok(false) };
        let comment = comment(&self.alert.id, stands_for);
        self.file.packet(interfaces, frame, data, &comment)?;
        Ok(true)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Writes the file anew: with the alert as it ended, what the sample is, and
    /// without what came after the end (which was not known then).
    pub(super) fn finish(self) -> io::Result<()> {
        let Self { alert, end_ns, gone_until_ns, path, file, sample, .. } = self;
        file.finish()?;
        let (json, words) = (json(&alert), sample.words());
        let gone = gone_until_ns.map_or_else(String::new, |until_ns| {
            format!("Packets until {} had left the recording.", rfc3339(until_ns))
        });
        let comments = [json.as_str(), words.as_str(), gone.as_str()];
        let host = Host::of_this_machine();
        whole_file::write(&path, Access::Owner, |file| {
            let mut whole = PacketFile::begin(file, &host, &comments)?;
            let mut kept = 0;
            let mut result = Ok(());
            Follower::open(&path)?.read_until(u64::MAX, |frame, data, interfaces| {
                let comment = comment(&alert.id, sample.stands_for(kept));
                kept += 1;
                if end_ns.is_none_or(|end_ns| frame.time_ns <= end_ns) && result.is_ok() {
                    result = whole.packet(interfaces, frame, data, &comment);
                }
            })?;
            result.and_then(|()| whole.finish())
        })
    }
}

fn json(alert: &Alert) -> String {
    serde_json::to_string(alert).unwrap_or_default()
}

fn comment(id: &str, stands_for: u64) -> String {
    match stands_for {
        1 => id.to_owned(),
        _ => format!("{id}, stands for {stands_for}"),
    }
}

/// All packets until half of the room is taken; from then on ever fewer, so
/// that a flood of any length fits. Which ones is a fixed function of their
/// place among the alert's packets, and has no period that traffic could share.
#[derive(Debug)]
struct Sample {
    most_packets: u64,
    most_bytes: u64,
    packets_left: u64,
    bytes_left: u64,
    seen: u64,
    /// Packets kept in each stage so far.
    kept: Vec<u64>,
}

impl Sample {
    fn new(most_packets: u64, most_bytes: u64) -> Self {
        let (packets_left, bytes_left) = (most_packets.div_ceil(2), most_bytes.div_ceil(2));
        Self { most_packets, most_bytes, packets_left, bytes_left, seen: 0, kept: vec![0] }
    }

    /// How many packets the next one stands for; nothing when it is left out.
    fn keep(&mut self, bytes: u64) -> Option<u64> {
        self.seen += 1;
        while self.packets_left == 0 || self.bytes_left < bytes {
            let stage = self.kept.len() as u32;
            let half = |most: u64| most.checked_shr(stage + 1).unwrap_or(0);
            (self.packets_left, self.bytes_left) = (half(self.most_packets), half(self.most_bytes));
            if self.packets_left == 0 {
                return None;
            }
            self.kept.push(0);
        }
        let stands_for = one_of(self.kept.len() - 1);
        if !mix(self.seen).is_multiple_of(stands_for) {
            return None;
        }
        self.packets_left -= 1;
        self.bytes_left -= bytes;
        *self.kept.last_mut()? += 1;
        Some(stands_for)
    }

    /// The same of a packet by its place among those that were kept.
    fn stands_for(&self, mut place: u64) -> u64 {
        let stage = self.kept.iter().position(|&kept| {
            let here = place < kept;
            place = place.saturating_sub(kept);
            here
        });
        one_of(stage.unwrap_or(0))
    }

    /// Nothing when every packet is there.
    fn words(&self) -> String {
        if self.kept.len() == 1 {
            return String::new();
        }
        let mut first = 1;
        let mut words = Vec::new();
        for (stage, &kept) in self.kept.iter().enumerate().filter(|&(_, &kept)| kept > 0) {
            let last = first + kept - 1;
            words.push(format!("{first} to {last}: each stands for {}", one_of(stage)));
            first = last + 1;
        }
        format!("A sample of the alert's packets. Packets {}.", words.join("; "))
    }
}

fn one_of(stage: usize) -> u64 {
    THINNING.saturating_pow(u32::try_from(stage).unwrap_or(u32::MAX))
}

/// Finalizer of SplitMix64: neighbouring numbers become unrelated ones.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sample_stays_within_its_room_and_knows_what_it_kept(
            most_packets in 1_u64..200,
            most_bytes in 1_u64..100_000,
            lengths in prop::collection::vec(1_u64..1_500, 0..3_000),
        ) {
            let mut sample = Sample::new(most_packets, most_bytes);
            let kept: Vec<(u64, u64)> = lengths
                .iter()
                .filter_map(|&bytes| Some((sample.keep(bytes)?, bytes)))
                .collect();
            prop_assert!(kept.len() as u64 <= most_packets);
            prop_assert!(kept.iter().map(|k| k.1).sum::<u64>() <= most_bytes);
            for (place, &(stands_for, _)) in kept.iter().enumerate() {
                prop_assert_eq!(sample.stands_for(place as u64), stands_for);
            }
        }
    }

    #[test]
    fn what_fits_is_kept_whole_and_a_flood_is_estimated_well() {
        let mut small = Sample::new(2_000, 1 << 30);
        assert!((0..1_000).all(|_| small.keep(60) == Some(1)));
        assert_eq!(small.words(), "");
        let mut flood = Sample::new(20_000, 1 << 30);
        let all = 100_000;
        let estimate: u64 = (0..all).filter_map(|_| flood.keep(60)).sum();
        assert!(estimate.abs_diff(all) < all / 20, "{estimate}");
        assert!(flood.words().contains("1 to 10000: each stands for 1; 10001 to "));
    }
}
