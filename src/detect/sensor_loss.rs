//! The sensor itself lost packets: what it says of that second is incomplete.
//!
//! Not an attack, but an attack may hide in it, and a flood often causes it. One
//! finding an interface and second, from what the capture counted; offline there
//! is nothing to count and this never says anything.

use serde_json::json;

use super::{Context, Detector, Direction, Family, Finding, Rule, Shape, Subject, Window};
use crate::alert::Entity;

/// What an interface lost since the last look, about a second ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Place in the run's interfaces.
    pub interface: u16,
    pub name: String,
    /// Handed on.
    pub packets: u64,
    /// Found the ring full.
    pub kernel_drops: u64,
    /// Dropped by the device or its driver.
    pub interface_drops: u64,
}

impl Loss {
    pub fn lost(&self) -> u64 {
        self.kernel_drops + self.interface_drops
    }

    /// Lost packets of a thousand.
    pub fn per_mille(&self) -> u64 {
        let all = self.packets + self.lost();
        (self.lost() * 1000).checked_div(all).unwrap_or(0)
    }
}

#[derive(Debug, Default)]
pub struct SensorLoss;

const FORMULA: &str = "1000 * (kernel_drops + interface_drops) / (packets + kernel_drops + \
                       interface_drops) >= loss_per_mille, in one second";

impl Detector for SensorLoss {
    fn name(&self) -> &'static str {
        "sensor_loss"
    }

    fn observe(&mut self, window: &Window<'_>, ctx: &Context<'_>, out: &mut Vec<Finding>) {
        let threshold = ctx.settings.loss_per_mille;
        for loss in ctx.losses.iter().filter(|loss| loss.lost() > 0) {
            if loss.per_mille() < threshold {
                continue;
            }
            let rule = Rule {
                name: "loss_per_mille",
                threshold,
                unit: "of 1,000 packets lost",
                formula: FORMULA,
            };
            let mut finding = Finding::new(
                "sensor_loss",
                Family::Sensor,
                window.slice.second(),
                Subject::Interface(loss.interface),
                Entity::interface(&loss.name),
                rule,
            );
            finding.opens = true;
            finding.kind = "capture";
            finding.direction = Direction::Inbound;
            finding.shape = Shape::OneToOne;
            finding.measured = loss.per_mille();
            finding.traffic.packets = loss.lost();
            finding.details = [
                ("packets", json!(loss.packets)),
                ("kernel_drops", json!(loss.kernel_drops)),
                ("interface_drops", json!(loss.interface_drops)),
            ]
            .into();
            out.push(finding);
        }
    }
}
