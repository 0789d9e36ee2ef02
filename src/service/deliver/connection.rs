//! What all receivers have in common.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::message::Message;
use super::post::Post;
use super::syslog::{SyslogTcp, SyslogUdp};
use super::unix::Unix;
use super::{DeliveryError, DeliveryOptions, Target};

/// What became of one attempt.
#[derive(Debug)]
pub(super) enum Sent {
    /// The receiver has it, as far as its protocol tells.
    Delivered,
    /// It will never take this message.
    Refused(String),
}

/// A receiver, connected when it has to be.
pub(super) trait Connection: Send {
    /// One attempt, which takes about `timeout` at most. After an error the
    /// next attempt begins anew.
    fn send(&mut self, message: &Message, timeout: Duration) -> io::Result<Sent>;
}

pub(super) fn connection(
    target: &Target,
    options: &DeliveryOptions,
) -> Result<Box<dyn Connection>, DeliveryError> {
    Ok(match target {
        Target::SyslogUdp { host, port } => Box::new(SyslogUdp::new(host, *port, options)),
        Target::SyslogTcp { host, port } => Box::new(SyslogTcp::new(host, *port, options)),
        Target::Post { url } => Box::new(Post::new(target, url, options)?),
        Target::Unix { path } => Box::new(Unix::new(path)),
    })
}

/// Names are looked up at each connection: receivers move.
pub(super) fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}
