//! Real programs by eBPF and by the kernel's socket tables.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, complete};
use crate::support::netns::{LinkOptions, wait_for};
use crate::watched::{
    PYTHON, Watched, assert_descends, assert_how, assert_names, children, dnsmasq, has_ebpf,
    in_time, nginx, run, serve,
};

/// A frame of Ethernet with a datagram in it, from a port to another.
const SEND_FRAME: &str = "\
import socket,struct,sys
name,src,dst,mac=sys.argv[1:]
ip=struct.pack('!BBHHHBBH4s4s',0x45,0,28,0,0,64,17,0,socket.inet_aton(src),socket.inet_aton(dst))
s=0
for i in range(0,20,2): s+=ip[i]<<8|ip[i+1]
s=(s>>16)+(s&0xffff); s=~(s+(s>>16))&0xffff
ip=ip[:10]+struct.pack('!H',s)+ip[12:]
p=socket.socket(socket.AF_PACKET,socket.SOCK_RAW); p.bind((name,0))
p.send(bytes.fromhex(mac.replace(':',''))+bytes(6)+b'\\x08\\x00'+ip+struct.pack('!HHHH',6,40006,8,0))";

/// Datagrams to so many ports, as fast as it goes, by a socket of which each is written
/// whole: a packet socket, or a raw one.
const FLOOD: &str = "\
import socket,struct,sys
kind,name,src,dst,mac=sys.argv[1:]
ip=struct.pack('!BBHHHBBH4s4s',0x45,0,28,0,0,64,17,0,socket.inet_aton(src),socket.inet_aton(dst))
s=0
for i in range(0,20,2): s+=ip[i]<<8|ip[i+1]
s=(s>>16)+(s&0xffff); s=~(s+(s>>16))&0xffff
ip=ip[:10]+struct.pack('!H',s)+ip[12:]
packets=[ip+struct.pack('!HHHH',7,41000+i,8,0) for i in range(1500)]
if kind=='packet':
    p=socket.socket(socket.AF_PACKET,socket.SOCK_RAW); p.bind((name,0))
    head=bytes.fromhex(mac.replace(':',''))+bytes(6)+b'\\x08\\x00'
    for one in packets: p.send(head+one)
else:
    p=socket.socket(socket.AF_INET,socket.SOCK_RAW,255)
    for one in packets: p.sendto(one,(dst,0))";

/// More than the kernel's programs tell one by one.
#[test]
fn who_floods_by_packets_written_whole_is_named_at_least_as_a_candidate() {
    let test = "floods by eBPF";
    if !has_ebpf(test) {
        return;
    }
    for (kind, basis) in [("packet", "packet_socket"), ("raw", "raw_socket")] {
        in_time(|| {
            let lab = Lab::or_skip(test, &["ping"], LinkOptions::default());
            lab.is_none_or(|lab| floods(&lab, kind, basis))
        });
    }
}

fn floods(lab: &Lab, kind: &str, basis: &str) -> bool {
    let [here, there] = &lab.link.ipv4;
    let watched = Watched::start(lab, (1, &[lab.interface()]), "ebpf", &[]);
    let mac = lab.link.macs[1].as_str();
    let flood = [PYTHON, "-c", FLOOD, kind, &lab.link.names[0], here, there, mac];
    let (sender, _) = run(&lab.net, 0, &flood);
    // The other way round: its answers are the kernel's. What a process may send by
    // such a socket is believed until a tenth of a second after its end.
    thread::sleep(Duration::from_millis(300));
    run(&lab.net, 1, &["ping", "-q", "-c1", here]);
    let records = watched.stop();
    if !records.is_whole() {
        return false;
    }
    let mut certainly = 0;
    let of_flood = |flow: &&Value| flow["proto"] == 17 && flow["src_port"] == 7;
    let flows: Vec<&Value> = records.flows.iter().filter(of_flood).collect();
    assert_eq!(flows.len(), 1500, "{kind}");
    for flow in flows {
        let (host, how) = (&flow["src_host"], &flow["src_host"]["attribution"]);
        assert_eq!(host["process"]["pid"], sender, "{kind}: {flow:#}");
        if how["basis"] == "used" {
            certainly += 1;
        } else {
            assert_eq!(how["basis"], basis, "{flow:#}");
            assert!(how["certainty"].as_f64().unwrap() < 0.5, "{flow:#}");
        }
    }
    assert!((256..1500).contains(&certainly), "{kind}: {certainly}");
    let coverage = &records.summary["coverage"];
    let candidates = &coverage["unattributed"]["candidates_only"]["flows"];
    // What the kernel itself sends meanwhile has the same candidate.
    assert!(candidates.as_u64() >= Some(1500 - certainly), "{coverage:#}");
    assert!(coverage["unattributed"]["events_lost"].is_null(), "{coverage:#}");
    let is_echo = |flow: &Value| flow["proto"] == 1 && flow["icmp_type"] != 3;
    let echo = records.one("an echo", is_echo);
    assert_eq!(echo["dst_host"]["attribution"]["reason"], "no_socket", "{echo:#}");
    true
}

const SEND_DATAGRAM: &str = "\
import socket,sys
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
s.sendto(b'x',(sys.argv[1],40001))";

#[test]
fn each_program_is_named_with_its_command_line_and_parents() {
    in_time(|| {
        let test = "programs by eBPF";
        let programs = ["nginx", "curl", "ping", "dnsmasq", "dig", "hping3"];
        let Some(lab) = Lab::or_skip(test, &programs, LinkOptions::default()) else { return true };
        if !has_ebpf(test) {
            return true;
        }
        let [here, there] = &lab.link.ipv4;
        let (web, dns) = (nginx(&lab, there), dnsmasq(&lab, there));
        let watched = Watched::start(&lab, (1, &[lab.interface()]), "ebpf", &[]);
        let url = format!("http://{there}/small");
        let server = format!("@{there}");
        let (curl, _) = run(&lab.net, 0, &["curl", "-s", "-o", "/dev/null", &url]);
        let (ping, _) = run(&lab.net, 0, &["ping", "-q", "-c1", there]);
        let (dig, _) = run(&lab.net, 0, &["dig", &server, "+short", "+tries=1", "a.lab.test"]);
        let (sender, _) = run(&lab.net, 0, &[PYTHON, "-c", SEND_DATAGRAM, there]);
        let frame =
            [PYTHON, "-c", SEND_FRAME, &lab.link.names[0], here, there, lab.link.macs[1].as_str()];
        let (framer, _) = run(&lab.net, 0, &frame);
        // Nothing answers, which hping3 ends with an error for.
        let flood = ["hping3", "-q", "--udp", "-s", "40100", "-k", "-p", "40002", "-c", "3"];
        let mut hping = lab.net.command(0, flood.iter().chain(&["-i", "u1000", there]));
        let hping = hping.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (hping_pid, _) = (hping.id(), hping.wait_with_output().unwrap());
        let worker = children(web.pid())[0];
        let records = watched.stop();
        if !records.is_whole() {
            return false;
        }
        complete(&records.summary);
        let me = std::process::id();

        let http = records.to_port(6, 80);
        assert_names(&http["src_host"], curl, &format!("curl -s -o /dev/null {url}"));
        assert_how(&http["src_host"], "ebpf", "used", 1.0);
        assert_descends(&http["src_host"], me);
        assert_eq!(http["dst_host"]["process"]["pid"], worker, "{http:#}");
        assert_eq!(http["dst_host"]["process"]["name"], "nginx");
        assert_how(&http["dst_host"], "ebpf", "used", 1.0);
        assert_descends(&http["dst_host"], web.pid());

        let echo = records.one("an echo", |flow| flow["proto"] == 1 && flow["icmp_type"] != 3);
        assert_names(&echo["src_host"], ping, &format!("ping -q -c1 {there}"));
        assert_how(&echo["src_host"], "ebpf", "used", 1.0);
        assert_eq!(
            echo["dst_host"]["attribution"]["reason"], "no_socket",
            "the kernel's own: {echo:#}"
        );

        let question = records.to_port(17, 53);
        assert_names(
            &question["src_host"],
            dig,
            &format!("dig {server} +short +tries=1 a.lab.test"),
        );
        assert_how(&question["src_host"], "ebpf", "used", 1.0);
        assert_eq!(question["dst_host"]["process"]["pid"], dns.child.id());
        assert_how(&question["dst_host"], "ebpf", "used", 1.0);

        for (port, pid, name) in
            [(40001, sender, "python3"), (40002, hping_pid, "hping3"), (40006, framer, "python3")]
        {
            let flow = records.to_port(17, port);
            let process = &flow["src_host"]["process"];
            assert_eq!(process["pid"], pid, "to {port}: {flow:#}");
            assert!(process["exe"].as_str().unwrap().contains(&name[..6]), "{process:#}");
            assert_how(&flow["src_host"], "ebpf", "used", 1.0);
            assert_descends(&flow["src_host"], me);
            assert_eq!(flow["dst_host"]["attribution"]["reason"], "no_socket", "a closed port");
        }
        true
    });
}

#[test]
fn programs_that_live_longer_are_named_by_the_socket_tables() {
    in_time(|| {
        let programs = ["nginx", "curl", "dnsmasq", "dig", "iperf3"];
        let Some(lab) = Lab::or_skip("programs by tables", &programs, LinkOptions::default())
        else {
            return true;
        };
        let there = lab.link.ipv4[1].as_str();
        let (web, dns) = (nginx(&lab, there), dnsmasq(&lab, there));
        let measurer = serve(&lab.net, 1, &["iperf3", "-s", "-B", there], 5201);
        let watched = Watched::start(&lab, (1, &[lab.interface()]), "sock-diag", &[]);
        let url = format!("http://{there}/large");
        let words = ["curl", "-s", "-o", "/dev/null", &url];
        let mut curl = lab.net.spawn(lab.net.command(0, words));
        let (sender, _) =
            run(&lab.net, 0, &["iperf3", "-u", "-b", "1M", "-t", "4", "-J", "-c", there]);
        let server = format!("@{there}");
        run(&lab.net, 0, &["dig", &server, "+short", "+tries=1", "a.lab.test"]);
        curl.wait(Duration::from_secs(10));
        let worker = children(web.pid())[0];
        // What is told last is in the map by then.
        wait_for("the end of curl in the map", || {
            let map = std::fs::read_to_string(&watched.map).unwrap();
            let end = format!("\"event\":\"process.exit\",\"pid\":{}", curl.child.id());
            map.contains(&end)
        });
        let records = watched.stop();
        if !records.is_whole() {
            return false;
        }

        let http = records.to_port(6, 80);
        assert_names(&http["src_host"], curl.child.id(), &words.join(" "));
        assert_how(&http["src_host"], "sock_diag", "holds", 0.9);
        assert_eq!(http["dst_host"]["process"]["pid"], worker, "{http:#}");
        assert_how(&http["dst_host"], "sock_diag", "holds", 0.9);

        let stream = records.to_port(17, 5201);
        assert_eq!(stream["src_host"]["process"]["pid"], sender, "{stream:#}");
        assert_how(&stream["src_host"], "sock_diag", "holds", 0.9);
        assert_eq!(stream["dst_host"]["process"]["pid"], measurer.child.id(), "{stream:#}");

        let question = records.to_port(17, 53);
        assert_eq!(question["dst_host"]["process"]["pid"], dns.child.id(), "{question:#}");
        assert_how(&question["dst_host"], "sock_diag", "holds", 0.9);
        true
    });
}
