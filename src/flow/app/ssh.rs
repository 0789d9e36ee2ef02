//! SSH identification line (RFC 4253 section 4.2).

use super::text::escape;
use super::{AppInfo, SshInfo};

/// Longest line with its end (RFC 4253 section 4.2).
const MAX_LINE_BYTES: usize = 255;

/// Reads the line that each side sends first, without CR and LF. A line whose
/// end was not captured tells nothing: half a version could be another one.
pub(super) fn inspect(bytes: &[u8], from_originator: bool, info: &mut Option<Box<AppInfo>>) {
    let bound = bytes.len().min(MAX_LINE_BYTES);
    let Some(end) = bytes[..bound].iter().position(|&byte| byte == b'\n') else { return };
    // NUL must not be sent; some pad the line with it.
    let end = bytes[..end].iter().position(|byte| matches!(byte, 0 | b'\r')).unwrap_or(end);
    let line = &bytes[..end];
    // "SSH-protoversion-softwareversion", the first either 2.0 or 1.x.
    if !(line.starts_with(b"SSH-2.") || line.starts_with(b"SSH-1.")) {
        return;
    }
    let ssh = info.get_or_insert_default().ssh.get_or_insert_with(SshInfo::default);
    let side = if from_originator { &mut ssh.client } else { &mut ssh.server };
    side.get_or_insert_with(|| escape(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], from_originator: bool) -> Option<SshInfo> {
        let mut info = None;
        inspect(bytes, from_originator, &mut info);
        info.and_then(|app| app.ssh)
    }

    #[test]
    fn each_side_keeps_its_own_line() {
        let mut info = None;
        inspect(b"SSH-2.0-OpenSSH_9.6 Debian-1\r\n", true, &mut info);
        inspect(b"SSH-1.99-dropbear\0\0\n", false, &mut info);
        inspect(b"SSH-2.0-later\r\n", false, &mut info);
        let ssh = info.expect("hint").ssh.expect("ssh");
        assert_eq!(ssh.client.as_deref(), Some("SSH-2.0-OpenSSH_9.6 Debian-1"));
        assert_eq!(ssh.server.as_deref(), Some("SSH-1.99-dropbear"));
    }

    #[test]
    fn a_line_without_its_end_or_of_another_protocol_gives_nothing() {
        assert_eq!(read(b"SSH-2.0-OpenSSH_9", true), None);
        assert_eq!(read(b"SSH-news today\r\n", true), None);
        let mut long = b"SSH-2.0-".to_vec();
        long.resize(300, b'x');
        long.push(b'\n');
        assert_eq!(read(&long, false), None);
    }

    #[test]
    fn terminal_escapes_do_not_survive() {
        let ssh = read(b"SSH-2.0-\x1b]0;owned\x07\r\n", false).expect("hint");
        assert_eq!(ssh.server.as_deref(), Some("SSH-2.0-\\x1b]0;owned\\x07"));
    }
}
