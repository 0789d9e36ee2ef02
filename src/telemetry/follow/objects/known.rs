//! Which objects were read, and how far.

use std::collections::BTreeMap;

use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::super::super::framing::Mark;
use super::super::SourceId;

/// Objects that are remembered; the oldest are forgotten first, and none as old as
/// those is read then.
const MAX_KNOWN: usize = 1 << 16;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) modified_ns: i64,
    bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e_tag: Option<String>,
}

impl Version {
    pub(super) fn of(about: &ObjectMeta) -> Self {
        let modified_ns = about.last_modified.timestamp_nanos_opt().unwrap_or_default();
        Self { modified_ns, bytes: about.size, e_tag: about.e_tag.clone() }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedObject {
    key: String,
    version: Version,
    mark: Mark,
    whole: bool,
}

/// What is kept across restarts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct SavedObjects {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forgotten_ns: Option<i64>,
    objects: Vec<SavedObject>,
}

struct Object {
    version: Version,
    source: Option<SourceId>,
    /// Unpacked bytes that were handed out.
    read: u64,
    /// Of them acknowledged.
    mark: Mark,
    /// All was handed out.
    whole: bool,
    ignored: bool,
    /// The listing that it was last in.
    listing: u64,
}

impl Object {
    fn is_settled(&self) -> bool {
        self.whole && (self.ignored || self.mark.offset >= self.read)
    }
}

/// Where to go on in an object.
pub(super) struct From {
    pub(super) mark: Mark,
    /// It is open: reading it failed in the middle.
    pub(super) source: Option<SourceId>,
}

pub(super) struct Known {
    objects: BTreeMap<String, Object>,
    forgotten_ns: Option<i64>,
    /// A listing was whole, or is kept: it is settled what was there before the first
    /// start.
    is_listed: bool,
    /// That is so since [`has_changed`](Self::has_changed) was asked last.
    has_changed: bool,
}

impl Known {
    pub(super) fn new(saved: Option<SavedObjects>) -> Self {
        let is_listed = saved.is_some();
        let saved = saved.unwrap_or_default();
        let objects = saved.objects.into_iter().map(|saved| {
            let SavedObject { key, version, mark, whole } = saved;
            let read = mark.offset;
            let object =
                Object { version, source: None, read, mark, whole, ignored: false, listing: 0 };
            (key, object)
        });
        let objects = objects.collect();
        Self { objects, forgotten_ns: saved.forgotten_ns, is_listed, has_changed: false }
    }

    pub(super) fn listed(&mut self) {
        self.has_changed |= !std::mem::replace(&mut self.is_listed, true);
    }

    pub(super) fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Where to begin with what a listing has; nothing where it was read.
    pub(super) fn from(&mut self, key: &str, version: &Version, listing: u64) -> Option<From> {
        let Some(object) = self.objects.get_mut(key).filter(|known| known.version == *version)
        else {
            let is_old = self.forgotten_ns.is_some_and(|until_ns| version.modified_ns <= until_ns);
            return (!is_old).then_some(From { mark: Mark::START, source: None });
        };
        object.listing = listing;
        if object.whole || object.ignored {
            return None;
        }
        let mark = match object.mark.offset == object.read {
            true => object.mark,
            false => Mark { offset: object.read, ..Mark::START },
        };
        Some(From { mark, source: object.source })
    }

    pub(super) fn begin(
        &mut self,
        key: &str,
        version: Version,
        source: SourceId,
        from: Mark,
        listing: u64,
    ) {
        let object = Object {
            version,
            source: Some(source),
            read: from.offset,
            mark: from,
            whole: false,
            ignored: false,
            listing,
        };
        self.objects.insert(key.to_owned(), object);
    }

    /// What was there before the first start.
    pub(super) fn pass_over(&mut self, key: &str, version: Version, listing: u64) {
        let mark = Mark::START;
        let object =
            Object { version, source: None, read: 0, mark, whole: true, ignored: true, listing };
        self.objects.insert(key.to_owned(), object);
    }

    /// False where none of it is wanted any more.
    pub(super) fn hand_out(&mut self, key: &str, bytes: usize) -> bool {
        let Some(object) = self.objects.get_mut(key) else { return false };
        object.read += bytes as u64;
        !object.ignored
    }

    pub(super) fn end(&mut self, key: &str) {
        if let Some(object) = self.objects.get_mut(key) {
            object.whole = true;
        }
    }

    /// Whether that was all of it.
    pub(super) fn acknowledge(&mut self, key: &str, source: SourceId, mark: Mark) -> bool {
        let Some(object) = self.objects.get_mut(key) else { return true };
        if object.source != Some(source) {
            // Written anew meanwhile.
            return true;
        }
        if mark.offset > object.mark.offset && mark.offset <= object.read {
            object.mark = mark;
        }
        object.is_settled()
    }

    pub(super) fn ignore(&mut self, key: &str, source: SourceId) {
        if let Some(object) = self.objects.get_mut(key).filter(|known| known.source == Some(source))
        {
            object.ignored = true;
        }
    }

    /// Forgets what is no longer there, and the oldest over the bound; whether there
    /// were any of these.
    pub(super) fn forget(&mut self, listing: u64) -> bool {
        self.objects.retain(|_, object| object.listing == listing || !object.is_settled());
        let over = self.objects.len().saturating_sub(MAX_KNOWN);
        let settled = self.objects.iter().filter(|(_, object)| over > 0 && object.is_settled());
        let mut oldest: Vec<_> =
            settled.map(|(key, object)| (object.version.modified_ns, key.clone())).collect();
        oldest.sort_unstable();
        for (modified_ns, key) in oldest.into_iter().take(over) {
            self.objects.remove(&key);
            self.forgotten_ns = self.forgotten_ns.max(Some(modified_ns));
        }
        over > 0
    }

    /// Nothing before the first listing: the next start is the first one then.
    pub(super) fn saved(&self) -> Option<SavedObjects> {
        let objects = self.objects.iter().map(|(key, object)| SavedObject {
            key: key.clone(),
            version: object.version.clone(),
            mark: object.mark,
            whole: object.is_settled() || object.ignored,
        });
        let saved = SavedObjects { forgotten_ns: self.forgotten_ns, objects: objects.collect() };
        self.is_listed.then_some(saved)
    }
}
