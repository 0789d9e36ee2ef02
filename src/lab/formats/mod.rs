//! A scenario's logs in the formats of sources that people have.
//!
//! Written from what is played, a file each, so that whoever reads one alone sees what
//! such a source shows and no more: no packets, no answers of a service, no processes
//! where it has none. Formats after their own documentation, not after what reads them.

mod auditd;
mod aws_alb;
mod aws_vpc;
mod combined;
mod osquery;
mod zeek;

use std::net::IpAddr;

use clap::ValueEnum;

use super::scenario::talk::LogLine;
use crate::host::process::Process;

/// Formats, by their names in `--as`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Format {
    /// AWS VPC flow log, version 2 in the default order.
    AwsVpc,
    /// Zeek's conn.log in JSON.
    ZeekConnJson,
    /// AWS application load balancer's access log.
    AwsAlb,
    /// nginx's and Apache's combined log format.
    Combined,
    /// Linux's audit log of programs that were started.
    Auditd,
    /// osquery's process_events.
    Osquery,
}

/// What a format is written from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Flows of interfaces, by the minute.
    Interfaces,
    Conversations,
    Requests,
    /// Processes of one host.
    Processes,
}

/// A flow of an interface in an interval, one way.
#[derive(Clone, Copy, Debug)]
pub struct Interval<'a> {
    pub interface: &'a str,
    pub src: (IpAddr, u16),
    pub dst: (IpAddr, u16),
    pub proto: u8,
    pub packets: u64,
    pub bytes: u64,
    pub first_s: i64,
    pub last_s: i64,
}

/// Both ways of a conversation, as somebody between them sees it.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    /// Different in each.
    pub number: u64,
    pub client: (IpAddr, u16),
    pub server: (IpAddr, u16),
    pub proto: u8,
    pub start_ns: i64,
    pub end_ns: i64,
    pub sent: Sums,
    pub received: Sums,
    /// It came to its end.
    pub is_over: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub packets: u64,
    pub ip_bytes: u64,
    pub payload_bytes: u64,
}

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    pub time_ns: i64,
    pub client_port: u16,
    pub server: (IpAddr, u16),
    pub line: &'a LogLine,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::AwsVpc => "aws-vpc",
            Self::ZeekConnJson => "zeek-conn-json",
            Self::AwsAlb => "aws-alb",
            Self::Combined => "combined",
            Self::Auditd => "auditd",
            Self::Osquery => "osquery",
        }
    }

    pub fn of(self) -> Of {
        match self {
            Self::AwsVpc => Of::Interfaces,
            Self::ZeekConnJson => Of::Conversations,
            Self::AwsAlb | Self::Combined => Of::Requests,
            Self::Auditd | Self::Osquery => Of::Processes,
        }
    }

    /// What a file begins with.
    pub(in crate::lab) fn head(self) -> &'static str {
        if self == Self::AwsVpc { aws_vpc::HEAD } else { "" }
    }

    /// Nothing where the format has no such records.
    pub(in crate::lab) fn interval(self, flow: &Interval<'_>) -> String {
        if self == Self::AwsVpc { aws_vpc::line(flow) } else { String::new() }
    }

    pub(in crate::lab) fn conversation(self, conversation: &Conversation) -> String {
        if self == Self::ZeekConnJson { zeek::line(conversation) } else { String::new() }
    }

    pub(in crate::lab) fn request(self, answered: &Answered<'_>) -> String {
        match self {
            Self::AwsAlb => aws_alb::line(answered),
            Self::Combined => combined::line(answered),
            _ => String::new(),
        }
    }

    /// A process that begins on a host.
    pub(in crate::lab) fn process(self, host: &str, process: &Process) -> String {
        match self {
            Self::Auditd => auditd::lines(host, process),
            Self::Osquery => osquery::line(host, process),
            _ => String::new(),
        }
    }
}

/// A time in a format of `strftime`.
fn time_text(time_ns: i64, format: &str) -> String {
    let second = time_ns.div_euclid(1_000_000_000);
    jiff::Timestamp::from_second(second).unwrap_or_default().strftime(format).to_string()
}

/// Quotes and backslashes as nginx writes them; how AWS does it does not say.
fn put_escaped(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\x22"),
            '\\' => out.push_str("\\x5C"),
            letter => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests;
