//! `flowtap lab mix`: attacks in a capture of one's own.

use std::collections::HashMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use ipnet::IpNet;

use super::{Usage, assignment};
use crate::cli::values::{TimeoutNs, prefix};
use crate::detect::HomeNets;
use crate::lab::mix::{At, Attack, MixOptions, mix};
use crate::lab::scenario::load::load;

#[derive(Debug, Args)]
pub(crate) struct MixArgs {
    /// The capture that attacks go into: pcap or pcapng of Ethernet, compressed or not.
    background: PathBuf,
    /// Scenarios whose attacks are put in: files, or names of those that come with the program.
    #[arg(required = true, value_name = "ATTACK")]
    attacks: Vec<String>,
    /// Folder to write into: traffic.pcap or traffic.pcapng, truth.json, the attacks' host maps and logs.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// When attacks begin: so long after the first packet (90s, 10m) or a time (RFC 3339); once
    /// for all, or once for each in turn [default: in the middle].
    #[arg(long, value_name = "OFFSET|TIME", value_parser = at)]
    at: Vec<At>,
    /// The address that a host of a scenario is to have; repeat it for several [default:
    /// hosts inside become the busiest of the capture's own that have their role, those
    /// outside stay].
    #[arg(long, value_name = "HOST=ADDRESS", value_parser = place)]
    map: Vec<(String, IpAddr)>,
    /// Set a parameter of the scenarios, or LABEL.FIELD of a behaviour; of one scenario alone with
    /// its name before it (udp-flood:strength=500).
    #[arg(long, value_name = "[SCENARIO:]KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Our side of the capture: prefixes, repeated or separated by commas [default: private ranges].
    #[arg(long, value_delimiter = ',', value_name = "PREFIX", value_parser = prefix)]
    home_net: Vec<IpNet>,
}

pub(super) fn run(args: &MixArgs) -> anyhow::Result<()> {
    let attacks = attacks(args).map_err(|error| Usage(format!("{error:#}")))?;
    let mut options = MixOptions { map: args.map.clone(), ..MixOptions::default() };
    if !args.home_net.is_empty() {
        options.home = HomeNets::new(args.home_net.clone());
    }
    let mixed = mix(&args.background, attacks, &args.output, &options)?;
    for warning in &mixed.warnings {
        eprintln!("flowtap: warning: {warning}");
    }
    let report = serde_json::json!({
        "capture": mixed.capture,
        "maps": mixed.maps,
        "logs": mixed.logs,
        "background_packets": mixed.background_packets,
        "attack_packets": mixed.attack_packets,
        "attacks": mixed.attacks,
    });
    Ok(writeln!(std::io::stdout(), "{report}")?)
}

/// Scenarios with what was set for them; two of one name are told apart by number.
fn attacks(args: &MixArgs) -> anyhow::Result<Vec<Attack>> {
    if args.at.len() > 1 && args.at.len() != args.attacks.len() {
        bail!("--at is there {} times for {} attacks", args.at.len(), args.attacks.len());
    }
    let titles: Vec<String> = args.attacks.iter().map(|name| title(name)).collect();
    for (key, _) in &args.set {
        if let Some((scenario, _)) = key.split_once(':')
            && !titles.iter().any(|title| title == scenario)
        {
            bail!("--set {key}=...: no attack is named {scenario}");
        }
    }
    let mut times: HashMap<&str, usize> = HashMap::new();
    let mut attacks = Vec::new();
    for (place, (name, title)) in args.attacks.iter().zip(&titles).enumerate() {
        let of_it = |(key, value): &(String, String)| match key.split_once(':') {
            Some((scenario, key)) => (scenario == title).then(|| (key.to_owned(), value.clone())),
            None => Some((key.clone(), value.clone())),
        };
        let set: Vec<(String, String)> = args.set.iter().filter_map(of_it).collect();
        let (title_of_it, scenario) = load(name, &set)?;
        let before = times.entry(title).or_default();
        *before += 1;
        attacks.push(Attack {
            name: match *before {
                1 => title_of_it,
                again => format!("{title_of_it}-{again}"),
            },
            scenario,
            seed: args.seed.wrapping_add(place as u64),
            at: args.at.get(place).or_else(|| args.at.first()).copied(),
        });
    }
    Ok(attacks)
}

/// As scenarios are named once they are loaded.
fn title(name: &str) -> String {
    let stem = std::path::Path::new(name).file_stem().and_then(|stem| stem.to_str());
    stem.unwrap_or(name).to_owned()
}

fn at(text: &str) -> Result<At, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        let ns =
            i64::try_from(time.as_nanosecond()).map_err(|_| format!("{text} is out of range"))?;
        return Ok(At::Time(ns));
    }
    if text == "0" || text == "0s" {
        return Ok(At::Offset(0));
    }
    match text.parse::<TimeoutNs>() {
        Ok(TimeoutNs(Some(ns))) => Ok(At::Offset(ns)),
        _ => Err(format!(
            "'{text}' is neither an offset nor a time: try 90s, 10m or 2026-03-02T09:00:00Z"
        )),
    }
}

fn place(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = assignment(text)?;
    let address = address.parse().map_err(|_| format!("'{address}' is no IP address"))?;
    Ok((name, address))
}
