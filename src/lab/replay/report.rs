//! What a replay says at its end.

use std::fmt;

use serde::Serialize;

use super::admission::NotSent;
use crate::alert::thousands;
use crate::input::FileReport;

/// Everything that a replay did.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub schema: &'static str,
    pub interface: String,
    /// Longest frame that the interface takes, header included.
    pub max_frame_bytes: u32,
    /// As it can be given again.
    pub speed: String,
    pub ended: Ended,
    /// What stopped it, when `ended` is `failed`.
    pub error: Option<String>,
    /// Rounds begun.
    pub rounds: u64,
    /// Taken from the captures: sent or not sent.
    pub packets: u64,
    pub sent_packets: u64,
    /// Ethernet header to last byte, as handed to the interface.
    pub sent_bytes: u64,
    pub not_sent: NotSent,
    /// Sent with zero bytes in the place of what was not captured.
    pub padded_packets: u64,
    /// When the first packet was due, UTC; the wall clock's word.
    pub started: Option<String>,
    /// From when the first packet was due until the last was taken.
    pub duration_s: f64,
    pub packets_per_s: f64,
    pub bits_per_s: f64,
    /// Absent where no packet is due at a moment.
    pub lateness: Option<Lateness>,
    /// Times that the interface or the system had no room: waited for, and
    /// sent again.
    pub full_queue_waits: u64,
    /// What the interface's own counter of packets dropped on sending rose by
    /// meanwhile, whoever sent them. Those behind `full_queue_waits` can be
    /// among them.
    pub interface_drops: Option<u64>,
    pub files: Vec<FileSummary>,
}

/// Why a replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Everything was sent that could be.
    Complete,
    /// `--limit` was reached.
    Limit,
    /// A signal asked for it.
    Stopped,
    /// The interface takes nothing any more.
    Failed,
}

/// How long after its moment a packet was handed over. Never before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Lateness {
    pub worst_ns: u64,
    pub mean_ns: f64,
    pub over_1ms_packets: u64,
}

/// One capture.
#[derive(Clone, Debug, Serialize)]
pub struct FileSummary {
    pub path: String,
    pub format: String,
    pub error: Option<String>,
    pub warnings: Vec<String>,
}

impl From<&FileReport> for FileSummary {
    fn from(report: &FileReport) -> Self {
        Self {
            path: report.path.clone(),
            format: report.format.clone(),
            error: report.error.as_ref().map(ToString::to_string),
            warnings: report.warnings.clone(),
        }
    }
}

/// For people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} packets, {} bytes sent to {} in {:.3} s ({:.0} packets/s, {:.3} Mbit/s)",
            thousands(self.sent_packets),
            thousands(self.sent_bytes),
            self.interface,
            self.duration_s,
            self.packets_per_s,
            self.bits_per_s / 1e6
        )?;
        if let Some(lateness) = &self.lateness {
            writeln!(
                f,
                "late by {:.3} ms at worst, {:.3} ms on average; {} packets by over a millisecond",
                lateness.worst_ns as f64 / 1e6,
                lateness.mean_ns / 1e6,
                thousands(lateness.over_1ms_packets)
            )?;
        }
        let NotSent { not_ethernet, too_short, too_long, cut, not_taken } = self.not_sent;
        let longest =
            format!("longer than the {} bytes that {} takes", self.max_frame_bytes, self.interface);
        for (count, why) in [
            (not_ethernet, "not Ethernet"),
            (too_short, "shorter than an Ethernet header"),
            (too_long, &longest),
            (cut, "not captured whole (--pad fills them up with zero bytes)"),
            (not_taken, "refused by the system"),
        ] {
            if count > 0 {
                writeln!(f, "not sent: {} {why}", thousands(count))?;
            }
        }
        for (count, what) in [
            (self.padded_packets, "packets filled up with zero bytes"),
            (self.full_queue_waits, "waits for room in a full queue"),
            (
                self.interface_drops.unwrap_or(0),
                "packets dropped by the interface meanwhile, by its own counter",
            ),
        ] {
            if count > 0 {
                writeln!(f, "{} {what}", thousands(count))?;
            }
        }
        match self.ended {
            Ended::Complete => Ok(()),
            Ended::Limit => writeln!(f, "ended at the limit"),
            Ended::Stopped => writeln!(f, "stopped by a signal"),
            Ended::Failed => writeln!(f, "ended before all was sent"),
        }
    }
}
