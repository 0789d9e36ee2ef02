//! Where a name's registered domain begins.
//!
//! By rules instead of the public suffix list: the list as code (crate `psl`) takes
//! four and a half minutes to compile. Country domains with a
//! second level of the usual kinds (`co.uk`, `com.br`), suffixes that hand names to
//! anybody (dynamic DNS, clouds), and top levels that exist. Names of a suffix that
//! is missing here come together under one domain: sums are too large then, never too
//! small. Below a top level that is missing here (there are over a thousand) a label that
//! somebody could have registered is the domain; a longer one is data of a tunnel to its own
//! server, whose names come together under the top level.

/// Second levels below which country domains register.
const SECOND_LEVELS: [&[u8]; 24] = [
    b"ac", b"asso", b"co", b"com", b"edu", b"gc", b"gen", b"go", b"gob", b"gouv", b"gov", b"govt",
    b"ltd", b"me", b"mil", b"ne", b"net", b"nhs", b"nom", b"or", b"org", b"plc", b"sch", b"school",
];

/// Longest label that is a domain of its own below a top level that is missing here: of
/// registered ones hardly any is longer, and what carries data fills labels of up to 63.
const REGISTERED: usize = 24;

/// Generic top levels, those with most names first; others may be a private one.
const TOP_LEVELS: [&[u8]; 78] = [
    b"com",
    b"net",
    b"org",
    b"info",
    b"biz",
    b"xyz",
    b"top",
    b"online",
    b"shop",
    b"site",
    b"store",
    b"vip",
    b"club",
    b"app",
    b"dev",
    b"live",
    b"pro",
    b"icu",
    b"cloud",
    b"work",
    b"tech",
    b"space",
    b"fun",
    b"website",
    b"life",
    b"edu",
    b"gov",
    b"mil",
    b"int",
    b"arpa",
    b"name",
    b"mobi",
    b"asia",
    b"cat",
    b"coop",
    b"aero",
    b"jobs",
    b"museum",
    b"travel",
    b"tel",
    b"post",
    b"agency",
    b"art",
    b"bank",
    b"blog",
    b"cam",
    b"center",
    b"digital",
    b"email",
    b"events",
    b"expert",
    b"finance",
    b"global",
    b"goog",
    b"google",
    b"group",
    b"guru",
    b"host",
    b"link",
    b"ltd",
    b"media",
    b"monster",
    b"network",
    b"news",
    b"one",
    b"page",
    b"press",
    b"rest",
    b"services",
    b"solutions",
    b"stream",
    b"support",
    b"systems",
    b"team",
    b"today",
    b"wang",
    b"world",
    b"zone",
];

/// Suffixes below which anybody gets a name, the dynamic DNS that tunnels like first.
const PRIVATE: [&[u8]; 40] = [
    b"duckdns.org",
    b"ddns.net",
    b"no-ip.org",
    b"no-ip.biz",
    b"hopto.org",
    b"zapto.org",
    b"sytes.net",
    b"dyndns.org",
    b"dynu.net",
    b"freeddns.org",
    b"mooo.com",
    b"chickenkiller.com",
    b"afraid.org",
    b"eu.org",
    b"us.to",
    b"nip.io",
    b"sslip.io",
    b"github.io",
    b"gitlab.io",
    b"herokuapp.com",
    b"appspot.com",
    b"web.app",
    b"firebaseapp.com",
    b"pages.dev",
    b"workers.dev",
    b"vercel.app",
    b"netlify.app",
    b"azurewebsites.net",
    b"cloudapp.net",
    b"ngrok.io",
    b"ngrok.app",
    b"ngrok-free.app",
    b"trycloudflare.com",
    b"cloudfront.net",
    b"azureedge.net",
    b"azurefd.net",
    b"onrender.com",
    b"r2.dev",
    b"blogspot.com",
    b"fly.dev",
];

/// Length of the registered domain at the end of a name in lower case.
pub(super) fn registered_len(name: &[u8]) -> usize {
    let Some(top) = last_labels(name, 1) else { return name.len() };
    let country = top.len() == 2 || top.starts_with(b"xn--");
    let two = last_labels(name, 2).unwrap_or(name);
    let second = &two[..two.len() - top.len() - 1];
    if !country && !TOP_LEVELS.contains(&top) {
        return if second.len() > REGISTERED { top.len() } else { two.len() };
    }
    if two.len() == name.len() {
        return name.len();
    }
    let suffix_labels = match name {
        _ if PRIVATE.contains(&two) => 2,
        _ if country && SECOND_LEVELS.contains(&second) => 2,
        // An address backwards: the zone of its first byte or so.
        _ if top == b"arpa" => 2,
        _ => 1,
    };
    last_labels(name, suffix_labels + 1).map_or(name.len(), <[u8]>::len)
}

/// The domain that somebody registered, of a name in lower case: whose the host is. It is
/// never a top level alone, as `registered_len` may say: what stands outside has a real one.
pub fn registered(name: &[u8]) -> &[u8] {
    let len = registered_len(name);
    let is_top = last_labels(name, 1).is_some_and(|top| top.len() == len);
    let len = match is_top {
        true => last_labels(name, 2).map_or(name.len(), <[u8]>::len),
        false => len,
    };
    name.get(name.len().saturating_sub(len)..).unwrap_or(name)
}

/// Nothing where there are not more labels than that.
fn last_labels(name: &[u8], labels: usize) -> Option<&[u8]> {
    let mut dots = name.iter().enumerate().rev().filter(|&(_, &byte)| byte == b'.');
    let (at, _) = dots.nth(labels.checked_sub(1)?)?;
    name.get(at + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_host_is_says_its_registered_domain() {
        for (name, domain) in [
            ("a1b2.cdn.example.com", "example.com"),
            ("i-123.eu-west-1.compute.amazonaws.com", "amazonaws.com"),
            ("d1a2.cloudfront.net", "d1a2.cloudfront.net"),
            ("x.user.github.io", "user.github.io"),
            ("files.evil.zip", "evil.zip"),
            ("zip", "zip"),
            ("", ""),
            ("ä.example", "ä.example"),
        ] {
            assert_eq!(registered(name.as_bytes()), domain.as_bytes());
        }
    }

    #[test]
    fn a_registered_domain_is_one_label_more_than_its_suffix() {
        for (name, domain) in [
            ("www.example.co.uk", "example.co.uk"),
            ("a.b.example.com", "example.com"),
            ("example.com", "example.com"),
            ("co.uk", "co.uk"),
            ("x.example.uk", "example.uk"),
            ("a.b.user.duckdns.org", "user.duckdns.org"),
            ("b.user.github.io", "user.github.io"),
            ("data.tunnel", "data.tunnel"),
            ("www.shop.example", "shop.example"),
            ("a.example", "a.example"),
            ("mzxw6ytboi2dkobrgiztinjwg44ds.tunnel", "tunnel"),
            ("more.mzxw6ytboi2dkobrgiztinjwg44ds.tunnel", "tunnel"),
            ("4.3.2.10.in-addr.arpa", "10.in-addr.arpa"),
            ("localhost", "localhost"),
            ("", ""),
            ("..com", ".com"),
        ] {
            let len = registered_len(name.as_bytes());
            assert_eq!(&name[name.len() - len..], domain, "{name}");
        }
    }
}
