//! Where alerts go, as text: `syslog://host`, `https://host/path`, `unix:/path`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Port of syslog over UDP (RFC 5426).
const SYSLOG_UDP_PORT: u16 = 514;
/// Port of syslog over TCP (syslog-conn; what receivers listen on).
const SYSLOG_TCP_PORT: u16 = 601;

/// One receiver. Displayed without user, password and query: it stands in logs
/// and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// RFC 5424 in datagrams.
    SyslogUdp { host: String, port: u16 },
    /// RFC 5424 with octet counting (RFC 6587).
    SyslogTcp { host: String, port: u16 },
    /// A POST of JSON for each alert.
    Post { url: String },
    /// JSON lines over a stream or datagram socket, whichever is there.
    Unix { path: PathBuf },
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    #[error(
        "'{0}' is no receiver: use syslog://HOST[:PORT], syslog+tcp://HOST[:PORT], http://..., https://... or unix:/PATH"
    )]
    Form(String),
    #[error("'{0}': a port is a number from 1 to 65535")]
    Port(String),
    #[error("'{0}': the path of a Unix socket begins with / and has at most 107 bytes")]
    Path(String),
}

/// Room for a path in `sockaddr_un`, with its end.
const SUN_PATH_BYTES: usize = 108;

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(path) = text.strip_prefix("unix:") {
            // unix:///run/x and unix:/run/x are the same.
            let path = path.strip_prefix("//").unwrap_or(path);
            let fits = path.starts_with('/') && path.len() < SUN_PATH_BYTES && !path.contains('\0');
            return if fits {
                Ok(Self::Unix { path: path.into() })
            } else {
                Err(TargetError::Path(text.to_owned()))
            };
        }
        let form = || TargetError::Form(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        match scheme {
            "syslog" | "syslog+udp" => {
                let (host, port) = host_and_port(text, rest)?;
                Ok(Self::SyslogUdp { host, port: port.unwrap_or(SYSLOG_UDP_PORT) })
            }
            "syslog+tcp" => {
                let (host, port) = host_and_port(text, rest)?;
                Ok(Self::SyslogTcp { host, port: port.unwrap_or(SYSLOG_TCP_PORT) })
            }
            "http" | "https" => {
                let uri: ureq::http::Uri = text.parse().map_err(|_| form())?;
                match uri.host() {
                    Some(host) if !host.is_empty() => Ok(Self::Post { url: text.to_owned() }),
                    _ => Err(form()),
                }
            }
            _ => Err(form()),
        }
    }
}

impl Target {
    /// Name or address, without brackets.
    pub(crate) fn host(&self) -> Option<String> {
        match self {
            Self::SyslogUdp { host, .. } | Self::SyslogTcp { host, .. } => Some(host.clone()),
            Self::Post { url } => {
                let url: ureq::http::Uri = url.parse().ok()?;
                Some(url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned())
            }
            Self::Unix { .. } => None,
        }
    }

    /// What is connected to, where that is TCP.
    pub(crate) fn tcp_port(&self) -> Option<u16> {
        match self {
            Self::SyslogTcp { port, .. } => Some(*port),
            Self::Post { url } => {
                let default = if self.is_https() { 443 } else { 80 };
                let url: ureq::http::Uri = url.parse().ok()?;
                Some(url.port_u16().unwrap_or(default))
            }
            Self::SyslogUdp { .. } | Self::Unix { .. } => None,
        }
    }

    pub(crate) fn is_https(&self) -> bool {
        matches!(self, Self::Post { url } if url.starts_with("https:"))
    }
}

/// `host`, `host:port`, `[address]`, `[address]:port`.
fn host_and_port(text: &str, rest: &str) -> Result<(String, Option<u16>), TargetError> {
    let form = || TargetError::Form(text.to_owned());
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or_else(form)?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(form());
            }
            let port = if after.is_empty() { None } else { after.strip_prefix(':').or(Some("")) };
            (address, port)
        }
        None => match rest.split_once(':') {
            // An IPv6 address without brackets: its last part is no port.
            Some((_, port)) if port.contains(':') => return Err(form()),
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if host.is_empty() || !host.chars().all(allowed) {
        return Err(form());
    }
    let port = port.map(|port| match port.parse::<u16>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(TargetError::Port(text.to_owned())),
    });
    Ok((host.to_owned(), port.transpose()?))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = |host: &str| {
            if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
        };
        match self {
            Self::SyslogUdp { host, port } => write!(f, "syslog://{}:{port}", bracketed(host)),
            Self::SyslogTcp { host, port } => write!(f, "syslog+tcp://{}:{port}", bracketed(host)),
            Self::Post { url } => f.write_str(&without_secrets(url)),
            Self::Unix { path } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A URL without user, password and query, where tokens stand.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<Target, TargetError> {
        text.parse()
    }

    #[test]
    fn receivers_are_read_with_their_usual_ports() {
        let udp = |host: &str, port| Ok(Target::SyslogUdp { host: host.to_owned(), port });
        let tcp = |host: &str, port| Ok(Target::SyslogTcp { host: host.to_owned(), port });
        assert_eq!(parsed("syslog://log.example"), udp("log.example", 514));
        assert_eq!(parsed("syslog://10.0.0.1:5514/"), udp("10.0.0.1", 5_514));
        assert_eq!(parsed("syslog+tcp://[fd00::1]"), tcp("fd00::1", 601));
        assert_eq!(parsed("syslog+tcp://[fd00::1]:6514"), tcp("fd00::1", 6_514));
        assert_eq!(parsed("unix:/run/x.sock"), Ok(Target::Unix { path: "/run/x.sock".into() }));
        assert_eq!(parsed("unix:///run/x.sock"), Ok(Target::Unix { path: "/run/x.sock".into() }));
        let url = "https://u:p@h.example/in?token=1".to_owned();
        assert_eq!(parsed(&url), Ok(Target::Post { url }));
    }

    #[test]
    fn what_is_no_receiver_is_refused() {
        for text in [
            "",
            "syslog",
            "syslog://",
            "syslog://:514",
            "syslog://a b",
            "syslog://fd00::1",
            "syslog+tcp://[fd00::1",
            "syslog+tcp://[x]",
            "ftp://h/",
            "http://",
            "http:///x",
            "https://h h/",
            "/run/x.sock",
        ] {
            assert_eq!(parsed(text), Err(TargetError::Form(text.to_owned())), "{text}");
        }
        for text in ["syslog://h:0", "syslog://h:65536", "syslog://h:", "syslog://[::1]x"] {
            assert_eq!(parsed(text), Err(TargetError::Port(text.to_owned())), "{text}");
        }
        let long = format!("unix:/{}", "x".repeat(107));
        for text in ["unix:", "unix:x.sock", &long] {
            assert_eq!(parsed(text), Err(TargetError::Path(text.to_owned())), "{text}");
        }
        assert!(parsed(&format!("unix:/{}", "x".repeat(106))).is_ok());
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = parsed("https://user:secret@h.example:8443/in?token=secret#x").unwrap();
        assert_eq!(shown.to_string(), "https://h.example:8443/in");
    }

    proptest! {
        #[test]
        fn what_is_shown_of_a_syslog_receiver_means_the_same(
            host in "[a-z0-9.-]{1,30}|[0-9a-f]{1,4}::[0-9a-f]{1,4}", port in 1_u16.., tcp: bool,
        ) {
            let target = if tcp {
                Target::SyslogTcp { host, port }
            } else {
                Target::SyslogUdp { host, port }
            };
            prop_assert_eq!(parsed(&target.to_string()), Ok(target));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(unix:|syslog://|https?://)?\\PC{0,40}") {
            let _ = parsed(&text).map(|target| target.to_string());
        }
    }
}
