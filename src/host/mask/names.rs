//! Names that say that their value is a secret.

/// What a name says of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secret {
    No,
    Always,
    /// The value may as well be the path of a file that has it.
    UnlessPath,
    /// A code that a person types; what is too short for one is a number of something.
    Code,
}

/// A name longer than this is no name.
const MAX_NAME_BYTES: usize = 128;

/// Last words of names whose value is about a secret, but none.
const ABOUT: &[&str] = &[
    "address",
    "age",
    "audience",
    "auth",
    "cache",
    "class",
    "count",
    "dir",
    "directory",
    "endpoint",
    "env",
    "expiration",
    "expiry",
    "field",
    "file",
    "files",
    "format",
    "header",
    "host",
    "id",
    "interval",
    "issuer",
    "jar",
    "len",
    "length",
    "limit",
    "manager",
    "max",
    "min",
    "mode",
    "name",
    "names",
    "path",
    "policy",
    "prompt",
    "provider",
    "ref",
    "review",
    "server",
    "size",
    "stdin",
    "store",
    "timeout",
    "ttl",
    "type",
    "uri",
    "url",
    "user",
    "username",
    "version",
    "webhook",
];

/// Words that make any name a secret's by being part of it.
const PARTS: &[&str] = &["password", "passwd", "passphrase"];

/// Ends of words, for `clientsecret` and `authtoken`.
const ENDS: &[&str] = &["secret", "token"];

/// Whole words.
const WORDS: &[&str] = &[
    "accountkey",
    "apikey",
    "authkey",
    "bearer",
    "cookie",
    "dbpass",
    "dbpw",
    "jwt",
    "keypass",
    "masterauth",
    "pass",
    "passcode",
    "passin",
    "passout",
    "psk",
    "pw",
    "requirepass",
    "setcookie",
    "sharedaccesskey",
    "sharedaccesssignature",
    "sshpass",
    "storepass",
    "userpass",
];

/// Whole words of things that are often given by a file's path.
const PATH_WORDS: &[&str] =
    &["credential", "credentials", "pwd", "accesskey", "presharedkey", "privatekey", "secretkey"];

/// What makes a key one to be kept secret.
const KEYS: &[&str] = &[
    "access",
    "account",
    "aes",
    "api",
    "auth",
    "encryption",
    "hmac",
    "master",
    "preshared",
    "private",
    "secret",
    "shared",
    "signing",
    "ssh",
    "storage",
    "subscription",
];

/// Last words of names whose value is a code: one-time passwords.
const CODES: &[&str] = &["otp", "totp"];

/// What a PIN is of, where it is none of a connector (`LED_PIN`); it may also stand alone.
const PIN_OF: &[&str] = &[
    "card",
    "key",
    "login",
    "piv",
    "pkcs11",
    "security",
    "sim",
    "smartcard",
    "so",
    "token",
    "unlock",
    "user",
    "yubikey",
];

/// Shortest code: banks' PINs.
const LEAST_CODE_BYTES: usize = 4;

/// Last words of names that in a signed URL have what lets anybody use it.
const SIGNATURES: &[&str] = &["sig", "signature"];

/// By the words of a name: `--db-password`, `AWS_SECRET_ACCESS_KEY`, `spring.datasource.password`.
pub(super) fn secret(name: &str) -> Secret {
    if name.len() < 2 || name.len() > MAX_NAME_BYTES || !name.is_ascii() {
        return Secret::No;
    }
    // `java -Dpwd=...`
    let name = name.strip_prefix("-D").unwrap_or(name).to_ascii_lowercase();
    // Of npm: name and password in Base64. Elsewhere `auth` is how, not what.
    if name == "_auth" || name.ends_with(":_auth") {
        return Secret::Always;
    }
    let mut found = Secret::No;
    let (mut before, mut previous) = ("", "");
    for word in words(&name) {
        let stem = word.trim_end_matches(|c: char| c.is_ascii_digit());
        if PARTS.iter().any(|part| stem.contains(part))
            || ENDS.iter().any(|end| stem.ends_with(end))
            || WORDS.contains(&stem)
        {
            found = Secret::Always;
        } else if found == Secret::No
            && (PATH_WORDS.contains(&stem)
                || stem == "key" && KEYS.contains(&previous)
                // Of kubeconfigs; without `data` it is a file.
                || (before, previous, stem) == ("client", "key", "data"))
        {
            found = Secret::UnlessPath;
        }
        before = previous;
        previous = word;
    }
    if found == Secret::No {
        let is_pin = previous == "pin" && (before.is_empty() || PIN_OF.contains(&before));
        return if is_pin || CODES.contains(&previous) { Secret::Code } else { found };
    }
    // `passwordfile`, `passwordFile` too.
    let about = ABOUT.iter().any(|end| {
        previous == *end
            || end.len() > 3 && PARTS.iter().any(|part| previous.strip_suffix(end) == Some(part))
    });
    if about { Secret::No } else { found }
}

fn words(name: &str) -> impl DoubleEndedIterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

fn last_word(name: &str) -> &str {
    words(name).next_back().unwrap_or_default()
}

/// Of a parameter in a URL: `sig`, `X-Amz-Signature`.
pub(super) fn is_signature(name: &str) -> bool {
    let last = last_word(name);
    SIGNATURES.iter().any(|signature| last.eq_ignore_ascii_case(signature))
}

/// Of a parameter that has such a name in a URL's query, and nothing else in it:
/// elsewhere, and with more words, these are about anything.
pub(super) fn in_query(name: &str) -> Secret {
    match name.to_ascii_lowercase().as_str() {
        "key" | "auth" => Secret::Always,
        "code" => Secret::Code,
        _ => Secret::No,
    }
}

/// The value is `user:password`: `--basic-auth`, `-http-auth`, `--login`.
pub(super) fn is_login(name: &str) -> bool {
    let is = |word: &str, options: &[&str]| options.iter().any(|it| word.eq_ignore_ascii_case(it));
    let mut last = words(name).rev();
    match (last.next(), last.next()) {
        (Some(word), None) => is(word, &["login"]),
        (Some(word), Some(of)) => is(word, &["auth"]) && is(of, &["basic", "http"]),
        _ => false,
    }
}

/// The value is a proxy's address, which may begin with `user:password@`: `--proxy`,
/// `https_proxy`.
pub(super) fn is_proxy(name: &str) -> bool {
    last_word(name).eq_ignore_ascii_case("proxy")
}

/// The value gives nothing away: it is empty, a switch, or names where the secret
/// is.
pub(super) fn is_harmless(value: &str, secret: Secret) -> bool {
    const SWITCHES: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "none", "null"];
    value.is_empty()
        || SWITCHES.iter().any(|switch| value.eq_ignore_ascii_case(switch))
        || ["env:", "file:", "fd:"].iter().any(|start| value.starts_with(start))
        || is_variable(value)
        || matches!(secret, Secret::UnlessPath | Secret::Code) && is_path(value)
        || secret == Secret::Code && value.len() < LEAST_CODE_BYTES
        || secret == Secret::No
}

fn is_path(value: &str) -> bool {
    ["./", "../", "~/", "@"].iter().any(|start| value.starts_with(start))
        || value.starts_with('/') && !is_base64(value)
}

/// A key in Base64, which may begin with `/` and have more of them: one in 64 characters is
/// one, in paths many more are. Shorter ones are taken for paths.
fn is_base64(value: &str) -> bool {
    /// 15 random bytes; also the least characters of a key to each `/` in it.
    const LEAST: usize = 20;
    let body = value.trim_end_matches('=');
    let has = |is: fn(&u8) -> bool| body.as_bytes().iter().any(is);
    let slashes = body.bytes().filter(|&byte| byte == b'/').count();
    body.len() >= LEAST
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && (body.len() < value.len() || slashes * LEAST <= body.len())
}

/// `$NAME` or `${NAME}` alone: what the shell had not put in yet.
fn is_variable(value: &str) -> bool {
    let Some(name) = value.strip_prefix('$') else { return false };
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_by_their_words() {
        for name in [
            "--password",
            "--db-password",
            "DB_PASSWORD",
            "PGPASSWORD",
            "MYSQL_ROOT_PASSWORD",
            "spring.datasource.password",
            "dbPassword",
            "GITHUB_TOKEN",
            "--authtoken",
            "TOKEN2",
            "AWS_SECRET_ACCESS_KEY",
            "client_secret",
            "clientSecret",
            "--passphrase",
            "-storepass",
            "-passin",
            "SSHPASS",
            "--psk",
        ] {
            assert_eq!(secret(name), Secret::Always, "{name}");
        }
        for name in ["--otp", "NPM_CONFIG_OTP", "--pin", "PIN", "--so-pin", "pkcs11_pin"] {
            assert_eq!(secret(name), Secret::Code, "{name}");
        }
        for name in ["--api-key", "X-Api-Key", "--private-key", "storage.key", "credentials"] {
            assert_eq!(secret(name), Secret::UnlessPath, "{name}");
        }
        for name in [
            "--password-file",
            "--passwordfile",
            "--token-url",
            "--max-tokens",
            "tokenizer",
            "--keyfile",
            "--key",
            "bypass",
            "--compass",
            "--secret-name",
            "AWS_ACCESS_KEY_ID",
            "--pass-through",
            "--authentication-token-webhook",
            "PATH",
            "",
            "--",
            "monkey",
            "--passive-mode",
            "--sign",
            "--signature",
            "--sig",
            "--design",
            "pinky",
            "ping",
            "--pin-memory",
            "LED_PIN",
            "--opt",
            "--otp-length",
            "-DNDEBUG",
            "SharedAccessKeyName",
        ] {
            let expected = if name == "--pass-through" { Secret::Always } else { Secret::No };
            assert_eq!(secret(name), expected, "{name}");
        }
    }

    #[test]
    fn what_says_where_the_secret_is_stays() {
        for value in ["", "true", "No", "env:PW", "file:/etc/pw", "$PW", "${DB_PASSWORD}"] {
            assert!(is_harmless(value, Secret::Always), "{value}");
        }
        for value in ["/etc/pw", "$1$salt$hash", "hunter2", "$", "${a b}"] {
            assert!(!is_harmless(value, Secret::Always), "{value}");
        }
        for value in ["/srv/Keys2026/Production/Main01", "/keys", "./wJalrXUtnFEMI7MDENG0bPxRfiC"] {
            assert!(is_harmless(value, Secret::UnlessPath), "{value}");
        }
        for value in ["/JalrXUtnFEMI7K7MDENG/bPxRfiCYEXAMPLEKEY", "/a/7MDENG/bPxRfiCYEXAMPLEKE/w=="]
        {
            assert!(!is_harmless(value, Secret::UnlessPath), "{value}");
        }
        assert!(is_harmless("/etc/key.pem", Secret::UnlessPath));
        assert!(is_harmless("/run/pin", Secret::Code) && is_harmless("13", Secret::Code));
        assert!(!is_harmless("1234", Secret::Code));
    }
}
