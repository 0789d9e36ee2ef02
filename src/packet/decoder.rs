//! The decoder's front door.

use super::direct::{Direct, Shape};
use super::facts::{Facts, Verdict};
use super::link::LinkType;
use super::{direct, general};

/// What the decoder leaves out or adds.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecodeOptions {
    /// Keep the outermost flow instead of opening tunnels.
    pub no_decap: bool,
    /// Put the outermost VLAN identifier in the key.
    pub key_vlan: bool,
}

/// Reads frames; holds settings only.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    options: DecodeOptions,
}

impl Decoder {
    pub fn new(options: DecodeOptions) -> Self {
        Self { options }
    }

    /// Reads one frame. `data` is what was captured, `wire_bytes` what the
    /// frame had on the wire. Overwrites `facts` (MACs and VLANs also for
    /// frames that are not IP).
    #[inline]
    pub fn decode(
        &self,
        link: LinkType,
        data: &[u8],
        wire_bytes: u32,
        facts: &mut Facts,
    ) -> Verdict {
        let may_be_direct = link == LinkType::ETHERNET;
        if may_be_direct && let Some(direct) = direct::read_any(self.options, data, wire_bytes) {
            direct.fill(facts);
            return Verdict::Flow;
        }
        self.general(link, data, wire_bytes, facts)
    }

    /// Which of the commonest shapes a frame may have.
    #[inline(always)]
    pub(crate) fn shape(&self, link: LinkType, data: &[u8]) -> Option<Shape> {
        if link == LinkType::ETHERNET { direct::shape(data) } else { None }
    }

    /// Reads a frame that may have one of the commonest shapes: all that [`Self::decode`]
    /// would say of it, or `None` of another.
    #[inline(always)]
    pub(crate) fn direct<const V6: bool, const UDP: bool>(
        &self,
        data: &[u8],
        wire_bytes: u32,
    ) -> Option<Direct> {
        direct::read::<V6, UDP>(self.options, data, wire_bytes)
    }

    /// Reads a frame of any shape.
    pub(crate) fn general(
        &self,
        link: LinkType,
        data: &[u8],
        wire_bytes: u32,
        facts: &mut Facts,
    ) -> Verdict {
        general::decode(self.options, link, data, wire_bytes, facts)
    }
}
