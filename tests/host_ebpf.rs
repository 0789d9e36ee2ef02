//! The eBPF provider beside real programs: each packet's sender comes out right,
//! with its command line. Needs the rights to load programs; says so and passes
//! where they are missing. Traffic goes to loopback and to namespaces of its own.

#![cfg(all(feature = "ebpf", target_os = "linux"))]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails fails its test")]

#[path = "support/program.rs"]
mod program;
#[path = "host_ebpf/turns.rs"]
mod turns;

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use flowtap::host::attribution::{Basis, Method};
use flowtap::host::event::{HostEvent, Socket, SocketKind, What};
use flowtap::host::process::{Process, ProcessId};
use flowtap::host::provider::ebpf::{Ebpf, available};
use flowtap::host::provider::proc::Secrets;
use flowtap::host::provider::{EventSink, Provider, Stop};
use program::copy_program;

/// One provider for all tests of this binary, as there is one on a host.
struct Watch {
    events: Mutex<Vec<HostEvent>>,
    more: Condvar,
}

static WATCH: OnceLock<Option<&'static Watch>> = OnceLock::new();

/// Long enough for a machine that does six other things.
const PATIENCE: Duration = Duration::from_secs(20);

fn watch() -> Option<&'static Watch> {
    *WATCH.get_or_init(|| {
        if let Err(error) = available() {
            eprintln!("SKIP: {error}");
            return None;
        }
        let provider = Ebpf::new(Secrets::Masked).expect("the provider is available and loads");
        let watch: &'static Watch =
            Box::leak(Box::new(Watch { events: Mutex::default(), more: Condvar::new() }));
        let (sender, receiver) = crossbeam_channel::bounded(1024);
        let sink = EventSink::new(Method::Ebpf, sender);
        thread::spawn(move || Box::new(provider).run(&sink, &Stop::default()));
        thread::spawn(move || {
            for (_, event) in receiver {
                watch.events.lock().unwrap().push(event);
                watch.more.notify_all();
            }
        });
        Some(watch)
    })
}

impl Watch {
    /// Waits until the events so far answer the question.
    fn wait<T>(&self, what: &str, answer: impl Fn(&[HostEvent]) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut events = self.events.lock().unwrap();
        loop {
            if let Some(found) = answer(&events) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never told: {what}");
            events = self.more.wait_timeout(events, left).unwrap().0;
        }
    }

    fn socket(&self, what: &str, is: impl Fn(&Socket) -> bool) -> Socket {
        self.wait(what, |events| sockets(events).find(|socket| is(socket)).cloned())
    }

    fn executed(&self, pid: u32) -> Process {
        self.wait(&format!("exec of {pid}"), |events| executed(events, pid).cloned())
    }

    /// Everything that happened until now has been told.
    fn catch_up(&self) {
        let now_ns = jiff::Timestamp::now().as_nanosecond();
        self.wait("the time", |events| {
            let told = |event: &HostEvent| matches!(event.what, What::Time);
            let time = events.iter().rev().find(|event| told(event))?;
            (i128::from(time.time_ns) > now_ns).then_some(())
        });
    }
}

fn sockets(events: &[HostEvent]) -> impl Iterator<Item = &Socket> {
    events.iter().filter_map(socket_of)
}

fn socket_of(event: &HostEvent) -> Option<&Socket> {
    match &event.what {
        What::SocketOpen(socket) | What::SocketUse(socket) => Some(socket),
        _ => None,
    }
}

/// The last program that a process began to run.
fn executed(events: &[HostEvent], pid: u32) -> Option<&Process> {
    events.iter().rev().find_map(|event| match &event.what {
        What::ProcessExec(process) if process.id.pid == pid => Some(process.as_ref()),
        _ => None,
    })
}

fn pid(socket: &Socket) -> u32 {
    socket.process.map_or(0, |process| process.pid)
}

fn used_by(socket: &Socket, process: u32) -> bool {
    socket.basis == Basis::Used && pid(socket) == process
}

fn python(script: &str, args: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-c").arg(script).args(args).stdout(Stdio::piped()).stdin(Stdio::null());
    command
}

/// Runs it to its end: its pid, and what it said.
fn run(mut command: Command) -> (u32, String) {
    let child: Child = command.stdout(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    (pid, String::from_utf8(output.stdout).unwrap())
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

const HOME: &str = "127.0.0.1";

fn home() -> Option<IpAddr> {
    HOME.parse().ok()
}

#[test]
fn a_udp_sender_is_named_with_its_command_line_and_its_end() {
    let Some(watch) = watch() else { return };
    let script = "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
                  s.sendto(b'x',('127.0.0.1',40001))\nprint(s.getsockname()[1])";
    let (sender, said) = run(python(script, &["an argument"]));
    let port = numbers(&said)[0];
    let socket = watch
        .socket("the datagram", |socket| used_by(socket, sender) && socket.remote_port == 40001);
    assert_eq!(socket.kind, SocketKind::Datagram);
    assert_eq!((socket.local, socket.remote), (home(), home()));
    assert_eq!((u64::from(socket.local_port), socket.protocol), (port, 17));
    let process = watch.executed(sender);
    assert_eq!(process.args[1..], ["-c", script, "an argument"]);
    assert_eq!(Some(process.id), socket.process);
    watch.wait("its exit", |events| {
        events.iter().find(|event| event.what == What::ProcessExit(process.id)).map(|_| ())
    });
    watch.wait("the socket's end", |events| {
        let closes = |event: &&HostEvent| {
            matches!(&event.what, What::SocketClose(closed) if closed.cookie == socket.cookie)
        };
        events.iter().find(closes).map(|_| ())
    });
}

#[test]
fn what_is_told_of_a_process_is_what_proc_says() {
    let Some(watch) = watch() else { return };
    told_as_proc_says(watch, "/bin/sleep");
    // A path across a mount.
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let copy = folder.path().join("sleep");
    copy_program("/bin/sleep", &copy);
    told_as_proc_says(watch, copy.to_str().unwrap());
}

fn told_as_proc_says(watch: &Watch, program: &str) {
    let mut child = Command::new(program).arg("60").spawn().unwrap();
    let told = watch.executed(child.id());
    let proc = procfs::process::Process::new(child.id().cast_signed()).unwrap();
    let stat = proc.stat().unwrap();
    let cgroups = proc.cgroups().unwrap();
    let netns = std::fs::read_link(format!("/proc/{}/ns/net", child.id())).unwrap();
    let exe = proc.exe().unwrap();
    let login = proc.loginuid().ok().filter(|uid| *uid != u32::MAX);
    let uid = proc.status().unwrap().ruid;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(told.id, ProcessId { pid: child.id(), start_ticks: stat.starttime });
    assert_eq!(told.parent.unwrap().pid, std::process::id());
    assert_eq!(told.name, stat.comm);
    assert_eq!(told.exe, exe.to_str().unwrap());
    assert_eq!(told.args, [program, "60"]);
    assert_eq!((told.uid, told.login_uid), (Some(uid), login));
    // Zero: of no session, as all that init started and that never asked for one.
    let session = Some(stat.session.cast_unsigned()).filter(|session| *session != 0);
    assert_eq!(told.session, session);
    assert_eq!(format!("net:[{}]", told.netns.unwrap()), netns.to_str().unwrap());
    assert!(!told.exe_deleted && !told.args_cut);
    assert_eq!(told.exe_in_writable_folder, program.starts_with("/dev/shm"));
    assert!(cgroups.0.iter().any(|group| group.pathname == told.cgroup), "{}", told.cgroup);
    let started_ns = told.started_ns.unwrap();
    let now_ns = jiff::Timestamp::now().as_nanosecond();
    assert!((0..60_000_000_000).contains(&(now_ns - i128::from(started_ns))));
}

#[test]
fn long_command_lines_are_cut_and_say_so() {
    let Some(watch) = watch() else { return };
    let mut long = Command::new("true");
    long.args(["first", &"x".repeat(10_000)]);
    let process = watch.executed(run(long).0);
    assert!(process.args_cut);
    assert_eq!(process.args[..2], ["true", "first"]);
    assert_eq!(process.args.join(" ").len(), 4096);
}

#[test]
fn a_program_in_a_writable_folder_that_is_deleted_while_it_runs_says_so() {
    let Some(watch) = watch() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777))
        .unwrap();
    let program = folder.path().join("sender");
    copy_program("/bin/sh", &program);
    let script = format!("rm {}; (:; :) ; exit 0", program.display());
    let mut command = Command::new(&program);
    command.args(["-c", &script]);
    let (pid, _) = run(command);
    let process = watch.executed(pid);
    assert_eq!(process.exe, program.to_str().unwrap());
    assert!(process.exe_in_writable_folder && !process.exe_deleted);
    let child = watch.wait("the child after the deletion", |events| {
        events.iter().find_map(|event| match &event.what {
            What::ProcessStart(child) if child.parent == Some(process.id) && child.exe_deleted => {
                Some(child.clone())
            }
            _ => None,
        })
    });
    assert_eq!(child.exe, process.exe);
    assert_eq!(child.args, process.args);
}

#[test]
fn a_ping_is_named_by_its_echo_identifier() {
    let Some(watch) = watch() else { return };
    let mut ping = Command::new("ping");
    ping.args(["-c1", HOME]);
    let (pinger, _) = run(ping);
    let socket = watch
        .socket("the echo request", |socket| used_by(socket, pinger) && socket.remote == home());
    assert!(matches!(socket.kind, SocketKind::Ping | SocketKind::Raw));
    assert_eq!(socket.protocol, 1);
    assert_ne!(socket.local_port, 0);
    assert_eq!(watch.executed(pinger).args, ["ping", "-c1", HOME]);
}

#[test]
fn a_refused_connection_is_named_with_both_ports() {
    let Some(watch) = watch() else { return };
    let script = "import socket\ns=socket.socket()\ns.connect_ex(('127.0.0.1',40002))";
    let (client, _) = run(python(script, &[]));
    let socket = watch
        .socket("the first packet", |socket| pid(socket) == client && socket.remote_port == 40002);
    assert_eq!((socket.kind, socket.basis), (SocketKind::Stream, Basis::Opened));
    assert_eq!((socket.local, socket.remote), (home(), home()));
    assert_ne!(socket.local_port, 0);
}

#[test]
fn both_ends_of_a_connection_are_named_and_its_listener() {
    let Some(watch) = watch() else { return };
    let script = "import socket,os\nl=socket.create_server(('::',0),family=socket.AF_INET6,\
                  dualstack_ipv6=True)\np=l.getsockname()[1]\nif os.fork()==0:\n c=socket.\
                  create_connection(('127.0.0.1',p))\n c.send(b'x'); c.recv(1); os._exit(0)\n\
                  a=l.accept()[0]; a.recv(1); a.send(b'y'); print(p, os.wait()[0])";
    let (server, said) = run(python(script, &[]));
    let [port, client] = numbers(&said)[..] else { panic!("{said}") };
    let listener = watch.socket("the listener", |socket| {
        socket.kind == SocketKind::Listener && u64::from(socket.local_port) == port
    });
    let any = Some(std::net::Ipv6Addr::UNSPECIFIED.into());
    assert_eq!((pid(&listener), listener.local), (server, any));
    assert!(listener.dual_stack);
    let accepted = watch.socket("the accepted connection", |socket| {
        used_by(socket, server) && u64::from(socket.local_port) == port && socket.remote.is_some()
    });
    assert_eq!((accepted.local, accepted.remote), (home(), home()));
    let connected = watch.socket("the client's side", |socket| {
        u64::from(pid(socket)) == client && u64::from(socket.remote_port) == port
    });
    assert_eq!(connected.local_port, accepted.remote_port);
    watch.wait("the connection's end", |events| {
        let closes = |event: &&HostEvent| {
            matches!(&event.what, What::SocketClose(closed) if closed.cookie == connected.cookie)
        };
        events.iter().find(closes).map(|_| ())
    });
}

#[test]
fn raw_packets_are_named_by_what_they_carry() {
    let Some(watch) = watch() else { return };
    let script = "import socket,struct\ns=socket.socket(socket.AF_INET,socket.SOCK_RAW,1)\n\
                  s.sendto(struct.pack('!BBHHH',8,0,0xf7ff-4711,4711,0),('127.0.0.1',0))\n\
                  h=socket.socket(socket.AF_INET,socket.SOCK_RAW,255)\n\
                  h.sendto(struct.pack('!BBHHHBBH4s4sHHHH',0x45,0,28,0,0,64,17,0,\
                  bytes([127,9,9,9]),bytes([127,0,0,1]),5,40003,8,0),('127.0.0.1',0))";
    let (sender, _) = run(python(script, &[]));
    let echo = watch.socket("the echo", |socket| {
        used_by(socket, sender) && socket.protocol == 1 && socket.remote == home()
    });
    assert_eq!((echo.kind, echo.local_port, echo.remote_port), (SocketKind::Raw, 4711, 0));
    let forged = watch.socket("the datagram with a forged source", |socket| {
        used_by(socket, sender) && socket.remote_port == 40003
    });
    assert_eq!((forged.kind, forged.protocol, forged.local_port), (SocketKind::Raw, 17, 5));
    assert_eq!(forged.local, "127.9.9.9".parse().ok());
}

#[test]
fn frames_of_packet_sockets_are_named_also_behind_vlan_tags() {
    let Some(watch) = watch() else { return };
    let script = "import socket,struct\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\n\
                  s.bind(('lo',0))\nip=lambda p: struct.pack('!BBHHHBBH4s4sHHHH',0x45,0,28,0,0,64,\
                  17,0,bytes([127,9,9,8]),bytes([127,0,0,1]),6,p,8,0)\n\
                  s.send(bytes(12)+b'\\x08\\x00'+ip(40004))\n\
                  s.send(bytes(12)+b'\\x81\\x00\\x00\\x07\\x08\\x00'+ip(40005))\n\
                  d=socket.socket(socket.AF_PACKET,socket.SOCK_DGRAM)\n\
                  d.sendto(ip(40006),('lo',0x800))";
    let (sender, _) = run(python(script, &[]));
    for port in [40004, 40005, 40006] {
        let socket = watch.socket(&format!("the frame to {port}"), |socket| {
            used_by(socket, sender) && socket.remote_port == port
        });
        assert_eq!((socket.kind, socket.protocol, socket.local_port), (SocketKind::Packet, 17, 6));
        assert_eq!(socket.local, "127.9.9.8".parse().ok());
    }
}

#[test]
fn a_packet_socket_that_sends_past_the_queue_is_told_itself() {
    let Some(watch) = watch() else { return };
    let script = "import socket\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\n\
                  s.setsockopt(263,20,1); s.bind(('lo',0)); s.send(bytes(60))";
    let (sender, _) = run(python(script, &[]));
    let socket = watch.socket("the socket", |socket| used_by(socket, sender));
    assert_eq!((socket.kind, socket.protocol, socket.remote), (SocketKind::Packet, 0, None));
    assert_eq!(socket.interface_index, Some(1));
}

#[test]
fn of_a_scan_some_packets_are_told_and_for_the_others_the_socket_itself() {
    let Some(watch) = watch() else { return };
    let by_raw_packets = "import socket,struct\ns=socket.socket(socket.AF_INET,socket.SOCK_RAW,1)\n\
                          for i in range(2000): s.sendto(struct.pack('!BBHHH',8,0,0xf7ff-i,i,0),\
                          ('127.0.0.1',0))";
    let by_own_headers = "import socket,struct\ns=socket.socket(socket.AF_INET,socket.SOCK_RAW,255)\n\
                          for i in range(2000): s.sendto(struct.pack('!BBHHHBBH4s4sHHHH',0x45,0,28,\
                          0,0,64,17,0,bytes([127,9,9,7]),bytes([127,0,0,1]),i+1,40007,8,0),\
                          ('127.0.0.1',0))";
    let by_frames = "import socket,struct\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\n\
                     s.bind(('lo',0))\nfor i in range(2000): s.send(bytes(12)+b'\\x08\\x00'+\
                     struct.pack('!BBHHHBBH4s4sHHHH',0x45,0,28,0,0,64,17,0,bytes([127,9,9,6]),\
                     bytes([127,0,0,1]),i+1,40008,8,0))";
    for (script, kind, protocol) in [
        (by_raw_packets, SocketKind::Raw, 1),
        (by_own_headers, SocketKind::Raw, 255),
        (by_frames, SocketKind::Packet, 0),
    ] {
        let (sender, _) = run(python(script, &[]));
        watch.catch_up();
        let events = watch.events.lock().unwrap();
        let told = || events.iter().filter_map(|event| Some((event.time_ns, socket_of(event)?)));
        let mut packets: Vec<i64> = told()
            .filter(|(_, socket)| used_by(socket, sender) && socket.remote.is_some())
            .map(|(ns, _)| ns)
            .collect();
        packets.sort_unstable();
        assert!((256..2000).contains(&packets.len()), "{kind:?}: {}", packets.len());
        let itself = |socket: &Socket| {
            used_by(socket, sender)
                && socket.remote.is_none()
                && socket.local.is_none_or(|local| local.is_unspecified())
        };
        // When it began to send more than is told.
        let since = told().filter(|(_, socket)| itself(socket)).find(|(ns, _)| *ns >= packets[255]);
        let (_, socket) = since.unwrap_or_else(|| panic!("{kind:?}: not itself"));
        assert_eq!((socket.kind, socket.protocol), (kind, protocol));
    }
    let is_lost = |event: &HostEvent| matches!(event.what, What::Lost { .. });
    assert!(!watch.events.lock().unwrap().iter().any(is_lost), "all of it is somebody's");
}

#[test]
fn the_child_that_sends_is_named_not_the_parent_that_connected() {
    let Some(watch) = watch() else { return };
    for connect in ["s.connect(a)", "s.bind(('127.0.0.1',0))"] {
        let script = format!(
            "import socket,os\na=('127.0.0.1',40007)\ns=socket.socket(socket.AF_INET,\
             socket.SOCK_DGRAM)\n{connect}\nif os.fork()==0:\n s.{}; os._exit(0)\n\
             print(s.getsockname()[1], os.wait()[0])",
            if connect.contains("connect") { "send(b'x')" } else { "sendto(b'x',a)" }
        );
        let (parent, said) = run(python(&script, &[]));
        let [port, child] = numbers(&said)[..] else { panic!("{said}") };
        let socket = watch.socket(connect, |socket| {
            socket.remote_port == 40007
                && u64::from(socket.local_port) == port
                && socket.basis == Basis::Used
        });
        assert_eq!(u64::from(pid(&socket)), child);
        watch.catch_up();
        let wrong = sockets(&watch.events.lock().unwrap())
            .filter(|other| other.cookie == socket.cookie && used_by(other, parent))
            .count();
        assert_eq!(wrong, 0, "the parent never sent");
    }
}

#[test]
fn who_was_given_a_socket_and_sends_is_named() {
    let Some(watch) = watch() else { return };
    let script = "import socket,os\na,b=socket.socketpair()\nif os.fork()==0:\n \
                  d,f,_,_=socket.recv_fds(b,1,1)\n s=socket.socket(fileno=f[0])\n \
                  s.sendto(b'x',('127.0.0.1',40008)); os._exit(0)\n\
                  s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
                  s.sendto(b'x',('127.0.0.1',40009))\n\
                  socket.send_fds(a,[b'x'],[s.fileno()])\nprint(os.wait()[0])";
    let (giver, said) = run(python(script, &[]));
    let taker = u32::try_from(numbers(&said)[0]).unwrap();
    let first =
        watch.socket("the giver's", |socket| used_by(socket, giver) && socket.remote_port == 40009);
    let second =
        watch.socket("the taker's", |socket| used_by(socket, taker) && socket.remote_port == 40008);
    assert_eq!(first.cookie, second.cookie);
    assert_ne!(first.cookie, None);
}

#[test]
fn a_socket_that_outlives_an_exec_belongs_to_the_new_program() {
    let Some(watch) = watch() else { return };
    let script = "import socket,os\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
                  s.connect(('127.0.0.1',40010)); s.set_inheritable(True)\n\
                  os.execv('/usr/bin/python3',['second','-c','import os; os.write(%d,b\"x\")' \
                  % s.fileno()])";
    let (sender, _) = run(python(script, &[]));
    let (used_ns, socket) = watch.wait("the use", |events| {
        events.iter().find_map(|event| match &event.what {
            What::SocketUse(socket) if used_by(socket, sender) && socket.remote_port == 40010 => {
                Some((event.time_ns, socket.clone()))
            }
            _ => None,
        })
    });
    let executed_ns = watch.wait("the second program", |events| {
        events.iter().find_map(|event| match &event.what {
            What::ProcessExec(process)
                if process.args.first().is_some_and(|arg| arg == "second") =>
            {
                assert_eq!(Some(process.id), socket.process);
                Some(event.time_ns)
            }
            _ => None,
        })
    });
    assert!(executed_ns < used_ns);
}

#[test]
fn ipv4_on_an_ipv6_socket_is_ipv4() {
    let Some(watch) = watch() else { return };
    let script = "import socket\ns=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM)\n\
                  s.sendto(b'x',('::ffff:127.0.0.1',40011))\ns.sendto(b'x',('::1',40012))";
    let (sender, _) = run(python(script, &[]));
    let four = watch.socket("IPv4", |s| used_by(s, sender) && s.remote_port == 40011);
    assert_eq!((four.local, four.remote), (home(), home()));
    let six = watch.socket("IPv6", |s| used_by(s, sender) && s.remote_port == 40012);
    assert_eq!(six.remote, "::1".parse().ok());
    assert_eq!(four.cookie, six.cookie);
    let itself = watch.socket("the socket itself", |s| used_by(s, sender) && s.remote.is_none());
    assert!(itself.dual_stack);
    assert_eq!(itself.local_port, four.local_port);
}

#[test]
fn of_two_processes_on_one_port_the_one_that_receives_is_named() {
    let Some(watch) = watch() else { return };
    let script = "import socket,os\ndef open(p):\n s=socket.socket(socket.AF_INET,\
                  socket.SOCK_DGRAM); s.setsockopt(1,15,1); s.bind(('127.0.0.1',p)); return s\n\
                  a=open(0); p=a.getsockname()[1]; r,w=os.pipe(); q=os.fork()\n\
                  if q==0:\n b=open(p); os.write(w,b'x'); b.recv(9); os._exit(0)\n\
                  os.read(r,1); s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
                  a.setblocking(False); got=0\n\
                  while True:\n s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); \
                  s.sendto(b'x',('127.0.0.1',p))\n try: a.recv(9); got=1\n \
                  except BlockingIOError: pass\n \
                  if got and os.waitpid(q,os.WNOHANG)[0]: break\nprint(p,q)";
    let (first, said) = run(python(script, &[]));
    let [port, second] = numbers(&said)[..] else { panic!("{said}") };
    let second = u32::try_from(second).unwrap();
    let receiver = |process: u32| {
        watch.socket("a receiver", |socket| {
            used_by(socket, process) && u64::from(socket.local_port) == port
        })
    };
    assert_ne!(receiver(first).cookie, receiver(second).cookie);
}

const OWN_NAMESPACE: &str = "import socket,os,ctypes,threading,fcntl,struct\n\
    libc=ctypes.CDLL(None,use_errno=True)\n\
    def up():\n assert libc.unshare(0x40000000)==0\n s=socket.socket(socket.AF_INET,\
    socket.SOCK_DGRAM)\n fcntl.ioctl(s,0x8914,struct.pack('16sh',b'lo',1)+bytes(14))\n\
    \x20return os.stat('/proc/thread-self/ns/net').st_ino\n";

#[test]
fn a_thread_in_another_network_namespace_is_its_process_in_that_namespace() {
    let Some(watch) = watch() else { return };
    let script = format!(
        "{OWN_NAMESPACE}def run():\n n=up(); s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n \
         s.sendto(b'x',('127.0.0.1',40013)); print(n)\n\
         t=threading.Thread(target=run); t.start(); t.join()"
    );
    let (sender, said) = run(python(&script, &[]));
    let socket = watch.socket("the thread's datagram", |socket| {
        used_by(socket, sender) && socket.remote_port == 40013
    });
    assert_eq!(socket.netns, Some(numbers(&said)[0]));
    assert_ne!(socket.netns, watch.executed(sender).netns);
}

#[test]
fn a_packet_that_waited_for_its_neighbour_is_its_senders() {
    let Some(watch) = watch() else { return };
    // Nobody answers for the address. The packet leaves when it is entered by hand, from
    // within the program that enters it.
    let script = format!(
        "{OWN_NAMESPACE}up()\nrun=lambda c: [os.system('ip '+x)==0 or os._exit(1) for x in c]\n\
         run(['link add near type veth peer name far','link set far up','link set near up',\
         'addr add 192.0.2.1/24 dev near'])\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
         s.sendto(b'x',('192.0.2.2',40014))\n\
         run(['neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev near'])\nprint(os.getpid())"
    );
    let (sender, _) = run(python(&script, &[]));
    let socket = watch
        .socket("the late datagram", |socket| pid(socket) == sender && socket.remote_port == 40014);
    assert_eq!(socket.basis, Basis::Used);
    assert_eq!(socket.remote, "192.0.2.2".parse().ok());
}

/// Lives of a few milliseconds, one after the other: none is missed.
fn one_shots(watch: &Watch, count: usize, command: impl Fn() -> Command) {
    let before = watch.events.lock().unwrap().len();
    let pids: Vec<u32> = (0..count).map(|_| run(command()).0).collect();
    watch.catch_up();
    let events = watch.events.lock().unwrap();
    let events = &events[before..];
    let expected = command();
    for pid in pids {
        let socket = sockets(events).find(|socket| used_by(socket, pid) && socket.remote == home());
        let process = executed(events, pid);
        let (Some(socket), Some(process)) = (socket, process) else {
            panic!("{pid}: {socket:?} {process:?}")
        };
        assert_eq!(socket.process, Some(process.id));
        let args = expected.get_args().map(|arg| arg.to_str().unwrap());
        assert!(process.args[1..].iter().map(String::as_str).eq(args), "{:?}", process.args);
        assert!(process.exe.starts_with('/'), "{}", process.exe);
    }
}

#[test]
fn two_hundred_one_shot_udp_senders_are_all_named() {
    let Some(watch) = watch() else { return };
    one_shots(watch, 200, || {
        let mut bash = Command::new("bash");
        bash.args(["-c", "echo x > /dev/udp/127.0.0.1/40015"]);
        bash
    });
}

#[test]
fn two_hundred_pings_are_all_named() {
    let Some(watch) = watch() else { return };
    one_shots(watch, 200, || {
        let mut ping = Command::new("ping");
        ping.args(["-c1", HOME]);
        ping
    });
}
