//! Sizes and gaps of generated traffic against the distributions that are stated for them:
//! of the numbers drawn, and of what comes out in packets. Kolmogorov and Smirnov's test at
//! one in a hundred, with fixed seeds.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicBool;

use flowtap::host::event::HostEvent;
use flowtap::lab::formats::{Answered, Conversation, Interval};
use flowtap::lab::scenario::draw::{DAY, Draw};
use flowtap::lab::scenario::load::parse;
use flowtap::lab::scenario::play::{Notes, Stage, play};
use flowtap::lab::scenario::world::World;
use flowtap::lab::synth::Rng;

/// Critical value of the test at 1 % for large samples, by the root of their size.
const AT_ONE_PERCENT: f64 = 1.628;

/// Greatest distance of a sample's distribution from a stated one. At a value that comes
/// several times (a distribution that is cut, or of whole numbers) the sample is held
/// against the distribution there, and against what it is just below.
fn distance(mut sample: Vec<f64>, stated: impl Fn(f64) -> f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    let n = sample.len() as f64;
    let mut greatest: f64 = 0.0;
    let mut at = 0;
    while at < sample.len() {
        let value = sample[at];
        let after = sample.partition_point(|it| *it <= value);
        let below = value - value.abs() * 1e-9 - 1e-12;
        greatest = greatest
            .max((after as f64 / n - stated(value)).abs())
            .max((at as f64 / n - stated(below)).abs());
        at = after;
    }
    greatest
}

fn fits(name: &str, sample: Vec<f64>, stated: impl Fn(f64) -> f64) {
    let n = sample.len();
    assert!(n >= 200, "{name}: only {n} values");
    let critical = AT_ONE_PERCENT / (n as f64).sqrt();
    let found = distance(sample, stated);
    assert!(found < critical, "{name}: {found:.4} is over {critical:.4} for {n} values");
}

/// The test can fail: it tells a distribution from one that is near.
fn does_not_fit(name: &str, sample: Vec<f64>, other: impl Fn(f64) -> f64) {
    let critical = AT_ONE_PERCENT / (sample.len() as f64).sqrt();
    let found = distance(sample, other);
    assert!(found > critical, "{name}: {found:.4} is not over {critical:.4}");
}

fn exponential(mean: f64) -> impl Fn(f64) -> f64 {
    move |x| if x <= 0.0 { 0.0 } else { 1.0 - (-x / mean).exp() }
}

fn uniform(low: f64, high: f64) -> impl Fn(f64) -> f64 {
    move |x| ((x - low) / (high - low)).clamp(0.0, 1.0)
}

fn normal(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

fn lognormal(median: f64, sigma: f64) -> impl Fn(f64) -> f64 {
    move |x| if x <= 0.0 { 0.0 } else { normal((x / median).ln() / sigma) }
}

/// Cut at the top: all that is over it lies there.
fn pareto(least: f64, alpha: f64, most: f64) -> impl Fn(f64) -> f64 {
    move |x| {
        if x < least {
            0.0
        } else if x >= most {
            1.0
        } else {
            1.0 - (least / x).powf(alpha)
        }
    }
}

/// Barford and Crovella, SIGMETRICS 1998: 93 % lognormal (mu 9.357, sigma 1.318), cut where
/// the tail begins; 7 % Pareto with 1.1 from 133,000 bytes on.
fn surge(x: f64) -> f64 {
    let body = if x >= 133_000.0 { 1.0 } else { lognormal(9.357_f64.exp(), 1.318)(x) };
    0.93 * body + 0.07 * pareto(133_000.0, 1.1, 8e6)(x)
}

fn drawn(seed: u64, n: usize, mut draw: impl FnMut(&mut Rng) -> f64) -> Vec<f64> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| draw(&mut rng)).collect()
}

#[test]
fn numbers_are_drawn_from_the_stated_distributions() {
    for seed in [9_001, 9_002, 9_003] {
        let n = 20_000;
        fits("exponential", drawn(seed, n, |rng| rng.exponential(10.0)), exponential(10.0));
        fits("normal", drawn(seed, n, Draw::normal), normal);
        let sizes = drawn(seed, n, |rng| rng.lognormal(1_000.0, 0.8));
        fits("lognormal", sizes.clone(), lognormal(1_000.0, 0.8));
        does_not_fit("lognormal", sizes, lognormal(1_040.0, 0.8));
        fits("about", drawn(seed, n, |rng| rng.about(5e4)), lognormal(5e4, 0.5));
        fits("pareto", drawn(seed, n, |rng| rng.pareto(2.0, 1.5, 50.0)), pareto(2.0, 1.5, 50.0));
        fits("jittered", drawn(seed, n, |rng| rng.jittered(60.0, 0.3)), uniform(42.0, 78.0));
        let objects = drawn(seed, n, Draw::web_object_bytes);
        fits("objects of the web", objects.clone(), surge);
        does_not_fit("objects of the web", objects, lognormal(9.357_f64.exp(), 1.318));
        // Whole numbers: at or below k is below k + 1.
        let pages = drawn(seed, n, |rng| f64::from(rng.page_objects()));
        fits("objects of a page", pages, |x| {
            if x >= 60.0 { 1.0 } else { 1.0 - (x.floor() + 1.0).powf(-2.43) }
        });
    }
}

/// The rank is the whole part of a number whose logarithm is even.
#[test]
fn popularity_falls_with_the_rank() {
    let n = 30_000;
    let ranks = drawn(9_004, n, |rng| rng.popular(20) as f64 + 1.0);
    fits("popular", ranks, |x| ((x.floor() + 1.0).ln() / 21_f64.ln()).clamp(0.0, 1.0));
}

/// A packet, as far as it matters here.
struct Seen {
    time_ns: i64,
    proto: u8,
    src: u8,
    ports: (u16, u16),
    tcp_flags: u8,
    payload: Vec<u8>,
}

#[derive(Default)]
struct Packets(Vec<Seen>);

impl Stage for Packets {
    fn packet(&mut self, time_ns: i64, frame: &[u8]) -> io::Result<()> {
        let ip = &frame[14..];
        let transport = &ip[20..];
        let port = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
        let (header, tcp_flags) = match ip[9] {
            6 => (usize::from(transport[12] >> 4) * 4, transport[13]),
            _ => (8, 0),
        };
        self.0.push(Seen {
            time_ns,
            proto: ip[9],
            src: ip[15],
            ports: (port(0), port(2)),
            tcp_flags,
            payload: transport[header..].to_vec(),
        });
        Ok(())
    }

    fn notes(&mut self) -> &mut dyn Notes {
        self
    }
}

impl Notes for Packets {
    fn host_event(&mut self, _: usize, _: &HostEvent) -> io::Result<()> {
        Ok(())
    }

    fn answered(&mut self, _: &Answered<'_>) -> io::Result<()> {
        Ok(())
    }

    fn interval(&mut self, _: &Interval<'_>) -> io::Result<()> {
        Ok(())
    }

    fn conversation(&mut self, _: &Conversation) -> io::Result<()> {
        Ok(())
    }

    fn counter_text(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

/// Host 10.0.0.1 does one thing with 10.0.0.2 for so long.
fn played(behaviour: &str, duration_s: u32, seed: u64) -> Vec<Seen> {
    let text = format!(
        "start = \"2026-03-02T00:00:00Z\"\nduration_s = {duration_s}\n\
         [[host]]\nname = \"client\"\naddress = \"10.1.0.1\"\n\
         [[host]]\nname = \"server\"\naddress = \"10.2.0.2\"\n\
         [[behaviour]]\nfrom = \"client\"\nto = \"server\"\n{behaviour}\n"
    );
    let scenario = parse(&text, &[]).unwrap();
    let world = World::new(&scenario, seed).unwrap();
    let mut packets = Packets::default();
    play(&scenario, &world, seed, 1.0, &AtomicBool::new(false), &mut packets).unwrap();
    packets.0
}

const CLIENT: u8 = 0x01;

/// From each start of a conversation to the next: SYNs, or a client's datagrams.
fn gaps_s(packets: &[Seen]) -> Vec<f64> {
    let starts: Vec<i64> = packets
        .iter()
        .filter(|it| it.ports.1 < 32_768 && (it.proto == 17 || it.tcp_flags == 2))
        .map(|it| it.time_ns)
        .collect();
    starts.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e9).collect()
}

/// What each side of a connection says before the other does, in bytes, by connection.
fn said(packets: &[Seen]) -> Vec<Vec<(bool, u64)>> {
    let mut connections: BTreeMap<(u16, i64), Vec<(bool, u64)>> = BTreeMap::new();
    let mut begun: BTreeMap<u16, i64> = BTreeMap::new();
    for packet in packets.iter().filter(|it| it.proto == 6) {
        let forward = packet.ports.1 < 32_768;
        let port = if forward { packet.ports.0 } else { packet.ports.1 };
        if packet.tcp_flags == 2 {
            begun.insert(port, packet.time_ns);
        }
        let Some(&start_ns) = begun.get(&port) else { continue };
        let turns = connections.entry((port, start_ns)).or_default();
        let bytes = packet.payload.len() as u64;
        match turns.last_mut() {
            _ if bytes == 0 => {}
            Some((side, sum)) if *side == forward => *sum += bytes,
            _ => turns.push((forward, bytes)),
        }
    }
    connections.into_values().collect()
}

#[test]
fn conversations_begin_as_a_poisson_process_or_with_stated_jitter() {
    let queries = played("kind = \"dns\"\ngap_s = 2", 6_000, 9_010);
    let gaps = gaps_s(&queries);
    fits("gaps of lookups", gaps.clone(), exponential(2.0));
    does_not_fit("gaps of lookups", gaps, uniform(0.0, 4.0));
    let beacons = played("kind = \"beacon\"\ngap_s = 60\njitter_share = 0.3", 86_000, 9_011);
    fits("gaps of a beacon", gaps_s(&beacons), uniform(42.0, 78.0));
    let scrapes = played("kind = \"monitoring\"\ngap_s = 5\njitter_share = 0.02", 4_000, 9_012);
    fits("gaps of monitoring", gaps_s(&scrapes), uniform(4.9, 5.1));
}

/// Of a day, each hour has its share of the starts: chi-square with 23 degrees of freedom,
/// 41.6 at 1 %.
#[test]
fn a_day_has_the_stated_curve() {
    let queries = played("kind = \"dns\"\ngap_s = 2\ndaily = true", 86_400, 9_013);
    let mut hours = [0_f64; 24];
    for packet in queries.iter().filter(|it| it.ports.1 == 53) {
        let second = packet.time_ns / 1_000_000_000 % 86_400;
        hours[(second / 3_600) as usize] += 1.0;
    }
    let total: f64 = hours.iter().sum();
    assert!(total > 10_000.0, "{total}");
    let curve: f64 = DAY.iter().sum();
    let square: f64 = hours
        .iter()
        .zip(DAY)
        .map(|(found, share)| {
            let expected = total * share / curve;
            (found - expected).powi(2) / expected
        })
        .sum();
    assert!(square < 41.6, "{square}: {hours:?}");
}

/// What comes after the handshakes of TCP and TLS.
#[test]
fn sizes_of_conversations_are_lognormal_about_their_median() {
    let packets =
        played("kind = \"tls\"\ngap_s = 5\nup_bytes = 30000\ndown_bytes = 90000", 4_000, 9_014);
    let connections = said(&packets);
    // Hello and answer; the client's finish goes with what it says first.
    let up = connections.iter().filter_map(|it| Some(it.get(2)?.1 as f64)).collect::<Vec<_>>();
    let down = connections.iter().filter_map(|it| Some(it.get(3)?.1 as f64)).collect::<Vec<_>>();
    let finish = 64.0;
    let up: Vec<f64> = up.into_iter().map(|bytes| bytes - finish).collect();
    fits("sizes up", up.clone(), lognormal(30_000.0, 0.5));
    does_not_fit("sizes up", up, lognormal(40_000.0, 0.5));
    fits("sizes down", down, lognormal(90_000.0, 0.5));
    let packets = played("kind = \"monitoring\"\ngap_s = 5\ndown_bytes = 30000", 4_000, 9_015);
    let answers: Vec<f64> =
        said(&packets).iter().filter_map(|it| Some(it.get(1)?.1 as f64)).collect();
    let head = 83.0;
    fits(
        "sizes of metrics",
        answers.into_iter().map(|it| it - head).collect(),
        lognormal(30_000.0, 0.5),
    );
}

/// Objects of pages as SURGE has them, up to what a record needs at least.
#[test]
fn objects_of_pages_come_out_as_stated() {
    let packets = played("kind = \"web\"\ngap_s = 20", 5_000, 9_016);
    let connections = said(&packets);
    let objects: Vec<f64> = connections
        .iter()
        .flat_map(|turns| turns.iter().skip(3).filter(|(forward, _)| !forward))
        .map(|&(_, bytes)| bytes as f64)
        .collect();
    fits("objects of the web", objects, surge);
}

#[test]
fn streams_have_the_stated_sizes_and_gaps() {
    let of_client = |packets: &[Seen], port: u16| -> (Vec<f64>, Vec<f64>) {
        let own: Vec<&Seen> =
            packets.iter().filter(|it| it.ports.1 == port && it.src == CLIENT).collect();
        let gaps = own.windows(2).map(|it| (it[1].time_ns - it[0].time_ns) as f64 / 1e9).collect();
        (own.iter().map(|it| it.payload.len() as f64).collect(), gaps)
    };
    // Sound: 50 a second of 120 bytes by a fifth; pictures: 90 of 1,000 by 0.3. Bytes are
    // whole: at or below b is below b + 1.
    let call = played("kind = \"video_call\"", 60, 9_017);
    for (port, rate, bytes, spread) in [(50_000, 50.0, 120.0, 0.2), (50_001, 90.0, 1_000.0, 0.3)] {
        let (sizes, gaps) = of_client(&call, port);
        let even = uniform(bytes * (1.0 - spread), bytes * (1.0 + spread));
        fits("sizes of a call", sizes, |x| even(x.floor() + 1.0));
        fits("gaps of a call", gaps, uniform(0.5 / rate, 1.5 / rate));
    }
    let syslog = played("kind = \"syslog\"\nrate_per_s = 20", 100, 9_018);
    let (sizes, gaps) = of_client(&syslog, 514);
    fits("gaps of log lines", gaps, exponential(1.0 / 20.0));
    assert!(sizes.iter().all(|bytes| *bytes == 180.0), "a fixed size is stated");
    let flood = played(
        "kind = \"udp_flood\"\nrate_per_s = 2000\npayload_bytes = 400\npayload_spread_share = 0.5",
        5,
        9_019,
    );
    let (sizes, gaps) = of_client(&flood, 7_777);
    fits("gaps of a flood", gaps, exponential(1.0 / 2_000.0));
    let even = uniform(200.0, 600.0);
    fits("sizes of a flood", sizes, |x| even(x.floor() + 1.0));
}

/// Polls as ntpd makes them, and pings as ping does: clocks, not chance.
#[test]
fn clocks_keep_their_pace() {
    let polls = gaps_s(&played("kind = \"ntp\"\ngap_s = 64\njitter_share = 0.02", 40_000, 9_020));
    fits("polls", polls, uniform(64.0 * 0.98, 64.0 * 1.02));
    let pings = played("kind = \"ping\"", 600, 9_021);
    let asked: Vec<i64> = pings.iter().filter(|it| it.src == CLIENT).map(|it| it.time_ns).collect();
    let gaps: Vec<f64> = asked.windows(2).map(|it| (it[1] - it[0]) as f64 / 1e9).collect();
    fits("pings", gaps, uniform(0.99, 1.01));
    assert!(pings.iter().all(|it| it.payload.len() == 56));
}
