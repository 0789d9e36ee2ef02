//! The tools that a lab runs: which there are, what they take, and their command lines.
//!
//! A scenario names a tool and figures; words of a command line are made here alone, so
//! that no scenario can say anything else than what stands here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::plan::{Action, MAX_COUNT, Plan};
use super::text::{Behaviour, Protocol};

/// Who asks, sends or floods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    Ping,
    Hping3,
    Curl,
    /// One curl after the other, as a script does: by xargs.
    CurlLoop,
    Dig,
    Iperf3,
    Iodine,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerTool {
    /// Serves `/`, and takes what is put under `/upload/`.
    Nginx,
    /// Answers every name.
    Dnsmasq,
    Iperf3,
    Iodined,
}

/// A program, and the package of Debian that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: &'static str,
    pub package: &'static str,
}

const fn program(name: &'static str, package: &'static str) -> Program {
    Program { name, package }
}

const PING: Program = program("ping", "iputils-ping");
const HPING3: Program = program("hping3", "hping3");
const CURL: Program = program("curl", "curl");
const XARGS: Program = program("xargs", "findutils");
const DIG: Program = program("dig", "bind9-dnsutils");
const IPERF3: Program = program("iperf3", "iperf3");
const NGINX: Program = program("nginx", "nginx");
const DNSMASQ: Program = program("dnsmasq", "dnsmasq-base");
const IODINE: [Program; 2] = [program("iodine", "iodine"), program("iodined", "iodine")];

/// What every lab needs: namespaces, sessions of their own, an end with their parent's.
pub const ALWAYS: &[Program] =
    &[program("ip", "iproute2"), program("setsid", "util-linux"), program("setpriv", "util-linux")];

/// Where only root looks, too.
const ROOTS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

impl Program {
    pub fn is_installed(self) -> bool {
        search_path().split(':').any(|folder| Path::new(folder).join(self.name).is_file())
    }
}

/// `PATH` of everything that a lab starts.
pub fn search_path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    ROOTS.iter().fold(own, |path, folder| format!("{path}:{folder}"))
}

impl Tool {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Hping3 => "hping3",
            Self::Curl => "curl",
            Self::CurlLoop => "curl_loop",
            Self::Dig => "dig",
            Self::Iperf3 => "iperf3",
            Self::Iodine => "iodine",
        }
    }

    pub fn programs(self) -> &'static [Program] {
        match self {
            Self::Ping => &[PING],
            Self::Hping3 => &[HPING3],
            Self::Curl => &[CURL],
            Self::CurlLoop => &[CURL, XARGS],
            Self::Dig => &[DIG],
            Self::Iperf3 => &[IPERF3],
            Self::Iodine => &IODINE,
        }
    }

    /// Fields of a behaviour that it takes, beside those that all take.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Ping => &["rate_per_s", "payload_bytes", "flood", "disguise"],
            Self::Hping3 => &["rate_per_s", "payload_bytes", "protocol", "port", "disguise"],
            Self::Curl => &["gap_s", "path", "port", "up_bytes", "rate_mbps", "disguise"],
            Self::CurlLoop => &["count", "parallel", "requests", "path", "port"],
            Self::Dig => &["gap_s", "names", "port", "disguise"],
            Self::Iperf3 => {
                &["rate_mbps", "payload_bytes", "protocol", "port", "reverse", "disguise"]
            }
            Self::Iodine => &["port"],
        }
    }

    /// Word in the line in which it says what it has done; its last line, where none has it.
    pub(super) fn figures(self) -> &'static str {
        match self {
            Self::Ping | Self::Hping3 => "packets transmitted",
            Self::Iperf3 => "receiver",
            Self::Iodine => TUNNEL_IS_UP,
            Self::Dig => "status: ",
            Self::Curl | Self::CurlLoop => "status ",
        }
    }

    /// What it needs at its other end.
    pub fn server(self) -> Option<ServerTool> {
        match self {
            Self::Ping | Self::Hping3 => None,
            Self::Curl | Self::CurlLoop => Some(ServerTool::Nginx),
            Self::Dig => Some(ServerTool::Dnsmasq),
            Self::Iperf3 => Some(ServerTool::Iperf3),
            Self::Iodine => Some(ServerTool::Iodined),
        }
    }
}

impl ServerTool {
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Dnsmasq => "dnsmasq",
            Self::Iperf3 => "iperf3",
            Self::Iodined => "iodined",
        }
    }

    pub fn programs(self) -> &'static [Program] {
        match self {
            Self::Nginx => &[NGINX],
            Self::Dnsmasq => &[DNSMASQ],
            Self::Iperf3 => &[IPERF3],
            Self::Iodined => &IODINE,
        }
    }

    pub fn usual_port(self) -> u16 {
        match self {
            Self::Nginx => 80,
            Self::Dnsmasq | Self::Iodined => 53,
            Self::Iperf3 => 5_201,
        }
    }

    /// It answers datagrams; else it takes connections.
    pub fn is_udp(self) -> bool {
        matches!(self, Self::Dnsmasq | Self::Iodined)
    }
}

/// Between both ends of a tunnel; it protects nothing here.
pub(super) const TUNNEL_PASSWORD: &str = "lab";

/// What iodine says when data can go through.
pub(super) const TUNNEL_IS_UP: &str = "setup complete";

/// A client's command lines, one or some to be taken in turn; files that they need are
/// made in `dir`.
pub(super) fn client(plan: &Plan, action: &Action, dir: &Path) -> Result<Vec<Vec<String>>> {
    let it = &action.behaviour;
    let address = action.address.to_string();
    let seconds = (action.end.saturating_sub(action.start)).as_secs_f64().max(1.0);
    let whole_seconds = seconds.ceil() as u64;
    let server = action.server.and_then(|at| plan.servers.get(at));
    let port = server.map_or(0, |server| server.port);
    let url = || format!("http://{address}:{port}{}", it.path.as_deref().unwrap_or("/"));
    let mut line = match it.tool {
        Tool::Ping => ping(it, seconds, &address),
        Tool::Hping3 => hping3(it, seconds, &address),
        Tool::Curl => {
            let mut line = curl(whole_seconds);
            if let Some(mbps) = it.rate_mbps {
                line.extend(words(["--limit-rate", &format!("{}", (mbps * 125_000.0) as u64)]));
            }
            match it.up_bytes {
                Some(bytes) => {
                    let file = dir.join(format!("{}.data", it.label));
                    write_noise(&file, bytes)?;
                    line.extend(words(["-T", &shown(&file)]));
                    line.push(format!("http://{address}:{port}/upload/{}", it.label));
                }
                None => line.push(url()),
            }
            line
        }
        Tool::CurlLoop => {
            let file = dir.join(format!("{}.urls", it.label));
            let count = it.count.unwrap_or(10_000).min(MAX_COUNT);
            // To curl this stands for so many; each answer closes its connection.
            let url = format!("{}?n=[1-{}]", url(), it.requests.unwrap_or(1));
            let list = format!("{url}\n").repeat(count as usize);
            fs::write(&file, list).with_context(|| format!("can't write {}", file.display()))?;
            let parallel = it.parallel.unwrap_or(4).to_string();
            let mut line = words(["xargs", "-a", &shown(&file), "-P", &parallel, "-n", "1"]);
            line.extend(curl(10));
            line.extend(words(["-H", "Connection: close"]));
            line
        }
        Tool::Dig => {
            let usual = ["example.com", "www.example.org", "mail.example.net"];
            let names: Vec<&str> = match it.names.as_slice() {
                [] => usual.to_vec(),
                names => names.iter().map(String::as_str).collect(),
            };
            let (at, port) = (format!("@{address}"), port.to_string());
            let program = program_of(it, dir)?;
            let line = |name: &str| {
                words([&program, "-r", "+tries=1", "+timeout=2", &at, "-p", &port, "-q", name])
            };
            return Ok(names.into_iter().map(line).collect());
        }
        Tool::Iperf3 => iperf3(it, whole_seconds, &address, port),
        Tool::Iodine => {
            let domain = server.and_then(|server| server.server.domain.as_deref());
            let domain = domain.unwrap_or_default();
            // The kind of record and the size of answers are those of most tunnels that
            // go through resolvers.
            let mut line = words(["iodine", "-f", "-r", "-P", TUNNEL_PASSWORD, "-T", "TXT"]);
            line.extend(words(["-m", "1000", &address, domain]));
            line
        }
    };
    if it.disguise.is_some() {
        line[0] = program_of(it, dir)?;
    }
    Ok(vec![line])
}

/// The program, or a copy of it under another name where everybody may write.
fn program_of(it: &Behaviour, dir: &Path) -> Result<String> {
    use std::os::unix::fs::PermissionsExt as _;

    let name = it.tool.name();
    let Some(disguise) = &it.disguise else { return Ok(name.to_owned()) };
    let paths = search_path();
    let found = paths.split(':').map(|folder| Path::new(folder).join(name));
    let program = found.into_iter().find(|path| path.is_file());
    let program = program.with_context(|| format!("there is no {name}"))?;
    let folder = dir.join("dropped");
    let copy = || -> std::io::Result<PathBuf> {
        fs::create_dir_all(&folder)?;
        // As /tmp is; what is above is the lab's alone.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777))?;
        let to = folder.join(disguise);
        fs::copy(&program, &to)?;
        Ok(to)
    };
    let copied = copy().with_context(|| format!("can't copy {}", program.display()))?;
    Ok(shown(&copied))
}

fn ping(it: &Behaviour, seconds: f64, address: &str) -> Vec<String> {
    let mut line = words(["ping", "-n", "-q"]);
    let rate = it.rate_per_s.unwrap_or(1.0);
    let count = match it.flood {
        true => 100_000.0 * seconds,
        false => (rate * seconds).ceil(),
    };
    match it.flood {
        true => line.push("-f".to_owned()),
        false => line.extend(words(["-i", &format!("{:.6}", 1.0 / rate)])),
    }
    line.extend(words(["-s", &it.payload_bytes.unwrap_or(56).to_string()]));
    line.extend(words(["-c", &format!("{}", count.max(1.0) as u64)]));
    line.extend(words(["-w", &format!("{}", seconds.ceil() as u64), address]));
    line
}

/// Never `--flood`, which no count ends.
fn hping3(it: &Behaviour, seconds: f64, address: &str) -> Vec<String> {
    let rate = it.rate_per_s.unwrap_or(1_000.0);
    let (gap_us, count) = ((1e6 / rate).max(1.0) as u64, (rate * seconds).max(1.0) as u64);
    let kind = match it.protocol.unwrap_or(Protocol::Udp) {
        Protocol::Udp => "--udp",
        Protocol::Tcp => "--syn",
        Protocol::Icmp => "--icmp",
    };
    let mut line = words(["hping3", "-q", "-n", kind]);
    if it.protocol != Some(Protocol::Icmp) {
        line.extend(words(["-p", &it.port.unwrap_or(7_777).to_string()]));
    }
    line.extend(words(["-d", &it.payload_bytes.unwrap_or(512).to_string()]));
    line.extend(words(["-i", &format!("u{gap_us}"), "-c", &count.to_string(), address]));
    line
}

/// Without the user's own settings and proxies, and never on to another place.
fn curl(seconds: u64) -> Vec<String> {
    let mut line = words(["curl", "-q", "-s", "-S", "-f", "-o", "/dev/null"]);
    let figures = "status %{http_code}, %{size_upload} bytes up, %{size_download} bytes down\\n";
    line.extend(words(["-w", figures]));
    line.extend(words(["--noproxy", "*", "--proto", "=http", "--max-redirs", "0"]));
    line.extend(words(["--connect-timeout", "5", "--max-time", &seconds.to_string()]));
    line
}

fn iperf3(it: &Behaviour, seconds: u64, address: &str, port: u16) -> Vec<String> {
    let mut line = words(["iperf3", "-c", address, "-p", &port.to_string()]);
    // Both ends compare their figures before the lab ends it.
    let seconds = seconds.saturating_sub(1).max(1);
    line.extend(words(["-t", &seconds.to_string(), "--connect-timeout", "5000"]));
    if it.protocol == Some(Protocol::Udp) {
        line.push("-u".to_owned());
    }
    if let Some(bytes) = it.payload_bytes {
        line.extend(words(["-l", &bytes.to_string()]));
    }
    // Memory to memory without a bound takes all that the machine has.
    line.extend(words(["-b", &format!("{}M", it.rate_mbps.unwrap_or(100.0))]));
    if it.reverse {
        line.push("-R".to_owned());
    }
    line
}

/// Bytes that look like an archive: compressed data has no pattern.
fn write_noise(path: &Path, bytes: u64) -> Result<()> {
    use std::io::Write as _;

    let write = || -> std::io::Result<()> {
        let mut out = std::io::BufWriter::new(fs::File::create(path)?);
        let mut rng = crate::lab::synth::Rng::new(bytes);
        let mut block = [0; 65_536];
        let mut left = bytes;
        while left > 0 {
            rng.fill(&mut block);
            let part = left.min(block.len() as u64);
            out.write_all(&block[..part as usize])?;
            left -= part;
        }
        out.flush()
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

pub(super) fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

pub(super) fn shown(path: &Path) -> String {
    // Folders of a lab have plain names; another's part may be anything.
    PathBuf::from(path).display().to_string()
}
