//! A map with a bound that forgets what was not asked for the longest.

use std::collections::HashMap;
use std::mem;

/// Two generations: when the newer is full the older goes. Holds at most twice
/// its size, and at least what was used among the last `size` keys.
#[derive(Debug)]
pub(super) struct Recent<V> {
    size: usize,
    new: HashMap<String, V>,
    old: HashMap<String, V>,
}

impl<V> Recent<V> {
    pub(super) fn new(size: usize) -> Self {
        Self { size, new: HashMap::new(), old: HashMap::new() }
    }

    pub(super) fn get(&mut self, key: &str) -> Option<&mut V> {
        if !self.new.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.new.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: String, value: V) {
        if self.new.len() >= self.size && !self.new.contains_key(&key) {
            self.old = mem::take(&mut self.new);
        }
        self.new.insert(key, value);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.new.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_the_rest_goes() {
        let mut recent = Recent::new(4);
        recent.insert("used".into(), 0);
        for n in 0..100 {
            recent.insert(n.to_string(), n);
            assert_eq!(recent.get("used"), Some(&mut 0));
            assert!(recent.len() <= 8);
        }
        assert_eq!(recent.get("99"), Some(&mut 99));
        assert_eq!(recent.get("1"), None);
    }
}
