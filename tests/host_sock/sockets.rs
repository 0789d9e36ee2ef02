//! Sockets and their holders by the kernel's socket tables: real sockets of real
//! processes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;
use std::time::Duration;

use crate::host_watch::Watch;
use crate::support::netns::{Netns, Running};
use flowtap::host::attribution::Basis;
use flowtap::host::event::{Socket, SocketKind, What};
use flowtap::host::provider::polling::Polling;
use flowtap::host::provider::proc::{ProcConnector, ProcessWatch};
use flowtap::host::provider::sock_diag::{Settings, SockDiag, WatchedProcesses, available};

fn ready(test: &str) -> bool {
    match available() {
        Ok(()) => true,
        Err(why) => {
            eprintln!("SKIP: {test}: {why}");
            false
        }
    }
}

fn polling() -> Watch {
    Watch::start(Polling::new(Duration::from_millis(100)))
}

#[test]
fn sockets_of_a_long_lived_process_are_found_by_polling() {
    if !ready("sockets_of_a_long_lived_process") {
        return;
    }
    let watch = polling();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let udp = UdpSocket::bind("[::1]:0").unwrap();
    udp.connect("[::1]:9").unwrap();
    let me = std::process::id();
    let mine = |socket: &Socket| {
        socket.process.is_some_and(|id| id.pid == me) && socket.shared_with.is_empty()
    };

    let found = watch.wait("listener", |socket| {
        mine(socket) && socket.kind == SocketKind::Listener && socket.local_port == port
    });
    assert_eq!(found.local, Some("127.0.0.1".parse().unwrap()));
    let client_port = client.local_addr().unwrap().port();
    for (local, remote) in [(port, client_port), (client_port, port)] {
        let found = watch.wait("end of the connection", |socket| {
            (socket.local_port, socket.remote_port) == (local, remote) && mine(socket)
        });
        assert_eq!((found.kind, found.basis), (SocketKind::Stream, Basis::Holds));
        assert!(found.cookie.is_some() && found.inode.is_some());
    }
    let udp_port = udp.local_addr().unwrap().port();
    let found = watch.wait("UDP socket", |socket| {
        socket.kind == SocketKind::Datagram && socket.local_port == udp_port && mine(socket)
    });
    assert_eq!(found.remote, Some("::1".parse().unwrap()));
    assert_eq!(found.remote_port, 9);
    assert!(!found.dual_stack);

    drop((listener, client, accepted, udp));
    watch.wait_gone("a closed socket", |socket| {
        [port, client_port, udp_port].contains(&socket.local_port) && socket.process.is_some()
    });
}

/// A Python program in a namespace that says `ready` and then stays.
fn python(net: &Netns, space: usize, script: &str) -> Running {
    let script = format!(
        "import os, socket, sys, time\ndef stay():\n p = os.getppid()\n while os.getppid() == p: time.sleep(0.1)\n os._exit(0)\n{script}\nprint('ready', flush=True)\ntime.sleep(600)"
    );
    let mut command = net.command(space, ["/usr/bin/python3", "-c", &script]);
    let mut running = net.spawn({
        command.stdout(Stdio::piped());
        command
    });
    // A child of it ends when it is gone: see `stay`.
    let mut line = String::new();
    BufReader::new(running.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready", "{script}");
    running
}

fn inode(net: &Netns, space: usize) -> u64 {
    std::fs::metadata(format!("/run/netns/{}", net.name(space))).unwrap().ino()
}

/// All processes that are named with a socket.
fn holders(socket: &Socket) -> BTreeSet<u32> {
    socket.process.iter().chain(&socket.shared_with).map(|id| id.pid).collect()
}

fn namespaces(test: &str, count: usize) -> Option<Netns> {
    if !ready(test) {
        return None;
    }
    Netns::or_skip(test, count, &["python3", "ss"])
}

#[test]
fn namespaces_with_the_same_addresses_and_ports_are_told_apart() {
    let Some(net) = namespaces("namespaces_with_the_same", 2) else { return };
    let script = "s = socket.socket(); s.bind(('127.0.0.1', 7000)); s.listen()\nu = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 7000))";
    let watch = polling();
    let running = [0, 1].map(|space| python(&net, space, script));
    for (space, running) in running.iter().enumerate() {
        for kind in [SocketKind::Listener, SocketKind::Datagram] {
            let found = watch.wait("socket in a namespace", |socket| {
                socket.netns == Some(inode(&net, space))
                    && socket.kind == kind
                    && socket.local_port == 7000
                    && socket.process.is_some()
            });
            assert_eq!(holders(&found), [running.child.id()].into());
        }
    }
}

#[test]
fn a_listener_on_any_address_takes_both_families_unless_told_not_to() {
    let Some(net) = namespaces("a_listener_on_any_address", 1) else { return };
    let watch = polling();
    let _running = python(
        &net,
        0,
        "def l(port, only, kind):\n s = socket.socket(socket.AF_INET6, kind); s.setsockopt(41, 26, only); s.bind(('::', port)); return s\na = l(7001, 0, 1); a.listen(); b = l(7002, 1, 1); b.listen(); c = l(7003, 0, 2); d = l(7004, 1, 2)\nx = socket.create_connection(('127.0.0.1', 7001)); y = a.accept()",
    );
    for (port, dual) in [(7001, true), (7002, false), (7003, true), (7004, false)] {
        let found = watch.wait("IPv6 socket", |socket| {
            socket.netns == Some(inode(&net, 0))
                && socket.local_port == port
                && socket.remote.is_none()
        });
        let any = Some(std::net::Ipv6Addr::UNSPECIFIED.into());
        assert_eq!((found.dual_stack, found.local), (dual, any), "{port}");
    }
    // What came in over IPv4 is told as IPv4, whatever the socket's family.
    let accepted = watch.wait("accepted connection", |socket| {
        socket.local_port == 7001 && socket.kind == SocketKind::Stream
    });
    assert_eq!(accepted.local, Some(IpAddr::from([127, 0, 0, 1])));
}

#[test]
fn each_socket_of_a_reuseport_group_has_its_own_process() {
    let Some(net) = namespaces("each_socket_of_a_reuseport_group", 1) else { return };
    let watch = polling();
    let script = "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(1, 15, 1); s.bind(('127.0.0.1', 7005))";
    let running = [(); 3].map(|()| python(&net, 0, script));
    for running in &running {
        let pid = running.child.id();
        watch.wait("member of the group", |socket| {
            socket.netns == Some(inode(&net, 0))
                && socket.local_port == 7005
                && socket.basis == Basis::Holds
                && holders(socket) == [pid].into()
        });
    }
}

#[test]
fn a_socket_inherited_by_fork_names_both_and_then_the_one_that_is_left() {
    let Some(net) = namespaces("a_socket_inherited_by_fork", 1) else { return };
    let watch = polling();
    let folder = tempfile::tempdir().unwrap();
    let end = folder.path().join("end");
    let script = format!(
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 7006))\nif os.fork() == 0:\n t = time.time()\n while not os.path.exists('{}') and time.time() < t + 60: time.sleep(0.05)\n os._exit(0)",
        end.display()
    );
    let mut parent = python(&net, 0, &script);
    let mine = |socket: &Socket| {
        socket.netns == Some(inode(&net, 0))
            && socket.local_port == 7006
            && socket.process.is_some()
    };
    let both = watch.wait("shared socket", |socket| mine(socket) && holders(socket).len() == 2);
    assert_eq!(both.basis, Basis::SharesIt);
    assert!(holders(&both).contains(&parent.child.id()));
    let child = *holders(&both).iter().find(|&&pid| pid != parent.child.id()).unwrap();
    parent.signal("KILL");
    parent.wait(Duration::from_secs(10));
    let left =
        watch.wait("socket of the child", |socket| mine(socket) && holders(socket).len() == 1);
    assert_eq!((holders(&left), left.basis), ([child].into(), Basis::Holds));
    assert_eq!(left.since_ns, None, "before, both held it");
    std::fs::write(&end, "").unwrap();
    watch.wait_gone("the socket of an ended process", mine);
}

#[test]
fn a_socket_passed_to_another_process_is_told_of_its_new_holder() {
    let Some(net) = namespaces("a_socket_passed_to_another_process", 1) else { return };
    let watch = polling();
    let giver = python(
        &net,
        0,
        "a, b = socket.socketpair()\nif os.fork() == 0:\n a.close(); m, f, _, _ = socket.recv_fds(b, 9, 1); stay()\nb.close()\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 7007)); time.sleep(1)\nsocket.send_fds(a, [b'x'], [s.fileno()]); s.close()",
    );
    let taken = watch.wait("passed socket", |socket| {
        socket.netns == Some(inode(&net, 0))
            && socket.local_port == 7007
            && socket.basis == Basis::Holds
            && !holders(socket).contains(&giver.child.id())
            && socket.process.is_some()
    });
    // The child of this very program.
    let pid = taken.process.unwrap().pid;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(parent, giver.child.id().to_string());
}

#[test]
fn raw_ping_and_packet_sockets_are_found() {
    let Some(net) = namespaces("raw_ping_and_packet_sockets", 1) else { return };
    let watch = polling();
    let running = python(
        &net,
        0,
        "open('/proc/sys/net/ipv4/ping_group_range', 'w').write('0 10')\nr = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); r6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)\np = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1); p.bind(('127.0.0.1', 77)); p6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, 58); p6.bind(('::1', 78))\nk = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 768); k.bind(('lo', 3)); l = socket.socket(2, 2, 136); l.bind(('127.0.0.1', 79))",
    );
    let expected = [
        (SocketKind::Raw, 1, 0, Basis::RawSocket),
        (SocketKind::Raw, 58, 0, Basis::RawSocket),
        (SocketKind::Ping, 1, 77, Basis::Holds),
        (SocketKind::Ping, 58, 78, Basis::Holds),
        (SocketKind::Packet, 0, 0, Basis::PacketSocket),
        (SocketKind::Datagram, 136, 79, Basis::Holds),
    ];
    for (kind, protocol, port, basis) in expected {
        let found = watch.wait("socket", |socket| {
            socket.netns == Some(inode(&net, 0))
                && (socket.kind, socket.protocol, socket.local_port) == (kind, protocol, port)
                && socket.process.is_some()
        });
        assert_eq!(
            (holders(&found), found.basis),
            ([running.child.id()].into(), basis),
            "{kind:?}"
        );
        assert_eq!(found.interface_index, (kind == SocketKind::Packet).then_some(1));
    }
}

#[test]
fn a_socket_that_a_thread_opened_in_another_namespace_is_found_there() {
    let Some(net) = namespaces("a_socket_that_a_thread_opened", 1) else { return };
    let watch = polling();
    let namespace = File::open(format!("/run/netns/{}", net.name(0))).unwrap();
    let socket = std::thread::spawn(move || {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), None).unwrap();
        UdpSocket::bind("127.0.0.1:7008").unwrap()
    })
    .join()
    .unwrap();
    let found = watch.wait("socket of the thread", |socket| {
        socket.netns == Some(inode(&net, 0))
            && socket.local_port == 7008
            && socket.process.is_some()
    });
    assert_eq!(holders(&found), [std::process::id()].into());
    drop(socket);
}

/// `ss` reads the same tables with code of its own.
#[test]
fn all_sockets_of_a_namespace_are_those_that_ss_shows_with_the_same_processes() {
    let Some(net) = namespaces("all_sockets_of_a_namespace", 1) else { return };
    let watch = polling();
    let _running = [
        python(
            &net,
            0,
            "s = socket.socket(socket.AF_INET6); s.bind(('::', 7010)); s.listen()\nc = [socket.create_connection((h, 7010)) for h in ('127.0.0.1', '::1') * 5]; a = [s.accept() for _ in c]\nif os.fork() == 0: stay()",
        ),
        python(
            &net,
            0,
            "u = [socket.socket(f, 2) for f in (2, 10) * 10]\nfor n, s in enumerate(u): s.bind(('' , 7020 + n))\nv = socket.socket(2, 2); v.connect(('127.0.0.1', 7020))",
        ),
        python(
            &net,
            0,
            "r = socket.socket(2, 3, 1); k = socket.socket(17, 3, 768); t = socket.socket(); t.bind(('127.0.0.1', 7011)); t.listen()",
        ),
    ];
    let mut expected = BTreeSet::new();
    let output = net.run(0, ["ss", "-tuwapneH0"]);
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        // Details of packet sockets.
        if line.starts_with(char::is_whitespace) {
            continue;
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        // It has no inode of raw sockets where the kernel has no diagnosis of them.
        let inode: u64 = line
            .split("ino:")
            .nth(1)
            .map_or(0, |rest| rest.split_whitespace().next().unwrap().parse().unwrap());
        let pids: BTreeSet<u32> = line
            .split("pid=")
            .skip(1)
            .map(|rest| rest.split(',').next().unwrap().parse().unwrap())
            .collect();
        let port = |field: &str| field.rsplit(':').next().unwrap().parse().unwrap_or(0u16);
        let is_packet = fields[0].starts_with("p_");
        let is_raw = fields[0] == "raw";
        assert_eq!(inode == 0, is_raw, "{line}");
        let ports = if is_packet || is_raw { (0, 0) } else { (port(fields[4]), port(fields[5])) };
        expected.insert((inode, pids, ports));
    }
    assert!(expected.len() > 40, "{expected:?}");
    let told = || -> BTreeSet<(u64, BTreeSet<u32>, (u16, u16))> {
        let open = watch.open();
        let here = open.iter().filter(|socket| socket.netns == Some(inode(&net, 0)));
        here.map(|socket| {
            let inode = socket.inode.filter(|_| socket.kind != SocketKind::Raw).unwrap_or(0);
            (inode, holders(socket), (socket.local_port, socket.remote_port))
        })
        .collect()
    };
    crate::support::netns::wait_for("the same sockets", || told() == expected);
}

#[test]
fn a_socket_that_closes_is_told_at_once_where_the_kernel_says_so() {
    if !ready("a_socket_that_closes") {
        return;
    }
    let Ok(connector) = ProcConnector::open() else {
        return eprintln!("SKIP: a_socket_that_closes: no process connector");
    };
    // No dump would show it.
    let settings = Settings { dump_interval: Duration::from_secs(600), ..Settings::default() };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let watch = Watch::start(SockDiag::new(
        settings,
        WatchedProcesses::new(ProcessWatch::new(Box::new(connector))),
    ));
    let mine = |socket: &Socket| socket.local_port == port && socket.protocol == 17;
    let open = watch.wait("socket", mine);
    assert_eq!(holders(&open), [std::process::id()].into());
    assert!(open.since_ns.is_some());
    drop(socket);
    watch.wait_gone("the socket", mine);
}

#[test]
fn a_socket_that_a_child_came_with_is_never_told_to_be_the_childs_alone() {
    let Some(net) = namespaces("a_socket_that_a_child_came_with", 1) else { return };
    let Ok(connector) = ProcConnector::open() else {
        return eprintln!("SKIP: a_socket_that_a_child_came_with: no process connector");
    };
    let watch = Watch::start(SockDiag::new(
        Settings::default(),
        WatchedProcesses::new(ProcessWatch::new(Box::new(connector))),
    ));
    // Both are looked at when the child begins, before any walk.
    let script = "kept = []\nfor i in range(7040, 7050):\n s = socket.socket(2, 2); kept.append(s); s.bind(('127.0.0.1', i)); p = os.fork()\n if p == 0: stay()\n";
    let parent = python(&net, 0, script);
    let inode = inode(&net, 0);
    let mine = |socket: &Socket, port| socket.netns == Some(inode) && socket.local_port == port;
    for port in 7040..7050 {
        watch.wait("a shared socket", |socket| mine(socket, port) && holders(socket).len() >= 2);
        let events = watch.events();
        let told = events.iter().filter_map(|event| match &event.what {
            What::SocketOpen(socket) if mine(socket, port) => Some(socket),
            _ => None,
        });
        for socket in told.filter(|socket| socket.process.is_some()) {
            assert!(holders(socket).contains(&parent.child.id()), "{socket:?}");
        }
    }
}

#[test]
fn a_socket_is_found_though_its_process_has_as_many_descriptors_as_before() {
    let Some(net) = namespaces("a_socket_is_found_though", 1) else { return };
    // Opened and bound once the watch has seen the process; a file makes room for it.
    let running = python(
        &net,
        0,
        "f = open('/dev/null')\nif os.fork() == 0:\n time.sleep(1); f.close(); s = socket.socket(2, 2); s.bind(('127.0.0.1', 7030)); stay()",
    );
    let watch = polling();
    let found = watch.wait("socket in place of a file", |socket| {
        socket.netns == Some(inode(&net, 0))
            && socket.local_port == 7030
            && socket.process.is_some()
    });
    assert!(!holders(&found).contains(&running.child.id()));
    assert_eq!((holders(&found).len(), found.basis), (1, Basis::Holds));
}
