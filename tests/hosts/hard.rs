//! Sockets that change hands, are shared or used from elsewhere, and process
//! numbers that come again.

use serde_json::Value;

use crate::common::Dir;
use crate::lab::Lab;
use crate::support::netns::{LinkOptions, Netns};
use crate::watched::{
    PYTHON, Records, Watched, assert_how, has_ebpf, in_time, numbers, run, wait_for_listener,
};

/// Takes connections over both versions of IP, reads each to its end.
const SERVER: &str = "\
import socket
l=socket.create_server(('::',42100),family=socket.AF_INET6,dualstack_ipv6=True)
while True:
    a=l.accept()[0]
    while a.recv(99): pass
    a.close()";

const FORK_AFTER_CONNECT: &str = "\
import os,socket
s=socket.create_connection(('127.0.0.1',42100))
c=os.fork()
if c==0:
    s.send(b'x'); os._exit(0)
os.waitpid(c,0)
print(s.getsockname()[1],c)";

const PASSED_ON: &str = "\
import array,os,socket
a,b=socket.socketpair()
c=os.fork()
if c==0:
    _,given,_,_=b.recvmsg(1,socket.CMSG_SPACE(4))
    s=socket.socket(fileno=array.array('i',given[0][2])[0])
    s.send(b'y'); os._exit(0)
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.connect(('127.0.0.1',42201))
a.sendmsg([b'x'],[(socket.SOL_SOCKET,socket.SCM_RIGHTS,array.array('i',[s.fileno()]))])
os.waitpid(c,0)
print(c)";

const OUTLIVES: &str = "\
import os,socket
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.connect(('127.0.0.1',42202))
r,w=os.pipe(); p=os.getpid(); c=os.fork()
if c==0:
    os.close(w); os.read(r,1)
    while os.getppid()==p: pass
    s.send(b'z'); os._exit(0)
print(c,flush=True)
os._exit(0)";

/// Two servers at one port; each says who it is. Prints the client's port and who
/// answered.
const GROUP: &str = "\
import os,signal,socket,sys
kind=socket.SOCK_STREAM if sys.argv[1]=='6' else socket.SOCK_DGRAM
port=int(sys.argv[2]); r,w=os.pipe(); servers=[]
for _ in range(2):
    c=os.fork()
    if c==0:
        l=socket.socket(socket.AF_INET,kind)
        l.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEPORT,1)
        l.bind(('127.0.0.1',port))
        me=str(os.getpid()).encode()
        if kind==socket.SOCK_STREAM: l.listen()
        os.write(w,b'.')
        while True:
            if kind==socket.SOCK_STREAM:
                a=l.accept()[0]; a.recv(9); a.send(me); a.close()
            else:
                _,who=l.recvfrom(9); l.sendto(me,who)
    servers.append(c)
while len(os.read(r,1))+len(os.read(r,1))<2: pass
for _ in range(12):
    s=socket.socket(socket.AF_INET,kind); s.connect(('127.0.0.1',port)); s.send(b'?')
    print(s.getsockname()[1],int(s.recv(9))); s.close()
for c in servers: os.kill(c,signal.SIGTERM); os.waitpid(c,0)";

/// One that reads what comes to any address, and one bound to 127.0.0.1 that never reads.
/// Prints a client's port and whose socket it sent to, for each.
const AT_ONE_PORT: &str = "\
import os,signal,socket
r,w=os.pipe(); servers=[]
for address,reads in (('0.0.0.0',True),('127.0.0.1',False)):
    c=os.fork()
    if c==0:
        l=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
        l.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)
        l.bind((address,42900)); os.write(w,b'.')
        while reads: l.recv(9); os.write(w,b'.')
        signal.pause()
    os.read(r,1); servers.append(c)
for address,server in (('127.0.0.2',servers[0]),('127.0.0.1',servers[1])):
    s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.connect((address,42900)); s.send(b'?')
    print(s.getsockname()[1],server)
    if server==servers[0]: os.read(r,1)
for c in servers: os.kill(c,signal.SIGTERM); os.waitpid(c,0)";

const OTHER_NAMESPACE: &str = "\
import ctypes,os,socket,sys,threading
libc=ctypes.CDLL(None,use_errno=True)
def send():
    there=os.open(sys.argv[1],os.O_RDONLY)
    assert libc.setns(there,0x40000000)==0
    s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.sendto(b'n',(sys.argv[2],42400))
t=threading.Thread(target=send); t.start(); t.join()";

/// Two processes with one number, one after the other, which use one port.
const SAME_NUMBER: &str = "\
import ctypes,os
libc=ctypes.CDLL(None,use_errno=True); libc.syscall.restype=ctypes.c_long
send='''import socket,sys
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind((\"127.0.0.1\",42500))
s.sendto(b\"x\",(\"127.0.0.1\",int(sys.argv[1])))'''
def child(port,wanted):
    number=ctypes.c_int(wanted); args=(ctypes.c_uint64*11)(); args[4]=17
    if wanted: args[8]=ctypes.addressof(number); args[9]=1
    pid=libc.syscall(435,ctypes.byref(args),ctypes.sizeof(args))
    if pid==0: os.execv('/usr/bin/python3',['sender','-c',send,str(port)])
    if pid<0: raise OSError(ctypes.get_errno(),'clone3')
    os.waitpid(pid,0)
    return pid
first=child(42501,0)
print(first,child(42502,first))";

/// Datagrams to a port where nobody listens, for three seconds, from one socket: errors for
/// every other one, no more than are read.
const REFUSED: &str = "\
import select,socket
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.connect(('127.0.0.1',42700))
print(s.getsockname()[1])
for _ in range(5):
    try: s.send(b'?')
    except ConnectionRefusedError: pass
    select.select([],[],[],0.6)";

fn lab(test: &str) -> Option<Lab> {
    let mut net = Netns::or_skip(test, 2, &["ip"])?;
    let link = net.join(0, 1, LinkOptions::default());
    has_ebpf(test).then(|| Lab { net, link, dir: Dir::new() })
}

fn python(lab: &Lab, script: &str, args: &[&str]) -> (u32, Vec<u64>) {
    let (pid, said) = run(&lab.net, 0, &[&[PYTHON, "-c", script], args].concat());
    (pid, numbers(&said))
}

fn pid(host: &Value) -> u64 {
    host["process"]["pid"].as_u64().unwrap_or_else(|| panic!("no process: {host:#}"))
}

#[test]
fn who_uses_a_socket_is_named_wherever_it_came_from() {
    in_time(|| {
        let Some(lab) = lab("sockets that change hands") else { return true };
        let mut server = lab.net.command(0, [PYTHON, "-c", SERVER]);
        let server = lab.net.spawn({
            server.stdout(std::process::Stdio::null());
            server
        });
        wait_for_listener(&lab.net, 0, 42100);
        let near = lab.link.names[0].as_str();
        let watched = Watched::start(&lab, (0, &["lo", near]), "ebpf", &[]);
        let forked = python(&lab, FORK_AFTER_CONNECT, &[]).1;
        let passed = python(&lab, PASSED_ON, &[]).1;
        let (gone, outlived) = python(&lab, OUTLIVES, &[]);
        let there = format!("/run/netns/{}", lab.net.name(1));
        let (elsewhere, _) = python(&lab, OTHER_NAMESPACE, &[&there, &lab.link.ipv4[0]]);
        let records = watched.stop();
        if !records.is_whole() {
            return false;
        }

        let flow = records.by_client_port(6, forked[0]);
        assert_eq!(pid(&flow["src_host"]), forked[1], "the child sent: {flow:#}");
        assert_how(&flow["src_host"], "ebpf", "used", 1.0);
        // It has one socket for both versions.
        assert_eq!(pid(&flow["dst_host"]), u64::from(server.child.id()), "{flow:#}");
        assert_how(&flow["dst_host"], "ebpf", "used", 1.0);

        let flow = records.to_port(17, 42201);
        assert_eq!(pid(&flow["src_host"]), passed[0], "who was given it: {flow:#}");
        assert_how(&flow["src_host"], "ebpf", "used", 1.0);

        let flow = records.to_port(17, 42202);
        assert_eq!(pid(&flow["src_host"]), outlived[0], "who still had it: {flow:#}");
        assert_how(&flow["src_host"], "ebpf", "used", 1.0);
        let parent = &flow["src_host"]["process"]["ancestors"][0];
        assert_eq!(parent["pid"], gone, "who made it, gone by then");

        let flow = records.to_port(17, 42400);
        assert_eq!(flow["src_ip"], lab.link.ipv4[1].as_str(), "from the other namespace");
        assert_eq!(pid(&flow["src_host"]), u64::from(elsewhere), "{flow:#}");
        assert_how(&flow["src_host"], "ebpf", "used", 1.0);
        true
    });
}

#[test]
fn an_error_names_who_sent_what_it_is_about() {
    in_time(|| {
        let test = "whom an error reaches";
        let Some(mut net) = Netns::or_skip(test, 2, &["ip"]) else { return true };
        let link = net.join(0, 1, LinkOptions::default());
        let lab = Lab { net, link, dir: Dir::new() };
        let watched = Watched::start(&lab, (0, &["lo"]), "sock-diag", &[]);
        let (sender, ports) = python(&lab, REFUSED, &[]);
        let records = watched.stop();
        if !records.is_whole() {
            return false;
        }
        let flow = records.one("an error", |flow| flow["proto"] == 1 && flow["icmp_type"] == 3);
        let quoted = &flow["app"]["icmp_error"];
        assert_eq!((&quoted["src_port"], &quoted["dst_port"]), (&ports[0].into(), &42700.into()));
        assert_eq!(pid(&flow["dst_host"]), u64::from(sender), "{flow:#}");
        assert_eq!(flow["dst_host"]["attribution"]["provoked"], true, "{flow:#}");
        // The kernel sent it.
        assert_eq!(flow["src_host"]["attribution"]["reason"], "no_socket", "{flow:#}");
        true
    });
}

#[test]
fn of_servers_at_one_port_the_one_that_answered_is_named() {
    in_time(|| {
        let Some(lab) = lab("groups of servers") else { return true };
        let watched = Watched::start(&lab, (0, &["lo"]), "ebpf", &[]);
        let streams = python(&lab, GROUP, &["6", "42300"]).1;
        let datagrams = python(&lab, GROUP, &["17", "42301"]).1;
        let records = watched.stop();
        if !records.is_whole() {
            return false;
        }
        for (proto, answers) in [(6, streams), (17, datagrams)] {
            assert_eq!(answers.len(), 24);
            for answer in answers.chunks(2) {
                let flow = records.by_client_port(proto, answer[0]);
                assert_eq!(pid(&flow["dst_host"]), answer[1], "{flow:#}");
                assert_how(&flow["dst_host"], "ebpf", "used", 1.0);
            }
        }
        true
    });
}

#[test]
fn what_comes_to_an_address_is_that_of_who_is_bound_to_it() {
    in_time(|| {
        let Some(lab) = lab("sockets at one port") else { return true };
        let watched = Watched::start(&lab, (0, &["lo"]), "ebpf", &[]);
        let sent = python(&lab, AT_ONE_PORT, &[]).1;
        let records = watched.stop();
        if !records.is_whole() {
            return false;
        }
        let reads = records.by_client_port(17, sent[0]);
        assert_eq!(pid(&reads["dst_host"]), sent[1], "{reads:#}");
        assert_how(&reads["dst_host"], "ebpf", "used", 1.0);
        let waits = records.by_client_port(17, sent[2]);
        assert_eq!(pid(&waits["dst_host"]), sent[3], "{waits:#}");
        assert_how(&waits["dst_host"], "ebpf", "opened", 0.95);
        true
    });
}

#[test]
fn a_process_number_that_comes_again_is_another_process() {
    in_time(|| {
        let Some(lab) = lab("process numbers again") else { return true };
        let watched = Watched::start(&lab, (0, &["lo"]), "ebpf", &[]);
        let words = [PYTHON, "-c", SAME_NUMBER];
        let output = lab.net.command(0, words).output().unwrap();
        let records: Records = watched.stop();
        if !records.is_whole() {
            return false;
        }
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("SKIP: process numbers again: this kernel gives no number on demand: {why}");
            return true;
        }
        let pids = numbers(std::str::from_utf8(&output.stdout).unwrap());
        assert_eq!(pids[0], pids[1], "clone3 gave the number again");
        let [first, second] = [42501, 42502].map(|port| &records.to_port(17, port)["src_host"]);
        for (host, port) in [(first, "42501"), (second, "42502")] {
            assert_eq!(pid(host), pids[0]);
            let command_line = host["process"]["command_line"].as_str().unwrap();
            assert!(command_line.starts_with("sender") && command_line.ends_with(port), "{host:#}");
            assert_how(host, "ebpf", "used", 1.0);
        }
        let began = |host: &Value| host["process"]["start_ticks"].as_u64().unwrap();
        assert!(began(first) < began(second));
        true
    });
}
