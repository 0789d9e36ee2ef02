//! Digests of what a run read, and whether a file is still what was read.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::input::{is_capture, is_hidden};
use crate::output::Summary;

/// Digest of one file, for `run.json`.
#[derive(Debug, Serialize)]
pub(super) struct FileDigest {
    path: String,
    /// Absent for what can't be read twice, and where there was no time.
    sha256: Option<String>,
    /// Of an input: `capture`, or `log`, which has no packets. Absent where it was passed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// Times of a capture's packets. Absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_packet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_packet: Option<String>,
}

/// Digests of all that a run read.
#[derive(Debug, Default)]
pub(super) struct Digests {
    pub(super) inputs: Vec<FileDigest>,
    /// Of what its arguments name beside inputs.
    pub(super) also_read: Vec<FileDigest>,
}

/// Digests that are being made.
pub(super) struct Hashes {
    thread: JoinHandle<Digests>,
}

impl Hashes {
    /// Of files, and of inputs in folders; begins none once `stop` is set.
    pub(super) fn start(
        inputs: Vec<PathBuf>,
        also_read: Vec<PathBuf>,
        stop: &Arc<AtomicBool>,
    ) -> Self {
        let stop = Arc::clone(stop);
        Self {
            thread: std::thread::spawn(move || Digests {
                // They are small, and the first to be changed.
                also_read: digests(also_read, &stop),
                inputs: digests(unfolded(inputs), &stop),
            }),
        }
    }

    /// With the kinds and times of inputs, as the summary has them.
    pub(super) fn finish(self, summary: &Summary) -> Digests {
        let mut digests = self.thread.join().unwrap_or_default();
        for input in &mut digests.inputs {
            let is_log = summary.sources.iter().any(|log| log.path == input.path);
            let capture = summary.files.iter().find(|capture| capture.path == input.path);
            input.kind = if is_log { Some("log") } else { capture.map(|_| "capture") };
            if let Some(capture) = capture {
                input.first_packet.clone_from(&capture.first_packet);
                input.last_packet.clone_from(&capture.last_packet);
            }
        }
        digests
    }
}

/// Files, and those in folders.
fn unfolded(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        match fs::read_dir(&path) {
            Ok(entries) => {
                let entries = entries.flatten().map(|entry| entry.path());
                files.extend(entries.filter(|path| !is_hidden(path)));
            }
            Err(_) => files.push(path),
        }
    }
    files.sort_unstable();
    files
}

fn digests(files: Vec<PathBuf>, stop: &AtomicBool) -> Vec<FileDigest> {
    let digest = |path: PathBuf| FileDigest {
        sha256: path.is_file().then(|| digest(&path, stop)).and_then(Result::ok),
        path: path.display().to_string(),
        kind: None,
        first_packet: None,
        last_packet: None,
    };
    files.into_iter().map(digest).collect()
}

fn digest(path: &Path, stop: &AtomicBool) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        if stop.load(Ordering::Acquire) {
            return Err(io::Error::other("stopped"));
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A file of a run, from wherever this is asked: runs name files as they were given.
pub(super) fn path_of(record: &Value, file: &Value) -> PathBuf {
    let folder = Path::new(record["folder"].as_str().unwrap_or_default());
    folder.join(file["path"].as_str().unwrap_or_default())
}

/// Whether an input of a run has no packets. Where the run does not say so its looks do.
pub(super) fn is_log(path: &Path, input: &Value) -> bool {
    match input["kind"].as_str() {
        Some(kind) => kind == "log",
        None => path.is_file() && !is_capture(path),
    }
}

/// Whether a file that a run read is still what it read. Where the run kept no digest of it
/// nobody knows, and nothing is said. What can be read once alone, a pipe, is there no more:
/// who opened it would wait for good.
pub(super) fn check(path: &Path, file: &Value) -> anyhow::Result<()> {
    let can_be_read_again = path.is_file() || path.is_dir() || path == Path::new("/dev/null");
    if !can_be_read_again {
        anyhow::bail!("{} is not there (any more)", path.display());
    }
    let Some(wanted) = file["sha256"].as_str() else { return Ok(()) };
    let found = digest(path, &AtomicBool::new(false))
        .map_err(|error| anyhow::anyhow!("can't read {}: {error}", path.display()))?;
    if found != wanted {
        anyhow::bail!("{} has changed since it was read", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_pipe_that_was_read_is_not_there_any_more() {
        let dir = tempfile::tempdir().expect("a folder");
        let (pipe, capture) = (dir.path().join("pipe"), dir.path().join("a.pcap"));
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts").success());
        fs::write(&capture, "packets").expect("written");
        // A run has no digest of what it can't read twice.
        let undigested = json!({"path": "a", "sha256": null, "kind": "capture"});
        let said = check(&pipe, &undigested).expect_err("it is a pipe").to_string();
        assert!(said.ends_with("pipe is not there (any more)"), "{said}");
        for path in [&*capture, dir.path(), Path::new("/dev/null")] {
            check(path, &undigested).expect("it can be read again");
        }
    }
}
