//! Runs the real binary in a fresh folder.
#![allow(dead_code, reason = "each test program uses its own part of the harness")]
#![allow(clippy::expect_used, reason = "a harness fails by panicking")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A fresh folder with its own state folder, so that runs never meet.
pub(crate) struct Dir {
    dir: TempDir,
}

impl Dir {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file in the temporary folder");
        path
    }

    /// The binary, not started yet.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
        command.args(args).current_dir(self.dir.path());
        command.env("XDG_STATE_HOME", self.path("state")).env_remove("NO_COLOR");
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).output().expect("the binary starts")
    }

    /// Runs `read --json` with these arguments and gives the summary; fails
    /// with the program's own words when it does.
    pub(crate) fn summary<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Value {
        let mut command = self.command(["read", "--json"]);
        let output = command.args(args).output().expect("the binary starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("standard output is one JSON object")
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The repository's own captures.
pub(crate) fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures")
}

/// Entries of `captures/manifest.json`.
pub(crate) fn manifest() -> Vec<Value> {
    let path = captures().join("manifest.json");
    let bytes = std::fs::read(&path).expect("captures/manifest.json");
    serde_json::from_slice(&bytes).expect("the manifest is a JSON array")
}

/// The folder of captures that are not in this repository, or a loud skip.
pub(crate) fn corpus(test: &str) -> Option<PathBuf> {
    match std::env::var_os("FLOWTAP_CORPUS") {
        Some(dir) if !dir.is_empty() => Some(PathBuf::from(dir)),
        _ => {
            eprintln!("SKIPPED {test}: FLOWTAP_CORPUS is not set");
            None
        }
    }
}

/// Captures to hold invariants against: the repository's own and, where it is
/// to be had, the corpus.
pub(crate) fn all_captures(test: &str) -> Vec<PathBuf> {
    let mut folders = vec![captures()];
    folders.extend(corpus(test).map(|dir| dir.join("captures")));
    let mut files = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(&folder).expect("a folder of captures") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.contains(".pcap") || name.contains(".cap") {
                files.push(path);
            }
        }
    }
    files.sort_unstable();
    files
}
