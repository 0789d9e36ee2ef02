//! Settings that change while a run goes on.
//!
//! Whoever reads them puts them here; the correlation stage takes them over
//! between two seconds. Nothing before that stage knows of settings that can
//! change, so no packet and no flow is touched. Start at [`Reloads::put`].

use crate::detect::DetectSettings;
use crate::lock::Lock;

/// Waiting for a second to end. Of more, the oldest are dropped: newer settings
/// stand in their place.
const WAITING: usize = 16;

/// One attempt to change settings.
#[derive(Clone, Debug)]
pub struct Reload {
    /// Nothing when what was read is no good: all stays as it is.
    pub settings: Option<Box<DetectSettings>>,
    /// For people: what changed, or why nothing did.
    pub text: String,
}

/// On their way from where they are read to the correlation stage.
#[derive(Debug, Default)]
pub struct Reloads {
    waiting: Lock<Vec<Reload>>,
}

impl Reloads {
    /// Takes effect when the next second is closed.
    pub fn put(&self, reload: Reload) {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING {
            // The settings in force later are those of the last good one: it stays.
            let refused = waiting.iter().position(|reload| reload.settings.is_none());
            waiting.remove(refused.unwrap_or(0));
        }
        waiting.push(reload);
    }

    pub(crate) fn take(&self) -> Vec<Reload> {
        std::mem::take(&mut *self.waiting.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_taken_once() {
        let reloads = Reloads::default();
        for number in 0..40 {
            reloads.put(Reload { settings: None, text: number.to_string() });
        }
        let taken: Vec<String> = reloads.take().into_iter().map(|reload| reload.text).collect();
        assert_eq!(taken.len(), WAITING);
        assert_eq!(taken.last().unwrap(), "39");
        assert!(reloads.take().is_empty());
    }
}
