//! JSON lines over a Unix socket: a stream, or datagrams where the receiver
//! has bound one.

use std::io::{self, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::connection::{Connection, Sent};
use super::message::Message;

pub(super) struct Unix {
    path: PathBuf,
    socket: Option<Socket>,
}

enum Socket {
    Stream(UnixStream),
    Datagram(UnixDatagram),
}

impl Unix {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None }
    }

    fn connect(&self) -> io::Result<Socket> {
        match connect_at_once(&self.path) {
            Ok(stream) => Ok(Socket::Stream(stream)),
            // The socket is there and is of the other type.
            Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.path)?;
                Ok(Socket::Datagram(socket))
            }
            Err(error) => Err(error),
        }
    }
}

/// Fails where the receiver takes no connections and has no room for more of them:
/// waiting for it has no end.
pub(super) fn connect_at_once(path: &Path) -> io::Result<UnixStream> {
    use rustix::io::{FdFlags, fcntl_setfd};
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};

    let stream = UnixStream::from(socket(AddressFamily::UNIX, SocketType::STREAM, None)?);
    fcntl_setfd(&stream, FdFlags::CLOEXEC)?;
    stream.set_nonblocking(true)?;
    connect(&stream, &SocketAddrUnix::new(path)?)?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

impl Connection for Unix {
    fn send(&mut self, message: &Message, timeout: Duration) -> io::Result<Sent> {
        let mut line = message.json()?;
        line.push(b'\n');
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect()?,
        };
        match &mut socket {
            Socket::Stream(stream) => {
                stream.set_write_timeout(Some(timeout))?;
                stream.write_all(&line)?;
            }
            Socket::Datagram(socket) => {
                socket.set_write_timeout(Some(timeout))?;
                match socket.send(&line) {
                    // It will not fit next time either.
                    Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                        return Ok(Sent::Refused(format!("{} bytes are too long", line.len())));
                    }
                    sent => sent?,
                };
            }
        }
        // After half a line the socket is of no use: only a whole one puts it back.
        self.socket = Some(socket);
        Ok(Sent::Delivered)
    }
}
