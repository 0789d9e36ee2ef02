//! The harness of containers: what it promises to tests.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;

use crate::support::container::{Container, ContainerOptions};
use crate::support::netns::{LinkOptions, Netns, wait_for};

fn process_is_there(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn a_container_reaches_the_test_and_nothing_is_left_of_it() {
    let Some(mut net) = Container::or_skip("a_container_reaches", 2, &["ping"]) else { return };
    let link = net.join(0, 1, LinkOptions::default());
    let container = Container::start(&net, 1, ContainerOptions::default());
    container.run(["ping", "-c1", "-W5", &link.ipv4[0]]);
    net.run(0, ["ping", "-q", "-c1", "-W5", &link.ipv4[1]]);

    let pid = container.spawn_detached(["sleep", "600"]);
    // Until its exec it is the runtime's own.
    wait_for("the program", || {
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        command_line.starts_with(b"sleep\x00600")
    });
    let netns = |pid| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(netns(pid), netns(container.pid()));
    assert_ne!(netns(pid), fs::read_link("/proc/self/ns/net").unwrap());

    let first = container.pid();
    drop(container);
    wait_for("the end of what ran inside", || !process_is_there(first) && !process_is_there(pid));
}

#[test]
fn programs_of_the_host_run_inside_when_asked_for() {
    let Some(net) = Container::or_skip("programs_of_the_host", 1, &["python3"]) else { return };
    let options = ContainerOptions { host_programs: true, ..ContainerOptions::default() };
    let container = Container::start(&net, 0, options);
    let said = container.run(["/usr/bin/python3", "-c", "print(6 * 7)"]).stdout;
    assert_eq!(said, b"42\n");
}

#[test]
fn a_test_that_fails_leaves_no_container() {
    if Container::or_skip("a_test_that_fails", 0, &[]).is_none() {
        return;
    }
    let (sender, receiver) = mpsc::channel();
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let net = Netns::new(1);
        let container = Container::start(&net, 0, ContainerOptions::default());
        let state = Path::new("/run/runc").join(container.id()).join("state.json");
        assert!(state.exists());
        sender.send(state).unwrap();
        panic!("on purpose");
    }));
    assert!(failed.is_err());
    assert!(!receiver.recv().unwrap().exists());
}
