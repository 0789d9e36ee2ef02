//! `flowtap confined`: gives up what `live`, `read` or the watcher would, tries what is then
//! forbidden, and says what came of it. For tests, and for whoever wants to see.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::str::FromStr;
use std::{fs, thread};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::confine_args::ConfineArgs;
use crate::host::attribution::Method;
use crate::service::confine::{Plan, User};
use crate::service::deliver::Target;

/// Confine this process, try what is forbidden, and print what came of it.
#[derive(Debug, Args)]
pub(crate) struct ConfinedArgs {
    /// As `read` is confined, with these captures.
    #[arg(long, value_name = "PATH")]
    read: Vec<PathBuf>,
    /// As the watcher of processes is confined.
    #[arg(long)]
    watcher: bool,
    /// As a watcher that fetches a list of pods.
    #[arg(long, requires = "watcher")]
    fetches: bool,
    /// Folder that is written beneath.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder that a socket is made in.
    #[arg(long, value_name = "DIR")]
    socket: Option<PathBuf>,
    /// Receivers of alerts.
    #[arg(long, value_name = "TARGET")]
    alert_to: Vec<Target>,
    #[arg(long, value_name = "NAME|UID:GID")]
    user: Option<User>,
    #[command(flatten)]
    confine: ConfineArgs,
    /// What to try: open=, create=, remove=, list=, rename=FROM:TO, connect=, bind=, unix=,
    /// abstract=, signal=, spawn=, exec=, thread=, mount=, module=; of a process: exe=,
    /// sockets=, network=; connections=.
    #[arg(value_name = "ATTEMPT")]
    attempts: Vec<Attempt>,
}

#[derive(Clone, Debug)]
struct Attempt {
    what: String,
    on: String,
}

impl FromStr for Attempt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, on) = text.split_once('=').ok_or("an attempt is WHAT=ON")?;
        Ok(Self { what: what.to_owned(), on: on.to_owned() })
    }
}

pub(crate) fn run(args: &ConfinedArgs) -> anyhow::Result<ExitCode> {
    let writes = args.out.iter().cloned().collect();
    let mut plan = if args.watcher {
        Plan::watcher(&[Method::Ebpf, Method::SockDiag], args.fetches)
    } else if args.read.is_empty() {
        Plan::live(writes, &args.alert_to)
    } else {
        Plan::read(&args.read, writes)
    };
    plan.user.clone_from(&args.user);
    plan.sockets.extend(args.socket.clone());
    let confined = args.confine.apply(&plan)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&confined)?)?;
    for attempt in &args.attempts {
        // On another thread: what is inherited counts.
        let attempt = attempt.clone();
        let trying = thread::spawn(move || (attempt.run(), attempt));
        let (result, attempt) = trying.join().ok().context("an attempt panicked")?;
        let line = json!({
            "attempt": format!("{}={}", attempt.what, attempt.on),
            "error": result.err().map(|error| error.to_string()),
        });
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Attempt {
    fn run(&self) -> io::Result<()> {
        let on = Path::new(&self.on);
        match &*self.what {
            "open" => fs::File::open(on).map(drop),
            "create" => fs::File::create(on).map(drop),
            "remove" => fs::remove_file(on),
            "list" => fs::read_dir(on).map(drop),
            "rename" => {
                let (from, to) = self.on.split_once(':').ok_or(io::ErrorKind::InvalidInput)?;
                fs::rename(from, to)
            }
            "connect" => TcpStream::connect(self.address()?).map(drop),
            "bind" => TcpListener::bind(self.address()?).map(drop),
            "unix" => UnixListener::bind(on).map(drop),
            "abstract" => {
                UnixStream::connect_addr(&UnixAddress::from_abstract_name(&self.on)?).map(drop)
            }
            "signal" => {
                let process = self.on.parse().ok().and_then(rustix::process::Pid::from_raw);
                let process = process.ok_or(io::ErrorKind::InvalidInput)?;
                Ok(rustix::process::test_kill_process(process)?)
            }
            "spawn" => Command::new(on).spawn()?.wait().map(drop),
            "exec" => Err(Command::new(on).exec()),
            "thread" => thread::Builder::new().spawn(|| ()).map(drop),
            "mount" => {
                let flags = rustix::mount::MountFlags::empty();
                Ok(rustix::mount::mount("none", on, "tmpfs", flags, None)?)
            }
            "exe" => fs::read_link(format!("/proc/{}/exe", self.on)).map(drop),
            "sockets" => fs::read_dir(format!("/proc/{}/fd", self.on))?
                .try_for_each(|entry| fs::read_link(entry?.path()).map(drop)),
            "network" => {
                let network = fs::File::open(format!("/proc/{}/ns/net", self.on))?;
                let kind = rustix::thread::LinkNameSpaceType::Network;
                Ok(rustix::thread::move_into_link_name_space(network.as_fd(), Some(kind))?)
            }
            "connections" => {
                let mut socket =
                    netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_NETFILTER)?;
                socket.bind(&netlink_sys::SocketAddr::new(0, 0))?;
                // New ones.
                socket.add_membership(1)
            }
            "module" => Ok(rustix::system::init_module(b"no module", c"")?),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.on.parse().map_err(|_| io::ErrorKind::InvalidInput.into())
    }
}
