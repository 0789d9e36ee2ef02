//! What was so since when, and since when that is known: what is told later
//! changes no answer about what was known before.

/// Most versions of one thing: programs that one process runs one after the other,
/// users of one translated port.
const MAX_VERSIONS: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Version<T> {
    pub(super) from_ns: i64,
    pub(super) learned_ns: i64,
    pub(super) value: T,
}

/// By the time from which each is so; of one time, in the order they were told.
#[derive(Clone, Debug)]
pub(super) struct Versions<T>(Vec<Version<T>>);

impl<T> Default for Versions<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Versions<T> {
    /// What was so at a time, by what was known then.
    pub(super) fn at(&self, at_ns: i64, known_ns: i64) -> Option<&Version<T>> {
        self.known(known_ns).take_while(|version| version.from_ns <= at_ns).last()
    }

    /// The same; where nothing reaches back so far, the first that is known.
    pub(super) fn at_or_first(&self, at_ns: i64, known_ns: i64) -> Option<&Version<T>> {
        self.at(at_ns, known_ns).or_else(|| self.known(known_ns).next())
    }

    /// What was so for most of a span, by what was known then; of two the earlier.
    pub(super) fn longest(&self, from_ns: i64, to_ns: i64, known_ns: i64) -> Option<&Version<T>> {
        let mut most = (0, self.at_or_first(from_ns, known_ns)?);
        let mut known = self.known(known_ns).peekable();
        while let Some(version) = known.next() {
            let next_ns = known.peek().map_or(i64::MAX, |next| next.from_ns);
            let lasted_ns = next_ns.min(to_ns).saturating_sub(version.from_ns.max(from_ns));
            if lasted_ns > most.0 {
                most = (lasted_ns, version);
            }
        }
        Some(most.1)
    }

    fn known(&self, known_ns: i64) -> impl Iterator<Item = &Version<T>> {
        self.0.iter().filter(move |version| version.learned_ns <= known_ns)
    }

    /// The latest of that time and before, known or not.
    pub(super) fn latest(&self, from_ns: i64) -> Option<&T> {
        self.0[..self.place(from_ns)].last().map(|version| &version.value)
    }

    pub(super) fn latest_mut(&mut self, from_ns: i64) -> Option<&mut T> {
        let place = self.place(from_ns);
        self.0[..place].last_mut().map(|version| &mut version.value)
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.len() < MAX_VERSIONS
    }

    /// False when there is no room.
    pub(super) fn insert(&mut self, version: Version<T>) -> bool {
        if !self.has_room() {
            return false;
        }
        self.0.insert(self.place(version.from_ns), version);
        true
    }

    fn place(&self, from_ns: i64) -> usize {
        self.0.partition_point(|known| known.from_ns <= from_ns)
    }

    pub(super) fn first(&self) -> Option<&Version<T>> {
        self.0.first()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Version<T>> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the last of them was told.
    pub(super) fn told_ns(&self) -> Option<i64> {
        self.0.iter().map(|version| version.learned_ns).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_known_yet_is_not_answered() {
        let mut versions = Versions::default();
        for (from_ns, learned_ns, value) in [(10, 12, "a"), (20, 25, "b"), (5, 40, "late")] {
            assert!(versions.insert(Version { from_ns, learned_ns, value }));
        }
        let at = |at_ns, known_ns| versions.at(at_ns, known_ns).map(|version| version.value);
        assert_eq!(at(22, 24), Some("a"));
        assert_eq!(at(22, 25), Some("b"));
        assert_eq!(at(7, 30), None);
        assert_eq!(at(7, 40), Some("late"));
        let first = versions.at_or_first(7, 30).map(|version| version.value);
        assert_eq!(first, Some("a"));
        assert!(versions.at_or_first(7, 11).is_none());
        assert_eq!((versions.latest(9), versions.told_ns()), (Some(&"late"), Some(40)));
    }

    #[test]
    fn what_lasted_longest_of_a_span_is_answered() {
        let mut versions = Versions::default();
        for (from_ns, value) in [(10, "a"), (20, "b"), (50, "c")] {
            assert!(versions.insert(Version { from_ns, learned_ns: from_ns, value }));
        }
        let longest = |from_ns, to_ns, known_ns| {
            versions.longest(from_ns, to_ns, known_ns).map(|version| version.value)
        };
        assert_eq!(longest(15, 24, 99), Some("a"));
        assert_eq!(longest(15, 25, 99), Some("a"));
        assert_eq!(longest(15, 26, 99), Some("b"));
        assert_eq!(longest(0, 90, 99), Some("c"));
        assert_eq!(longest(0, 90, 49), Some("b"), "the third is not known yet");
        assert_eq!((longest(30, 30, 99), longest(0, 5, 99)), (Some("b"), Some("a")));
        assert_eq!(longest(0, 90, 9), None);
    }

    #[test]
    fn there_is_an_end_to_versions() {
        let mut versions = Versions::default();
        let mut insert = |n| versions.insert(Version { from_ns: n, learned_ns: n, value: n });
        assert_eq!((0..1000).filter(|&n| insert(n)).count(), MAX_VERSIONS);
    }
}
