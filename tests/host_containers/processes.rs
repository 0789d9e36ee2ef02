//! Processes in real OCI containers (runc) are found with their container.
//! Other runtimes' states are written by hand in the unit tests.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::support::container::{Container, ContainerOptions};
use crate::support::netns::{LinkOptions, wait_for};
use flowtap::host::workload::cgroup::cgroup_path;
use flowtap::host::workload::{Workload, Workloads};

/// 64 hexadecimal digits, as daemons name their containers.
fn full_id() -> String {
    format!("{:064x}", u128::from(std::process::id()) << 64 | 0xf10)
}

fn cgroup_of(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    cgroup_path(&text).to_owned()
}

fn workload_of(workloads: &mut Workloads, pid: u32) -> Option<Workload> {
    workloads.of(&cgroup_of(pid)).map(|found| Workload::clone(&found))
}

#[test]
fn a_process_inside_has_its_containers_id_bundle_and_annotations() {
    let Some(mut net) = Container::or_skip("a_process_inside", 2, &[]) else { return };
    let link = net.join(0, 1, LinkOptions::default());
    let annotations =
        [("org.opencontainers.image.ref.name", "registry.example/probe:3"), ("team", "blue")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let options = ContainerOptions { annotations: annotations.into(), ..Default::default() };
    let container = Container::start(&net, 1, options);
    let mut workloads = Workloads::new(Path::new("/"), None).unwrap();

    // The first process, one that was started later, and a child of that while it
    // sends.
    let shell =
        container.spawn_detached(["sh", "-c", &format!("ping {} > /tmp/out & wait", link.ipv4[0])]);
    let children = format!("/proc/{shell}/task/{shell}/children");
    let child = || fs::read_to_string(&children).unwrap_or_default().trim().parse().ok();
    wait_for("a child that pings", || {
        child().is_some_and(|pid: u32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"ping"))
        })
    });
    for pid in [container.pid(), shell, child().unwrap()] {
        let found = workload_of(&mut workloads, pid).expect("a container");
        assert_eq!(found.runtime, "runc");
        assert_eq!(found.container, container.id());
        assert_eq!(found.image, "registry.example/probe:3");
        assert_eq!(found.labels["bundle"], container.bundle().to_str().unwrap());
        assert_eq!(found.labels["team"], "blue");
        assert_eq!(found.stable_name(), "registry.example/probe");
    }
    // Who runs the test is in none.
    assert_eq!(workload_of(&mut workloads, std::process::id()), None);
}

#[test]
fn two_containers_are_told_apart_and_one_that_ended_is_forgotten() {
    let Some(net) = Container::or_skip("two_containers", 2, &[]) else { return };
    let first = Container::start(&net, 0, ContainerOptions::default());
    let second = Container::start(&net, 1, ContainerOptions::default());
    let mut workloads = Workloads::new(Path::new("/"), None).unwrap();
    for container in [&first, &second] {
        let found = workload_of(&mut workloads, container.pid()).expect("a container");
        assert_eq!(found.container, container.id());
    }
    let group = cgroup_of(first.pid());
    drop(first);
    wait_for("the end of what was remembered", || workloads.of(&group).is_none());
    assert!(workload_of(&mut workloads, second.pid()).is_some());
}

#[test]
fn groups_that_a_daemon_chose_name_the_container_too() {
    let Some(net) = Container::or_skip("groups_that_a_daemon_chose", 1, &[]) else { return };
    let id = full_id();
    let uid = "3c9e1f52-8a40-4d7b-b6f1-0e2d4c6a8b90";
    let parent = format!("/flowtap-{}", std::process::id());
    let options = ContainerOptions {
        id: Some(id.clone()),
        cgroups_path: Some(format!("{parent}/kubepods/burstable/pod{uid}/{id}")),
        annotations: [("io.kubernetes.cri.container-name".to_owned(), "probe".to_owned())].into(),
        ..Default::default()
    };
    let container = Container::start(&net, 0, options);
    let mut workloads = Workloads::new(Path::new("/"), None).unwrap();
    let found = workload_of(&mut workloads, container.pid()).expect("a container");
    assert_eq!((found.container, found.name), (id, "probe".to_owned()));
    assert_eq!(found.pod_uid, uid);
    drop(container);
    remove_groups(&parent);
}

/// What it costs to ask for every process of a host: most are in no container.
#[test]
#[ignore = "a measurement: cargo test --test host_containers -- --ignored --nocapture"]
fn asking_is_cheap() {
    let Some(net) = Container::or_skip("asking_is_cheap", 1, &[]) else { return };
    let container = Container::start(&net, 0, ContainerOptions::default());
    let mut workloads = Workloads::new(Path::new("/"), None).unwrap();
    let inside = cgroup_of(container.pid());
    for (what, group) in [
        ("a service", "/system.slice/nginx.service"),
        ("a name of no container, remembered", "/jobs/17"),
        ("a container, read each second", inside.as_str()),
    ] {
        let rounds = 200_000_u32;
        let start = Instant::now();
        for _ in 0..rounds {
            std::hint::black_box(workloads.of(group));
        }
        println!("{what}: {:?} a question", start.elapsed() / rounds);
    }
    let rounds = 2_000_u32;
    let start = Instant::now();
    for n in 0..rounds {
        std::hint::black_box(workloads.of(&format!("/jobs/{n}")));
    }
    println!("a name met for the first time: {:?}", start.elapsed() / rounds);
}

/// runc removes the container's own group, not those above it.
fn remove_groups(parent: &str) {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain(["/sys/fs/cgroup".into()]) {
        let mut folders = vec![hierarchy.join(parent.trim_start_matches('/'))];
        while let Some(folder) = folders.last().cloned() {
            let inner = fs::read_dir(&folder).into_iter().flatten().flatten();
            let inner = inner.map(|entry| entry.path()).find(|path| path.is_dir());
            match inner {
                Some(inner) if folders.len() < 16 => folders.push(inner),
                _ => {
                    // A group that is in use stays; it can't be ours then.
                    if fs::remove_dir(&folder).is_err() {
                        break;
                    }
                    folders.pop();
                }
            }
        }
    }
}
