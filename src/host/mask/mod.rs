//! Secrets out of command lines.
//!
//! A rule of thumb, not a guarantee: what names itself a secret, what well-known
//! programs take as one and what has a secret's well-known form become `***`. A
//! password as a bare word (`sqlplus scott/tiger`, `wpa_passphrase net word`) can't
//! be told from any other word and stays. What is needed to recognise the
//! command stays; a secret's length does not.
//!
//! The words of a script in one argument (`sh -c '...'`) are looked at like
//! arguments. Start at [`mask_arguments`].

mod names;
mod text;
mod tools;
mod words;

#[cfg(test)]
mod tests;

use names::Secret;
use tools::{Rule, Shape, Tools};
use words::Piece;

/// What stands for a secret. Short, so that no mask is much longer than what it
/// hides.
const MASK: &str = "***";

/// Scripts in scripts (`ssh host "sh -c '...'"`) are opened so deep; what lies deeper
/// is looked at as one text.
const MAX_DEPTH: u32 = 4;

/// A mask can bare another secret's name; twice is the most that was seen.
const MAX_PASSES: usize = 4;

/// Masks secrets in a command line, the program's name first.
pub fn mask_arguments(args: &mut [String]) {
    for _ in 0..MAX_PASSES {
        if !pass(args) {
            break;
        }
    }
}

fn pass(args: &mut [String]) -> bool {
    let mut line = Line::new(0);
    let mut changed = false;
    for arg in args {
        if let Some(masked) = line.word(arg) {
            changed |= *arg != masked;
            *arg = masked;
        }
    }
    changed
}

/// The words of one command so far.
struct Line {
    depth: u32,
    tools: Tools,
    /// The next word is the value of an option that takes a secret.
    pending: Option<(Shape, Secret)>,
    /// The last word was `-c`, as shells take a script with.
    before_script: bool,
    /// What the last word says of a value that `=` gives it.
    named: Secret,
}

impl Line {
    fn new(depth: u32) -> Self {
        Self {
            depth,
            tools: Tools::default(),
            pending: None,
            before_script: false,
            named: Secret::No,
        }
    }

    /// The next word with its secrets masked; nothing when it has none.
    fn word(&mut self, word: &str) -> Option<String> {
        let is_script = std::mem::replace(&mut self.before_script, is_script_option(word));
        let named = std::mem::replace(&mut self.named, names::secret(word));
        if word == "=" && named != Secret::No {
            self.pending = Some((Shape::Whole, named));
            return None;
        }
        if let Some((shape, secret)) = self.pending.take()
            && !looks_like_option(word)
        {
            let masked = shape.mask(word, secret);
            if shape == Shape::Whole {
                return masked;
            }
            // Without a password it may be no address or user but a program:
            // `docker --sig-proxy mysql`, `sudo --login mysql`.
            if masked.is_some() || !matches!(shape, Shape::UserInfo | Shape::Login) {
                let text = masked.as_deref().unwrap_or(word);
                return text::mask(text, false).or(masked);
            }
        }
        if let Some(rule) = self.tools.rule(word) {
            return match rule {
                Rule::Next(shape) => {
                    self.pending = Some((shape, Secret::Always));
                    None
                }
                Rule::Attached { at, shape } => {
                    let (option, value) = word.split_at(at);
                    Some(format!("{option}{}", shape.mask(value, Secret::Always)?))
                }
            };
        }
        if word.starts_with('-')
            && !word.contains(['=', ':'])
            && !word.contains(char::is_whitespace)
        {
            let secret = names::secret(word);
            if secret != Secret::No {
                self.pending = Some((Shape::Whole, secret));
                return None;
            }
            if names::is_proxy(word) {
                self.pending = Some((Shape::UserInfo, Secret::Always));
                return None;
            }
            if names::is_login(word) {
                self.pending = Some((Shape::Login, Secret::Always));
                return None;
            }
        }
        if self.named != Secret::No && self.tools.takes_setting(word) {
            self.pending = Some((Shape::Whole, self.named));
            return None;
        }
        if let Some(masked) = self.tools.bare_url(word) {
            return Some(masked);
        }
        self.tools.note(word);
        let masked = text::mask(word, is_script);
        let text = masked.as_deref().unwrap_or(word);
        self.script(text).or(masked)
    }

    /// A word with words in it.
    fn script(&self, text: &str) -> Option<String> {
        if self.depth >= MAX_DEPTH || !text.contains(char::is_whitespace) {
            return None;
        }
        let mut line = Self::new(self.depth + 1);
        let mut masked = String::with_capacity(text.len());
        let mut changed = false;
        for piece in words::split(text) {
            let (word, quote) = match piece {
                Piece::Gap(gap) => {
                    if gap.contains([';', '|', '&', '\n']) {
                        line = Self::new(self.depth + 1);
                    }
                    masked.push_str(gap);
                    continue;
                }
                Piece::Word(word) => words::unquote(word),
            };
            masked.push_str(quote);
            match line.word(word) {
                Some(new) => {
                    changed = true;
                    masked.push_str(&new);
                }
                None => masked.push_str(word),
            }
            masked.push_str(quote);
        }
        changed.then_some(masked)
    }
}

/// `-c`, `-lc`.
fn is_script_option(word: &str) -> bool {
    word.strip_prefix('-')
        .and_then(|letters| letters.strip_suffix('c'))
        .is_some_and(|letters| letters.bytes().all(|byte| byte.is_ascii_lowercase()))
}

/// `mysql --password -u root` asks for the password: `-u` is not it. Nor is `--user`, but
/// no option begins as `--Zq7` does.
fn looks_like_option(word: &str) -> bool {
    word.len() == 2 && word.starts_with('-')
        || word
            .strip_prefix("--")
            .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
}
