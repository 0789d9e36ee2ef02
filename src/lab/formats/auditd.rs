//! Records of Linux's audit of `execve`, with the host's name in front
//! (`name_format = hostname`).

use std::fmt::Write as _;

use crate::host::process::Process;

pub(super) fn lines(host: &str, process: &Process) -> String {
    let Some(started_ns) = process.started_ns else { return String::new() };
    let (pid, ppid) = (process.id.pid, process.parent.map_or(1, |parent| parent.pid));
    let uid = process.uid.unwrap_or(0);
    let millis = started_ns.div_euclid(1_000_000);
    let message =
        format!("msg=audit({}.{:03}:{pid}):", millis.div_euclid(1_000), millis.rem_euclid(1_000));
    let terminal = match process.terminal.as_str() {
        "" => "(none)".to_owned(),
        terminal => terminal.replace('/', ""),
    };
    let (name, exe) = (text(&process.name), text(&process.exe));
    let mut lines = format!(
        "node={host} type=SYSCALL {message} arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=0 \
         items=2 ppid={ppid} pid={pid} auid=4294967295 uid={uid} gid={uid} euid={uid} suid={uid} fsuid={uid} \
         egid={uid} sgid={uid} fsgid={uid} tty={terminal} ses=4294967295 comm={name} exe={exe} key=\"exec\"\n\
         node={host} type=EXECVE {message} argc={}",
        process.args.len()
    );
    for (at, word) in process.args.iter().enumerate() {
        let _ = write!(lines, " a{at}={}", text(word));
    }
    let _ = writeln!(lines, "\nnode={host} type=EOE {message}");
    lines
}

/// In quotes; in hexadecimal digits where that could be misread.
fn text(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    if is_plain {
        return format!("\"{text}\"");
    }
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02X}");
        out
    })
}
