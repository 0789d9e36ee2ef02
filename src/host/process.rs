//! A process as flows name it.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// A process, safe against reuse of its number: within one boot no two
/// processes share both.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct ProcessId {
    pub pid: u32,
    /// When it began: hundredths of a second since the host's boot, as field 22
    /// of `/proc/PID/stat` has it (`USER_HZ` is 100 on every Linux). Of other
    /// systems hundredths since the epoch.
    pub start_ticks: u64,
}

/// What is known of a process at one time. An exec makes another version of the
/// same process. What is not known is empty.
///
/// Texts come from whoever started the process: they are cut to bounds and
/// secrets in them are masked where they are read, and writers quote them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    #[serde(flatten)]
    pub id: ProcessId,
    /// When it began, by the clock that stamps packets.
    #[serde(
        rename = "started",
        default,
        skip_serializing_if = "Option::is_none",
        with = "super::time_text::option"
    )]
    pub started_ns: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ProcessId>,
    /// The kernel's name of it, at most 15 bytes (`comm`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Path of the executable.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub exe: String,
    /// The file behind `exe` is gone or another one by now.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exe_deleted: bool,
    /// The executable lies where anybody may write (`/tmp`, `/dev/shm`, ...), by
    /// the folder's mode.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exe_in_writable_folder: bool,
    /// Arguments, the program's name first; masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Arguments were longer than what is kept.
    #[serde(default, skip_serializing_if = "is_false")]
    pub args_cut: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Who logged in (audit's login uid), whoever it became since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub login_user: String,
    /// Identifier of its session (`setsid`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u32>,
    /// Controlling terminal: `pts/3`, `tty1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub terminal: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// Unit of the service manager: `nginx.service`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Path of its control group, the unified hierarchy's where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cgroup: String,
    /// Inode of its network namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
    /// Full id of the container that it runs in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container: String,
}

/// Whether a person could sit behind a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// Belongs to a graphical session.
    Gui,
    /// Has a controlling terminal.
    Terminal,
    /// Neither: a service, a job, a daemon.
    None,
}

/// Where everybody may write by convention; the last ones on macOS.
const USUALLY_WRITABLE: [&str; 7] = [
    "/tmp",
    "/var/tmp",
    "/dev/shm",
    "/run/lock",
    "/private/tmp",
    "/private/var/tmp",
    "/Users/Shared",
];

/// Whether an executable lies where everybody may write by convention: for when its
/// folder can't be looked at.
pub fn in_usual_writable_folder(exe: &str) -> bool {
    let folder = Path::new(exe).parent();
    folder.is_some_and(|folder| USUALLY_WRITABLE.iter().any(|usual| folder.starts_with(usual)))
}

/// The terminal's name below `/dev` by its device number (Linux's
/// `Documentation/admin-guide/devices.txt`); the number where it has none.
pub fn terminal_name(device: u32) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        0 => String::new(),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 if minor == 1 => "console".to_owned(),
        136..=143 => format!("pts/{}", (u64::from(major) - 136) * 256 + u64::from(minor)),
        188 => format!("ttyUSB{minor}"),
        204 if minor >= 64 => format!("ttyAMA{}", minor - 64),
        229 => format!("hvc{minor}"),
        _ => format!("{major}:{minor}"),
    }
}

pub(super) fn is_false(value: &bool) -> bool {
    !value
}
