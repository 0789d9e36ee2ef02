//! Command lines of servers, and the files that they need.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use procfs::net::TcpState;
use procfs::process::Process;

use super::plan::ServerAt;
use super::tool::{ServerTool, TUNNEL_PASSWORD, shown, words};

/// A page of text with some pictures.
const PAGE_BYTES: u64 = 20_000;

/// A server's command line; what it needs is made in `dir`, its own.
pub(super) fn line(at: &ServerAt, address: Ipv4Addr, dir: &Path) -> Result<Vec<String>> {
    fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    let (address, port) = (address.to_string(), at.port.to_string());
    Ok(match at.server.tool {
        ServerTool::Nginx => nginx(at, dir)?,
        ServerTool::Dnsmasq => words([
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            &format!("--listen-address={address}"),
            &format!("--port={port}"),
            "--user=root",
            &format!("--pid-file={}", shown(&dir.join("pid"))),
            "--address=/#/198.18.255.1",
        ]),
        ServerTool::Iperf3 => words(["iperf3", "-s", "-p", &port]),
        ServerTool::Iodined => {
            let inside = format!("{}/24", at.inside);
            let domain = at.server.domain.as_deref().unwrap_or_default();
            let mut line = words(["iodined", "-f", "-c", "-P", TUNNEL_PASSWORD, "-l", &address]);
            line.extend(words(["-p", &port, &inside, domain]));
            line
        }
    })
}

fn nginx(at: &ServerAt, dir: &Path) -> Result<Vec<String>> {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))
    };
    fs::create_dir_all(dir.join("upload"))?;
    let page = "<p>A page of the lab.</p>\n";
    let bytes = at.server.page_bytes.unwrap_or(PAGE_BYTES) as usize;
    let mut text = page.repeat(bytes / page.len() + 1);
    text.truncate(bytes);
    write("index.html", &text)?;
    let (dir_text, port) = (shown(dir), at.port);
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String =
        temporary.iter().map(|name| format!("{name}_temp_path {dir_text}/{name};\n")).collect();
    let text = format!(
        "user root;\ndaemon off;\nmaster_process off;\npid {dir_text}/pid;\nerror_log stderr;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\naccess_log off;\nclient_max_body_size 2g;\n{temporary}\
         server {{\nlisten {port};\nroot {dir_text};\n\
         location /upload/ {{ dav_methods PUT; create_full_put_path on; }}\n}}\n}}\n"
    );
    write("nginx.conf", &text)?;
    let conf = shown(&dir.join("nginx.conf"));
    Ok(words(["nginx", "-e", "stderr", "-p", &dir_text, "-c", &conf]))
}

/// Whether a process's namespace has the server's socket.
pub(super) fn is_served(pid: u32, server: &ServerAt) -> bool {
    let Some(process) = i32::try_from(pid).ok().map(Process::new) else {
        return false;
    };
    let Ok(process) = process else { return false };
    let port = server.port;
    match server.server.tool.is_udp() {
        true => process
            .udp()
            .is_ok_and(|all| all.iter().any(|entry| entry.local_address.port() == port)),
        false => [process.tcp(), process.tcp6()]
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.local_address.port() == port && entry.state == TcpState::Listen),
    }
}
