//! Baselines for a scenario: the days before it, made and read one after the other.
//!
//! Start at [`Learned::of`]. Days are learned once for all values of a sweep that do
//! not change them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::Scenario;
use super::make::{Making, make_with};
use super::sweep::run_made;
use crate::baseline::{BaselineSettings, Baselines, Lent};
use crate::detect::DetectSettings;

/// Files of what was learned so far.
#[derive(Debug, Default)]
pub struct Learned {
    files: BTreeMap<[u8; 32], PathBuf>,
}

impl Learned {
    /// What is known of a scenario at its start; nothing where it has no days before.
    pub fn of(
        &mut self,
        (name, scenario): (&str, &Scenario),
        folder: &Path,
        how: Making<'_>,
        detect: &DetectSettings,
    ) -> Result<Option<Lent>> {
        let Some(learn) = scenario.learn.filter(|learn| learn.days > 0) else { return Ok(None) };
        let settings = BaselineSettings::from(detect);
        let Making { seed, scale, formats, .. } = how;
        let first = scenario.days_before(learn.days)?;
        let told = format!("{first:?} {seed} {scale} {formats:?} {settings:?}");
        let digest: [u8; 32] = Sha256::digest(told.as_bytes()).into();
        let path = match self.files.get(&digest) {
            Some(path) => path.clone(),
            None => {
                fs::create_dir_all(folder)
                    .with_context(|| format!("can't make {}", folder.display()))?;
                let path = folder.join(format!("{name}-{seed}-{}.redb", self.files.len()));
                let baselines = Baselines::open(&path, settings, true)?;
                let lent = Lent::new(baselines);
                for days in (1..=learn.days).rev() {
                    let day = scenario.days_before(days)?;
                    let dir = folder.join(format!("{name}-{seed}-before"));
                    let made = make_with(name, &day, &dir, how)?;
                    let read = run_made(&made, detect, Some(lent.clone()));
                    let removed = fs::remove_dir_all(&dir);
                    read.with_context(|| format!("{days} days before {name}"))?;
                    removed.with_context(|| format!("can't remove {}", dir.display()))?;
                }
                self.files.insert(digest, path.clone());
                path
            }
        };
        Ok(Some(Lent::new(Baselines::open(&path, settings, false)?)))
    }

    /// Removes the files.
    pub fn remove(self) -> Result<()> {
        for path in self.files.into_values() {
            fs::remove_file(&path).with_context(|| format!("can't remove {}", path.display()))?;
        }
        Ok(())
    }
}
