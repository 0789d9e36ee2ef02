//! What a record says of the hosts at its ends, as JSON: the same in
//! `flows.ndjson` and `eve.json`.
//!
//! Left out is what is not known and what the rest tells: `parent`, which is
//! the first of `ancestors`; the process's `container` where `workload` names
//! it; the arguments, which `command_line` holds so that a shell reads them
//! back; `certainty` where there is no process.
//!
//! Start at [`host_side`].

use super::json::Json;
use super::printable::command_line;
use crate::host::inventory::Instance;
use crate::host::process::{Context, Process};
use crate::host::side::{Ancestor, Attribution, HostSide, ProcessView};
use crate::host::workload::{Role, Workload};

/// Writes one end under `key`; nothing where nothing of it is known.
pub(super) fn host_side(json: &mut Json, key: &str, side: Option<&HostSide>) {
    let Some(side) = side.filter(|side| is_known(side)) else { return };
    let HostSide { process, workload, instance, host: _, attribution } = side;
    json.object(key, |json| {
        if let Some(view) = process.as_deref() {
            json.object("process", |json| {
                json.fields(view.json.get_or_make(|| process_fields(view)));
                if workload.is_none() {
                    known_text(json, "container", &view.process.container);
                }
            });
        }
        if let Some(workload) = workload.as_deref() {
            json.object("workload", |json| self::workload(json, workload));
        }
        if let Some(instance) = instance.as_deref() {
            json.object("instance", |json| self::instance(json, instance));
        }
        if let Some(how) = attribution.as_ref().filter(|how| says_something(how)) {
            json.object("attribution", |json| self::attribution(json, how));
        }
    });
}

/// Whether there is anything to say of it.
pub(super) fn is_known(side: &HostSide) -> bool {
    side.process.is_some()
        || side.workload.is_some()
        || side.instance.is_some()
        || side.attribution.as_ref().is_some_and(says_something)
}

fn says_something(how: &Attribution) -> bool {
    how.method.is_some() || how.reason.is_some()
}

/// A process's fields. Made once: thousands of records share a process.
fn process_fields(view: &ProcessView) -> String {
    let mut json = Json::default();
    process(&mut json, &view.process);
    if !view.ancestors.is_empty() {
        json.array("ancestors", |json| view.ancestors.iter().for_each(|one| ancestor(json, one)));
    }
    String::from_utf8_lossy(&json.bytes).into_owned()
}

fn process(json: &mut Json, process: &Process) {
    json.uint("pid", process.id.pid);
    json.uint("start_ticks", process.id.start_ticks);
    if let Some(started_ns) = process.started_ns {
        json.time("started", started_ns);
    }
    known_text(json, "name", &process.name);
    known_text(json, "exe", &process.exe);
    flag(json, "exe_deleted", process.exe_deleted);
    flag(json, "exe_in_writable_folder", process.exe_in_writable_folder);
    known_text(json, "command_line", &command_line(&process.args));
    flag(json, "args_cut", process.args_cut);
    known_number(json, "uid", process.uid);
    known_text(json, "user", &process.user);
    known_number(json, "login_uid", process.login_uid);
    known_text(json, "login_user", &process.login_user);
    known_number(json, "session", process.session);
    known_text(json, "terminal", &process.terminal);
    if let Some(context) = process.context {
        json.plain("context", context_name(context).as_bytes());
    }
    known_text(json, "unit", &process.unit);
    known_text(json, "cgroup", &process.cgroup);
    if let Some(netns) = process.netns {
        json.uint("netns", netns);
    }
}

fn ancestor(json: &mut Json, ancestor: &Ancestor) {
    json.element(|json| {
        json.uint("pid", ancestor.id.pid);
        json.uint("start_ticks", ancestor.id.start_ticks);
        known_text(json, "name", &ancestor.name);
        known_text(json, "exe", &ancestor.exe);
    });
}

fn workload(json: &mut Json, workload: &Workload) {
    known_text(json, "runtime", &workload.runtime);
    known_text(json, "container", &workload.container);
    known_text(json, "name", &workload.name);
    known_text(json, "image", &workload.image);
    known_text(json, "image_id", &workload.image_id);
    known_text(json, "pod", &workload.pod);
    known_text(json, "pod_uid", &workload.pod_uid);
    known_text(json, "namespace", &workload.namespace);
    known_text(json, "owner", &workload.owner);
    if let Some(role) = workload.role {
        json.plain("role", role_name(role).as_bytes());
    }
    flag(json, "host_network", workload.host_network);
    if !workload.labels.is_empty() {
        json.object("labels", |json| {
            workload.labels.iter().for_each(|(name, value)| json.member(name, value));
        });
    }
}

fn instance(json: &mut Json, instance: &Instance) {
    known_text(json, "id", &instance.id);
    known_text(json, "name", &instance.name);
    known_text(json, "owner", &instance.owner);
    known_text(json, "application", &instance.application);
    known_text(json, "environment", &instance.environment);
    known_text(json, "purpose", &instance.purpose);
    known_text(json, "role", &instance.role);
    known_text(json, "last_change", &instance.last_change);
    flag(json, "shared_egress", instance.shared_egress);
    texts(json, "security_groups", &instance.security_groups);
    if !instance.routes.is_empty() {
        json.array("routes", |json| {
            instance.routes.iter().for_each(|route| json.text_element(&route.to_string()));
        });
    }
    if !instance.addresses.is_empty() {
        json.array("addresses", |json| {
            instance.addresses.iter().for_each(|&address| json.ip_element(address));
        });
    }
    texts(json, "interfaces", &instance.interfaces);
    if !instance.networks.is_empty() {
        json.array("networks", |json| {
            instance.networks.iter().for_each(|net| json.text_element(&net.to_string()));
        });
    }
}

fn attribution(json: &mut Json, how: &Attribution) {
    if let Some(method) = how.method {
        json.plain("method", method.name().as_bytes());
        if let Some(basis) = how.basis {
            json.plain("basis", basis.name().as_bytes());
        }
        json.decimal("certainty", how.certainty);
    }
    if !how.others.is_empty() {
        json.array("others", |json| how.others.iter().for_each(|&pid| json.uint_element(pid)));
    }
    flag(json, "translated", how.translated);
    flag(json, "provoked", how.provoked);
    if let Some(reason) = how.reason {
        json.plain("reason", reason.name().as_bytes());
    }
}

fn context_name(context: Context) -> &'static str {
    match context {
        Context::Gui => "gui",
        Context::Terminal => "terminal",
        Context::None => "none",
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Main => "main",
        Role::Sidecar => "sidecar",
        Role::Init => "init",
        Role::Ephemeral => "ephemeral",
        Role::Sandbox => "sandbox",
    }
}

#[inline(always)]
fn known_text(json: &mut Json, key: &str, text: &str) {
    if !text.is_empty() {
        json.text(key, text);
    }
}

#[inline(always)]
fn known_number(json: &mut Json, key: &str, number: Option<u32>) {
    if let Some(number) = number {
        json.uint(key, number);
    }
}

#[inline(always)]
pub(super) fn flag(json: &mut Json, key: &str, set: bool) {
    if set {
        json.bool(key, true);
    }
}

fn texts(json: &mut Json, key: &str, texts: &[String]) {
    if !texts.is_empty() {
        json.array(key, |json| texts.iter().for_each(|text| json.text_element(text)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::output::samples::hosts::{HOSTILE, hosts, instance, process, workload};

    fn read(side: &HostSide) -> Value {
        let mut json = Json::default();
        json.line(|json| host_side(json, "host", Some(side)));
        serde_json::from_slice(&json.bytes).expect("JSON")
    }

    #[test]
    fn a_full_side_reads_as_it_was_written_down_by_hand() {
        let sides = hosts();
        let container = "0123456789abcdef".repeat(4);
        let expected = json!({"host": {
            "process": {
                "pid": 4720, "start_ticks": 123_456, "started": "2026-11-21T09:29:59.995000000Z",
                "name": "curl", "exe": "/tmp/curl", "exe_deleted": true,
                "exe_in_writable_folder": true,
                "command_line": "curl -h192.0.2.10 8080:192.0.2.10:80 '[2001:db8::7]:443' \
                                 ether=02:00:00:00:00:0a 'http://192.0.2.10/curl?a=b c'",
                "args_cut": true, "uid": 1000, "user": "ann-curl", "login_uid": 1001,
                "login_user": "bob-curl", "session": 12, "terminal": "pts/3-curl",
                "context": "terminal", "unit": "curl@192.0.2.10.service",
                "cgroup": "/user.slice/curl", "netns": 4_026_531_840_u64,
                "ancestors": [
                    {"pid": 812, "start_ticks": 812, "name": "curl", "exe": "/usr/bin/curl"},
                    {"pid": 1, "start_ticks": 1, "name": "systemd", "exe": "/usr/bin/systemd"},
                ],
            },
            "workload": {
                "runtime": "containerd", "container": container, "name": "web",
                "image": "registry.example/web:1.27", "image_id": "sha256:00", "pod": "web-7d9f",
                "pod_uid": "11112222-3333", "namespace": "shop-web", "owner": "Deployment/web",
                "role": "sidecar", "labels": {"app/web": "web", "node": "192.0.2.10"},
            },
            "instance": {
                "id": "192.0.2.10", "name": "web-1", "owner": "team web-1",
                "application": "web-1", "environment": "production", "purpose": "web-1",
                "role": "front", "last_change": "2026-11-01", "shared_egress": true,
                "security_groups": ["sg-web-1"], "routes": ["192.0.2.0/24"],
                "addresses": ["192.0.2.10"], "interfaces": ["eni-0abc", "vni:4711"],
                "networks": ["192.0.2.0/28"],
            },
            "attribution": {
                "method": "ebpf", "basis": "used", "certainty": 0.5, "others": [4721],
                "translated": true,
            },
        }});
        assert_eq!(read(&sides.src.expect("side")), expected);
        let without = json!({"host": {"attribution": {"reason": "no_socket"}}});
        assert_eq!(read(&sides.dst.expect("side")), without);
    }

    #[test]
    fn a_container_is_named_once_and_what_says_nothing_is_left_out() {
        let view = process("a");
        let container = view.process.container.clone();
        let mut side = HostSide { process: Some(Arc::new(view)), ..HostSide::default() };
        assert_eq!(read(&side)["host"]["process"]["container"], container);
        side.workload = Some(Arc::new(workload("a")));
        assert_eq!(read(&side)["host"]["process"].get("container"), None);
        let nothing = HostSide { attribution: Some(Attribution::default()), ..HostSide::default() };
        assert_eq!(read(&nothing), json!({}));
        let bare = HostSide { process: Some(Arc::default()), ..HostSide::default() };
        assert_eq!(read(&bare), json!({"host": {"process": {"pid": 0, "start_ticks": 0}}}));
    }

    /// By serde, which map files are written with, field for field.
    #[test]
    fn texts_of_an_attacker_read_back_as_they_were() {
        let side = HostSide {
            process: Some(Arc::new(process(HOSTILE))),
            workload: Some(Arc::new(workload(HOSTILE))),
            instance: Some(Arc::new(instance(HOSTILE))),
            host: "web-1".into(),
            attribution: hosts().src.and_then(|side| side.attribution),
        };
        let written = &read(&side)["host"];
        let mut process = serde_json::to_value(side.process.as_deref()).expect("JSON");
        let fields = process.as_object_mut().expect("object");
        for told_otherwise in ["parent", "args", "container"] {
            assert!(fields.remove(told_otherwise).is_some(), "{told_otherwise}");
        }
        fields.insert("command_line".to_owned(), written["process"]["command_line"].clone());
        assert_eq!(written["process"], process);
        assert_eq!(
            written["workload"],
            serde_json::to_value(side.workload.as_deref()).expect("JSON")
        );
        assert_eq!(
            written["instance"],
            serde_json::to_value(side.instance.as_deref()).expect("JSON")
        );
        assert_eq!(written["attribution"], serde_json::to_value(&side.attribution).expect("JSON"));
    }
}
