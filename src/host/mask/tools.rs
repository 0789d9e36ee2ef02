//! Options that only certain programs take a secret with.

use std::ops::Range;

use super::MASK;
use super::names::{Secret, is_harmless};
use super::text::{bare_user_info, login, user_info};

/// What of a value is the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    /// What follows the first of this: `user:password`.
    After(char),
    /// The password of `user:password@host`.
    UserInfo,
    /// The password of `user:password`, unless it may be anything else.
    Login,
    /// All of a cookie, `name=value`; else it is a file of cookies.
    Cookie,
}

impl Shape {
    pub(super) fn mask(self, value: &str, secret: Secret) -> Option<String> {
        match self {
            Self::Whole => (value != MASK && !is_harmless(value, secret)).then(|| MASK.to_owned()),
            Self::After(mark) => {
                let (user, password) = value.split_once(mark)?;
                (password != MASK && !is_harmless(password, secret))
                    .then(|| format!("{user}{mark}{MASK}"))
            }
            Self::UserInfo => without_password(value, user_info(value)?),
            Self::Login => without_password(value, login(value)?),
            Self::Cookie if value.contains('=') => Self::Whole.mask(value, secret),
            Self::Cookie => None,
        }
    }
}

fn without_password(text: &str, password: Range<usize>) -> Option<String> {
    let (before, after) = (&text[..password.start], &text[password.end..]);
    (text[password] != *MASK).then(|| format!("{before}{MASK}{after}"))
}

/// Where an option's secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The next word.
    Next(Shape),
    /// From this byte of the word on.
    Attached { at: usize, shape: Shape },
}

/// Programs that a line named so far: `sudo mysql`, `docker exec db mysql`.
#[derive(Clone, Debug, Default)]
pub(super) struct Tools {
    seen: Vec<&'static Options>,
    /// A program was named that takes URLs without their scheme.
    takes_urls: bool,
    /// Words after which the program that was named takes names and values.
    setters: &'static [&'static str],
    /// Such a word was said.
    sets: bool,
    /// `login` was said: `-p` of container tools is a port elsewhere.
    login: bool,
    words: usize,
}

#[derive(Debug)]
struct Options {
    programs: &'static [&'static str],
    /// Also programs whose names begin so.
    prefixes: &'static [&'static str],
    options: &'static [(&'static str, Joined, Shape)],
    only_login: bool,
}

/// How the value joins the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joined {
    Word,
    Attached,
    Either,
}

use Joined::{Attached, Either, Word};

const USER: Shape = Shape::After(':');

const fn options(
    programs: &'static [&'static str],
    options: &'static [(&'static str, Joined, Shape)],
) -> Options {
    Options { programs, prefixes: &[], options, only_login: false }
}

static OPTIONS: &[Options] = &[
    Options {
        programs: &["mycli"],
        prefixes: &["mysql", "mariadb"],
        options: &[("-p", Attached, Shape::Whole)],
        only_login: false,
    },
    options(
        &["curl"],
        &[
            ("-u", Either, USER),
            ("-U", Either, USER),
            ("--user", Word, USER),
            ("--user=", Attached, USER),
            ("--proxy-user", Word, USER),
            ("--proxy-user=", Attached, USER),
            ("-x", Either, Shape::UserInfo),
            ("--preproxy", Word, Shape::UserInfo),
            ("-E", Either, USER),
            ("--cert", Word, USER),
            ("--cert=", Attached, USER),
            ("--proxy-cert", Word, USER),
            ("--proxy-cert=", Attached, USER),
            ("-b", Either, Shape::Cookie),
            ("--cookie", Word, Shape::Cookie),
            ("--oauth2-bearer", Word, Shape::Whole),
        ],
    ),
    options(
        &["http", "https", "xh", "xhs"],
        &[("-a", Either, USER), ("--auth", Word, USER), ("--auth=", Attached, USER)],
    ),
    options(&["etcdctl"], &[("--user", Word, USER), ("--user=", Attached, USER)]),
    options(&["lftp"], &[("-u", Either, Shape::After(','))]),
    options(&["sshpass"], &[("-p", Either, Shape::Whole)]),
    options(&["redis-cli", "valkey-cli"], &[("-a", Word, Shape::Whole)]),
    Options {
        programs: &["smbclient", "rpcclient", "smbmap", "net"],
        prefixes: &[],
        options: &[("-U", Either, Shape::After('%')), ("--user=", Attached, Shape::After('%'))],
        only_login: false,
    },
    Options {
        programs: &[],
        prefixes: &["mongo"],
        options: &[("-p", Either, Shape::Whole)],
        only_login: false,
    },
    Options {
        programs: &[],
        prefixes: &["ldap"],
        options: &[("-w", Either, Shape::Whole)],
        only_login: false,
    },
    Options {
        programs: &[],
        prefixes: &["snmp"],
        options: &[
            ("-c", Either, Shape::Whole),
            ("-A", Either, Shape::Whole),
            ("-X", Either, Shape::Whole),
        ],
        only_login: false,
    },
    options(
        &["ipmitool", "sqlcmd", "bcp", "tsql", "zip", "unzip", "mosquitto_pub", "mosquitto_sub"],
        &[("-P", Either, Shape::Whole)],
    ),
    options(&["ssh-keygen"], &[("-N", Either, Shape::Whole), ("-P", Either, Shape::Whole)]),
    options(&["ldappasswd"], &[("-s", Either, Shape::Whole), ("-a", Either, Shape::Whole)]),
    options(
        &["7z", "7za", "7zr", "rar", "unrar"],
        &[("-p", Attached, Shape::Whole), ("-hp", Attached, Shape::Whole)],
    ),
    options(
        &[
            "rdesktop",
            "useradd",
            "usermod",
            "hydra",
            "nxc",
            "netexec",
            "crackmapexec",
            "evil-winrm",
            "twine",
            "cqlsh",
            "cypher-shell",
        ],
        &[("-p", Either, Shape::Whole)],
    ),
    Options {
        programs: &[],
        prefixes: &["xfreerdp", "wlfreerdp"],
        options: &[("/p:", Attached, Shape::Whole)],
        only_login: false,
    },
    // Of Poppler and Xpdf: pdftotext, pdfimages.
    Options {
        programs: &[],
        prefixes: &["pdf"],
        options: &[("-upw", Word, Shape::Whole), ("-opw", Word, Shape::Whole)],
        only_login: false,
    },
    options(&["openssl"], &[("-k", Word, Shape::Whole), ("-K", Word, Shape::Whole)]),
    Options {
        programs: &[
            "docker", "podman", "nerdctl", "buildah", "skopeo", "helm", "oc", "az", "crane",
        ],
        prefixes: &[],
        options: &[("-p", Either, Shape::Whole)],
        only_login: true,
    },
];

/// Programs that take a setting's name and its value as plain words, and after which word.
static SETTERS: &[(&[&str], &[&str])] = &[
    (&["aws", "kubectl", "npm", "pnpm", "yarn", "redis-cli", "valkey-cli", "wg"], &["set"]),
    (&["nmcli"], &["add", "connect", "hotspot", "mod", "modify"]),
    (&["wpa_cli"], &["set_network"]),
];

/// Programs whose plain words may be URLs without a scheme.
const URL_PROGRAMS: &[&str] = &["curl", "wget", "http", "https", "xh", "xhs"];

/// Programs are looked for in so many words: wrappers come before them.
const MAX_WORDS: usize = 24;

/// Options of curl that take no value and so may stand before `u` in one word.
const CURL_SWITCHES: &str = "#0123456aBfgGiIjJklLnNOpqQrRsSvVZ";

impl Tools {
    /// A word that is no option may be the program's name.
    pub(super) fn note(&mut self, word: &str) {
        self.words += 1;
        if self.words > MAX_WORDS || word.starts_with('-') {
            return;
        }
        self.login |= word == "login";
        let name = word.rsplit('/').next().unwrap_or(word);
        self.takes_urls |= URL_PROGRAMS.contains(&name);
        self.sets |= self.setters.iter().any(|setter| name.eq_ignore_ascii_case(setter));
        if let Some((_, setters)) = SETTERS.iter().find(|(programs, _)| programs.contains(&name)) {
            self.setters = setters;
        }
        for options in OPTIONS {
            let named = options.programs.contains(&name)
                || options.prefixes.iter().any(|prefix| name.starts_with(prefix));
            if named && !self.seen.iter().any(|seen| std::ptr::eq(*seen, options)) {
                self.seen.push(options);
            }
        }
    }

    /// Whether a word that names a secret is a setting whose value follows:
    /// `wg set wg0 private-key ...`.
    pub(super) fn takes_setting(&self, word: &str) -> bool {
        // npm's begin with a registry's address without its scheme; other addresses, and
        // `secret/name` of kubectl, are no settings.
        let is_name = !word.contains('/') || word.starts_with("//");
        self.sets && is_name && !word.starts_with('-') && !word.contains(is_no_setting)
    }

    /// A word that is a URL without its scheme, its password masked.
    pub(super) fn bare_url(&self, word: &str) -> Option<String> {
        if !self.takes_urls || word.starts_with('-') || word.contains("://") {
            return None;
        }
        without_password(word, bare_user_info(word)?)
    }

    /// Whether a word is an option that takes a secret.
    pub(super) fn rule(&self, word: &str) -> Option<Rule> {
        if self.seen.is_empty() || !word.starts_with(['-', '/']) {
            return None;
        }
        let usable = |options: &&&'static Options| !options.only_login || self.login;
        self.seen.iter().filter(usable).find_map(|options| {
            options.options.iter().find_map(|&(option, joined, shape)| {
                let is_curl = options.programs.first() == Some(&"curl");
                let at = option_end(word, option, is_curl)?;
                match (at == word.len(), joined) {
                    (true, Word | Either) => Some(Rule::Next(shape)),
                    (false, Attached | Either) => Some(Rule::Attached { at, shape }),
                    _ => None,
                }
            })
        })
    }
}

fn is_no_setting(c: char) -> bool {
    c == '=' || c.is_whitespace()
}

/// Where an option ends in a word, and its value begins: `-u`, `-uname`, and of curl
/// `-su`.
fn option_end(word: &str, option: &str, is_curl: bool) -> Option<usize> {
    if option.starts_with("--") || option.starts_with('/') {
        return word
            .starts_with(option)
            .then_some(option.len())
            .filter(|&end| option.ends_with(['=', ':']) || end == word.len());
    }
    if is_curl {
        let letter = option.chars().nth(1)?;
        let switches = word.strip_prefix('-')?.find(|c| !CURL_SWITCHES.contains(c))?;
        let rest = &word[1 + switches..];
        return rest.starts_with(letter).then_some(2 + switches);
    }
    word.starts_with(option).then_some(option.len())
}
