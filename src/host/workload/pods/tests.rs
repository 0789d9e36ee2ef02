use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::host::workload::{Role, Workload};

const UID: &str = "3c9e1f52-8a40-4d7b-b6f1-0e2d4c6a8b90";

fn id(n: u32) -> String {
    format!("{n:064x}")
}

fn read(list: &Value) -> PodIndex {
    PodIndex::read(list.to_string().as_bytes()).unwrap()
}

fn pod(owner: Value, name: &str, containers: &[(&str, u32)]) -> Value {
    let specs: Vec<_> = containers.iter().map(|(name, _)| json!({"name": name})).collect();
    let statuses: Vec<_> = containers
        .iter()
        .map(|(name, n)| json!({"name": name, "containerID": format!("containerd://{}", id(*n))}))
        .collect();
    json!({
        "metadata": {"name": name, "namespace": "store", "uid": UID, "ownerReferences": [owner]},
        "spec": {"containers": specs},
        "status": {"containerStatuses": statuses},
    })
}

#[test]
fn a_container_is_known_with_pod_owner_labels_and_part() {
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [{
        "metadata": {
            "name": "shop-5d8f7c9b6d-x2x9z", "namespace": "store", "uid": UID,
            "creationTimestamp": null,
            "labels": {"app": "shop", "pod-template-hash": "5d8f7c9b6d"},
            "ownerReferences": [
                {"kind": "Note", "name": "n"},
                {"kind": "ReplicaSet", "name": "shop-5d8f7c9b6d", "controller": true},
            ],
        },
        "spec": {
            "hostNetwork": true,
            "containers": [{"name": "shop", "image": "registry.example/shop:1.4"}, {"name": "istio-proxy"}],
            "initContainers": [
                {"name": "migrate"},
                {"name": "log-shipper", "restartPolicy": "Always"},
            ],
            "ephemeralContainers": [{"name": "debugger"}],
        },
        "status": {
            "containerStatuses": [
                {"name": "shop", "containerID": format!("containerd://{}", id(1)),
                 "image": "sha256:77aa", "imageID": "registry.example/shop@sha256:77aa",
                 "lastState": {"terminated": {"containerID": format!("containerd://{}", id(6))}}},
                {"name": "istio-proxy", "containerID": format!("cri-o://{}", id(2)), "lastState": {}},
            ],
            "initContainerStatuses": [
                {"name": "migrate", "containerID": format!("docker://{}", id(3))},
                {"name": "log-shipper", "containerID": format!("containerd://{}", id(4))},
            ],
            "ephemeralContainerStatuses": [
                {"name": "debugger", "containerID": format!("containerd://{}", id(5))},
            ],
        },
    }]});
    let index = read(&list);
    let shop = Workload {
        runtime: "containerd".into(),
        container: id(1),
        name: "shop".into(),
        image: "registry.example/shop:1.4".into(),
        image_id: "registry.example/shop@sha256:77aa".into(),
        pod: "shop-5d8f7c9b6d-x2x9z".into(),
        pod_uid: UID.into(),
        namespace: "store".into(),
        owner: "Deployment/shop".into(),
        role: Some(Role::Main),
        host_network: true,
        labels: [("app", "shop"), ("pod-template-hash", "5d8f7c9b6d")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    };
    assert_eq!(**index.container(&id(1)).unwrap(), shop);
    assert_eq!(shop.stable_name(), "store/Deployment/shop/shop");

    // Before it was started again.
    assert_eq!(index.container(&id(6)).unwrap().name, "shop");
    for (n, runtime, role) in [
        (2, "crio", Role::Sidecar),
        (3, "docker", Role::Init),
        (4, "containerd", Role::Sidecar),
        (5, "containerd", Role::Ephemeral),
    ] {
        let found = index.container(&id(n)).unwrap();
        assert_eq!((found.runtime.as_str(), found.role), (runtime, Some(role)), "{}", found.name);
    }
    assert_eq!((index.pods(), index.containers()), (1, 6));
}

#[test]
fn owners_are_named_without_what_each_roll_out_changes() {
    let owner = |kind: &str, name: &str| json!({"kind": kind, "name": name, "controller": true});
    let cases = [
        (owner("ReplicaSet", "shop-5d8f7c9b6d"), "shop-5d8f7c9b6d-x2x9z", "Deployment/shop"),
        // Nobody made this one by a Deployment.
        (owner("ReplicaSet", "shop"), "shop-x2x9z", "ReplicaSet/shop"),
        (owner("StatefulSet", "db"), "db-0", "StatefulSet/db"),
        (owner("DaemonSet", "agent"), "agent-x2x9z", "DaemonSet/agent"),
        (owner("Job", "report-29012345"), "report-29012345-x2x9z", "CronJob/report"),
        (owner("Job", "once"), "once-x2x9z", "Job/once"),
        (owner("Node", "node-1.example"), "etcd-node-1.example", "StaticPod/etcd"),
    ];
    for (owner, name, expected) in cases {
        let index = read(&json!({"items": [pod(owner, name, &[("c", 1)])]}));
        assert_eq!(index.container(&id(1)).unwrap().owner, expected);
    }
}

#[test]
fn a_proxy_alone_in_its_pod_is_its_main_container() {
    let owner = json!({"kind": "DaemonSet", "name": "edge"});
    let index = read(&json!({"items": [pod(owner, "edge-x2x9z", &[("envoy", 1)])]}));
    assert_eq!(index.container(&id(1)).unwrap().role, Some(Role::Main));
}

#[test]
fn containers_that_the_list_lacks_get_their_pods_part() {
    let owner = json!({"kind": "StatefulSet", "name": "db"});
    let mut item = pod(owner, "db-0", &[("db", 1), ("envoy", 2)]);
    item["metadata"]["annotations"] = json!({"kubernetes.io/config.hash": "00ff"});
    let index = read(&json!({"items": [item]}));
    let of = |uid: &str, name: &str, role| {
        let mut workload = Workload {
            runtime: "containerd".into(),
            container: id(9),
            name: name.into(),
            image: "img".into(),
            pod_uid: uid.into(),
            role,
            ..Workload::default()
        };
        index.complete(&mut workload);
        workload
    };
    let sandbox = of(UID, "", Some(Role::Sandbox));
    assert_eq!((sandbox.pod.as_str(), sandbox.role), ("db-0", Some(Role::Sandbox)));
    assert_eq!(sandbox.stable_name(), "store/StatefulSet/db");
    let started_again = of(UID, "envoy", None);
    assert_eq!(started_again.role, Some(Role::Sidecar));
    assert_eq!((started_again.container, started_again.image), (id(9), "img".to_owned()));
    // As the cgroup of a pod from a file has it.
    assert_eq!(of("00ff", "db", None).owner, "StatefulSet/db");
    assert_eq!(of("other", "db", None).pod, "");
}

#[test]
fn what_is_no_pod_list_is_refused_with_the_reason() {
    for text in
        ["", "[]", "{}", r#"{"items":7}"#, r#"{"items":[7]}"#, r#"{"items":[]} x"#, r#"{"items":["#]
    {
        assert!(PodIndex::read(text.as_bytes()).is_err(), "{text}");
    }
    for text in [
        r#"{"items":null}"#,
        r#"{"items":[{}]}"#,
        r#"{"items":[{"metadata":null,"spec":null,"status":null}]}"#,
    ] {
        assert_eq!(PodIndex::read(text.as_bytes()).unwrap().containers(), 0, "{text}");
    }
    for text in ["", "ftp://h/x", "http://", "https://u:p@h/pods", "http:///pods"] {
        assert!(PodSource::new(text).is_err(), "{text}");
    }
    let absent = PodSource::new("/nonexistent/pods.json").unwrap().read().unwrap_err();
    assert!(absent.to_string().contains("/nonexistent/pods.json"), "{absent}");
}

#[test]
fn a_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pods.json");
    let list = |containers: &[(&str, u32)]| {
        let owner = json!({"kind": "StatefulSet", "name": "db"});
        json!({"items": [pod(owner, "db-0", containers)]}).to_string()
    };
    // At once: half a list is a broken one.
    let put = |text: &str| {
        let new = folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &path).unwrap();
    };
    put(&list(&[("db", 1)]));
    let source = PodSource::new(path.to_str().unwrap()).unwrap();
    let pods = PodList::start(source, Duration::from_secs(3_600)).unwrap();
    wait_for("the first list", || pods.index().containers() == 1);
    let first = pods.index();
    assert!(Arc::ptr_eq(&first, &pods.index()));

    put(&list(&[("db", 1), ("envoy", 2)]));
    wait_for("the changed list", || {
        pods.want();
        pods.index().containers() == 2
    });
    put("{");
    wait_for("the broken list", || {
        pods.want();
        pods.problem().is_some()
    });
    assert_eq!(pods.index().containers(), 2);
    assert!(pods.problem().unwrap().contains("pods.json"));
    assert_eq!(pods.counts().1, 1);
}

/// Answers once; gives back what it was asked.
fn server(answer: String) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/pods?x=secret", listener.local_addr().unwrap());
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4_096];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the request ends early");
            request.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (url, asked)
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_server_is_asked_with_the_token_of_the_moment() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "abc.def\n").unwrap();
    let (url, asked) = server(answer("200 OK", r#"{"items":[{"metadata":{"uid":"u"}}]}"#));
    let mut source = PodSource::new(&url).unwrap();
    source.token_file = Some(token.clone());
    assert_eq!(source.read().unwrap().pods(), 1);
    let request = asked.join().unwrap().to_lowercase();
    assert!(request.starts_with("get /pods?x=secret"), "{request}");
    assert!(request.contains("authorization: bearer abc.def\r\n"), "{request}");
    assert!(!source.to_string().contains("secret"));

    // Never where others can read it, and no header of the file's own making.
    let mut source = PodSource::new("http://192.0.2.1/pods").unwrap();
    source.token_file = Some(token.clone());
    assert!(matches!(source.read(), Err(PodsError::TokenInTheClear { .. })));
    fs::write(&token, "a\r\nHost: b").unwrap();
    let mut source = PodSource::new("http://127.0.0.1:9/pods").unwrap();
    source.token_file = Some(token);
    assert!(matches!(source.read(), Err(PodsError::Token { .. })));
}

#[test]
fn a_server_is_not_asked_more_often_the_more_containers_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/pods", listener.local_addr().unwrap());
    let pods = PodList::start(PodSource::new(&url).unwrap(), Duration::from_secs(3_600)).unwrap();
    listener.set_nonblocking(true).unwrap();
    // Closed at once: a failure each time it was asked.
    let (start, mut asked) = (Instant::now(), 0);
    while asked < 2 {
        pods.want();
        asked += u32::from(listener.accept().is_ok());
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for a second question");
    }
    assert!(start.elapsed() + Duration::from_millis(100) >= keep::LEAST_INTERVAL);
}

#[test]
fn a_servers_refusal_says_what_to_do() {
    let (url, asked) = server(answer("403 Forbidden", "{}"));
    let error = PodSource::new(&url).unwrap().read().unwrap_err();
    assert!(error.to_string().contains("may not list pods"), "{error}");
    asked.join().unwrap();
}

#[test]
fn a_list_that_breaks_off_is_not_taken_for_a_short_one() {
    let (url, asked) = server(
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n{\"items\":[]}"
            .to_owned(),
    );
    assert!(PodSource::new(&url).unwrap().read().is_err());
    asked.join().unwrap();
}

/// A large cluster's list, with all that a pod has besides.
#[test]
#[ignore = "a measurement: cargo test --lib five_thousand_pods -- --ignored --nocapture"]
fn five_thousand_pods() {
    let environment: Vec<_> = (0..100)
        .map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "x".repeat(60)}))
        .collect();
    let items: Vec<_> = (0..5_000)
        .map(|n| {
            let owner = json!({"kind": "ReplicaSet", "name": "shop-5d8f7c9b6d"});
            let mut item =
                pod(owner, "shop-5d8f7c9b6d-x2x9z", &[("shop", 2 * n), ("envoy", 2 * n + 1)]);
            item["metadata"]["uid"] = json!(format!("uid-{n}"));
            item["metadata"]["labels"] = json!({"app": "shop", "pod-template-hash": "5d8f7c9b6d"});
            item["spec"]["containers"][0]["env"] = json!(environment);
            item
        })
        .collect();
    let text = json!({"items": items}).to_string();
    drop(items);
    let start = Instant::now();
    let index = PodIndex::read(text.as_bytes()).unwrap();
    let time = start.elapsed();
    assert_eq!((index.pods(), index.containers()), (5_000, 10_000));
    println!("{} MB in {time:?}", text.len() / 1_000_000);
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
