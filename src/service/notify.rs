//! What the service manager is told: ready, still making progress, reloading,
//! stopping (sd_notify(3)).
//!
//! Without `NOTIFY_SOCKET` every call does nothing. It never blocks: a manager
//! that does not read loses notices, not packets. Of the crates for this none
//! that is kept knows abstract sockets, which containers use. Start at
//! [`Notifier::from_environment`].

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use super::kernel::monotonic_us;

/// The manager's socket, and when the watchdog was last told.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// Half of the time in which the manager wants to hear something.
    watchdog_every: Option<Duration>,
    watchdog_told: Option<Instant>,
    status: String,
}

impl Notifier {
    /// As `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say.
    pub fn from_environment() -> io::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        // The watchdog may be meant for the shell that started this.
        let ours = variable("WATCHDOG_PID").is_none_or(|id| id == std::process::id().to_string());
        let us = variable("WATCHDOG_USEC").filter(|_| ours).and_then(|us| us.parse().ok());
        let within = us.filter(|&us| us > 0).map(Duration::from_micros);
        match std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) {
            Some(name) => Self::new(&name, within),
            None => Ok(Self::default()),
        }
    }

    /// A socket by its path, or by `@` and its abstract name; and the time
    /// within which the watchdog wants to hear something.
    pub fn new(name: &OsStr, watchdog_within: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                let text = "NOTIFY_SOCKET is neither a path nor an abstract name";
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let watchdog_every = watchdog_within.map(|within| within / 2);
        Ok(Self { socket: Some((socket, address)), watchdog_every, ..Self::default() })
    }

    /// Everything is open: units that wait for this one may start. Also ends a
    /// reload.
    pub fn ready(&mut self, status: &str) {
        self.status = one_line(status);
        self.tell(&format!("READY=1\nSTATUS={}", self.status));
    }

    /// A line for `systemctl status`; told when it is another one.
    pub fn status(&mut self, status: &str) {
        let status = one_line(status);
        if status != self.status {
            self.status = status;
            self.tell(&format!("STATUS={}", self.status));
        }
    }

    /// To be called whenever seconds are closed, and by nothing else: a run
    /// that hangs is then restarted. Tells the watchdog at half of its time,
    /// so it should be set to at least four seconds.
    pub fn progress(&mut self) {
        let Some(every) = self.watchdog_every else { return };
        if self.watchdog_told.is_none_or(|told| told.elapsed() >= every) {
            self.watchdog_told = Some(Instant::now());
            self.tell("WATCHDOG=1");
        }
    }

    /// The configuration is being read again; [`Self::ready`] ends it.
    pub fn reloading(&mut self) {
        // The manager tells an old notice from a new one by this time.
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()));
    }

    /// From here on the run only puts things in order.
    pub fn stopping(&mut self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            // A manager that is gone or does not read can't be helped from here.
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager() -> (tempfile::TempDir, UnixDatagram, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (dir, socket, path)
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 1_024];
        let length = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    #[test]
    fn a_manager_hears_of_each_state() {
        let (_dir, socket, path) = manager();
        let mut notifier = Notifier::new(path.as_os_str(), None).unwrap();
        notifier.ready("listening to eth0\nREADY=0");
        assert_eq!(heard(&socket).unwrap(), "READY=1\nSTATUS=listening to eth0 READY=0");
        notifier.status("1,000 packets/s");
        notifier.status("1,000 packets/s");
        assert_eq!(heard(&socket).unwrap(), "STATUS=1,000 packets/s");
        notifier.stopping();
        assert_eq!(heard(&socket).unwrap(), "STOPPING=1", "the same status is told once");
        notifier.progress();
        assert_eq!(heard(&socket), None, "there is no watchdog");
    }

    #[test]
    fn a_reload_says_when_it_began() {
        let (_dir, socket, path) = manager();
        let mut notifier = Notifier::new(path.as_os_str(), None).unwrap();
        let before = monotonic_us();
        notifier.reloading();
        let after = monotonic_us();
        let said = heard(&socket).unwrap();
        let at: u64 = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(before <= at && at <= after, "{before} {at} {after}");
    }

    #[test]
    fn the_watchdog_hears_of_progress_at_half_of_its_time() {
        let (_dir, socket, path) = manager();
        let within = Duration::from_millis(400);
        let mut notifier = Notifier::new(path.as_os_str(), Some(within)).unwrap();
        notifier.progress();
        assert_eq!(heard(&socket).unwrap(), "WATCHDOG=1");
        let told = Instant::now();
        notifier.progress();
        if told.elapsed() < within / 2 {
            assert_eq!(heard(&socket), None, "too early");
        }
        // A run that hangs calls nothing, and nothing is told.
        std::thread::sleep(within / 2);
        assert_eq!(heard(&socket), None);
        notifier.progress();
        assert_eq!(heard(&socket).unwrap(), "WATCHDOG=1");
    }

    #[test]
    fn abstract_sockets_are_spoken_to() {
        let name = format!("flowtap-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let mut notifier = Notifier::new(OsStr::new(&format!("@{name}")), None).unwrap();
        notifier.stopping();
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"STOPPING=1");
    }

    #[test]
    fn a_manager_that_does_not_read_blocks_nothing() {
        let (_dir, socket, path) = manager();
        let mut notifier = Notifier::new(path.as_os_str(), None).unwrap();
        for number in 0..10_000 {
            notifier.status(&number.to_string());
        }
        assert_eq!(heard(&socket).unwrap(), "STATUS=0");
        drop((socket, _dir));
        notifier.stopping();
    }

    #[test]
    fn names_that_are_no_sockets_are_errors() {
        assert!(Notifier::new(OsStr::new("vsock:2:1"), None).is_err());
        assert!(Notifier::new(OsStr::new(&format!("/{}", "x".repeat(200))), None).is_err());
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let mut notifier = Notifier::default();
        notifier.ready("x");
        notifier.progress();
        notifier.stopping();
    }
}
