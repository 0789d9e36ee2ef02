//! Network namespaces: which there are, and how to open something inside one.
//!
//! A namespace is entered by a thread made for it, which ends right after: no
//! thread that does anything else ever changes its namespace. What was opened
//! inside stays inside, whoever uses it.
//!
//! What is held open keeps a namespace alive, so [`Namespaces::retain`] lets go
//! of those that nobody else has any more.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` and Docker give namespaces a name.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// Names read from a folder of [`NAMED`].
const MAX_NAMED: usize = 4096;

/// More namespaces than a node of Kubernetes has pods (110 by default, 250 at
/// the most that is supported).
const MAX_NAMESPACES: usize = 512;

/// Descriptors that a watched namespace takes: netlink sockets and tables.
const DESCRIPTORS_EACH: u64 = 16;

/// The namespaces that are watched, each with what was opened in it.
pub(super) struct Namespaces<T> {
    own: u64,
    open: HashMap<u64, T>,
    limit: usize,
    /// Those over the limit or that could not be entered, each told once.
    refused: HashSet<u64>,
    newly_refused: u64,
}

impl<T: Send> Namespaces<T> {
    pub(super) fn new() -> io::Result<Self> {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        // Half of what the process may open.
        let limit = usize::try_from(descriptors / 2 / DESCRIPTORS_EACH).unwrap_or(MAX_NAMESPACES);
        Ok(Self {
            own: own_inode()?,
            open: HashMap::new(),
            limit: limit.clamp(1, MAX_NAMESPACES),
            refused: HashSet::new(),
            newly_refused: 0,
        })
    }

    /// Inode of the namespace that the watcher itself is in.
    pub(super) fn own(&self) -> u64 {
        self.own
    }

    /// Opens `what` in the namespace behind `path`, unless it is open already.
    /// True where it is new.
    pub(super) fn ensure(
        &mut self,
        inode: u64,
        path: &Path,
        what: impl FnOnce(u64) -> io::Result<T> + Send,
    ) -> bool {
        if self.open.contains_key(&inode) || self.refused.contains(&inode) {
            return false;
        }
        if self.open.len() >= self.limit {
            let limit = self.limit;
            self.refuse(inode, &format!("there are more than {limit} network namespaces"));
            return false;
        }
        // The own one takes no right to enter.
        let opened = if inode == self.own { Ok(None) } else { File::open(path).map(Some) };
        let opened = opened.and_then(|namespace| {
            let Some(namespace) = namespace else { return what(inode) };
            // The namespace that was opened decides, not the number that led to it: the
            // process may have moved meanwhile.
            if namespace.metadata()?.ino() != inode {
                return Err(io::Error::from(io::ErrorKind::NotFound));
            }
            enter(&namespace, || what(inode))
        });
        match opened {
            Ok(opened) => {
                self.open.insert(inode, opened);
                true
            }
            Err(error) if gone(&error) => false,
            Err(error) => {
                let right = match error.raw_os_error() {
                    Some(libc::EPERM) => " (it takes CAP_SYS_ADMIN)",
                    _ => "",
                };
                self.refuse(inode, &format!("{error}{right}"));
                false
            }
        }
    }

    /// Keeps those that `seen` says are still used by somebody else.
    pub(super) fn retain(&mut self, mut seen: impl FnMut(u64) -> bool) -> Vec<u64> {
        let own = self.own;
        let mut closed = Vec::new();
        self.open.retain(|&inode, _| {
            let keep = inode == own || seen(inode);
            if !keep {
                closed.push(inode);
            }
            keep
        });
        self.refused.retain(|&inode| seen(inode));
        closed
    }

    pub(super) fn get_mut(&mut self, inode: u64) -> Option<&mut T> {
        self.open.get_mut(&inode)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        self.open.iter_mut().map(|(&inode, open)| (inode, open))
    }

    pub(super) fn inodes(&self) -> Vec<u64> {
        let mut inodes: Vec<u64> = self.open.keys().copied().collect();
        inodes.sort_unstable();
        inodes
    }

    pub(super) fn is_open(&self, inode: u64) -> bool {
        self.open.contains_key(&inode)
    }

    /// How many could not be watched since the last call.
    pub(super) fn take_newly_refused(&mut self) -> u64 {
        std::mem::take(&mut self.newly_refused)
    }

    fn refuse(&mut self, inode: u64, why: &str) {
        tracing::warn!(
            event = "host.namespace_not_watched",
            netns = inode,
            "network namespace {inode} is not watched: {why}"
        );
        // As many again may be named before new ones are silently passed over.
        if self.refused.len() < MAX_NAMED {
            self.refused.insert(inode);
            self.newly_refused += 1;
        }
    }
}

/// Namespaces that have a name, by inode.
pub(super) fn named() -> Vec<(u64, PathBuf)> {
    let mut found = Vec::new();
    for folder in NAMED {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten().take(MAX_NAMED) {
            let path = entry.path();
            // An empty file where `ip netns` has not yet mounted it has another device,
            // and entering it fails.
            if let Ok(about) = std::fs::metadata(&path)
                && about.is_file()
            {
                found.push((about.ino(), path));
            }
        }
    }
    found
}

/// Runs `what` in a thread inside the namespace.
pub(super) fn enter<R: Send>(
    namespace: &File,
    what: impl FnOnce() -> io::Result<R> + Send,
) -> io::Result<R> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                what()
            })?
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
}

pub(super) fn own_inode() -> io::Result<u64> {
    Ok(std::fs::metadata("/proc/self/ns/net")?.ino())
}

/// Its process ended, or it never was a namespace.
fn gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::EINVAL))
        || error.kind() == io::ErrorKind::NotFound
}
