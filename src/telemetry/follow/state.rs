//! Where following stands, kept across restarts: a small JSON file, replaced whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::files::SavedFiles;
use super::{FollowError, Target};
use crate::output::access::Access;

const VERSION: u32 = 1;

/// Between two writes: a crash reads this much again.
const PAUSE: Duration = Duration::from_secs(1);

/// Far more than the most files that are remembered need.
const MAX_STATE_BYTES: u64 = 64 << 20;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) version: u32,
    pub(super) target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) files: Option<SavedFiles>,
    /// Of the journal's last entry that was handed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<String>,
    #[cfg(feature = "object-store")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) objects: Option<super::objects::SavedObjects>,
}

pub(super) struct StateFile {
    path: PathBuf,
    target: Target,
    changed: bool,
    /// When it may be written next.
    due: Option<Instant>,
}

impl StateFile {
    pub(super) fn new(path: &Path, target: Target) -> Self {
        Self { path: path.to_owned(), target, changed: false, due: None }
    }

    /// What an earlier run kept; nothing where there was none.
    pub(super) fn load(&self) -> Result<Option<Saved>, FollowError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FollowError::Read { path: self.path.clone(), error }),
        };
        let mut bytes = Vec::new();
        file.take(MAX_STATE_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|error| FollowError::Read { path: self.path.clone(), error })?;
        let wrong = |reason: String| FollowError::State { path: self.path.clone(), reason };
        let saved: Saved =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if saved.version != VERSION {
            return Err(wrong(format!("version {}, not {VERSION}", saved.version)));
        }
        if !self.target.is_named(&saved.target) {
            return Err(FollowError::OtherTarget { path: self.path.clone(), theirs: saved.target });
        }
        Ok(Some(saved))
    }

    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.changed && self.due.is_none_or(|due| now >= due);
        if due {
            self.due = Some(now + PAUSE);
        }
        due
    }

    pub(super) fn save(&mut self, saved: Saved) -> io::Result<()> {
        let whole = Saved { version: VERSION, target: self.target.name(), ..saved };
        let mut name = self.path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut file = Access::Group.replace(&new)?;
        serde_json::to_writer(io::BufWriter::new(&file), &whole)?;
        file.write_all(b"\n")?;
        // Else a power failure can leave the new name with nothing in it.
        file.sync_data()?;
        fs::rename(&new, &self.path)?;
        self.changed = false;
        Ok(())
    }
}
