//! Values of fields: numbers, addresses, times, texts, in all lengths that occur.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::element::{Clock, Render};
use super::record::Export;
use crate::telemetry::decode::Out;
use crate::telemetry::export::texts::{Form, Texts};

const NS_PER_S: i64 = 1_000_000_000;
const NS_PER_MS: i64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub(super) enum Time {
    Ns(i64),
    /// Milliseconds since a start that may come later in the record, or not at all.
    Uptime(u32),
}

impl Render {
    /// A value as text; the outer `None` where its length makes no sense, the inner
    /// where it says that there is none.
    pub(super) fn of(
        self,
        value: &[u8],
        texts: &mut Texts,
        out: &mut Out,
    ) -> Option<Option<Arc<str>>> {
        /// Bytes of which nothing is known that are kept.
        const MOST: usize = 64;
        Some(match self {
            Self::Is(form) => Some(texts.of(form, wide(value)?)),
            Self::NotZero(form) => match wide(value)? {
                0 => None,
                value => Some(texts.of(form, value)),
            },
            Self::Any | Self::Text if value.is_empty() => None,
            Self::Any | Self::Text => {
                let number = uint(value);
                let printable = text(value);
                let is_text = (self == Self::Text || number.is_none())
                    && std::str::from_utf8(printable)
                        .is_ok_and(|text| !text.is_empty() && !text.contains(char::is_control));
                Some(match number {
                    _ if is_text => out.names.of(printable),
                    Some(number) => texts.number(number),
                    None => hex(value.get(..MOST).unwrap_or(value)).into(),
                })
            }
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A text without the zeros that fill it up.
pub(super) fn text(value: &[u8]) -> &[u8] {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    value.get(..end).unwrap_or(value).trim_ascii()
}

/// An unsigned number in 1 to 8 bytes: exporters leave out leading zeros.
pub(super) fn uint(value: &[u8]) -> Option<u64> {
    Some(match *value {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_be_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        [] | [_, _, _, _, _, _, _, _, _, ..] => return None,
        _ => value.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)),
    })
}

pub(super) fn small<T: TryFrom<u64>>(value: &[u8]) -> Option<T> {
    T::try_from(uint(value)?).ok()
}

/// The same in up to 16 bytes.
pub(super) fn wide(value: &[u8]) -> Option<u128> {
    match value.len() {
        16 => Some(u128::from_be_bytes(value.try_into().ok()?)),
        _ => uint(value).map(u128::from),
    }
}

pub(super) fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).to_canonical()),
        _ => None,
    }
}

/// Templates for both families have the address of the other one as zero.
pub(super) fn put_address(to: &mut Option<IpAddr>, value: &[u8]) -> Option<()> {
    let address = address(value)?;
    if to.is_none() || !address.is_unspecified() {
        *to = Some(address);
    }
    Some(())
}

pub(super) fn address_text(address: IpAddr, texts: &mut Texts) -> Arc<str> {
    match address {
        IpAddr::V4(address) => texts.of(Form::Ipv4, u128::from(u32::from(address))),
        IpAddr::V6(address) => texts.of(Form::Ipv6, u128::from(address)),
    }
}

/// Engine, and selector as a number.
pub(super) fn application(value: &[u8]) -> Option<u128> {
    let (&engine, selector) = value.split_first()?;
    Some(u128::from(engine) << 64 | u128::from(uint(selector)?))
}

/// A time as its clock has it; zero is none. The outer `None` where its length makes
/// no sense.
pub(super) fn time(clock: Clock, value: &[u8], export: &Export) -> Option<Option<Time>> {
    let value = uint(value)?;
    if value == 0 && clock != Clock::DeltaMicroseconds && clock != Clock::Uptime {
        return Some(None);
    }
    let scaled = |unit_ns: i64| i64::try_from(value).ok()?.checked_mul(unit_ns);
    let ns = match clock {
        Clock::Uptime => return Some(Some(Time::Uptime(value as u32))),
        Clock::Seconds => scaled(NS_PER_S),
        Clock::Milliseconds | Clock::EventMilliseconds => scaled(NS_PER_MS),
        Clock::DeltaMicroseconds => scaled(1_000).and_then(|ns| export.exported_ns.checked_sub(ns)),
        Clock::Ntp | Clock::EventNtp => {
            /// From 1900 to 1970.
            const NTP_TO_UNIX_S: i64 = 2_208_988_800;
            let s = (value >> 32) as i64 - NTP_TO_UNIX_S;
            // Exporters cut the fraction off: rounded it is the number that they had.
            let fraction_ns = ((value & 0xffff_ffff) * NS_PER_S as u64 + (1 << 31)) >> 32;
            s.checked_mul(NS_PER_S).map(|ns| ns + fraction_ns as i64)
        }
    };
    ns.map(|ns| Some(Time::Ns(ns)))
}

/// A time in milliseconds since the system started. These are 32 bits, which run over
/// after 49.7 days, and are before zero of flows that are older than the exporter
/// (softflowd on a file): of all times that they can mean the nearest to the export.
pub(super) fn of_uptime(
    uptime_ms: u32,
    export: &Export,
    system_start_ms: Option<u64>,
) -> Option<i64> {
    let now_ms = match export.uptime_ms {
        Some(now_ms) => now_ms,
        None => ((export.exported_ns / NS_PER_MS) as u64).wrapping_sub(system_start_ms?) as u32,
    };
    let ago_ms = now_ms.wrapping_sub(uptime_ms) as i32;
    export.exported_ns.checked_sub(i64::from(ago_ms) * NS_PER_MS)
}
