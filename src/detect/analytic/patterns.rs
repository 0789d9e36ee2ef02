//! Texts that exploit-like requests hold, as a table: `suspicious_patterns.tsv`, and
//! what the setting of that name adds to it or takes out of it.
//!
//! All texts are looked for at once, in linear time (Aho-Corasick), and in the first
//! [`MOST_BYTES`] of each part of a request.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

const TABLE: &str = include_str!("suspicious_patterns.tsv");

/// What is looked at of a URI or header: servers take 8 KiB to 64 KiB.
const MOST_BYTES: usize = 16 << 10;

/// Where a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Any,
    Uri,
    /// Anywhere, in these letters alone.
    Exact,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pub class: String,
    pub text: String,
    pub reason: String,
    place: Where,
}

/// The texts in force.
#[derive(Debug)]
pub(super) struct Patterns {
    /// Of the setting that they were made of.
    made_of: Vec<String>,
    all: Vec<Pattern>,
    search: Option<AhoCorasick>,
}

impl Patterns {
    pub(super) fn new(setting: &[String]) -> Self {
        let mut all: Vec<Pattern> = TABLE.lines().filter_map(row).collect();
        for change in setting {
            match (change.strip_prefix('!'), change.split_once('=')) {
                (Some(out), _) => all.retain(|pattern| pattern.text != out),
                (None, Some((class, text))) if is_class(class) && !text.is_empty() => {
                    all.push(of_user(class, text));
                }
                _ => all.push(of_user("user", change)),
            }
        }
        let texts = all.iter().map(|pattern| pattern.text.as_bytes());
        // An automaton of this size can't fail to build; if it did, nothing is found.
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(texts)
            .ok();
        Self { made_of: setting.to_vec(), all, search }
    }

    pub(super) fn is_of(&self, setting: &[String]) -> bool {
        self.made_of == setting
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> &[Pattern] {
        &self.all
    }

    /// The first text of the table that is in this part of a request; `blanks` is for
    /// its working.
    pub(super) fn find(&self, part: &str, is_uri: bool, blanks: &mut Vec<u8>) -> Option<&Pattern> {
        let bytes = part.as_bytes();
        let bytes = bytes.get(..MOST_BYTES).unwrap_or(bytes);
        one_blank(bytes, blanks);
        let search = self.search.as_ref()?;
        let fits = |text: &[u8], found: aho_corasick::Match| {
            let pattern = self.all.get(found.pattern().as_usize())?;
            let fits = match pattern.place {
                Where::Any => true,
                Where::Uri => is_uri,
                Where::Exact => text.get(found.range()) == Some(pattern.text.as_bytes()),
            };
            fits.then_some((found.pattern(), pattern))
        };
        // Overlapping ones, since one that does not fit may hide another; a text can
        // end as many as are nested in each other, which are few.
        let in_text = |text: &[u8]| {
            search
                .find_overlapping_iter(text)
                .filter_map(|found| fits(text, found))
                .min_by_key(|&(at, _)| at)
        };
        let found = [in_text(bytes), in_text(blanks)];
        found.into_iter().flatten().min_by_key(|&(at, _)| at).map(|(_, pattern)| pattern)
    }
}

fn is_class(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn of_user(class: &str, text: &str) -> Pattern {
    Pattern {
        class: class.to_owned(),
        text: text.to_owned(),
        reason: "of the setting suspicious_patterns".to_owned(),
        place: Where::Any,
    }
}

fn row(line: &str) -> Option<Pattern> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = line.split('\t');
    let (class, place) = (fields.next()?, fields.next()?);
    let (text, reason) = (fields.next()?, fields.next()?);
    let place = match place {
        "uri" => Where::Uri,
        "exact" => Where::Exact,
        _ => Where::Any,
    };
    Some(Pattern {
        class: class.to_owned(),
        text: text.replace("\\x00", "\0"),
        reason: reason.to_owned(),
        place,
    })
}

/// With one blank for each run of blanks, plus signs and comments of SQL.
fn one_blank(bytes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let (is_blank, after) = match byte {
            b'/' if rest.starts_with(b"/**/") => (true, rest.get(4..).unwrap_or_default()),
            b'+' | b'\t' | b'\r' | b'\n' | b' ' => (true, after),
            _ => (false, after),
        };
        match is_blank {
            true if out.last() == Some(&b' ') => {}
            true => out.push(b' '),
            false => out.push(byte),
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_table_is_read_and_found() {
        let patterns = Patterns::new(&[]);
        let rows = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(patterns.all().len(), rows);
        for pattern in patterns.all() {
            assert!(is_class(&pattern.class), "{pattern:?}");
            assert!(!pattern.reason.is_empty(), "{pattern:?}");
            let text = format!("/x{}y", pattern.text);
            let found = patterns.find(&text, true, &mut Vec::new());
            assert!(found.is_some(), "{pattern:?}");
        }
    }

    #[test]
    fn blanks_case_and_comments_hide_nothing() {
        let patterns = Patterns::new(&[]);
        let class = |text: &str| {
            let found = patterns.find(text, true, &mut Vec::new());
            found.map(|pattern| pattern.class.clone())
        };
        for text in ["/?q=1+UNION+select+2", "/?q=1/**/union/**/SELECT 2", "union \t select"] {
            assert_eq!(class(text).as_deref(), Some("sql"), "{text}");
        }
        assert_eq!(class("/a?x=rO0ABXNy").as_deref(), Some("serialised"));
        assert_eq!(class("/a?x=ro0abXNy"), None);
        assert_eq!(class("/index.html?page=2&sort=up"), None);
    }

    #[test]
    fn users_add_and_take_out() {
        let setting = ["probe=/secret-door", "!/.env", "plain text"].map(str::to_owned);
        let patterns = Patterns::new(&setting);
        let class = |text: &str| {
            let found = patterns.find(text, true, &mut Vec::new());
            found.map(|pattern| pattern.class.clone())
        };
        assert_eq!(class("/secret-door/").as_deref(), Some("probe"));
        assert_eq!(class("/a?b=plain+text").as_deref(), Some("user"));
        assert_eq!(class("/.env"), None);
        assert!(patterns.is_of(&setting) && !patterns.is_of(&[]));
    }
}
