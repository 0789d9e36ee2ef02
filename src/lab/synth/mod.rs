//! The traffic generator: frames of every shape with right lengths and
//! checksums, traffic in bulk, and the truth about both.
//!
//! The same arguments and seed give the same bytes on every machine. It never
//! sends anything: it writes capture files. Start at [`run`]; [`Frame`] builds
//! single frames.

mod behind;
mod checksum;
mod encapsulation;
mod exchange;
mod files;
pub mod frame;
mod growth;
pub mod pcap;
pub mod pcapng;
mod rng;
pub mod shapes;
mod span;
pub mod traffic;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

pub use encapsulation::Gre;
pub use frame::{Frame, Tcp};
pub use rng::Rng;

pub(in crate::lab) use behind::write_behind;
use pcap::{PcapOptions, PcapWriter};
use pcapng::{Interface, PcapngWriter};
use span::{Span, SpanPort};
use traffic::Amount;

use crate::lab::WrongArguments;

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// TCP, UDP and ICMP flows whose sizes follow Zipf's law
    Many,
    /// A UDP flood in which each packet is a new flow
    Flood,
    /// A few flows of full frames
    Elephants,
    /// Elephants with a tenth of the packets of a flood around them
    Besieged,
    /// The first packet of each flow, then more of all of them in random order
    Growth,
    /// Generations of one-packet flows, each after the one before has timed out
    Churn,
    /// One small capture for each encapsulation and file format, into a folder
    Shapes,
}

impl Kind {
    fn has_frames_of_one_length(self) -> bool {
        matches!(self, Self::Flood | Self::Growth | Self::Churn)
    }
}

/// File format of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Classic pcap with nanoseconds
    PcapNs,
    /// Classic pcap with microseconds
    PcapUs,
    /// pcapng with one interface
    Pcapng,
}

/// Arguments of `flowtap lab synth`.
#[derive(Clone, Debug, clap::Args)]
pub struct SynthArgs {
    /// What to make
    #[arg(value_enum)]
    pub kind: Kind,
    /// File to write (`-` is standard output); a folder for `shapes`
    #[arg(short, long, value_name = "PATH")]
    pub output: PathBuf,
    /// Packets to make
    #[arg(long, default_value_t = 1_000_000)]
    pub packets: u64,
    /// Flows that they belong to; for `churn`, flows of each generation
    #[arg(long, default_value_t = 100_000)]
    pub flows: u32,
    /// Length of the capture in seconds; for `churn`, of each generation
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    pub seconds: f64,
    /// Length of each frame without its check sequence; for `flood`, `growth` and `churn`
    ///
    /// Without it they are 64 bytes in `flood`, else 60.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(60..=1514))]
    pub frame_bytes: Option<u16>,
    /// The same seed gives the same bytes
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Bytes of each packet that are kept
    #[arg(long, default_value_t = 262_144)]
    pub snaplen: u32,
    #[arg(long, value_enum, default_value_t = Format::PcapUs)]
    pub format: Format,
    /// Deliver packets twice, as a SPAN port does
    #[arg(long, value_enum)]
    pub span: Option<Span>,
    /// Share of packets that `--span` repeats, in percent
    #[arg(long, default_value_t = 100, requires = "span",
          value_parser = clap::value_parser!(u32).range(0..=100))]
    pub span_share: u32,
    /// Leave out what servers send, as a mirror of one direction does
    #[arg(long)]
    pub one_sided: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    pub packets: u64,
    pub wire_bytes: u64,
    /// Repeats among `packets`.
    pub duplicates: u64,
    /// Packets left out by `--one-sided`.
    pub left_out: u64,
}

/// Makes what the arguments ask for. For [`Kind::Shapes`] the truth of each
/// capture goes into `shapes.json` beside the captures.
pub fn run(args: &SynthArgs) -> Result<Written> {
    if args.frame_bytes.is_some() && !args.kind.has_frames_of_one_length() {
        let why = "--frame-bytes is for flood, growth and churn: other frames differ in length";
        return Err(WrongArguments(why.to_owned()).into());
    }
    if args.kind == Kind::Shapes {
        return files::write_all(&args.output);
    }
    if args.output == Path::new("-") {
        return write_behind(io::stdout(), |out| bulk(args, out)).context("standard output");
    }
    let file = File::create(&args.output)
        .with_context(|| format!("can't create {}", args.output.display()))?;
    write_behind(file, |out| bulk(args, out))
        .with_context(|| format!("can't write {}", args.output.display()))
}

fn bulk<W: Write>(args: &SynthArgs, out: W) -> io::Result<Written> {
    let snap_length = args.snaplen;
    let writer = match args.format {
        Format::PcapNs | Format::PcapUs => {
            let nanoseconds = args.format == Format::PcapNs;
            let options = PcapOptions { nanoseconds, snap_length, ..PcapOptions::default() };
            Writer::Pcap(PcapWriter::new(out, options)?)
        }
        Format::Pcapng => {
            let mut writer = PcapngWriter::new(out, false)?;
            writer.interface(Interface { snap_length, ..Interface::default() })?;
            Writer::Pcapng(writer)
        }
    };
    let mut port = SpanPort::new(writer, args.span, args.span_share, args.one_sided, args.seed);
    let amount = Amount {
        packets: args.packets,
        flows: args.flows,
        seconds: args.seconds,
        seed: args.seed,
        frame_bytes: args.frame_bytes,
    };
    match args.kind {
        Kind::Many => traffic::many_flows(amount, &mut port)?,
        Kind::Flood => traffic::flood(amount, &mut port)?,
        Kind::Elephants => traffic::elephants(amount, &mut port)?,
        Kind::Besieged => traffic::besieged(amount, &mut port)?,
        Kind::Growth => growth::growth(amount, &mut port)?,
        Kind::Churn => growth::churn(amount, &mut port)?,
        Kind::Shapes => {}
    }
    let (writer, written) = port.finish()?;
    match writer {
        Writer::Pcap(writer) => drop(writer.finish()?),
        Writer::Pcapng(writer) => drop(writer.finish()?),
    }
    Ok(written)
}

/// Either file format.
#[derive(Debug)]
enum Writer<W: Write> {
    Pcap(PcapWriter<W>),
    Pcapng(PcapngWriter<W>),
}

impl<W: Write> Writer<W> {
    fn write(&mut self, time_ns: i64, frame: &[u8]) -> io::Result<()> {
        match self {
            Self::Pcap(writer) => writer.write(time_ns, frame),
            Self::Pcapng(writer) => writer.packet(0, time_ns, frame, None),
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        // A day: beyond it the microseconds of one capture stop making sense.
        Ok(value) if value > 0.0 && value <= 86_400.0 => Ok(value),
        _ => Err("a number of seconds above 0, at most 86400".to_owned()),
    }
}
