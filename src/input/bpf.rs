//! Classic BPF, interpreted.
//!
//! libpcap compiles a filter expression; running the program is done here, with
//! the length on the wire and the bytes that were captured, as the kernel does
//! it. (The binding of libpcap runs programs only on packets that are whole.)
//! A load beyond the captured bytes rejects the packet, in the kernel as here.

// Instruction codes, McCanne and Jacobson, "The BSD Packet Filter" (1993):
// class in the low three bits, then size, mode or operation, then source.
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const MISC: u16 = 0x07;

const W: u16 = 0x00;
const H: u16 = 0x08;
const B: u16 = 0x10;

const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const IND: u16 = 0x40;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
const MSH: u16 = 0xa0;

const ADD: u16 = 0x00;
const SUB: u16 = 0x10;
const MUL: u16 = 0x20;
const DIV: u16 = 0x30;
const OR: u16 = 0x40;
const AND: u16 = 0x50;
const LSH: u16 = 0x60;
const RSH: u16 = 0x70;
const NEG: u16 = 0x80;
const MOD: u16 = 0x90;
const XOR: u16 = 0xa0;

const JA: u16 = 0x00;
const JEQ: u16 = 0x10;
const JGT: u16 = 0x20;
const JGE: u16 = 0x30;
const JSET: u16 = 0x40;

const K: u16 = 0x00;
const X: u16 = 0x08;
const A: u16 = 0x10;
const TAX: u16 = 0x00;
const TXA: u16 = 0x80;

/// Words of scratch memory (`BPF_MEMWORDS`).
const MEMORY_WORDS: usize = 16;

/// Instructions run for one packet. Only `protochain` compiles to loops; each
/// turn takes some ten steps and passes one extension header.
const MAX_STEPS: usize = 65_536;

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jt: u8,
    pub(super) jf: u8,
    pub(super) k: u32,
}

/// True when the program accepts a packet of `wire_bytes` of which `data` was
/// captured. A program that runs out of itself, or on and on, accepts nothing.
pub(super) fn accepts(program: &[Instruction], data: &[u8], wire_bytes: u32) -> bool {
    run(program, data, wire_bytes).is_some_and(|length| length > 0)
}

/// The value returned; `None` where the packet is rejected on the way.
fn run(program: &[Instruction], data: &[u8], wire_bytes: u32) -> Option<u32> {
    let mut a = 0_u32;
    let mut x = 0_u32;
    let mut memory = [0_u32; MEMORY_WORDS];
    let mut pc = 0_usize;
    for _ in 0..MAX_STEPS {
        let Instruction { code, jt, jf, k } = *program.get(pc)?;
        pc += 1;
        match code & 0x07 {
            LD => {
                a = match code & 0xe0 {
                    IMM => k,
                    ABS => load(data, code & 0x18, u64::from(k))?,
                    IND => load(data, code & 0x18, u64::from(x) + u64::from(k))?,
                    MEM => *memory.get(k as usize)?,
                    LEN => wire_bytes,
                    _ => return None,
                }
            }
            LDX => {
                x = match code & 0xe0 {
                    IMM => k,
                    MEM => *memory.get(k as usize)?,
                    LEN => wire_bytes,
                    // Four times the low nibble: an IPv4 header's length.
                    MSH => (load(data, B, u64::from(k))? & 0x0f) << 2,
                    _ => return None,
                }
            }
            ST => *memory.get_mut(k as usize)? = a,
            STX => *memory.get_mut(k as usize)? = x,
            ALU => a = calculate(code & 0xf0, a, if code & X == K { k } else { x })?,
            JMP if code & 0xf0 == JA => {
                // Signed: loops jump back.
                let target = i64::try_from(pc).ok()? + i64::from(k.cast_signed());
                pc = usize::try_from(target).ok()?;
            }
            JMP => {
                let operand = if code & X == K { k } else { x };
                let taken = match code & 0xf0 {
                    JEQ => a == operand,
                    JGT => a > operand,
                    JGE => a >= operand,
                    JSET => a & operand != 0,
                    _ => return None,
                };
                pc += usize::from(if taken { jt } else { jf });
            }
            RET => return Some(if code & 0x18 == A { a } else { k }),
            MISC => match code & 0xf8 {
                TAX => x = a,
                TXA => a = x,
                _ => return None,
            },
            _ => return None,
        }
    }
    None
}

#[inline]
fn load(data: &[u8], size: u16, at: u64) -> Option<u32> {
    let rest = data.get(usize::try_from(at).ok()?..)?;
    Some(match size {
        W => u32::from_be_bytes(*rest.first_chunk()?),
        H => u32::from(u16::from_be_bytes(*rest.first_chunk()?)),
        B => u32::from(*rest.first()?),
        _ => return None,
    })
}

#[inline]
fn calculate(operation: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match operation {
        ADD => a.wrapping_add(operand),
        SUB => a.wrapping_sub(operand),
        MUL => a.wrapping_mul(operand),
        DIV => a.checked_div(operand)?,
        MOD => a.checked_rem(operand)?,
        OR => a | operand,
        AND => a & operand,
        XOR => a ^ operand,
        LSH => a.checked_shl(operand).unwrap_or(0),
        RSH => a.checked_shr(operand).unwrap_or(0),
        NEG => a.wrapping_neg(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_program_that_loops_or_runs_out_accepts_nothing() {
        let again = Instruction { code: JMP | JA, jt: 0, jf: 0, k: u32::MAX };
        assert!(!accepts(&[again], b"", 0));
        assert!(!accepts(&[], b"", 0));
        let away = Instruction { code: JMP | JA, jt: 0, jf: 0, k: 7 };
        assert!(!accepts(&[away], b"", 0));
    }

    #[test]
    fn division_by_zero_rejects() {
        let divide = Instruction { code: ALU | DIV | X, jt: 0, jf: 0, k: 0 };
        let accept = Instruction { code: RET | K, jt: 0, jf: 0, k: 1 };
        assert!(accepts(&[accept], b"", 0));
        assert!(!accepts(&[divide, accept], b"", 0));
    }

    prop_compose! {
        fn instruction()(code in 0_u16..0x100, jt: u8, jf: u8, k: u32, small: bool) -> Instruction {
            Instruction { code, jt: jt % 4, jf: jf % 4, k: if small { k % 64 } else { k } }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_programs_end(
            program in prop::collection::vec(instruction(), 0..64),
            data: Vec<u8>,
            wire_bytes: u32,
        ) {
            let _ = accepts(&program, &data, wire_bytes);
        }
    }
}
