//! One copy of each text that comes again and again.

use std::collections::HashMap;
use std::sync::Arc;

/// Texts that are kept; more are made anew each time. A log of a fleet has some
/// thousand interfaces and instances.
const MAX_NAMES: usize = 1 << 14;
/// Longer texts hardly come twice.
const MAX_NAME_BYTES: usize = 256;

/// Texts by their bytes.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<Box<[u8]>, Arc<str>, ahash::RandomState>,
    /// The last one: most logs say the same name many times in a row.
    last: Option<Arc<str>>,
}

impl Names {
    /// The text; bytes that are no UTF-8 become U+FFFD.
    pub fn of(&mut self, bytes: &[u8]) -> Arc<str> {
        if let Some(last) = &self.last
            && last.as_bytes() == bytes
        {
            return Arc::clone(last);
        }
        let name = match self.known.get(bytes) {
            Some(name) => Arc::clone(name),
            None => {
                let name: Arc<str> = String::from_utf8_lossy(bytes).into();
                if self.known.len() < MAX_NAMES && bytes.len() <= MAX_NAME_BYTES {
                    self.known.insert(bytes.into(), Arc::clone(&name));
                }
                name
            }
        };
        self.last = Some(Arc::clone(&name));
        name
    }
}
