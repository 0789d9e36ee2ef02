//! All behaviours merged by time into packets, host maps and logs.
//!
//! A heap holds who is next: behaviours that begin conversations, and conversations that
//! send packets. Memory follows the number of conversations at one time. Start at
//! [`play`]; who merges several scenarios takes their [`Player`]s a step at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow, bail};

use super::counters::CounterLog;
use super::hostmap::HostMaps;
use super::logs::{Seen, VpcLog};
use super::ordinary::Source;
use super::talk::{Form, Talk, Workshop};
use super::tunnel::{Tunnel, TunnelKind};
use super::world::{Seat, World};
use super::{Behaviour, Scenario, Stopped};
use crate::host::event::HostEvent;
use crate::lab::formats::{Answered, Conversation, Interval};
use crate::lab::synth::Rng;
use crate::lab::synth::frame::Frame;

/// VXLAN (RFC 7348).
const VXLAN_PORT: u16 = 4_789;

/// A tunnel is there so long before what goes through it.
const HANDSHAKE_AHEAD_NS: i64 = 100_000_000;

/// Takes what a scenario gives, in the order of time.
pub trait Stage {
    fn packet(&mut self, time_ns: i64, frame: &[u8]) -> io::Result<()>;
    /// What takes all that is no packet.
    fn notes(&mut self) -> &mut dyn Notes;
}

/// Takes what hosts and services write down, in the order of time.
pub trait Notes {
    /// An event on a host, by its place in the world.
    fn host_event(&mut self, host: usize, event: &HostEvent) -> io::Result<()>;
    /// A service has answered a request.
    fn answered(&mut self, answered: &Answered<'_>) -> io::Result<()>;
    /// A flow of an interface, at the end of an interval.
    fn interval(&mut self, flow: &Interval<'_>) -> io::Result<()>;
    /// A conversation is over, or the scenario is.
    fn conversation(&mut self, conversation: &Conversation) -> io::Result<()>;
    /// A scrape of counters.
    fn counter_text(&mut self, text: &str) -> io::Result<()>;
}

/// What was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Played {
    pub packets: u64,
    pub wire_bytes: u64,
    pub conversations: u64,
}

enum Item {
    Source { source: Box<Source>, tunnel: Option<usize> },
    Talk { talk: Box<Talk>, told_ns: i64, cookies: [u64; 2], tunnel: Option<usize>, seen: Seen },
}

impl Item {
    fn talk(talk: Talk, tunnel: Option<usize>) -> Self {
        let (told_ns, seen) = (i64::MIN, Seen::default());
        Self::Talk { talk: Box::new(talk), told_ns, cookies: [0; 2], tunnel, seen }
    }
}

/// Plays a scenario; `scale` multiplies the rates of what is no attack. With `stop` set it
/// fails with [`Stopped`].
pub fn play(
    scenario: &Scenario,
    world: &World,
    seed: u64,
    scale: f64,
    stop: &AtomicBool,
    stage: &mut dyn Stage,
) -> Result<Played> {
    let mut player = Player::new(scenario, world, seed, scale)?;
    player.begin(stage)?;
    while player.next_ns().is_some() {
        if stop.load(Ordering::Relaxed) {
            bail!(Stopped);
        }
        player.step(stage)?;
    }
    player.finish(stage)
}

/// A scenario that is played a packet at a time.
pub struct Player<'a> {
    world: &'a World,
    heap: BinaryHeap<Reverse<(i64, u64, u32)>>,
    items: Vec<Option<Item>>,
    free: Vec<u32>,
    /// Orders what is due at the same time.
    turn: u64,
    shop: Workshop,
    tunnels: Vec<Tunnel>,
    maps: HostMaps<'a>,
    vpc: VpcLog,
    /// Conversations that were told.
    told: u64,
    counters: CounterLog,
    mirror_vni: Option<u32>,
    played: Played,
}

/// From the mirrored interface's host to the appliance; the port is that of every frame
/// of a session, for simplicity.
fn mirrored(frame: &mut Frame, vni: u32) {
    const SOURCE: [u8; 4] = [10, 255, 0, 1];
    const APPLIANCE: [u8; 4] = [10, 255, 0, 2];
    frame.vxlan(vni).udp(65_000, VXLAN_PORT);
    frame.ip(SOURCE.into(), APPLIANCE.into());
    frame.ethernet([2, 0, 0, 0, 255, 1], [2, 0, 0, 0, 255, 2]);
}

impl<'a> Player<'a> {
    /// `scale` multiplies the rates of what is no attack.
    pub fn new(scenario: &Scenario, world: &'a World, seed: u64, scale: f64) -> Result<Self> {
        // Another day is another course of the same.
        let seed = seed ^ u64::from(scenario.days_before).wrapping_mul(0xd1b5_4a32_d192_ed03);
        let mut player = Self {
            world,
            heap: BinaryHeap::new(),
            items: Vec::new(),
            free: Vec::new(),
            turn: 0,
            shop: Workshop::new(seed),
            tunnels: Vec::new(),
            maps: HostMaps::new(world),
            vpc: VpcLog::new(world),
            told: 0,
            counters: CounterLog::new(world),
            mirror_vni: scenario.mirror_vni,
            played: Played::default(),
        };
        for (at, behaviour) in scenario.behaviours.iter().enumerate() {
            player.add_sources(behaviour, seed, at as u64, scale)?;
        }
        Ok(player)
    }

    /// What is there before the first packet.
    pub fn begin(&mut self, stage: &mut dyn Stage) -> Result<()> {
        Ok(self.maps.begin(stage.notes())?)
    }

    /// When something is due next; nothing at the end.
    pub fn next_ns(&self) -> Option<i64> {
        let next_ns = self.heap.peek().map(|Reverse((next_ns, ..))| *next_ns);
        next_ns.filter(|&next_ns| next_ns < self.world.end_ns)
    }

    /// What is known when no more packets come.
    pub fn finish(mut self, stage: &mut dyn Stage) -> Result<Played> {
        self.maps.advance(self.world.end_ns, stage.notes())?;
        self.maps.finish(stage.notes())?;
        self.vpc.finish(stage.notes())?;
        for item in self.items.iter().flatten() {
            let Item::Talk { talk, seen, .. } = item else { continue };
            self.told += 1;
            if let Some(conversation) = seen.conversation(self.told, talk, false) {
                stage.notes().conversation(&conversation)?;
            }
        }
        self.counters.advance(self.world.end_ns, self.world, stage.notes())?;
        Ok(self.played)
    }

    fn add_sources(
        &mut self,
        behaviour: &Behaviour,
        seed: u64,
        place: u64,
        scale: f64,
    ) -> Result<()> {
        let behaviour = Arc::new(behaviour.clone());
        let seats = self.world.seats(&behaviour.from)?.to_vec();
        for (member, seat) in seats.into_iter().enumerate() {
            let mix = seed ^ (place << 40) ^ ((member as u64) << 16);
            let rng = Rng::new(mix.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            // What it draws must not change what the behaviour draws.
            let of_tunnel = Rng::new(mix.wrapping_mul(0xbf58_476d_1ce4_e5b9));
            let source = Source::new(&behaviour, seat, self.world, rng, scale)?;
            if let Some(first_ns) = source.next_ns {
                let tunnel = self.add_tunnel(&behaviour, &seat, first_ns, of_tunnel)?;
                self.push(first_ns, Item::Source { source: Box::new(source), tunnel });
            }
        }
        Ok(())
    }

    /// The tunnel of somebody who does something from `first_ns` on, by its place.
    fn add_tunnel(
        &mut self,
        behaviour: &Behaviour,
        seat: &Seat,
        first_ns: i64,
        mut rng: Rng,
    ) -> Result<Option<usize>> {
        let plan = behaviour.tunnel.as_ref().filter(|plan| plan.kind != TunnelKind::None);
        let Some(plan) = plan else { return Ok(None) };
        let far = self.world.seats(&plan.to)?.first().copied();
        let far = far.ok_or_else(|| anyhow!("tunnel: there is no host {}", plan.to))?;
        let of = |name: &String| self.world.seats(name);
        let by = plan.by.as_ref().map(of).transpose()?.and_then(|seats| seats.first());
        let tunnel = Tunnel::new(plan.kind, seat, by, &far, &mut rng)?;
        let start_ns = first_ns.saturating_sub(HANDSHAKE_AHEAD_NS).max(self.world.start_ns);
        let until_ns = behaviour.duration_s.map_or(self.world.end_ns, |duration_s| {
            first_ns.saturating_add((duration_s * 1e9) as i64).min(self.world.end_ns)
        });
        if let Some(talk) = tunnel.sessions(start_ns, until_ns, &mut rng) {
            self.push(start_ns, Item::talk(talk, None));
        }
        self.tunnels.push(tunnel);
        Ok(Some(self.tunnels.len() - 1))
    }

    fn push(&mut self, time_ns: i64, item: Item) {
        let slot = self.free.pop().unwrap_or(self.items.len() as u32);
        if slot as usize == self.items.len() {
            self.items.push(None);
        }
        self.items[slot as usize] = Some(item);
        self.turn += 1;
        self.heap.push(Reverse((time_ns, self.turn, slot)));
    }

    /// Does what is due next, which gives a packet at most.
    pub fn step(&mut self, stage: &mut dyn Stage) -> Result<()> {
        let Some(Reverse((now_ns, _, slot))) = self.heap.pop() else { return Ok(()) };
        let Some(mut item) = self.items[slot as usize].take() else { return Ok(()) };
        self.maps.advance(now_ns, stage.notes())?;
        self.vpc.advance(now_ns, stage.notes())?;
        self.counters.advance(now_ns, self.world, stage.notes())?;
        let next_ns = match &mut item {
            Item::Source { source, tunnel } => {
                let (talks, next_ns) = source.next(now_ns, self.world);
                for (start_ns, talk) in talks {
                    let to = self.world.hosts.get(talk.server.seat.host);
                    let through = tunnel.filter(|&at| {
                        to.is_some_and(|to| to.outside) && self.tunnels[at].takes(&talk)
                    });
                    self.push(start_ns.max(now_ns), Item::talk(talk, through));
                    self.played.conversations += 1;
                }
                next_ns
            }
            Item::Talk { talk, told_ns, cookies, tunnel, seen } => {
                self.maps.using(now_ns, talk, told_ns, cookies, stage.notes())?;
                let through = tunnel.map(|at| &mut self.tunnels[at]);
                let step = talk.step(now_ns, &mut self.shop, through);
                let own_bytes = self.shop.frame.bytes().len();
                // Who looks on from outside sees the tunnel alone.
                if tunnel.is_none() {
                    seen.count(now_ns, step.forward, self.shop.frame.bytes());
                }
                if let Some(vni) = self.mirror_vni {
                    mirrored(&mut self.shop.frame, vni);
                }
                let frame = self.shop.frame.bytes();
                stage.packet(now_ns, frame)?;
                self.played.packets += 1;
                self.played.wire_bytes += frame.len() as u64;
                if tunnel.is_none() {
                    self.vpc.count(now_ns, talk, step.forward, own_bytes);
                }
                self.counters.count(talk, step.forward, own_bytes);
                if let Some(line) = &step.log {
                    stage.notes().answered(&Answered {
                        time_ns: now_ns,
                        client_port: talk.client.port,
                        server: (talk.server.seat.address, talk.server.port),
                        line,
                    })?;
                }
                if step.next_ns.is_none() {
                    self.maps.ended(now_ns, talk, cookies, stage.notes())?;
                    self.told += 1;
                    if let Some(conversation) = seen.conversation(self.told, talk, true) {
                        stage.notes().conversation(&conversation)?;
                    }
                }
                step.next_ns
            }
        };
        match next_ns {
            Some(next_ns) => {
                self.items[slot as usize] = Some(item);
                self.turn += 1;
                self.heap.push(Reverse((next_ns.max(now_ns), self.turn, slot)));
            }
            None => self.free.push(slot),
        }
        Ok(())
    }
}

impl Talk {
    /// A stream's end, where it has one of its own.
    pub fn until_ns(&self) -> Option<i64> {
        match &self.form {
            Form::Stream(stream) => Some(stream.until_ns),
            _ => None,
        }
    }
}
