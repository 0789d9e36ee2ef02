//! Bytes off the wire, cut at a bound, in place.

/// At most `N` (under 65,536) of the first bytes of something. What is in it was chosen
/// by strangers: shown by [`Text::shown`] alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: u16,
    /// There was more.
    pub cut: bool,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0, cut: false }
    }
}

impl<const N: usize> Text<N> {
    pub fn new(from: &[u8]) -> Self {
        let mut text = Self::default();
        let len = from.len().min(N);
        text.bytes[..len].copy_from_slice(&from[..len]);
        text.len = len as u16;
        text.cut = from.len() > len;
        text
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Printable ASCII, backslash doubled, the rest as `\xNN`.
    pub fn shown(&self) -> String {
        shown(self.as_bytes())
    }
}
/// Bytes as [`Text::shown`] has them.
pub fn shown(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\\' => shown.push_str("\\\\"),
            b' '..=b'~' => shown.push(char::from(byte)),
            _ => {
                let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
                shown.extend(['\\', 'x', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    shown
}
