//! Datagrams of exporters from UDP sockets.
//!
//! What each is (NetFlow, IPFIX, sFlow) is told by its first bytes, so that one port
//! can take all. Nothing is sent, and what the kernel had to drop is counted.
//! [`Listener::bind`], then [`Listener::receive`] again and again.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use super::kind_of;
use super::netflow::Netflow;
use super::sflow::Sflow;
use crate::telemetry::decode::{Bad, Decoder, Out};

/// Asked of the kernel for each socket: routers export in bursts, and a decoder that
/// waits for a disk for a second must not lose 100 MB/s of them.
const BUFFER_BYTES: usize = 64 << 20;
/// Taken from a socket before the others and the caller have a turn.
const MAX_DATAGRAMS: usize = 256;
/// The largest that UDP can carry.
const MAX_DATAGRAM_BYTES: usize = 1 << 16;
/// For counting what is left at the end: some million datagrams.
const MAX_COUNTING: Duration = Duration::from_secs(1);
/// Between two looks at the kernel's count of drops.
const DROPS_EVERY: Duration = Duration::from_secs(1);

/// Sockets that exporters send to, and the decoders of what they send.
pub struct Listener {
    sockets: Vec<Socket>,
    netflow: Netflow,
    sflow: Sflow,
    buffer: Box<[u8]>,
    looked: Option<Instant>,
}

struct Socket {
    socket: UdpSocket,
    /// Names it in the kernel's table.
    inode: u64,
    drops: u64,
}

/// What one turn of receiving has brought, beside the observations.
#[derive(Debug, Default)]
pub struct Received {
    pub datagrams: u64,
    pub bytes: u64,
    /// Datagrams that were left out, with who sent them; never more than `datagrams`.
    pub bad: Vec<(SocketAddr, Bad)>,
}

impl Listener {
    /// Binds all addresses, or none.
    pub fn bind(addresses: &[SocketAddr]) -> io::Result<Self> {
        let sockets = addresses
            .iter()
            .map(|address| {
                let named = |error: io::Error| {
                    io::Error::new(error.kind(), format!("can't listen at {address}: {error}"))
                };
                Socket::bind(*address).map_err(named)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            sockets,
            netflow: Netflow::new(),
            sflow: Sflow::new(),
            buffer: vec![0; MAX_DATAGRAM_BYTES].into(),
            looked: None,
        })
    }

    /// Where it listens: of port 0 the one that the kernel chose.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(|socket| socket.socket.local_addr()).collect()
    }

    /// Waits for datagrams, at most as long as `timeout`, and decodes what is there, some
    /// hundred at a time. Comes back at once when there is something.
    pub fn receive(&mut self, out: &mut Out, timeout: Duration) -> io::Result<Received> {
        let mut received = Received::default();
        if self.wait(timeout)? {
            for at in 0..self.sockets.len() {
                self.drain(at, out, &mut received)?;
            }
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= DROPS_EVERY) {
            self.looked = Some(Instant::now());
            self.count_drops(out);
        }
        Ok(received)
    }

    /// No more is received: hands out what waited, and counts what never came and, where
    /// `all_read` is not so, what still lies in the sockets.
    pub fn end(&mut self, out: &mut Out, all_read: bool) {
        // What came after all was read came after the end.
        let left = if all_read { 0 } else { self.left() };
        if left > 0 {
            out.lost("export datagrams that were not read at the end", left);
        }
        self.count_drops(out);
        self.netflow.end(out);
        self.sflow.end(out);
    }

    /// How many datagrams nobody has received; they are gone then.
    fn left(&mut self) -> u64 {
        let (begun, mut left) = (Instant::now(), 0);
        for Socket { socket, .. } in &self.sockets {
            while begun.elapsed() < MAX_COUNTING {
                match socket.recv(&mut self.buffer) {
                    Ok(_) => left += 1,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        }
        left
    }

    fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let mut waiting: Vec<_> =
            self.sockets.iter().map(|socket| PollFd::new(&socket.socket, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match poll(&mut waiting, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            // A signal: the caller looks whether it is to stop.
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn drain(&mut self, at: usize, out: &mut Out, received: &mut Received) -> io::Result<()> {
        let Some(Socket { socket, .. }) = self.sockets.get(at) else { return Ok(()) };
        for _ in 0..MAX_DATAGRAMS {
            let (length, exporter) = match socket.recv_from(&mut self.buffer) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Of a socket that sends nothing these are about single datagrams, as one
                // whose checksum was wrong.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            received.datagrams += 1;
            received.bytes += length as u64;
            let datagram = self.buffer.get(..length).unwrap_or_default();
            let decoder: &mut dyn Decoder = match kind_of(datagram).map(|kind| kind.name) {
                Some("sflow") => &mut self.sflow,
                Some(_) => &mut self.netflow,
                None => {
                    received.bad.push((exporter, Bad::new("neither NetFlow, IPFIX nor sFlow")));
                    continue;
                }
            };
            if let Err(bad) = decoder.datagram(exporter, now_ns(), datagram, out) {
                received.bad.push((exporter, bad));
            }
        }
        Ok(())
    }

    fn count_drops(&mut self, out: &mut Out) {
        // One read for all sockets of a family, as the kernel's table has all of the host.
        let tables = ["/proc/net/udp", "/proc/net/udp6"].map(fs::read_to_string);
        for socket in &mut self.sockets {
            let found = tables.iter().flatten().find_map(|table| drops_of(table, socket.inode));
            if let Some(drops) = found {
                if drops > socket.drops {
                    out.lost("export datagrams that the kernel dropped", drops - socket.drops);
                }
                socket.drops = drops;
            }
        }
    }
}

impl Socket {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        // Over the system's bound only with CAP_NET_ADMIN; without, as much as it allows.
        if set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES).is_err() {
            set_socket_recv_buffer_size(&socket, BUFFER_BYTES)?;
        }
        let inode = rustix::fs::fstat(&socket)?.st_ino;
        Ok(Self { socket, inode, drops: 0 })
    }
}

/// The last column of the socket's line in `/proc/net/udp`.
fn drops_of(table: &str, inode: u64) -> Option<u64> {
    const INODE: usize = 9;
    let mut digits = itoa::Buffer::new();
    let inode = digits.format(inode);
    let line =
        table.lines().find(|line| line.split_ascii_whitespace().nth(INODE) == Some(inode))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Observation;
    use crate::telemetry::export::fixture::datagrams;

    const SOON: Duration = Duration::from_secs(5);

    fn listener() -> (Listener, UdpSocket) {
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(&[here, "[::1]:0".parse().unwrap()]).unwrap();
        let sender = UdpSocket::bind(here).unwrap();
        sender.connect(listener.addresses().unwrap()[0]).unwrap();
        (listener, sender)
    }

    #[test]
    fn both_kinds_come_by_one_port() {
        let (mut listener, sender) = listener();
        let mut out = Out::default();
        let netflow = include_bytes!("../../../tests/fixtures/export/softflowd-v9.pcap");
        let sflow = include_bytes!("../../../tests/fixtures/export/pmacct-sflow.pcap");
        let sent = [datagrams(netflow), datagrams(sflow), vec![b"what".to_vec()]].concat();
        for datagram in &sent {
            sender.send(datagram).unwrap();
        }
        let (mut count, mut bad) = (0, Vec::new());
        while count < sent.len() as u64 {
            let received = listener.receive(&mut out, SOON).unwrap();
            assert!(received.datagrams > 0, "nothing came for {SOON:?}");
            count += received.datagrams;
            bad.extend(received.bad);
        }
        listener.end(&mut out, false);
        assert_eq!(out.observations.len(), 18 + 41);
        assert_eq!(bad.len(), 1);
        assert_eq!(bad[0].0, sender.local_addr().unwrap());
        assert!(out.lost.is_empty(), "{:?}", out.lost);
        // Samples are of the second before they came.
        let Some(Observation::Flow(last)) = out.observations.last() else { panic!() };
        assert!((now_ns() - last.end_ns) < 60_000_000_000);
    }

    #[test]
    fn nothing_comes_and_the_wait_ends() {
        let (mut listener, _) = listener();
        let before = Instant::now();
        let received = listener.receive(&mut Out::default(), Duration::from_millis(50)).unwrap();
        assert_eq!(received.datagrams, 0);
        assert!(before.elapsed() >= Duration::from_millis(50));
    }

    #[test]
    fn what_the_kernel_drops_is_counted() {
        let (mut listener, sender) = listener();
        set_socket_recv_buffer_size(&listener.sockets[0].socket, 4096).unwrap();
        let datagram = [&[0, 5, 0, 0][..], &[0; 1000]].concat();
        for _ in 0..100 {
            sender.send(&datagram).unwrap();
        }
        let mut out = Out::default();
        let mut count = 0;
        loop {
            let received = listener.receive(&mut out, Duration::from_millis(200)).unwrap();
            count += received.datagrams;
            if received.datagrams == 0 {
                break;
            }
        }
        listener.end(&mut out, false);
        let dropped = out.lost["export datagrams that the kernel dropped"];
        assert!(dropped > 0);
        assert_eq!(count + dropped, 100);
    }

    #[test]
    fn an_address_in_use_is_told() {
        let (listener, _) = listener();
        let taken = listener.addresses().unwrap()[0];
        let error = Listener::bind(&[taken]).err().unwrap().to_string();
        assert!(error.contains(&taken.to_string()), "{error}");
    }
}
