//! Secrets that show in a text by their form or by the name before them.

use std::ops::Range;

use super::MASK;
use super::names::{Secret, in_query, is_harmless, is_login, is_proxy, is_signature, secret};

/// A text with its secrets masked; nothing when it has none. In a script an
/// assignment at the beginning ends with its word.
pub(super) fn mask(text: &str, is_script: bool) -> Option<String> {
    if text.len() < LEAST_TOKEN_BYTES && !text.contains([':', '=', ' ']) {
        return None;
    }
    let mut masked: Option<String> = None;
    let word = (!is_script).then_some(assignment as Find);
    let finds = [key_block as Find, header].into_iter().chain(word);
    for find in finds.chain([pairs as Find, url_password, bearer, bot_token, tokens]) {
        let current = masked.as_deref().unwrap_or(text);
        let secrets = find(current);
        if let Some(new) = replace(current, &secrets) {
            masked = Some(new);
        }
    }
    masked
}

/// Ranges of secrets, in order and apart.
type Find = fn(&str) -> Vec<Range<usize>>;

fn replace(text: &str, secrets: &[Range<usize>]) -> Option<String> {
    let secrets = secrets.iter().filter(|range| &text[(*range).clone()] != MASK);
    let mut new = String::new();
    let mut done = 0;
    for range in secrets {
        new.push_str(&text[done..range.start]);
        new.push_str(MASK);
        done = range.end;
    }
    (done > 0).then(|| new + &text[done..])
}

/// Keys and certificates in PEM form: all that follows.
fn key_block(text: &str) -> Vec<Range<usize>> {
    text.find("-----BEGIN").map(|at| at..text.len()).into_iter().collect()
}

/// Headers whose value is a secret whatever it looks like.
const HEADERS: &[&str] =
    &["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "private-token"];

/// `Name: value`, of HTTP and of notes, also as an option's (`--header=Name: value`): to
/// the end of the quotes around it, else to the end. And `/name:value` alone.
fn header(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    for (colon, _) in text.match_indices(':') {
        if colon < from || text[colon + 1..].starts_with("//") {
            continue;
        }
        let mut start = name_start(text, colon);
        if start == 0 && text.starts_with("-H") {
            start = 2;
        }
        let name = &text[start..colon];
        let is_header = HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header));
        let kind = if is_header { Secret::Always } else { secret(name) };
        if kind == Secret::No {
            continue;
        }
        let before = text[..start].chars().next_back();
        let may_precede = |c: char| {
            c.is_whitespace()
                || matches!(c, '\'' | '"' | '{' | '(' | ',' | 'H' | '=')
                || c == '/' && start == 1
        };
        if before.is_some_and(|c| !may_precede(c)) {
            continue;
        }
        let value = colon + 1;
        let value = value + (text[value..].len() - text[value..].trim_start().len());
        let spaced = value > colon + 1;
        let (value, end) = match (before, text[value..].chars().next()) {
            (Some(quote @ ('\'' | '"')), _) => (value, closing(text, value, quote)),
            // `login(password: '...')`.
            (Some('('), Some(quote @ ('\'' | '"'))) => (value + 1, closing(text, value + 1, quote)),
            (Some(_), _) if !spaced => (value, blank(text, value)),
            _ => (value, None),
        };
        let end = end.unwrap_or(text.len());
        // A path is no header's value, but the other half of `volume:/path`.
        let kind = if is_header { kind } else { Secret::UnlessPath };
        if !is_harmless(&text[value..end], kind) {
            found.push(value..end);
        }
        from = end;
    }
    found
}

/// A whole word `NAME=value`, `--name=value`, `--env=NAME=value`.
fn assignment(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    while let Some(length) = text[start..].find('=') {
        let name = &text[start..start + length];
        let value = start + length + 1;
        if name.is_empty() || !name.chars().all(is_name) {
            break;
        }
        if !is_harmless(&text[value..], secret(name)) {
            return one(value..text.len());
        }
        let rest = &text[value..];
        let password = if is_proxy(name) {
            user_info(rest)
        } else if is_login(name) {
            login(rest)
        } else {
            None
        };
        if let Some(password) = password {
            return one(value + password.start..value + password.end);
        }
        start = value;
    }
    Vec::new()
}

fn one(range: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(range).collect()
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Where the name that ends before `end` begins.
fn name_start(text: &str, end: usize) -> usize {
    let name = text[..end].bytes().rev().take_while(|&byte| is_name(char::from(byte))).count();
    end - name
}

/// `name=value` and `name = value` among others, and JSON's `"name": "value"`: to what
/// separates them.
fn pairs(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut from = 0;
    let mut query = Query::default();
    for (at, mark) in text.match_indices(['=', ':']) {
        if at < from {
            continue;
        }
        let before = text[..at].trim_end();
        let quoted = before.strip_suffix(['"', '\'']);
        let end = match (mark, quoted) {
            (":", None) => continue,
            (_, Some(before)) => before.strip_suffix('\\').unwrap_or(before).len(),
            // `a == b` compares.
            (_, None) if before.len() < at && text[at + 1..].starts_with('=') => continue,
            (_, None) => before.len(),
        };
        let start = name_start(text, end);
        let name = &text[start..end];
        let is_signed = || text[..start].ends_with(['?', '&', ';']) && is_signature(name);
        let kind = if is_signed() { Secret::Always } else { secret(name) };
        let kind = if kind == Secret::No && query.has(text, start) { in_query(name) } else { kind };
        if kind == Secret::No {
            continue;
        }
        let value = at + 1;
        let value = value + (text[value..].len() - text[value..].trim_start().len());
        // JSON in a JSON string has its quotes escaped.
        let value = value + usize::from(text[value..].starts_with("\\\""));
        let (start, end) = match text[value..].chars().next() {
            Some(quote @ ('"' | '\'')) => {
                (value + 1, closing(text, value + 1, quote).unwrap_or(text.len()))
            }
            _ => {
                let separates = |c: char| {
                    c.is_whitespace() || matches!(c, '&' | ';' | ',' | '"' | '\'' | '}' | ')')
                };
                (value, text[value..].find(separates).map_or(text.len(), |end| value + end))
            }
        };
        if start < end && !is_harmless(&text[start..end], kind) {
            found.push(start..end);
            from = end;
        }
    }
    found
}

/// Whether names belong to a URL's query, asked from the first to the last of a text.
#[derive(Default)]
struct Query {
    seen: usize,
    is_open: bool,
}

impl Query {
    fn has(&mut self, text: &str, name: usize) -> bool {
        for c in text.get(self.seen..name).unwrap_or_default().chars() {
            self.is_open = match c {
                '?' => true,
                '"' | '\'' | '#' => false,
                _ => self.is_open && !c.is_whitespace(),
            };
        }
        self.seen = self.seen.max(name);
        self.is_open && text[..name].ends_with(['?', '&'])
    }
}

/// Where the first white space from `from` on is that no backslash joins to its word.
fn blank(text: &str, from: usize) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text[from..].char_indices() {
        if c.is_whitespace() && !escaped {
            return Some(from + at);
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// Where a quote closes that was opened before `from`.
fn closing(text: &str, from: usize, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text[from..].char_indices() {
        if escaped {
            escaped = false;
        } else if c == quote {
            return Some(from + at);
        } else if c == '\\' && quote == '"' {
            escaped = true;
        }
    }
    None
}

/// Names and passwords in URLs are shorter; a text of nothing but `://` takes no
/// long search for each.
const MAX_USER_INFO_BYTES: usize = 512;

/// `scheme://user:password@host`. The password may hold what should have been
/// escaped.
fn url_password(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices("://") {
        if at < from {
            continue;
        }
        let start = at + 3;
        let rest = &text[start..];
        let rest = &rest[..rest.floor_char_boundary(MAX_USER_INFO_BYTES)];
        let is_space = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>');
        let ends = |c: char| is_space(c) || matches!(c, '/' | '?' | '#');
        let authority = &rest[..rest.find(ends).unwrap_or(rest.len())];
        let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let user_info = match (authority.rfind('@'), authority.rfind(':')) {
            (Some(end), _) => &rest[..end],
            (None, Some(colon))
                if !is_port(&authority[colon + 1..]) && !authority.contains(']') =>
            {
                let word = &rest[..rest.find(is_space).unwrap_or(rest.len())];
                &word[..word.rfind('@').unwrap_or(0)]
            }
            _ => continue,
        };
        let secret = match user_info.find(':') {
            Some(colon) => start + colon + 1..start + user_info.len(),
            // Nobody is called so: a token instead of a user.
            None if user_info.len() >= 20 => start..start + user_info.len(),
            None => continue,
        };
        from = secret.end;
        if !is_harmless(&text[secret.clone()], Secret::Always) {
            found.push(secret);
        }
    }
    found
}

/// The password of `user:password@host`, with or without a scheme before.
pub(super) fn user_info(text: &str) -> Option<Range<usize>> {
    let start = text.find("://").map_or(0, |at| at + 3);
    let end = start + text[start..].rfind('@')?;
    let password = start + text[start..end].find(':')? + 1;
    (!is_harmless(&text[password..end], Secret::Always)).then_some(password..end)
}

/// The password of `user:password`, where the user may as well be a URL, or a script.
pub(super) fn login(text: &str) -> Option<Range<usize>> {
    let colon = text.find(':')?;
    let is_user = |c: char| is_name(c) || matches!(c, '@' | '+' | '%' | '\\');
    let password = &text[colon + 1..];
    let is_login = colon > 0 && text[..colon].chars().all(is_user) && !password.starts_with("//");
    (is_login && !is_harmless(password, Secret::Always)).then_some(colon + 1..text.len())
}

/// The same as [`user_info`] of a word that is nothing but a URL without its scheme: where programs take
/// such. Elsewhere it may be an image (`nginx:1.27@sha256:...`) or an address to write to.
pub(super) fn bare_user_info(word: &str) -> Option<Range<usize>> {
    let password = user_info(word)?;
    let is_user = |byte: u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(&byte);
    let no_password = ['/', '=', '?', '&', '"', '\''];
    let is_bare = word[..password.start - 1].bytes().all(is_user)
        && !word.contains(char::is_whitespace)
        && !word[password.clone()].contains(no_password)
        && word[password.end + 1..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
    is_bare.then_some(password)
}

/// `Bearer` and a token, where the header's name is not with it. Of prose a word stays.
fn bearer(text: &str) -> Vec<Range<usize>> {
    const SCHEME: &str = "bearer ";
    /// Shorter ones are masked where there is nothing else.
    const LEAST: usize = 8;
    let mut found = Vec::new();
    for (at, _) in text.match_indices(['b', 'B']) {
        let is_scheme =
            text.get(at..at + SCHEME.len()).is_some_and(|it| it.eq_ignore_ascii_case(SCHEME));
        if !is_scheme || text[..at].ends_with(is_name) {
            continue;
        }
        let rest = text[at + SCHEME.len()..].trim_start();
        let start = text.len() - rest.len();
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        let token = &rest[..rest.bytes().take_while(|byte| is_token(byte)).count()];
        let end = start + token.len();
        let is_random =
            token.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        let is_all = at == 0 && end == text.len();
        if !token.is_empty() && (is_all || token.len() >= LEAST && is_random) {
            found.push(start..end);
        }
    }
    found
}

/// What follows the number of a Telegram bot: `/bot123456789:...`.
fn bot_token(text: &str) -> Vec<Range<usize>> {
    const LENGTH: usize = 35;
    /// Of the bot's number, which is a user's.
    const MOST_DIGITS: usize = 20;
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let mut found = Vec::new();
    for (colon, _) in text.match_indices(':') {
        let before = text.as_bytes()[..colon].iter().rev();
        let digits = before.take(MOST_DIGITS).take_while(|byte| byte.is_ascii_digit()).count();
        let start = colon + 1;
        let length = text.as_bytes()[start..].iter().take_while(|byte| is_token(byte)).count();
        if digits > 0 && text[..colon - digits].ends_with("bot") && length == LENGTH {
            found.push(start..start + length);
        }
    }
    found
}

/// Keys that are known by how they begin: the beginning, and the least that
/// follows. `eyJ` is `{"` in Base64: JSON web tokens.
const TOKENS: &[(&str, usize)] = &[
    ("eyJ", 17),
    ("AKIA", 16),
    ("ASIA", 16),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxa-", 10),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xoxs-", 10),
    ("sk-", 20),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("AIza", 30),
    ("npm_", 30),
    ("hvs.", 20),
    ("SG.", 30),
    ("dop_v1_", 30),
    ("AGE-SECRET-KEY-", 20),
];

/// No token above is shorter.
const LEAST_TOKEN_BYTES: usize = 15;

fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let bytes = text.as_bytes();
    while at < bytes.len() {
        if !is_token(bytes[at]) {
            at += 1;
            continue;
        }
        // A run of a token's characters; JSON web tokens have dots in them.
        let end =
            at + bytes[at..].iter().take_while(|&&byte| is_token(byte) || byte == b'.').count();
        let run = &text[at..end];
        let is_secret = TOKENS.iter().any(|(start, least)| {
            run.strip_prefix(start).is_some_and(|rest| {
                let long = rest.bytes().take_while(|&byte| is_token(byte)).count() >= *least;
                // Words with dashes between them are names.
                long && rest.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
            })
        });
        if is_secret {
            found.push(at..end);
        }
        at = end.max(at + 1);
    }
    found
}
