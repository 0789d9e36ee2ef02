//! One process, out of `/proc/PID`.
//!
//! The folder is opened once and all files below it through that descriptor, so
//! what is read never mixes two processes that had one number after another.
//! What ends a process soonest is read first: its arguments and its executable
//! are gone when it is, the rest stays until its parent has taken note.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat, readlinkat};
use rustix::io::{Errno, read, retry_on_intr};

use super::cgroup::{container_id, control_group, unit};
use super::clock::KernelClock;
use super::context::{Question, context, is_graphical_program, names_display};
use super::folder::in_writable_folder;
use super::stat::Stat;
use super::users::Users;
use crate::host::mask::mask_arguments;
use crate::host::process::{Context, Process, ProcessId, terminal_name};

/// Of a command line that much is kept. Java and browsers exceed it with what
/// nobody reads; one process may carry megabytes.
const MAX_ARGUMENT_BYTES: usize = 4096;

/// Most arguments that are kept, for records that stay readable.
const MAX_ARGUMENTS: usize = 64;

/// Enough for the longest path.
const MAX_PATH_BYTES: usize = 4096;

/// `stat`, `status` and `cgroup` are below 2 KiB but for deep control groups.
const MAX_FILE_BYTES: usize = 16 << 10;

/// An environment is looked through to here; shells put displays early.
const MAX_ENVIRONMENT_BYTES: usize = 32 << 10;

/// "No one logged in", as audit has it.
const NO_LOGIN: u32 = u32::MAX;

/// Why there is nothing of a process.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("process {pid} has ended")]
    Gone { pid: u32 },
    #[error("/proc/{pid}: {source}")]
    Io {
        pid: u32,
        #[source]
        source: io::Error,
    },
}

/// Reads processes. Keeps its buffers and the users' names between them.
#[derive(Debug)]
pub struct ProcessReader {
    users: Users,
    buffer: Vec<u8>,
    clock: KernelClock,
    secrets: Secrets,
}

/// What becomes of passwords, tokens and keys in command lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    #[default]
    Masked,
    /// They stand in maps, records and alerts.
    Kept,
}

impl Secrets {
    fn treat(self, arguments: &mut [String]) {
        if self == Self::Masked {
            mask_arguments(arguments);
        }
    }
}

impl Default for ProcessReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ProcessReader {
    pub fn new() -> Self {
        Self::with(Secrets::Masked)
    }

    pub fn with(secrets: Secrets) -> Self {
        let clock = KernelClock::now();
        Self { users: Users::new("/etc/passwd"), buffer: Vec::new(), clock, secrets }
    }

    /// All that `/proc` has of a process. Of one that ends meanwhile what was read
    /// until then; of one whose files may not be read what may be.
    pub fn read_process(&mut self, pid: u32) -> Result<Process, ReadError> {
        let (mut process, parent) = self.read_with_parent_pid(pid)?;
        process.parent = self.id_of(parent);
        Ok(process)
    }

    /// The same without the look at its parent.
    pub(super) fn read_with_parent_pid(&mut self, pid: u32) -> Result<(Process, u32), ReadError> {
        let folder = open_folder(pid).map_err(|errno| match errno {
            Errno::NOENT | Errno::SRCH => ReadError::Gone { pid },
            errno => ReadError::Io { pid, source: errno.into() },
        })?;
        let mut process = Process { id: ProcessId { pid, start_ticks: 0 }, ..Process::default() };
        self.read_arguments(&folder, &mut process);
        read_executable(&folder, &mut process);
        process.netns = netns(&folder);
        let parent = self.read_stat(&folder, &mut process).ok_or(ReadError::Gone { pid })?;
        self.read_users(&folder, &mut process);
        self.read_control_group(&folder, &mut process);
        if !process.exe.is_empty() {
            process.exe_in_writable_folder = in_writable_folder(folder.as_fd(), &process.exe);
        }
        if process.args.is_empty() && !process.exe.is_empty() {
            // In the middle of an exec the arguments are not there yet.
            self.read_arguments(&folder, &mut process);
        }
        process.context = Some(self.context(&folder, &process, parent));
        Ok((process, parent))
    }

    /// Adds to what another source tells of a process what only `/proc` and the
    /// user table know, and masks secrets in its arguments. Of one that has ended as much as
    /// follows from what is there.
    pub fn complete(&mut self, process: &mut Process) {
        self.secrets.treat(&mut process.args);
        if let Ok(read) = self.read_process(process.id.pid)
            && read.id == process.id
        {
            self.take_over(process, read);
        }
        let mut name = |uid: Option<u32>| uid.map(|uid| self.users.name(uid)).unwrap_or_default();
        if process.user.is_empty() {
            process.user = name(process.uid);
        }
        if process.login_user.is_empty() {
            process.login_user = name(process.login_uid);
        }
        if process.unit.is_empty() {
            process.unit = unit(&process.cgroup);
        }
        if process.container.is_empty() {
            process.container = container_id(&process.cgroup).unwrap_or_default().to_owned();
        }
        if process.context.is_none() {
            process.context = Some(context(process, |_| false));
        }
    }

    /// What was read of the same process, perhaps of a later program of it.
    fn take_over(&self, process: &mut Process, read: Process) {
        let same_program = process.exe.is_empty() || process.exe == read.exe;
        if process.exe.is_empty() {
            process.exe = read.exe;
            process.exe_deleted = read.exe_deleted;
        }
        if same_program {
            process.exe_in_writable_folder |= read.exe_in_writable_folder;
        }
        if process.args.is_empty() && same_program {
            (process.args, process.args_cut) = (read.args, read.args_cut);
        }
        // Hosts that mix both versions of control groups say more in the older one.
        if process.cgroup.len() <= 1 {
            process.cgroup = read.cgroup;
        }
        // Who it is by now may be another user than the source told of: the name follows
        // the number.
        process.uid = process.uid.or(read.uid);
        process.login_uid = process.login_uid.or(read.login_uid);
        process.session = process.session.or(read.session);
        if process.terminal.is_empty() {
            process.terminal = read.terminal;
        }
        process.netns = process.netns.or(read.netns);
        process.context = read.context;
        process.parent = process.parent.or(read.parent);
    }

    /// A process's number and start time: one small file.
    pub fn id_of(&mut self, pid: u32) -> Option<ProcessId> {
        self.with_stat(pid, |stat| ProcessId { pid, start_ticks: stat.start_ticks })
    }

    /// The network namespace of a process.
    pub fn netns_of(&self, pid: u32) -> Option<u64> {
        netns(&open_folder(pid).ok()?)
    }

    pub(super) fn with_stat<T>(&mut self, pid: u32, take: impl FnOnce(Stat<'_>) -> T) -> Option<T> {
        if pid == 0 {
            return None;
        }
        let folder = open_folder(pid).ok()?;
        self.read(&folder, "stat", MAX_FILE_BYTES).and_then(Stat::parse).map(take)
    }

    fn context(&mut self, folder: &OwnedFd, process: &Process, parent: u32) -> Context {
        context(process, |question| match question {
            Question::HasDisplay => {
                self.read(folder, "environ", MAX_ENVIRONMENT_BYTES).is_some_and(names_display)
            }
            Question::HasGraphicalParent => {
                self.with_stat(parent, |stat| is_graphical_program(&stat.name)).unwrap_or(false)
            }
        })
    }

    /// At most `max` bytes of a file; nothing when it can't be read at all. The kernel
    /// gives each of these files whole at the first read.
    fn read(&mut self, folder: &OwnedFd, name: &str, max: usize) -> Option<&[u8]> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(folder, name, flags, Mode::empty()).ok()?;
        if self.buffer.len() < max {
            self.buffer.resize(max, 0);
        }
        let bytes = retry_on_intr(|| read(&file, &mut self.buffer[..max])).ok()?;
        self.buffer.get(..bytes)
    }

    fn read_arguments(&mut self, folder: &OwnedFd, process: &mut Process) {
        let Some(bytes) = self.read(folder, "cmdline", MAX_ARGUMENT_BYTES + 1) else { return };
        (process.args, process.args_cut) = split_arguments(bytes);
        self.secrets.treat(&mut process.args);
    }

    fn read_stat(&mut self, folder: &OwnedFd, process: &mut Process) -> Option<u32> {
        let stat = self.read(folder, "stat", MAX_FILE_BYTES).and_then(Stat::parse)?;
        process.id.start_ticks = stat.start_ticks;
        process.session = (stat.session != 0).then_some(stat.session);
        process.terminal = terminal_name(stat.terminal);
        process.name = stat.name.into_owned();
        let parent = stat.parent;
        process.started_ns = Some(self.clock.start_to_wall_ns(process.id.start_ticks));
        Some(parent)
    }

    fn read_users(&mut self, folder: &OwnedFd, process: &mut Process) {
        process.uid = self.read(folder, "status", MAX_FILE_BYTES).and_then(real_uid);
        process.login_uid = self
            .read(folder, "loginuid", 16)
            .and_then(|bytes| std::str::from_utf8(bytes).ok()?.trim().parse().ok())
            .filter(|&uid| uid != NO_LOGIN);
        let mut name = |uid: Option<u32>| uid.map(|uid| self.users.name(uid)).unwrap_or_default();
        process.user = name(process.uid);
        process.login_user = name(process.login_uid);
    }

    fn read_control_group(&mut self, folder: &OwnedFd, process: &mut Process) {
        let Some(bytes) = self.read(folder, "cgroup", MAX_FILE_BYTES) else { return };
        let text = String::from_utf8_lossy(bytes);
        process.cgroup = cut(control_group(&text), MAX_PATH_BYTES).to_owned();
        process.unit = unit(&process.cgroup);
        process.container = container_id(&process.cgroup).unwrap_or_default().to_owned();
    }

    /// The wall clock may have been set since: call it now and then.
    pub(super) fn set_clock(&mut self, clock: KernelClock) {
        self.clock = clock;
    }

    pub(super) fn clock(&self) -> KernelClock {
        self.clock
    }
}

fn open_folder(pid: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, Path::new("/proc").join(pid.to_string()), flags, Mode::empty())
}

/// Arguments end in NUL. A program that wrote its own title there has one of
/// them, spaces included.
fn split_arguments(bytes: &[u8]) -> (Vec<String>, bool) {
    let cut = bytes.len() > MAX_ARGUMENT_BYTES;
    let bytes = if cut { &bytes[..MAX_ARGUMENT_BYTES] } else { bytes };
    // Titles are padded with NULs to the length of what they replaced.
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    if end == 0 {
        return (Vec::new(), cut);
    }
    let mut arguments = bytes[..end].split(|&byte| byte == 0);
    let args: Vec<String> = arguments
        .by_ref()
        .take(MAX_ARGUMENTS)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    (args, cut || arguments.next().is_some())
}

/// What the kernel appends to the path of a file that is gone.
const DELETED: &str = " (deleted)";

fn read_executable(folder: &OwnedFd, process: &mut Process) {
    let Ok(path) = readlinkat(folder, "exe", Vec::with_capacity(256)) else { return };
    let path = std::ffi::OsString::from_vec(path.into_bytes());
    let path = path.to_string_lossy();
    let stripped = path.strip_suffix(DELETED);
    process.exe_deleted = stripped.is_some();
    process.exe = cut(stripped.unwrap_or(&path), MAX_PATH_BYTES).to_owned();
}

fn netns(folder: &OwnedFd) -> Option<u64> {
    let link = readlinkat(folder, "ns/net", Vec::with_capacity(32)).ok()?;
    link.to_str().ok()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The user who runs it, not who it became by a set-user-id program: the first
/// number of `Uid:`.
fn real_uid(status: &[u8]) -> Option<u32> {
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// At most `max` bytes of a text, whole characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::process::{Child, Command, Stdio};

    struct Running(Child);

    impl Running {
        /// A program that reads until its input ends, and has answered once.
        fn start(command: &mut Command) -> Self {
            let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut running = Self(child);
            running.0.stdin.as_mut().unwrap().write_all(b"x\n").unwrap();
            let mut answer = [0; 2];
            running.0.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
            running
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_running_program_is_read_as_it_was_started() {
        let running =
            Running::start(Command::new("/bin/sh").args(["-c", "exec cat", "--password", "x"]));
        let mut reader = ProcessReader::new();
        let process = reader.read_process(running.0.id()).unwrap();
        let peer = procfs::process::Process::new(running.0.id().cast_signed()).unwrap();
        assert_eq!(process.name, "cat");
        assert_eq!(process.args, ["cat"]);
        assert!(!process.exe_deleted && !process.exe_in_writable_folder && !process.args_cut);
        assert_eq!(Path::new(&process.exe), peer.exe().unwrap());
        assert_eq!(process.parent, reader.id_of(std::process::id()));
        assert_eq!(process.uid, Some(peer.status().unwrap().ruid));
        assert_eq!(process.id.start_ticks, peer.stat().unwrap().starttime);
        assert_eq!(
            process.netns,
            peer.namespaces().unwrap().0.get(std::ffi::OsStr::new("net")).map(|net| net.identifier)
        );
        let age_ns = KernelClock::wall_now_ns() - process.started_ns.unwrap();
        assert!((0..60_000_000_000).contains(&age_ns), "started {age_ns} ns ago");
        if process.uid == Some(0) {
            assert_eq!(process.user, "root");
        }
    }

    #[test]
    fn a_program_deleted_from_a_writable_folder_says_so() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let exe = folder.path().join("my cat");
        // By a process of its own: what this one holds open to write may be
        // inherited by a child of another test, and then nobody can run it.
        assert!(Command::new("cp").arg("/bin/cat").arg(&exe).status().unwrap().success());
        let running = Running::start(&mut Command::new(&exe));
        let mut reader = ProcessReader::new();
        let before = reader.read_process(running.0.id()).unwrap();
        assert!(!before.exe_deleted && before.exe_in_writable_folder);
        std::fs::remove_file(&exe).unwrap();
        let after = reader.read_process(running.0.id()).unwrap();
        assert!(after.exe_deleted && after.exe_in_writable_folder);
        assert_eq!(Path::new(&after.exe), exe);
    }

    #[test]
    fn secrets_in_command_lines_are_kept_only_where_that_is_asked_for() {
        let words = ["-c", "read x; echo y; read x", "sh", "--password=hunter2"];
        let running = Running::start(Command::new("/bin/sh").args(words));
        let args = |secrets| {
            let read = ProcessReader::with(secrets).read_process(running.0.id()).unwrap();
            let mut told = Process { id: read.id, args: read.args.clone(), ..Process::default() };
            told.args[4] = "--password=hunter2".to_owned();
            ProcessReader::with(secrets).complete(&mut told);
            assert_eq!(told.args, read.args, "from whichever source");
            read.args
        };
        assert_eq!(args(Secrets::Kept)[1..], words);
        assert!(!args(Secrets::Masked).concat().contains("hunter2"));
        assert_eq!(Secrets::default(), Secrets::Masked);
    }

    #[test]
    fn long_command_lines_are_cut_and_say_so() {
        let running = Running::start(
            Command::new("/bin/sh").args(["-c", "read x; echo y; read x"]).arg("a".repeat(9000)),
        );
        let process = ProcessReader::new().read_process(running.0.id()).unwrap();
        assert!(process.args_cut);
        let kept: usize = process.args.iter().map(|arg| arg.len() + 1).sum();
        assert!(kept <= MAX_ARGUMENT_BYTES + 1, "{kept}");
        assert_eq!(process.args[..2], ["/bin/sh", "-c"]);
    }

    #[test]
    fn a_zombie_has_what_stays_of_it() {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let mut reader = ProcessReader::new();
        while reader.with_stat(child.id(), |stat| stat.is_dead()) != Some(true) {
            std::thread::yield_now();
        }
        let process = reader.read_process(child.id()).unwrap();
        assert_eq!((process.name.as_str(), process.exe.as_str()), ("true", ""));
        assert!(process.args.is_empty() && process.uid.is_some() && process.id.start_ticks > 0);
        child.wait().unwrap();
        assert!(matches!(reader.read_process(child.id()), Err(ReadError::Gone { .. })));
    }

    #[test]
    fn arguments_are_split_at_nul() {
        let many = "a\0".repeat(MAX_ARGUMENTS + 1);
        for (bytes, args, cut) in [
            (&b"ls\0-l\0"[..], vec!["ls", "-l"], false),
            (b"ls\0\0x\0", vec!["ls", "", "x"], false),
            (b"sshd: root@pts/0\0\0\0\0", vec!["sshd: root@pts/0"], false),
            (b"no end", vec!["no end"], false),
            (b"\xff\0", vec!["\u{fffd}"], false),
            (b"", vec![], false),
            (many.as_bytes(), vec!["a"; MAX_ARGUMENTS], true),
        ] {
            assert_eq!(
                split_arguments(bytes),
                (args.iter().map(ToString::to_string).collect(), cut)
            );
        }
    }
}
