//! Run directories: where a run's results lie and how the newest is found.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Runs kept when nobody named a folder. Enough to look back over an
/// afternoon's work, few enough that nobody has to tidy up.
const KEPT_RUNS: usize = 20;

/// `$XDG_STATE_HOME/flowtap` (XDG Base Directory Specification).
pub(crate) fn state_dir() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(base.join("flowtap"))
}

/// Makes a new run folder under the state folder and drops the oldest ones.
pub(crate) fn new_state_run() -> io::Result<PathBuf> {
    let base =
        state_dir().ok_or_else(|| io::Error::other("neither XDG_STATE_HOME nor HOME is set"))?;
    fs::create_dir_all(&base)?;
    let now = jiff::Timestamp::now();
    let stamp = now.strftime("%Y%m%dT%H%M%S%.9fZ");
    let dir = base.join(format!("run-{stamp}-{}", std::process::id()));
    fs::create_dir(&dir)?;
    let mut runs = runs_in(&base)?;
    while runs.len() > KEPT_RUNS {
        fs::remove_dir_all(runs.remove(0))?;
    }
    Ok(dir)
}

/// Run folders, oldest first: their names sort by time.
fn runs_in(base: &Path) -> io::Result<Vec<PathBuf>> {
    let mut runs = Vec::new();
    for entry in fs::read_dir(base)? {
        let entry = entry?;
        let is_run = entry.file_name().to_string_lossy().starts_with("run-");
        if is_run && entry.file_type()?.is_dir() {
            runs.push(entry.path());
        }
    }
    runs.sort_unstable();
    Ok(runs)
}

/// The run that `--run` names, or the newest one.
pub(crate) fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = named {
        anyhow::ensure!(
            dir.join("summary.json").is_file(),
            "{} holds no run: there is no summary.json in it",
            dir.display()
        );
        return Ok(dir.to_owned());
    }
    let base =
        state_dir().context("neither XDG_STATE_HOME nor HOME is set: name a run by --run")?;
    runs_in(&base)
        .ok()
        .and_then(|mut runs| runs.pop())
        .with_context(|| format!("no run under {}: name one by --run", base.display()))
}

/// Writes a file under another name and moves it into place, so that nobody
/// ever reads half of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes)
        .and_then(|()| fs::rename(&partial, path))
        .with_context(|| format!("can't write {}", path.display()))
}
