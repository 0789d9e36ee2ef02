//! States here are written by hand, after the layouts that the runtimes document;
//! `tests/host_containers` reads a real runc's.

use std::fs;

use serde_json::{Value, json};

use super::super::cgroup::container_of;
use super::super::{Role, Workload};
use super::*;

const A: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const UID: &str = "3c9e1f52-8a40-4d7b-b6f1-0e2d4c6a8b90";
const TASKS: &str = "run/containerd/io.containerd.runtime.v2.task";

struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, path: &str, content: &Value) {
        self.write_text(path, &content.to_string());
    }

    fn write_text(&self, path: &str, content: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn runtimes(&self) -> Runtimes {
        Runtimes::new(self.0.path()).unwrap()
    }

    fn look_up(&self, cgroup: &str) -> Option<Workload> {
        let container = container_of(cgroup).unwrap();
        self.runtimes().look_up(&container).map(|found| Workload::clone(&found))
    }
}

fn labels(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn docker_state(name: &str) -> Value {
    json!({
        "ID": A, "Name": format!("/{name}"), "Image": "sha256:77aa", "Driver": "overlay2",
        "Config": {
            "Image": "registry.example/shop:1.4", "Env": ["PASSWORD=x"],
            "Labels": {"com.docker.compose.project": "store", "com.docker.compose.service": "shop"},
        },
    })
}

#[test]
fn docker_names_its_containers_image_and_labels() {
    let host = Host::new();
    host.write(
        &format!("var/lib/docker/containers/{A}/config.v2.json"),
        &docker_state("store-shop-1"),
    );
    let found = host.look_up(&format!("/system.slice/docker-{A}.scope")).unwrap();
    let expected = Workload {
        runtime: "docker".into(),
        container: A.into(),
        name: "store-shop-1".into(),
        image: "registry.example/shop:1.4".into(),
        image_id: "sha256:77aa".into(),
        labels: labels(&[
            ("com.docker.compose.project", "store"),
            ("com.docker.compose.service", "shop"),
        ]),
        ..Workload::default()
    };
    assert_eq!(found, expected);
    assert_eq!(found.stable_name(), "store/shop");
    // The same in a group that tells less.
    assert_eq!(host.look_up(&format!("/jobs/{A}")).unwrap(), expected);
}

#[test]
fn dockers_data_may_lie_elsewhere() {
    let host = Host::new();
    host.write("etc/docker/daemon.json", &json!({"data-root": "/data/docker"}));
    host.write(&format!("data/docker/containers/{A}/config.v2.json"), &docker_state("web"));
    assert_eq!(host.look_up(&format!("/docker/{A}")).unwrap().name, "web");
}

#[test]
fn containerd_names_pods_by_the_cris_annotations() {
    let host = Host::new();
    let annotations = json!({
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.container-name": "istio-proxy",
        "io.kubernetes.cri.sandbox-name": "shop-5d8f7c9b6d-x2x9z",
        "io.kubernetes.cri.sandbox-namespace": "store",
        "io.kubernetes.cri.sandbox-uid": UID,
        "io.kubernetes.cri.image-name": "registry.example/proxy:1",
        "team": "blue",
    });
    host.write(&format!("{TASKS}/k8s.io/{A}/config.json"), &json!({"annotations": annotations}));
    let found = host.look_up(&format!("/kubepods/besteffort/pod{UID}/{A}")).unwrap();
    let expected = Workload {
        runtime: "containerd".into(),
        container: A.into(),
        name: "istio-proxy".into(),
        image: "registry.example/proxy:1".into(),
        pod: "shop-5d8f7c9b6d-x2x9z".into(),
        pod_uid: UID.into(),
        namespace: "store".into(),
        role: Some(Role::Sidecar),
        labels: labels(&[("team", "blue")]),
        ..Workload::default()
    };
    assert_eq!(found, expected);
    assert_eq!(found.stable_name(), "store/shop/istio-proxy");
}

#[test]
fn a_sandbox_is_told_from_its_containers() {
    let host = Host::new();
    for (kind, role) in [("sandbox", Some(Role::Sandbox)), ("container", None)] {
        let annotations = json!({
            "io.kubernetes.cri.container-type": kind,
            "io.kubernetes.cri.sandbox-name": "db-0",
            "io.kubernetes.cri.sandbox-namespace": "store",
        });
        host.write(
            &format!("{TASKS}/k8s.io/{A}/config.json"),
            &json!({"annotations": annotations}),
        );
        let found = host.look_up(&format!("/kubepods/pod{UID}/{A}")).unwrap();
        assert_eq!(found.role, role);
        assert_eq!(found.pod_uid, UID);
        assert_eq!(found.stable_name(), "store/db");
    }
}

#[test]
fn k3s_and_nerdctl_are_containerd_too() {
    let host = Host::new();
    let annotations = json!({
        "io.kubernetes.cri.sandbox-name": "db-0", "io.kubernetes.cri.container-name": "db",
    });
    let tasks = "run/k3s/containerd/io.containerd.runtime.v2.task";
    host.write(&format!("{tasks}/k8s.io/{A}/config.json"), &json!({"annotations": annotations}));
    assert_eq!(host.look_up(&format!("/kubepods/pod{UID}/{A}")).unwrap().name, "db");

    let host = Host::new();
    let annotations = json!({"nerdctl/name": "web", "nerdctl/namespace": "default"});
    host.write(&format!("{TASKS}/default/{A}/config.json"), &json!({"annotations": annotations}));
    let found = host.look_up(&format!("/default/{A}")).unwrap();
    assert_eq!((found.name.as_str(), found.runtime.as_str()), ("web", "containerd"));
    assert_eq!(found.labels, labels(&[("containerd.namespace", "default")]));
}

#[test]
fn crio_and_podman_share_a_storage_and_are_told_apart() {
    let storage = "var/lib/containers/storage/overlay-containers";
    let host = Host::new();
    let annotations = json!({
        "io.container.manager": "cri-o",
        "io.kubernetes.cri-o.ContainerType": "container",
        "io.kubernetes.cri-o.ImageName": "registry.example/shop:1.4",
        "io.kubernetes.cri-o.Annotations": "{\"a\":\"long document\"}",
        "io.kubernetes.cri-o.Labels": "{\"io.kubernetes.pod.uid\":\"x\",\"tier\":\"front\"}",
        "io.kubernetes.container.name": "shop",
        "io.kubernetes.pod.name": "shop-7k2lm",
        "io.kubernetes.pod.namespace": "store",
        "io.kubernetes.pod.uid": UID,
    });
    host.write(
        &format!("{storage}/{A}/userdata/config.json"),
        &json!({"annotations": annotations}),
    );
    let found = host.look_up(&format!("/kubepods.slice/crio-{A}.scope")).unwrap();
    let expected = Workload {
        runtime: "crio".into(),
        container: A.into(),
        name: "shop".into(),
        image: "registry.example/shop:1.4".into(),
        pod: "shop-7k2lm".into(),
        pod_uid: UID.into(),
        namespace: "store".into(),
        labels: labels(&[("tier", "front")]),
        ..Workload::default()
    };
    assert_eq!(found, expected);

    let host = Host::new();
    let annotations = json!({"io.container.manager": "libpod", "team": "blue"});
    host.write(
        &format!("{storage}/{A}/userdata/config.json"),
        &json!({"annotations": annotations}),
    );
    let metadata = json!({"image-name": "registry.example/web:2", "name": "web"}).to_string();
    let entries = json!([
        {"id": "other", "names": ["other"], "metadata": ""},
        {"id": A, "names": ["web"], "image": "77aa", "metadata": metadata},
    ]);
    host.write(&format!("{storage}/containers.json"), &entries);
    let found = host.look_up(&format!("/machine.slice/libpod-{A}.scope/container")).unwrap();
    let expected = Workload {
        runtime: "podman".into(),
        container: A.into(),
        name: "web".into(),
        image: "registry.example/web:2".into(),
        image_id: "77aa".into(),
        labels: labels(&[("team", "blue")]),
        ..Workload::default()
    };
    assert_eq!(found, expected);
    assert_eq!(found.stable_name(), "registry.example/web");
}

#[test]
fn a_users_podman_is_read_from_the_users_home() {
    let user = rustix::process::getuid().as_raw();
    let host = Host::new();
    host.write_text("etc/passwd", &format!("ana:x:{user}:{user}:Ana:/home/ana:/bin/sh\n"));
    let storage = "home/ana/.local/share/containers/storage/overlay-containers";
    let entries = json!([{"id": A, "names": ["web"], "image": "77aa"}]);
    host.write(&format!("{storage}/containers.json"), &entries);
    let group = |user| {
        format!("/user.slice/user-{user}.slice/user@{user}.service/user.slice/libpod-{A}.scope")
    };
    assert_eq!(host.look_up(&group(user)).unwrap().name, "web");
    // It is nobody else's.
    assert_eq!(host.look_up(&group(user + 1)), None);
}

#[test]
fn a_user_cannot_pass_for_a_container_of_the_system() {
    let host = Host::new();
    host.write(&format!("var/lib/docker/containers/{A}/config.v2.json"), &docker_state("web"));
    host.write("run/runc/web/state.json", &runc_state("web", "/sys/fs/cgroup/web"));
    let slice = "/user.slice/user-1000.slice/user@1000.service";
    assert_eq!(host.look_up(&format!("{slice}/docker-{A}.scope")), None);
    assert_eq!(host.look_up(&format!("{slice}/runc-web.scope")), None);
    assert!(host.look_up("/web").is_some());
}

fn runc_state(id: &str, group: &str) -> Value {
    json!({
        "id": id,
        "config": {"labels": ["bundle=/srv/web", "team=blue", "no pair"]},
        "cgroup_paths": {"": group, "memory": "/sys/fs/cgroup/memory/jobs/web"},
    })
}

#[test]
fn runc_confirms_a_name_by_the_containers_group() {
    let host = Host::new();
    host.write("run/runc/web/state.json", &runc_state("web", "/sys/fs/cgroup/unified/web"));
    let found = host.look_up("/web").unwrap();
    let expected = Workload {
        runtime: "runc".into(),
        container: "web".into(),
        labels: labels(&[("bundle", "/srv/web"), ("team", "blue")]),
        ..Workload::default()
    };
    assert_eq!(found, expected);
    assert_eq!(found.stable_name(), "web");
    // As another hierarchy has it, and as seen from a group of its own.
    assert!(host.look_up("/jobs/web").is_some());
    assert!(host.look_up("/../web").is_some());
    // Groups of the same name that are none of its.
    assert_eq!(host.look_up("/srv/web"), None);
    assert_eq!(host.look_up("/other"), None);
    // An id that its file does not have.
    host.write("run/runc/other/state.json", &runc_state("web", "/sys/fs/cgroup/other"));
    assert_eq!(host.look_up("/other"), None);
}

#[test]
fn crun_and_containers_of_ctr_have_names_too() {
    let host = Host::new();
    host.write("run/crun/web/status", &json!({"bundle": "/srv/web", "cgroup-path": "/web"}));
    host.write("run/crun/web/config.json", &json!({"annotations": {"team": "blue"}}));
    let found = host.look_up("/web").unwrap();
    assert_eq!(found.runtime, "crun");
    assert_eq!(found.labels, labels(&[("bundle", "/srv/web"), ("team", "blue")]));

    let spec = json!({"linux": {"cgroupsPath": "/default/job"}});
    host.write(&format!("{TASKS}/default/job/config.json"), &spec);
    assert_eq!(host.look_up("/default/job").unwrap().runtime, "containerd");
    assert_eq!(host.look_up("/elsewhere/job"), None);
}

#[test]
fn machines_of_systemd_name_their_folder_and_virtual_ones_are_none() {
    let host = Host::new();
    host.write_text(
        "run/systemd/machines/web",
        "# note\nCLASS=container\nROOT=/var/lib/machines/web\n",
    );
    host.write_text("run/systemd/machines/desk", "CLASS=vm\n");
    let found = host.look_up("/machine.slice/machine-web.scope").unwrap();
    assert_eq!((found.name.as_str(), found.image.as_str()), ("web", "/var/lib/machines/web"));
    assert_eq!(host.look_up("/machine.slice/machine-desk.scope"), None);
}

#[test]
fn log_files_name_pods_when_nothing_else_does() {
    let host = Host::new();
    let group = format!("/kubepods/burstable/pod{UID}/{A}");
    assert_eq!(host.look_up(&group), None);

    host.write_text(&format!("var/log/pods/store_shop-x2x9z_{UID}/shop/0.log"), "");
    let found = host.look_up(&group).unwrap();
    assert_eq!((found.namespace.as_str(), found.pod.as_str()), ("store", "shop-x2x9z"));
    assert_eq!(found.name, "shop");

    // With a second container it is open which one this is.
    host.write_text(&format!("var/log/pods/store_shop-x2x9z_{UID}/proxy/0.log"), "");
    assert_eq!(host.look_up(&group).unwrap().name, "");

    host.write_text(&format!("var/log/containers/shop-x2x9z_store_proxy-{A}.log"), "");
    let found = host.look_up(&group).unwrap();
    assert_eq!((found.name.as_str(), found.pod_uid.as_str()), ("proxy", UID));
}

#[test]
fn a_state_that_comes_late_is_found_and_a_miss_costs_less_and_less() {
    let host = Host::new();
    let group = format!("/docker/{A}");
    let container = container_of(&group).unwrap();
    let mut runtimes = host.runtimes();
    let start = Instant::now();
    assert_eq!(runtimes.look_up_at(&container, start), None);

    let path = format!("var/lib/docker/containers/{A}/config.v2.json");
    host.write(&path, &docker_state("web"));
    assert_eq!(runtimes.look_up_at(&container, start + RETRY_FIRST / 2), None);
    let found = runtimes.look_up_at(&container, start + RETRY_FIRST).unwrap();
    assert_eq!(found.name, "web");

    // Renamed: seen, but not at once.
    host.write(&path, &docker_state("shop"));
    let later = start + RETRY_FIRST + FOUND_FOR;
    let before = runtimes.look_up_at(&container, later - Duration::from_secs(1)).unwrap();
    assert!(Arc::ptr_eq(&before, &found));
    assert_eq!(runtimes.look_up_at(&container, later).unwrap().name, "shop");

    // Gone: its id is nobody else's.
    fs::remove_file(host.0.path().join(&path)).unwrap();
    assert_eq!(runtimes.look_up_at(&container, later + FOUND_FOR).unwrap().name, "shop");
}

#[test]
fn a_name_is_forgotten_with_its_container() {
    let host = Host::new();
    let container = container_of("/web").unwrap();
    let mut runtimes = host.runtimes();
    host.write("run/runc/web/state.json", &runc_state("web", "/sys/fs/cgroup/web"));
    let start = Instant::now();
    assert!(runtimes.look_up_at(&container, start).is_some());
    fs::remove_file(host.0.path().join("run/runc/web/state.json")).unwrap();
    assert!(runtimes.look_up_at(&container, start + NAMED_FOR / 2).is_some());
    assert_eq!(runtimes.look_up_at(&container, start + NAMED_FOR), None);
}

#[test]
fn broken_states_are_counted_and_name_their_file() {
    let host = Host::new();
    let path = format!("var/lib/docker/containers/{A}/config.v2.json");
    for broken in ["", "{", "null", r#"{"ID":7}"#, "\u{0}"] {
        host.write_text(&path, broken);
        let group = format!("/docker/{A}");
        let mut runtimes = host.runtimes();
        assert_eq!(runtimes.look_up(&container_of(&group).unwrap()), None, "{broken}");
        assert_eq!(runtimes.unreadable(), 1, "{broken}");
        assert!(runtimes.problem().unwrap().starts_with(&format!("/{path}: ")), "{broken}");
    }
}

proptest::proptest! {
    #[test]
    fn any_state_is_read_or_refused(text in r#"(\{|\}|\[|\]|"(ID|Config|Labels|annotations|linux|config|labels|cgroup_paths|a=b|/web)"|:|,|null|7){0,40}"#) {
        let host = Host::new();
        for path in ["run/runc/web/state.json", "run/crun/web/status", &format!("{TASKS}/x/web/config.json")] {
            host.write_text(path, &text);
        }
        // Nothing of this shape can prove that it is of the group.
        let found = host.look_up("/web");
        proptest::prop_assert!(found.is_none_or(|found| found.container == "web"));
    }
}
