//! Run directories: where a run's results lie and how the newest is found.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context as _;

use crate::output::access::{Access, make_folders};
use crate::output::folder_lock;
use crate::output::privacy::Privacy;
use crate::report::detail::printable;
use crate::service::confine::user_name;
use crate::service::deliver::Target;
use crate::whole_file;

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

/// What a live run covers so far; in its folder while there is no summary.
pub(crate) const SO_FAR: &str = ".flowtap.coverage";

/// The lock of a run that goes on, in its folder; it goes with the process.
const LOCK: &str = ".running";

/// In the place of a run whose results lie in a folder that was named: where that is.
const POINTER: &str = "folder";

/// Makes a new run folder under the state folder, this process's own while it
/// lives, and drops the oldest ones that are nobody's.
fn new_state_run(base: Option<&Path>, is_pointer: bool) -> io::Result<PathBuf> {
    static RUNNING: OnceLock<File> = OnceLock::new();
    let base = base.ok_or_else(|| io::Error::other("neither XDG_STATE_HOME nor HOME is set"))?;
    make_folders(base)?;
    let mut runs = runs_in(base)?;
    // Each sort by itself: runs that lie elsewhere push no results out.
    runs.retain(|run| run.join(POINTER).exists() == is_pointer);
    // One that can't be removed, somebody else's, does no harm.
    for run in runs.iter().take((runs.len() + 1).saturating_sub(KEPT_RUNS)) {
        if !is_running(run) {
            let _ = fs::remove_dir_all(run);
        }
    }
    let now = jiff::Timestamp::now();
    let stamp = now.strftime("%Y%m%dT%H%M%S%.9fZ");
    let dir = base.join(format!("run-{stamp}-{}", std::process::id()));
    make_folders(&dir)?;
    let lock = Access::Group.create(&dir.join(LOCK))?;
    if lock.try_lock().is_ok() {
        RUNNING.get_or_init(|| lock);
    }
    Ok(dir)
}

fn is_running(run: &Path) -> bool {
    let lock = File::open(run.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Whether a run can be kept that nobody named a folder for; why not, where
/// there should be a place.
pub(crate) fn state_run() -> Option<PathBuf> {
    let base = state_dir();
    match new_state_run(base.as_deref(), false) {
        Ok(dir) => Some(dir),
        Err(error) => {
            if let Some(base) = base {
                let base = base.display();
                tell(&format!(
                    "this run is not kept for `show`: {base}: {error}; name a folder with --out"
                ));
            }
            None
        }
    }
}

/// Leaves word of a run whose folder was named, so that it is found as the newest one. Without
/// a place for that it is found by its folder alone.
pub(crate) fn leave_word(folder: &Path) {
    Word::prepare(folder).leave();
}

/// Word of a run that is yet to begin: what it takes is opened while that is allowed, and
/// what is never left names no run.
#[derive(Debug)]
pub(crate) struct Word(Option<Open>);

#[derive(Debug)]
struct Open {
    file: File,
    text: String,
    /// The last word of the same folder.
    before: Option<File>,
}

impl Word {
    /// Drops what earlier runs left that is of no use: words of the same folder but for the
    /// last, which holds should this run not begin, and empty ones.
    pub(crate) fn prepare(folder: &Path) -> Self {
        Self::prepare_in(state_dir().as_deref(), folder)
    }

    fn prepare_in(base: Option<&Path>, folder: &Path) -> Self {
        // One that is still to be made has no other name yet.
        let whole = fs::canonicalize(folder).or_else(|_| std::path::absolute(folder));
        let Some(text) = whole.ok().and_then(|folder| folder.to_str().map(str::to_owned)) else {
            return Self(None);
        };
        let runs = base.and_then(|base| runs_in(base).ok()).unwrap_or_default();
        let mut last = None;
        for run in runs.into_iter().rev() {
            let is_useless = match pointed(&run) {
                Some(known) if known.as_os_str().is_empty() => !is_running(&run),
                Some(known) if known == Path::new(&text) => match last {
                    Some(_) => true,
                    None => {
                        last = Some(run.clone());
                        false
                    }
                },
                Some(_) | None => false,
            };
            if is_useless {
                let _ = fs::remove_dir_all(run);
            }
        }
        let before = last.and_then(|run| File::options().write(true).open(run.join(POINTER)).ok());
        let file =
            new_state_run(base, true).and_then(|dir| Access::Group.create(&dir.join(POINTER)));
        Self(file.ok().map(|file| Open { file, text, before }))
    }

    /// The run has begun. Two words of a folder would take the place of another's, so the
    /// one before says nothing from now on; who comes next removes it.
    pub(crate) fn leave(self) {
        let Some(Open { mut file, text, before }) = self.0 else { return };
        if file.write_all(text.as_bytes()).is_ok()
            && let Some(before) = before
        {
            let _ = before.set_len(0);
        }
    }
}

/// Where the run lies whose word this is; empty where that one never began.
fn pointed(run: &Path) -> Option<PathBuf> {
    fs::read_to_string(run.join(POINTER)).ok().map(PathBuf::from)
}

fn tell(text: &str) {
    if tracing::dispatcher::has_been_set() {
        tracing::warn!(event = "run.not_kept", "{text}");
    } else {
        eprintln!("flowtap: warning: {text}");
    }
}

/// The command line as it may be kept: receivers without passwords and tokens,
/// and nobody's address where others are pseudonyms.
pub(crate) fn recorded_arguments(privacy: &Privacy) -> Vec<String> {
    const RECEIVER: &str = "--alert-to";
    let without_secrets =
        |text: &str| text.parse::<Target>().map_or_else(|_| "?".to_owned(), |to| to.to_string());
    let mut is_receiver = false;
    let arguments = std::env::args_os().skip(1).map(|argument| {
        let argument = argument.to_string_lossy().into_owned();
        let after = std::mem::replace(&mut is_receiver, argument == RECEIVER);
        let glued = argument.strip_prefix(RECEIVER).and_then(|rest| rest.strip_prefix('='));
        match glued {
            Some(receiver) => format!("{RECEIVER}={}", without_secrets(receiver)),
            None if after => without_secrets(&argument),
            None => argument,
        }
    });
    arguments.map(|argument| privacy.text(&argument)).collect()
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

/// A live run that goes on has told what it is, and has no summary yet. An error where one may
/// not look.
fn is_run(dir: &Path) -> io::Result<bool> {
    for name in ["summary.json", "run.json"] {
        match fs::metadata(dir.join(name)) {
            Ok(about) if about.is_file() => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(false)
}

/// Of a folder that one may not enter: whose it is, where even that is seen.
fn whose(dir: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(about) = fs::metadata(dir) else { return String::new() };
    let (uid, mode) = (about.uid(), about.mode() & 0o7777);
    let name = user_name(uid).map(|name| format!(" ({name})")).unwrap_or_default();
    format!("; the folder is user {uid}'s{name}, with mode {mode:04o}")
}

/// Of a run that [`find`] gave.
pub(crate) fn is_going_on(dir: &Path) -> bool {
    folder_lock::is_being_written(dir)
}

/// Whether it is one of the runs that nobody named a folder for.
pub(crate) fn is_kept(dir: &Path) -> bool {
    let whole = |path: &Path| fs::canonicalize(path).ok();
    let base = state_dir().and_then(|base| whole(&base));
    base.is_some() && whole(dir).and_then(|dir| dir.parent().map(Path::to_owned)) == base
}

/// The run that `--run` names, or the newest one, which is then told.
pub(crate) fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = named {
        let is_run = is_run(dir)
            .with_context(|| format!("{} can't be looked into{}", dir.display(), whose(dir)))?;
        anyhow::ensure!(
            is_run,
            "{} holds no run: there is no summary.json in it, and no run.json",
            dir.display()
        );
        return Ok(dir.to_owned());
    }
    let base =
        state_dir().context("neither XDG_STATE_HOME nor HOME is set: name a run by --run")?;
    let runs = runs_in(&base).unwrap_or_default().into_iter().rev();
    let dir = runs
        .map(|run| pointed(&run).unwrap_or(run))
        .find(|run| !run.as_os_str().is_empty() && is_run(run).unwrap_or(false))
        .with_context(|| format!("no run under {}: name one by --run", base.display()))?;
    // It may be another one than who asks has in mind.
    eprintln!("flowtap: run {}", printable(&dir.display().to_string()));
    Ok(dir)
}

/// Writes a file under another name and moves it into place, so that nobody
/// ever reads half of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_whole_by(path, Access::Group, |file| file.write_all(bytes))
}

/// The same of what is written piece by piece.
pub(crate) fn write_whole_by(
    path: &Path,
    access: Access,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let written = whole_file::write(path, access, |file| {
        let mut file = BufWriter::new(file);
        write(&mut file)?;
        file.flush()
    });
    written.with_context(|| format!("can't write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_used_again_takes_no_others_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let base = dir.path().join("state");
        // One is for the word that is being left, one for that of this process, which is
        // kept while it lives.
        let folders = KEPT_RUNS - 2;
        let folder = |n: usize| dir.path().join(format!("run-of-{n}"));
        for n in 0..folders {
            for _ in 0..3 {
                Word::prepare_in(Some(&base), &folder(n)).leave();
            }
        }
        let runs = runs_in(&base).expect("there");
        let known = |n: &usize| runs.iter().any(|run| pointed(run).as_ref() == Some(&folder(*n)));
        assert_eq!((0..folders).filter(known).count(), folders);
    }

    #[test]
    fn the_word_before_holds_where_a_run_does_not_begin() {
        let dir = tempfile::tempdir().expect("a folder");
        let base = dir.path().join("state");
        Word::prepare_in(Some(&base), dir.path()).leave();
        drop(Word::prepare_in(Some(&base), dir.path()));
        let runs = runs_in(&base).expect("there");
        assert!(runs.iter().any(|run| pointed(run).as_deref() == Some(dir.path())));
    }
}
