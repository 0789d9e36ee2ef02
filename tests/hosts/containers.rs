//! Containers of runc with a network namespace each, heard on the host's side.

use serde_json::Value;

use crate::common::Dir;
use crate::lab::Lab;
use crate::support::container::{Container, ContainerOptions};
use crate::support::netns::{Link, LinkOptions, Netns};
use crate::watched::{Watched, assert_how, has_ebpf, in_time, serve, wait_for_listener};

/// A host (space 0) with two containers' namespaces, which it forwards between.
pub(crate) fn host_and_two(test: &str) -> Option<(Lab, Link)> {
    let mut net = Container::or_skip(test, 3, &["sysctl"])?;
    let link = net.join(0, 1, LinkOptions::default());
    let other = net.join(0, 2, LinkOptions::default());
    net.run(0, ["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    route(&net, 1, &link.ipv4[0]);
    route(&net, 2, &other.ipv4[0]);
    Some((Lab { net, link, dir: Dir::new() }, other))
}

fn route(net: &Netns, space: usize, gateway: &str) {
    net.run(space, ["ip", "route", "add", "default", "via", gateway]);
}

const SEND: &str = "\
import socket,sys
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
s.sendto(b'x',(sys.argv[1],40001))";

/// The container and the process in it.
fn assert_in(host: &Value, container: &Container, command_line: &str) {
    assert_eq!(host["process"]["command_line"], command_line, "{host:#}");
    let workload = &host["workload"];
    assert_eq!(workload["container"], container.id(), "{host:#}");
    assert_eq!(workload["runtime"], "runc", "{host:#}");
}

#[test]
fn containers_that_send_and_relay_are_named_with_their_processes() {
    in_time(|| {
        let test = "containers by eBPF";
        let Some((lab, other)) = host_and_two(test) else { return true };
        if !has_ebpf(test) {
            return true;
        }
        let [home, away] = [&lab.link.ipv4[0], &other.ipv4[0]];
        let relay_at = &other.ipv4[1];
        let options = || ContainerOptions { host_programs: true, ..ContainerOptions::default() };
        let sender = Container::start(&lab.net, 1, options());
        let relay = Container::start(&lab.net, 2, ContainerOptions::default());
        let www = lab.dir.path("www");
        std::fs::create_dir(&www).unwrap();
        std::fs::write(www.join("page"), "through").unwrap();
        let served = ["busybox", "httpd", "-f", "-p", "7001", "-h", www.to_str().unwrap()];
        let server = serve(&lab.net, 0, &served, 7001);

        let interfaces = [lab.link.names[0].as_str(), other.names[0].as_str()];
        let watched = Watched::start(&lab, (0, &interfaces), "ebpf", &[]);
        // Accepts one connection and becomes what connects further.
        let chain = ["nc", "-l", "-p", "7000", "-e", "nc", away, "7001"];
        let relaying = relay.spawn_detached(chain);
        wait_for_listener(&lab.net, 2, 7000);
        let url = format!("http://{relay_at}:7000/page");
        let page = sender.run(["wget", "-q", "-O", "-", &url]).stdout;
        assert_eq!(page, b"through");
        // About ten milliseconds long.
        sender.run(["ping", "-q", "-c1", home]);
        sender.run(["/usr/bin/python3", "-c", SEND, home]);
        let records = watched.stop();
        if !records.is_whole() {
            return false;
        }

        let asked = records.to_port(6, 7000);
        assert_in(&asked["src_host"], &sender, &format!("wget -q -O - {url}"));
        assert_how(&asked["src_host"], "ebpf", "used", 1.0);
        assert_eq!(asked["dst_host"]["process"]["pid"], relaying, "{asked:#}");
        // It had become that before it used what it had accepted.
        assert_in(&asked["dst_host"], &relay, &format!("nc {away} 7001"));
        assert_how(&asked["dst_host"], "ebpf", "used", 1.0);

        let passed_on = records.to_port(6, 7001);
        assert_eq!(passed_on["src_host"]["process"]["pid"], relaying, "{passed_on:#}");
        assert_in(&passed_on["src_host"], &relay, &format!("nc {away} 7001"));
        assert_how(&passed_on["src_host"], "ebpf", "used", 1.0);
        let child = &passed_on["dst_host"];
        assert_eq!(child["process"]["name"], "busybox", "{child:#}");
        assert!(child["workload"].is_null(), "the host's own: {child:#}");
        assert!(server.child.id() > 0);

        let echo = records.one("an echo", |flow| flow["proto"] == 1 && flow["icmp_type"] != 3);
        assert_in(&echo["src_host"], &sender, &format!("ping -q -c1 {home}"));
        assert_how(&echo["src_host"], "ebpf", "used", 1.0);

        let datagram = records.to_port(17, 40001);
        assert_eq!(datagram["src_host"]["workload"]["container"], sender.id(), "{datagram:#}");
        assert_eq!(datagram["src_host"]["process"]["name"], "python3");
        assert!(records.summary["coverage"]["in_workloads"]["flows"].as_u64() >= Some(4));
        true
    });
}

#[test]
fn a_container_that_stays_is_named_by_the_socket_tables() {
    in_time(|| {
        let Some((lab, other)) = host_and_two("containers by tables") else { return true };
        let relay_at = &other.ipv4[1];
        let sender = Container::start(&lab.net, 1, ContainerOptions::default());
        let server = Container::start(&lab.net, 2, ContainerOptions::default());
        let serving = server.spawn_detached(["httpd", "-f", "-p", "8080", "-h", "/bin"]);
        wait_for_listener(&lab.net, 2, 8080);
        let interfaces = [lab.link.names[0].as_str()];
        let watched = Watched::start(&lab, (0, &interfaces), "sock-diag", &[]);
        let script =
            format!("(sleep 2; echo GET /busybox HTTP/1.0; echo) | nc {relay_at} 8080 > /dev/null");
        sender.run(["sh", "-c", &script]);
        let records = watched.stop();
        if !records.is_whole() {
            return false;
        }
        let flow = records.to_port(6, 8080);
        assert_in(&flow["src_host"], &sender, &format!("nc {relay_at} 8080"));
        assert_how(&flow["src_host"], "sock_diag", "holds", 0.9);
        let host = &flow["dst_host"];
        assert_eq!(host["workload"]["container"], server.id(), "{host:#}");
        let pid = host["process"]["pid"].as_u64();
        let parent = host["process"]["ancestors"][0]["pid"].as_u64();
        assert!([pid, parent].contains(&Some(serving.into())), "{host:#}");
        true
    });
}
