use proptest::prelude::*;

use super::*;

const A: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const B: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
const UID: &str = "3c9e1f52-8a40-4d7b-b6f1-0e2d4c6a8b90";
const UID_: &str = "3c9e1f52_8a40_4d7b_b6f1_0e2d4c6a8b90";
/// Of a pod that the kubelet starts from a file.
const STATIC: &str = "5e8a0c1d2f3b4a6978d0e1f2a3b4c5d6";
const TASK: &str = "7d41b0c9a2f34e5d8c6b1a0f9e8d7c6b";

/// `A`, `B`, `UID` and so on stand for the ids above.
fn filled(form: &str) -> String {
    form.replace("{A}", A)
        .replace("{B}", B)
        .replace("{UID}", UID)
        .replace("{UID_}", UID_)
        .replace("{STATIC}", STATIC)
        .replace("{TASK}", TASK)
}

#[test]
fn each_runtimes_paths_name_their_container() {
    use Runtime::*;
    let forms: &[(&str, Runtime, &str, Option<&str>)] = &[
        // Docker: cgroupfs and systemd drivers, a parent of one's own, a removed group.
        ("/docker/{A}", Docker, A, None),
        ("/system.slice/docker-{A}.scope", Docker, A, None),
        ("/actions_job/{A}", Unknown, A, None),
        ("/system.slice/docker-{A}.scope (deleted)", Docker, A, None),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope",
            Docker,
            A,
            None,
        ),
        // A container that makes groups of its own.
        ("/docker/{A}/init", Docker, A, None),
        ("/system.slice/docker-{A}.scope/system.slice/sshd.service", Docker, A, None),
        // Seen from a cgroup namespace beside it.
        ("/../{A}", Unknown, A, None),
        ("/../docker-{A}.scope", Docker, A, None),
        // containerd by the CRI: systemd and cgroupfs drivers, and both mixed up.
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/cri-containerd-{A}.scope",
            Containerd,
            A,
            Some(UID),
        ),
        (
            "/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope",
            Containerd,
            A,
            Some(UID),
        ),
        ("/kubepods/besteffort/pod{UID}/{A}", Unknown, A, Some(UID)),
        ("/kubepods/pod{UID}/{A}", Unknown, A, Some(UID)),
        ("/kubepods/burstable/pod{STATIC}/{A}", Unknown, A, Some(STATIC)),
        (
            "/system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice:cri-containerd:{A}",
            Containerd,
            A,
            Some(UID),
        ),
        // containerd alone.
        ("/default/{A}", Unknown, A, None),
        ("/system.slice/nerdctl-{A}.scope", Containerd, A, None),
        // k3s, the embedded containerd below a unit.
        ("/system.slice/k3s.service/kubepods/besteffort/pod{UID}/{A}", Unknown, A, Some(UID)),
        // CRI-O, and crun's group inside.
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/crio-{A}.scope",
            Crio,
            A,
            Some(UID),
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/crio-{A}.scope/container",
            Crio,
            A,
            Some(UID),
        ),
        ("/kubepods/burstable/pod{UID}/crio-{A}", Crio, A, Some(UID)),
        // Podman: of root, in its pod, without systemd, of a user.
        ("/machine.slice/libpod-{A}.scope", Podman, A, None),
        ("/machine.slice/libpod-{A}.scope/container", Podman, A, None),
        ("/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope", Podman, A, None),
        ("/libpod_parent/libpod-{A}", Podman, A, None),
        ("/system.slice/web.service/libpod-payload-{A}", Podman, A, None),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container",
            Podman,
            A,
            None,
        ),
        // runc and crun by systemd: people's names.
        ("/system.slice/runc-web-1.scope", Runc, "web-1", None),
        ("/user.slice/user-1000.slice/user@1000.service/crun-web.scope", Crun, "web", None),
        ("/system.slice/system.slice:runc:web", Runc, "web", None),
        // LXC, LXD, nested; nspawn by machinectl and by its unit.
        ("/lxc.payload.web", Lxc, "web", None),
        ("/lxc/web", Lxc, "web", None),
        ("/lxc.payload/web", Lxc, "web", None),
        ("/lxc.payload.web/system.slice/nginx.service", Lxc, "web", None),
        ("/lxc.payload.outer/lxc.payload.inner/init.scope", Lxc, "inner", None),
        ("/machine.slice/machine-web.scope", Nspawn, "web", None),
        (r"/machine.slice/machine-web\x2d1.scope/payload", Nspawn, "web-1", None),
        ("/machine.slice/systemd-nspawn@web.service/payload/init.scope", Nspawn, "web", None),
        // kind, and Docker in Docker: the innermost.
        ("/docker/{B}/kubelet/kubepods/besteffort/pod{UID}/{A}", Unknown, A, Some(UID)),
        (
            "/system.slice/docker-{B}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{UID_}.slice/cri-containerd-{A}.scope",
            Containerd,
            A,
            Some(UID),
        ),
        ("/docker/{B}/system.slice/containerd.service", Docker, B, None),
        ("/docker/{B}/docker/{A}", Docker, A, None),
        ("/kubepods/besteffort/pod{UID}/{B}/docker/{A}", Docker, A, Some(UID)),
        // ECS: on instances, with systemd, on Fargate.
        ("/ecs/{TASK}/{A}", Docker, A, None),
        ("/ecs/shop/{TASK}/{A}", Docker, A, None),
        ("/ecstasks.slice/ecstasks-{TASK}.slice/docker-{A}.scope", Docker, A, None),
        ("/ecs/{TASK}/{TASK}-1234567890", Ecs, "{TASK}-1234567890", None),
        // BuildKit: its own daemon's and Docker's.
        ("/buildkit/k3n9x0a7qwe1rty2uio3pasd4", Buildkit, "k3n9x0a7qwe1rty2uio3pasd4", None),
        ("/docker/buildkit/k3n9x0a7qwe1rty2uio3pasd4", Buildkit, "k3n9x0a7qwe1rty2uio3pasd4", None),
    ];
    for (form, runtime, id, pod) in forms {
        let path = filled(form);
        let found = container_of(&path).unwrap_or_else(|| panic!("{path}: no container"));
        assert_eq!(found.runtime, *runtime, "{path}");
        assert_eq!(found.id, filled(id), "{path}");
        assert_eq!(found.pod_uid.as_deref(), *pod, "{path}");
        assert!(found.sure, "{path}");
    }
}

#[test]
fn what_is_no_container_names_none() {
    for form in [
        "",
        "/",
        "/init.scope",
        "/system.slice/nginx.service",
        "/user.slice/user-1000.slice/session-3.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-2211.scope",
        "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
        // Monitors run on the host.
        "/system.slice/crio-conmon-{A}.scope",
        "/machine.slice/libpod-conmon-{A}.scope",
        "/lxc.monitor.web",
        // Ids that are none.
        "/system.slice/docker-web.scope",
        "/docker/../../etc",
        "/lxc/..",
        "/kubepods/besteffort/pod{UID}",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice",
    ] {
        let path = filled(form);
        let found = container_of(&path).filter(|found| found.sure);
        assert_eq!(found, None, "{path}");
        assert!(!candidates(&path).any(|found| found.id.contains("..")), "{path}");
    }
    let pod = filled("/kubepods/besteffort/pod{UID}");
    for path in
        ["/", "/init.scope", "/system.slice/nginx.service", "/user.slice/user-0.slice", &pod]
    {
        assert_eq!(candidates(path).count(), 0, "{path}: nothing to look up");
    }
}

#[test]
fn a_name_alone_is_for_the_runtime_to_confirm() {
    let found = container_of("/web-1").unwrap();
    assert!(!found.sure && found.id == "web-1" && found.cgroup == "/web-1");

    // The container may have made the inner ones.
    let path = "/web-1/workers/7";
    let all: Vec<_> = candidates(path).map(|found| (found.id, found.cgroup)).collect();
    let expected = [("7", path), ("workers", "/web-1/workers"), ("web-1", "/web-1")];
    assert_eq!(all, expected.map(|(id, cgroup)| (Cow::Borrowed(id), cgroup)));

    // Nothing is guessed inside of a container that is known.
    let path = filled("/docker/{A}/workers/7");
    assert_eq!(candidates(&path).count(), 1);
}

#[test]
fn rootless_containers_name_their_user() {
    let path = filled("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope");
    assert_eq!(container_of(&path).unwrap().user, Some(1000));
    let path = filled("/machine.slice/libpod-{A}.scope");
    assert_eq!(container_of(&path).unwrap().user, None);
}

#[test]
fn of_several_hierarchies_the_one_with_the_container_counts() {
    let cases = [
        ("0::/system.slice/nginx.service\n", "/system.slice/nginx.service"),
        // The unified one is empty where a runtime uses version 1.
        ("5:devices:/docker/{A}\n1:name=systemd:/docker/{A}\n0::/\n", "/docker/{A}"),
        (
            "4:memory:/docker/{A}\n1:name=systemd:/\n0::/system.slice/docker.service\n",
            "/docker/{A}",
        ),
        // A plain runc, and a host that puts only memory into groups.
        ("9:name=systemd:/web\n4:memory:/jobs/17/web\n0::/web\n", "/web"),
        ("9:name=systemd:/web\n5:devices:/web\n0::/\n", "/web"),
        ("9:name=systemd:/\n4:memory:/jobs/17\n0::/\n", "/"),
        ("3:cpu,cpuacct:/a:b\n", "/a:b"),
        ("0::/docker/{A} (deleted)\n", "/docker/{A}"),
        ("", ""),
        ("no colons\n::\n", ""),
    ];
    for (text, expected) in cases {
        assert_eq!(cgroup_path(&filled(text)), filled(expected), "{text}");
    }
}

proptest! {
    #[test]
    fn any_path_is_read_within_bounds(path in r"(/?(docker|kubepods\.slice|pod|machine-|libpod-|[a-f0-9]{64}|\\x2d|\\x|\.scope|:|\PC{0,4})){0,40}") {
        let found: Vec<_> = candidates(&path).collect();
        prop_assert!(found.len() <= MAX_GUESSES.max(1));
        for container in found {
            prop_assert!(is_id(&container.id));
            prop_assert!(!container.id.contains('/') && !container.id.starts_with('.'));
            prop_assert!(path.starts_with(container.cgroup));
        }
        prop_assert!(path.contains(cgroup_path(&path)) || path.is_empty());
    }

    #[test]
    fn a_container_of_docker_is_found_however_deep(id in "[0-9a-f]{64}", inner in "(/[m-w]{1,8}){0,200}") {
        let path = format!("/docker/{id}{inner}");
        let found = container_of(&path).unwrap();
        prop_assert_eq!(found.id.as_ref(), id.as_str());
        prop_assert_eq!(found.runtime, Runtime::Docker);
    }

    #[test]
    fn endless_paths_name_nothing(part in "[a-z/]{1,8}") {
        let path = format!("/docker/{A}/{}", part.repeat(4_096));
        prop_assert_eq!(container_of(&path), None);
    }
}
