//! Sockets that go from hand to hand or wait unread, and processes that become
//! somebody or something else before they use one.

use std::process::{Command, Stdio};

use flowtap::host::attribution::Basis;
use flowtap::host::event::{HostEvent, Socket, SocketKind, What};

use super::program::copy_program;
use super::{executed, numbers, pid, python, run, socket_of, sockets, used_by, watch};

/// Two of a socket pair: the parent sends to the port before it does `then`.
const SENDS_FIRST: &str = "import socket,os,sys,time\na=('127.0.0.1',int(sys.argv[1]))\n\
    s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('127.0.0.1',0))\n\
    x,y=socket.socketpair()\n";

#[test]
fn who_is_given_a_socket_and_sends_where_the_giver_did_is_named_alone() {
    let Some(watch) = watch() else { return };
    let by_passing = "if os.fork()==0:\n s.close(); d,f,_,_=socket.recv_fds(y,1,1)\n \
                      socket.socket(fileno=f[0]).sendto(b'x',a); os._exit(0)\n\
                      s.sendto(b'x',a); socket.send_fds(x,[b'x'],[s.fileno()]); print(os.wait()[0])";
    let by_exec = "s.sendto(b'x',a); s.set_inheritable(True); p=os.fork()\nif p==0: \
                   os.execv('/usr/bin/python3',['python3','-c','import socket,sys; socket.socket(\
                   fileno=int(sys.argv[1])).sendto(b\"x\",(\"127.0.0.1\",int(sys.argv[2])))',\
                   str(s.fileno()),sys.argv[1]])\nos.wait(); print(p)";
    for (how, port) in [(by_passing, 40020), (by_exec, 40021)] {
        let (first, said) = run(python(&format!("{SENDS_FIRST}{how}"), &[&port.to_string()]));
        let second = u32::try_from(numbers(&said)[0]).unwrap();
        let before = watch.socket("the first user", |socket| {
            used_by(socket, first) && socket.remote_port == port
        });
        let after = watch
            .socket("the second", |socket| used_by(socket, second) && socket.remote_port == port);
        assert_eq!((before.cookie, before.local_port), (after.cookie, after.local_port));
        assert!(!before.alone && after.alone, "{before:?} {after:?}");
        assert!(after.since_ns.is_some(), "its packet left before its call ended");
        watch.socket("what comes in", |socket| {
            used_by(socket, second) && socket.cookie == after.cookie && socket.remote.is_none()
        });
    }
}

#[test]
fn of_many_turns_on_a_socket_few_are_told_and_then_all_users_are_meant() {
    let Some(watch) = watch() else { return };
    let script = format!(
        "{SENDS_FIRST}p=os.fork()\nif p==0:\n for i in range(500): y.recv(1); s.sendto(b'x',a); \
         y.send(b'x')\n os._exit(0)\n\
         for i in range(500): s.sendto(b'x',a); x.send(b'x'); x.recv(1)\nos.wait(); print(p)"
    );
    let (first, said) = run(python(&script, &["40022"]));
    let second = u32::try_from(numbers(&said)[0]).unwrap();
    watch.catch_up();
    let events = watch.events.lock().unwrap();
    let there = |socket: &&Socket| socket.remote_port == 40022 && socket.basis == Basis::Used;
    let told: Vec<&Socket> = sockets(&events).filter(there).collect();
    assert!((4..30).contains(&told.len()), "{} of 1000", told.len());
    for user in [first, second] {
        let last = told.iter().rev().find(|socket| pid(socket) == user).unwrap();
        assert!(!last.alone, "{last:?}");
    }
}

#[test]
fn a_program_that_goes_on_with_a_socket_after_an_exec_is_told_anew() {
    let Some(watch) = watch() else { return };
    let script = "import socket,os\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
                  s.connect(('127.0.0.1',40023)); s.send(b'x'); s.set_inheritable(True)\n\
                  os.execv('/bin/sh',['sh','-c','exec 2>&-; echo x >&%d; echo y >&%d'%((s.fileno(),)*2)])";
    let (sender, _) = run(python(script, &[]));
    watch.socket("the second program's", |socket| {
        used_by(socket, sender) && socket.remote_port == 40023 && socket.alone
    });
    watch.catch_up();
    let events = watch.events.lock().unwrap();
    let told = sockets(&events).filter(|socket| socket.remote_port == 40023).count();
    assert_eq!(told, 2, "one of each program");
}

#[test]
fn who_takes_another_user_before_it_sends_is_that_user() {
    let Some(watch) = watch() else { return };
    if !rustix::process::getuid().is_root() {
        eprintln!("SKIP: only root can become somebody else");
        return;
    }
    let become_nobody = "import socket,os\nos.setsid(); os.setgid(65534)\n";
    let before = "os.setuid(65534); s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n";
    let after = "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); os.setuid(65534)\n";
    for (how, port) in [(before, 40024), (after, 40025)] {
        let script =
            format!("{become_nobody}{how}s.sendto(b'x',('127.0.0.1',{port})); os.read(0,1)");
        let mut command = python(&script, &[]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let sender = child.id();
        watch
            .socket("the datagram", |socket| used_by(socket, sender) && socket.remote_port == port);
        let events = watch.events.lock().unwrap();
        let used = events.iter().position(|event| {
            socket_of(event)
                .is_some_and(|socket| used_by(socket, sender) && socket.remote_port == port)
        });
        let known = executed(&events[..used.unwrap()], sender).unwrap().clone();
        drop(events);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!((known.uid, known.user.as_str()), (Some(65534), "nobody"));
        assert_eq!(known.session, Some(sender));
        assert_eq!(known.args[2], script);
    }
}

#[test]
fn a_program_that_was_deleted_before_it_sends_says_so() {
    let Some(watch) = watch() else { return };
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let program = folder.path().join("sender");
    copy_program("/bin/bash", &program);
    let mut command = Command::new(&program);
    command.args(["-c", "rm \"$0\"; echo x > /dev/udp/127.0.0.1/40026"]).arg(&program);
    let (sender, _) = run(command);
    watch.socket("the datagram", |socket| used_by(socket, sender) && socket.remote_port == 40026);
    let known = watch.executed(sender);
    assert!(known.exe_deleted, "{known:?}");
    assert_eq!(known.exe, program.to_str().unwrap());
}

#[test]
fn a_datagram_socket_that_is_bound_and_never_read_is_somebodys() {
    let Some(watch) = watch() else { return };
    for (address, family) in [("127.0.0.1", "AF_INET"), ("::1", "AF_INET6")] {
        let script = format!(
            "import socket\ns=socket.socket(socket.{family},socket.SOCK_DGRAM)\n\
             s.bind(('{address}',0)); print(s.getsockname()[1])"
        );
        let (holder, said) = run(python(&script, &[]));
        let port = numbers(&said)[0];
        let socket = watch.socket("the bound socket", |socket| {
            pid(socket) == holder && u64::from(socket.local_port) == port
        });
        assert_eq!((socket.kind, socket.basis), (SocketKind::Datagram, Basis::Opened));
        assert_eq!((socket.local, socket.protocol), (address.parse().ok(), 17));
        assert_eq!(socket.netns, watch.executed(holder).netns);
        watch.wait("its end", |events| {
            let closes = |event: &&HostEvent| {
                matches!(&event.what, What::SocketClose(closed) if closed.cookie == socket.cookie)
            };
            events.iter().find(closes).map(|_| ())
        });
    }
}

#[test]
fn who_reads_a_socket_that_another_bound_has_what_came_before_it_read() {
    let Some(watch) = watch() else { return };
    let script = "import socket,os\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
                  s.bind(('127.0.0.1',0)); p=os.fork()\nif p==0: s.recv(9); os._exit(0)\n\
                  socket.socket(socket.AF_INET,socket.SOCK_DGRAM).sendto(b'x',s.getsockname())\n\
                  print(s.getsockname()[1],os.wait()[0])";
    let (binder, said) = run(python(script, &[]));
    let [port, reader] = numbers(&said)[..] else { panic!("{said}") };
    let at_port = |socket: &Socket| u64::from(socket.local_port) == port;
    let bound = watch.socket("who bound it", |socket| at_port(socket) && pid(socket) == binder);
    assert_eq!(bound.basis, Basis::Opened);
    let read = watch.socket("who reads it", |socket| {
        at_port(socket) && u64::from(pid(socket)) == reader && socket.basis == Basis::Used
    });
    assert!(read.since_ns.is_some(), "{read:?}");
}
