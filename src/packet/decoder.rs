//! The decoder's front door.

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
        if link == LinkType::ETHERNET
            && direct::read(self.options, data, wire_bytes, facts).is_some()
        {
            return Verdict::Flow;
        }
        general::decode(self.options, link, data, wire_bytes, facts)
    }
}
