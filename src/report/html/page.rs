//! The frame of every page: head, policy, styles, theme switch, script.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::markup::Html;

const STYLE: &str = include_str!("assets/report.css");
const SCRIPT: &str = include_str!("assets/report.js");

/// What every page begins with: a file without it is none of ours.
pub const BEGINNING: &str = "<!DOCTYPE html>\n<html lang=\"en\" data-theme=\"auto\">";

/// A page of these sections, for the navigation: the element's id and its name.
pub(super) fn framed(
    title: &str,
    subtitle: &str,
    sections: &[(&'static str, &'static str)],
    content: Html,
) -> String {
    let mut page = Html::default();
    page.raw(BEGINNING);
    page.raw("\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"").text(&policy());
    page.raw("\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
    page.raw("<meta name=\"referrer\" content=\"no-referrer\">\n<title>").text(title);
    page.raw("</title>\n<style>").raw(STYLE).raw("</style>\n</head>\n<body>\n<header>\n<h1>");
    page.text(title).raw("</h1>\n<p class=\"subtitle\">").text(subtitle).raw("</p>\n");
    page.raw("<button type=\"button\" id=\"theme\" hidden>Theme: auto</button>\n<nav>");
    for (id, name) in sections {
        page.raw("<a href=\"#").raw(id).raw("\">").raw(name).raw("</a> ");
    }
    page.raw("</nav>\n</header>\n<main>\n").add(content);
    page.raw("</main>\n<footer>Made by flowtap ").raw(env!("CARGO_PKG_VERSION"));
    page.raw(". Times are UTC. Nothing is loaded from anywhere.</footer>\n<script>");
    page.raw(SCRIPT).raw("</script>\n</body>\n</html>\n");
    page.into_string()
}

/// Runs our script and our styles, by their hashes, and nothing else at all.
fn policy() -> String {
    let [style, script] = [STYLE, SCRIPT].map(|text| STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; \
         base-uri 'none'; form-action 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_end_no_element_of_theirs() {
        assert!(!STYLE.to_lowercase().contains("</style"));
        assert!(!SCRIPT.to_lowercase().contains("</script") && !SCRIPT.contains("<!--"));
    }

    #[test]
    fn titles_are_text() {
        let page = framed("</title><script>x</script>", "<b>", &[], Html::default());
        assert!(page.contains("<title>&lt;/title&gt;&lt;script&gt;x"));
        assert_eq!(page.matches("<script").count(), 1);
    }
}
