//! The program that runs in the kernel before a frame is copied.
//!
//! The kernel takes the outermost VLAN tag out of a frame before a filter sees
//! it, so a program for whole frames would misread what had one. Tagged frames
//! are all let through, and the same expression decides on them once their tag
//! is back ([`crate::input::Filter`]): a filter means the same live and
//! offline.

use std::io;

use crate::input::bpf::Instruction;
use crate::input::filter::Filter;
use crate::packet::LinkType;

/// `ret 0`.
pub(super) const ACCEPT_NOTHING: [Instruction; 1] = [ret(0)];

const RET_K: u16 = 0x06;
const LD_B_ABS: u16 = 0x30;
const JEQ_K: u16 = 0x15;

/// Address of what the kernel knows beside the frame (linux/filter.h,
/// SKF_AD_OFF), and in there whether a tag was taken out.
const ANCILLARY: u32 = -0x1000_i32 as u32;
const VLAN_TAG_PRESENT: u32 = 48;

const fn ret(k: u32) -> Instruction {
    Instruction { code: RET_K, jt: 0, jf: 0, k }
}

/// Accepts what the expression accepts, cut to `snaplen_bytes`.
pub(super) fn kernel_program(
    filter: Option<&Filter>,
    link: LinkType,
    snaplen_bytes: u32,
) -> io::Result<Vec<Instruction>> {
    let Some(filter) = filter else { return Ok(vec![ret(snaplen_bytes)]) };
    let program = filter.program(link).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the filter can't be used on link type {}", link.name()),
        )
    })?;
    let tagged = [
        Instruction { code: LD_B_ABS, jt: 0, jf: 0, k: ANCILLARY + VLAN_TAG_PRESENT },
        Instruction { code: JEQ_K, jt: 1, jf: 0, k: 0 },
        ret(snaplen_bytes),
    ];
    let cut = program.iter().map(|&instruction| match instruction {
        Instruction { code: RET_K, k, .. } => ret(k.min(snaplen_bytes)),
        other => other,
    });
    Ok(tagged.into_iter().chain(cut).collect())
}
