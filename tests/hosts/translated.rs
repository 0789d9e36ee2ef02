//! Connections whose addresses the kernel changes on the way.

use crate::containers::host_and_two;
use crate::support::container::{Container, ContainerOptions};
use crate::support::netns::is_installed;
use crate::watched::{Watched, has_ebpf, in_time, serve};

#[test]
fn a_flow_outside_the_translation_names_the_process_behind_it() {
    in_time(|| {
        let test = "translation";
        let Some((lab, outside)) = host_and_two(test) else { return true };
        if !has_ebpf(test) {
            return true;
        }
        if !is_installed("nft") {
            eprintln!("SKIP: {test}: there is no 'nft' (tools/setup test)");
            return true;
        }
        let rules = format!(
            "table ip nat {{ chain out {{ type nat hook postrouting priority srcnat; \
         oifname \"{}\" masquerade; }} }}",
            outside.names[0]
        );
        let set = lab.net.command(0, ["nft", &rules]).output().unwrap();
        if !set.status.success() {
            let why = String::from_utf8_lossy(&set.stderr).into_owned();
            eprintln!("SKIP: {test}: nft can't masquerade here: {why}");
            return true;
        }
        let [gateway, server] = &outside.ipv4;
        let www = lab.dir.path("www");
        std::fs::create_dir(&www).unwrap();
        std::fs::write(www.join("page"), "far away").unwrap();
        let words = ["busybox", "httpd", "-f", "-p", "7001", "-h", www.to_str().unwrap()];
        let _server = serve(&lab.net, 2, &words, 7001);
        let container = Container::start(&lab.net, 1, ContainerOptions::default());
        let watched = Watched::start(&lab, (0, &[&outside.names[0]]), "ebpf", &[]);
        let url = format!("http://{server}:7001/page");
        assert_eq!(container.run(["wget", "-q", "-O", "-", &url]).stdout, b"far away");
        container.run(["ping", "-q", "-c1", server]);
        let records = watched.stop();
        if !records.is_whole() {
            return false;
        }
        let echo = records.one("an echo", |flow| flow["proto"] == 1 && flow["icmp_type"] != 3);
        for (flow, words) in [
            (records.to_port(6, 7001), format!("wget -q -O - {url}")),
            (echo, format!("ping -q -c1 {server}")),
        ] {
            let host = &flow["src_host"];
            assert_eq!(flow["src_ip"], gateway.as_str(), "seen outside: {flow:#}");
            assert_eq!(host["process"]["command_line"], words, "{flow:#}");
            assert_eq!(host["workload"]["container"], container.id(), "{host:#}");
            assert_eq!(host["attribution"]["translated"], true, "{host:#}");
            assert_eq!(host["attribution"]["basis"], "used", "{host:#}");
        }
        true
    });
}
