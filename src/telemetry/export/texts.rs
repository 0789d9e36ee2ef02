//! Numbers and addresses as texts, one copy of those that come again.

use std::fmt::{self, Write};
use std::sync::Arc;

/// Texts that are kept: interfaces, next hops, autonomous systems of some hundred
/// exporters. A further one takes the place of another.
const SLOTS_BITS: u32 = 12;

/// Texts of values by what kind of value they are.
pub(super) struct Texts {
    slots: Box<[Option<Slot>]>,
    buffer: String,
}

struct Slot {
    form: Form,
    value: u128,
    text: Arc<str>,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Number,
    Ipv4,
    Ipv6,
    Mac,
    /// `tos 184`.
    Tos,
    /// `dscp 46`.
    Dscp,
    /// Engine and selector of an application: `13:42`, of the length before it.
    Application,
}

impl Texts {
    pub(super) fn new() -> Self {
        Self {
            slots: std::iter::repeat_with(|| None).take(1 << SLOTS_BITS).collect(),
            buffer: String::new(),
        }
    }

    pub(super) fn number(&mut self, value: u64) -> Arc<str> {
        self.of(Form::Number, u128::from(value))
    }

    pub(super) fn of(&mut self, form: Form, value: u128) -> Arc<str> {
        let folded = (value as u64) ^ ((value >> 64) as u64) ^ (form as u64) << 56;
        let at = (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS_BITS)) as usize;
        if let Some(Some(slot)) = self.slots.get(at)
            && slot.form == form
            && slot.value == value
        {
            return Arc::clone(&slot.text);
        }
        self.buffer.clear();
        // Writing to a String never fails.
        let _ = form.write(value, &mut self.buffer);
        let text: Arc<str> = self.buffer.as_str().into();
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Some(Slot { form, value, text: Arc::clone(&text) });
        }
        text
    }
}

impl Form {
    fn write(self, value: u128, to: &mut String) -> fmt::Result {
        match self {
            Self::Number => write!(to, "{value}"),
            Self::Ipv4 => write!(to, "{}", std::net::Ipv4Addr::from(value as u32)),
            Self::Ipv6 => write!(to, "{}", std::net::Ipv6Addr::from(value)),
            Self::Mac => {
                let [_, _, a, b, c, d, e, f] = (value as u64).to_be_bytes();
                write!(to, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
            }
            Self::Tos => write!(to, "tos {value}"),
            Self::Dscp => write!(to, "dscp {value}"),
            Self::Application => write!(to, "{}:{}", value >> 64, value as u64),
        }
    }
}
