//! One interface that is listened to: its sockets, and what is known of it.
//!
//! An interface comes and goes: taken down, removed, renamed, made anew. A
//! [`Tap`] says which ([`Tap::look`], once a second), keeps what was counted,
//! and opens the sockets again when it is back.

use std::io;
use std::path::Path;

use super::filter::{ACCEPT_NOTHING, kernel_program};

use super::lane::Lane;
use super::packet_socket::{Device, PacketSocket, device, name_of};
use super::pcap_handle::PcapHandle;
use super::status::{Change, TapStatus};
use super::{LiveError, LiveOptions, Method};
use crate::input::report::{Interface, InterfaceTable};
use crate::packet::LinkType;

/// Link types by the kernel's hardware type (linux/if_arp.h).
pub(super) fn link_of(hardware: u16) -> Option<LinkType> {
    const IEEE80211: u16 = 801;
    const IEEE80211_RADIOTAP: u16 = 803;
    // libc has no name for the raw-IP kinds.
    const RAWIP: u16 = 519;
    const NONE: u16 = 0xfffe;
    match hardware {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Some(LinkType(1)),
        NONE | RAWIP => Some(LinkType(101)),
        IEEE80211 => Some(LinkType(105)),
        IEEE80211_RADIOTAP => Some(LinkType(127)),
        _ => None,
    }
}

pub(super) struct Tap {
    /// Name that it has now.
    name: String,
    /// As the user named it: what is waited for.
    wanted: String,
    pub(super) device: Option<Device>,
    pub(super) link: LinkType,
    /// Place among the taps.
    pub(super) interface: u16,
    /// Where its packets stand in the table of interfaces: while the clock is
    /// synchronised elsewhere than while it is not.
    pub(super) entry: u16,
    described: Option<Interface>,
    pub(super) status: TapStatus,
    /// Interface drops when the sockets were opened.
    drops_before: u64,
    drops_of_earlier: u64,
    /// Why it can't be taken up again, as it was told.
    refused: Option<String>,
}

impl Tap {
    /// Opens the interface, which must be there. Its lanes get frames
    /// at once. See [`Tap::awaited`] for one that may come later.
    pub(super) fn open(
        name: &str,
        interface: u16,
        options: &LiveOptions,
    ) -> Result<(Self, Vec<Lane>), LiveError> {
        let error = |source| LiveError::open(name, source);
        let found = device(name).map_err(error)?;
        let link = link_of(found.hardware)
            .ok_or_else(|| LiveError::Link { name: name.to_owned(), hardware: found.hardware })?;
        let mut tap = Self { link, ..Self::awaited(name, interface) };
        let lanes = tap.attach(found, options).map_err(error)?;
        Ok((tap, lanes))
    }

    /// An interface that is not there yet. It is taken to be Ethernet, as nearly all are:
    /// of another type it would not be taken up, and that is told.
    pub(super) fn awaited(name: &str, interface: u16) -> Self {
        let status = TapStatus { up: false, present: false, ..TapStatus::new(name) };
        Self {
            name: name.to_owned(),
            wanted: name.to_owned(),
            device: None,
            link: LinkType(1),
            interface,
            entry: interface,
            described: None,
            status,
            drops_before: 0,
            drops_of_earlier: 0,
            refused: None,
        }
    }

    /// Takes its place in the table of interfaces.
    pub(super) fn enter(&mut self, described: Interface, interfaces: &mut InterfaceTable) {
        let clock_synchronised = described.clock_synchronised;
        self.described = Some(described);
        self.follow_clock(clock_synchronised, interfaces);
    }

    /// Takes the place of this state of the clock.
    pub(super) fn follow_clock(
        &mut self,
        clock_synchronised: Option<bool>,
        interfaces: &mut InterfaceTable,
    ) {
        let Some(described) = &mut self.described else { return };
        described.clock_synchronised = clock_synchronised;
        // A few entries a tap at most: the table has room.
        self.entry = interfaces.enter(described.clone()).unwrap_or(self.entry);
    }

    /// Sockets on the device, filled from now on.
    fn attach(&mut self, found: Device, options: &LiveOptions) -> io::Result<Vec<Lane>> {
        let drops_before = interface_drops(&self.name, &found).unwrap_or(0);
        let lanes = self.lanes(&found, options)?;
        self.drops_before = drops_before;
        self.status.up = found.up && found.running;
        self.status.present = true;
        self.status.mtu_bytes = found.mtu_bytes;
        self.device = Some(found);
        self.refused = None;
        Ok(lanes)
    }

    fn lanes(&mut self, found: &Device, options: &LiveOptions) -> io::Result<Vec<Lane>> {
        let tap = self.interface;
        if options.method == Method::Libpcap {
            let handle = PcapHandle::open(&self.name, options)?;
            self.link = LinkType(handle.link());
            return Ok(vec![Lane::pcap(handle, tap)]);
        }
        let program = kernel_program(options.filter.as_deref(), self.link, options.snaplen_bytes)?;
        let mut sockets = Vec::new();
        for _ in 0..options.rings.max(1) {
            let mut socket = PacketSocket::open(options.ring_bytes)?;
            // Until all are in the group each would get every frame.
            socket.set_filter(&ACCEPT_NOTHING)?;
            if found.loopback {
                socket.ignore_outgoing()?;
            }
            if options.hardware_stamps {
                // Where the device has none, frames say that they have the kernel's.
                socket.prefer_hardware_stamps()?;
            }
            socket.bind(found.index)?;
            if options.promiscuous {
                socket.set_promiscuous(found.index)?;
            }
            sockets.push(socket);
        }
        if let [first, others @ ..] = &*sockets
            && !others.is_empty()
        {
            let group = first.found_group()?;
            for socket in others {
                socket.join(group)?;
            }
        }
        for socket in &sockets {
            socket.set_filter(&program)?;
        }
        Ok(sockets.into_iter().map(|socket| Lane::ring(socket, tap)).collect())
    }

    /// Looks at what has become of the interface. New lanes when it is back.
    pub(super) fn look(
        &mut self,
        options: &LiveOptions,
        changes: &mut Vec<Change>,
    ) -> Option<Vec<Lane>> {
        let Some(known) = &self.device else {
            let found = device(&self.wanted).ok()?;
            self.name = self.wanted.clone();
            let attached = if link_of(found.hardware) == Some(self.link) {
                self.attach(found, options)
            } else {
                Err(io::Error::other("it has another link type than before, or is no Ethernet"))
            };
            return match attached {
                Ok(lanes) => {
                    self.status.called.clone_from(&self.name);
                    changes.push(Change::Returned { name: self.name.clone() });
                    Some(lanes)
                }
                Err(error) => {
                    // Tried again with each look, told once.
                    let why = error.to_string();
                    if self.refused.as_ref() != Some(&why) {
                        let name = self.name.clone();
                        changes.push(Change::CannotOpen { name, why: why.clone() });
                        self.refused = Some(why);
                    }
                    None
                }
            };
        };
        match device(&self.name) {
            Ok(found) if found.index == known.index => {
                let up = found.up && found.running;
                if up != self.status.up {
                    self.status.up = up;
                    changes.push(if up {
                        Change::Up { name: self.name.clone() }
                    } else {
                        Change::Down { name: self.name.clone() }
                    });
                }
                self.status.mtu_bytes = found.mtu_bytes;
                let drops = interface_drops(&self.name, &found).unwrap_or(self.drops_before);
                self.status.interface_drops =
                    self.drops_of_earlier + drops.saturating_sub(self.drops_before);
                self.device = Some(found);
            }
            _ => match name_of(known.index) {
                Some(name) => {
                    changes.push(Change::Renamed { from: self.name.clone(), to: name.clone() });
                    self.name = name;
                    self.status.called.clone_from(&self.name);
                }
                None => {
                    changes.push(Change::Removed { name: self.name.clone() });
                    self.status.up = false;
                    self.status.present = false;
                    self.drops_of_earlier = self.status.interface_drops;
                    self.device = None;
                }
            },
        }
        None
    }
}

impl Tap {
    /// Adds what a ring counted since the last look.
    pub(super) fn count(&mut self, lane: &mut Lane, changes: &mut Vec<Change>) {
        let counted = lane.statistics();
        let status = &mut self.status;
        status.kernel_drops += counted.drops;
        status.ring_fill_percent = status.ring_fill_percent.max(lane.fill_percent());
        status.rings += 1;
        if let Some(step_ns) = lane.clock.take_step() {
            status.clock_steps_back += 1;
            changes.push(Change::ClockSetBack { name: self.name.clone(), step_ns });
        }
    }
}

/// What the device of this name has dropped since it is there.
pub(super) fn interface_drops(name: &str, device: &Device) -> Option<u64> {
    drops_in(&Path::new("/sys/class/net").join(name), device)
}

/// Frames that the device had no room for, before any socket saw them. Drivers
/// count them in one of these, some in two, so it is the largest. `rx_dropped`
/// is none of them: it has what no protocol of this machine wanted, and that
/// reached us. Nothing where /sys shows another network namespace.
fn drops_in(folder: &Path, device: &Device) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        std::fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
    };
    if number("ifindex") != u64::try_from(device.index).ok() {
        return None;
    }
    let counters = ["rx_missed_errors", "rx_fifo_errors", "rx_over_errors"];
    counters.iter().filter_map(|name| number(&format!("statistics/{name}"))).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_those_of_the_device_itself() {
        let folder = tempfile::tempdir().expect("folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("file");
        };
        std::fs::create_dir(folder.path().join("statistics")).expect("folder");
        write("ifindex", "7\n");
        write("statistics/rx_dropped", "1000\n");
        write("statistics/rx_missed_errors", "12\n");
        write("statistics/rx_fifo_errors", "12\n");
        write("statistics/rx_over_errors", "3\n");
        let device = |index| Device {
            index,
            hardware: libc::ARPHRD_ETHER,
            mtu_bytes: 1500,
            up: true,
            running: true,
            loopback: false,
        };
        assert_eq!(drops_in(folder.path(), &device(7)), Some(12));
        assert_eq!(drops_in(folder.path(), &device(8)), None, "another namespace's");
    }

    #[test]
    fn link_types_follow_the_hardware_type() {
        assert_eq!(link_of(libc::ARPHRD_ETHER), Some(LinkType(1)));
        assert_eq!(link_of(0xfffe), Some(LinkType(101)));
        assert_eq!(link_of(32), None, "InfiniBand");
    }
}
