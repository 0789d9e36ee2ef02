//! The decoder's front door.

use super::direct::Direct;
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
        if let Some(direct) = self.direct(link, data, wire_bytes) {
            direct.fill(facts);
            return Verdict::Flow;
        }
        self.general(link, data, wire_bytes, facts)
    }

    /// Reads a frame of one of the commonest shapes, which is all that
    /// [`Self::decode`] would say of it.
    #[inline(always)]
    pub(crate) fn direct(&self, link: LinkType, data: &[u8], wire_bytes: u32) -> Option<Direct> {
        if link != LinkType::ETHERNET {
            return None;
        }
        direct::read(self.options, data, wire_bytes)
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
