//! AN0223, stage two, from telemetry of processes.

use std::fmt::Write as _;

use serde_json::json;

use super::{START_S, alerts, at};

/// A service begins, and half a minute later a shell below it.
pub(super) fn processes(kind: &str, service: &str) -> String {
    let exe = format!("/usr/sbin/{service}");
    let told = [
        (START_S, 812, 1, exe.as_str(), service, "/usr/lib/systemd/systemd"),
        (START_S + 30, 901, 812, "/usr/bin/dash", "sh -c id", exe.as_str()),
    ];
    let mut out = String::new();
    for (second, pid, ppid, exe, words, parent) in told {
        let time = at(second, "%Y-%m-%dT%H:%M:%S");
        let name = exe.rsplit('/').next().unwrap_or(exe);
        let args: Vec<&str> = words.split(' ').collect();
        let line = match kind {
            "auditd" => {
                let message = format!("msg=audit({second}.114:{pid})");
                let mut lines = format!(
                    "type=SYSCALL {message}: arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=0 \
                     items=2 ppid={ppid} pid={pid} auid=4294967295 uid=33 gid=33 euid=33 suid=33 fsuid=33 \
                     egid=33 sgid=33 fsgid=33 tty=(none) ses=4294967295 comm=\"{name}\" exe=\"{exe}\" key=\"exec\"\n\
                     type=EXECVE {message}: argc={}",
                    args.len()
                );
                for (at, word) in args.iter().enumerate() {
                    let _ = write!(lines, " a{at}=\"{word}\"");
                }
                lines + &format!("\ntype=EOE {message}:")
            }
            "sysmon-linux" => {
                let data = [
                    ("UtcTime", format!("{}.114", at(second, "%Y-%m-%d %H:%M:%S"))),
                    ("ProcessGuid", format!("{{11112222-3333-4444-5555-66667777{pid:04}}}")),
                    ("ProcessId", pid.to_string()),
                    ("Image", exe.to_owned()),
                    ("CommandLine", words.to_owned()),
                    ("User", "www-data".to_owned()),
                    ("ParentProcessGuid", format!("{{11112222-3333-4444-5555-66667777{ppid:04}}}")),
                    ("ParentProcessId", ppid.to_string()),
                    ("ParentImage", parent.to_owned()),
                ];
                let data: String = data
                    .iter()
                    .map(|(name, value)| format!("<Data Name=\"{name}\">{value}</Data>"))
                    .collect();
                format!(
                    "{} web1 sysmon: <Event><System><Provider Name=\"Linux-Sysmon\" \
                     Guid=\"{{ff032593-a8d3-4f13-b0d6-01fc615a0f97}}\"/><EventID>1</EventID><Version>5</Version>\
                     <TimeCreated SystemTime=\"{time}.120000000Z\"/><EventRecordID>{pid}</EventRecordID>\
                     <Channel>Linux-Sysmon/Operational</Channel><Computer>web1</Computer></System>\
                     <EventData>{data}</EventData></Event>",
                    at(second, "%b %e %H:%M:%S")
                )
            }
            "tetragon" => {
                // `n1:NANOSECONDS:PID` in base64.
                let id = |pid: i32| match pid {
                    812 => "bjE6MTIyMDAwMDAwMDAwOjgxMg==",
                    901 => "bjE6MTUyMDAwMDAwMDAwOjkwMQ==",
                    _ => "bjE6MTox",
                };
                json!({
                    "process_exec": {
                        "process": {
                            "exec_id": id(pid), "pid": pid, "uid": 33, "cwd": "/", "binary": exe,
                            "arguments": args[1..].join(" "), "flags": "execve clone",
                            "start_time": format!("{time}.114Z"), "auid": 4_294_967_295_u32,
                            "parent_exec_id": id(ppid), "refcnt": 1,
                        },
                        "parent": {"exec_id": id(ppid), "pid": ppid, "uid": 0, "binary": parent},
                    },
                    "node_name": "web1", "time": format!("{time}.114Z"),
                })
                .to_string()
            }
            "osquery" => json!({
                "name": "pack_proc_process_events", "hostIdentifier": "web1",
                "calendarTime": "Sun Mar  1 10:15:03 2026 UTC", "unixTime": second + 1, "epoch": 0,
                "counter": 7, "numerics": false, "action": "added",
                "columns": {
                    "pid": pid.to_string(), "parent": ppid.to_string(), "path": exe,
                    "cmdline": words, "uid": "33", "auid": "4294967295",
                    "time": second.to_string(), "uptime": "512",
                },
            })
            .to_string(),
            "falco" => json!({
                "hostname": "web1", "output": "Notice", "priority": "Notice", "rule": "Shell",
                "source": "syscall", "tags": ["shell"], "time": format!("{time}.000000000Z"),
                "output_fields": {
                    "container.id": "host", "evt.time": second * 1_000_000_000, "evt.type": "execve",
                    "proc.cmdline": words, "proc.exepath": exe, "proc.name": name, "proc.pid": pid,
                    "proc.ppid": ppid, "proc.pexepath": parent, "user.uid": 33,
                },
            })
            .to_string(),
            _ => {
                let token = |pid: i32| {
                    json!({
                        "pid": pid, "pidversion": 11, "auid": 501, "euid": 33, "ruid": 33, "egid": 20,
                        "rgid": 20, "asid": 100,
                    })
                };
                let process = json!({
                    "audit_token": token(pid), "ppid": ppid, "original_ppid": ppid,
                    "session_id": ppid, "group_id": pid, "start_time": format!("{time}.100000Z"),
                    "executable": {"path": exe}, "parent_audit_token": token(ppid),
                });
                json!({
                    "schema_version": 1, "version": 9, "time": format!("{time}.114903Z"),
                    "mach_time": 1, "seq_num": pid, "global_seq_num": pid, "action_type": 1,
                    "event_type": 9, "thread": {"thread_id": 7}, "process": process,
                    "event": {"exec": {
                        "args": args, "cwd": {"path": "/"}, "script": null, "target": process,
                    }},
                })
                .to_string()
            }
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[test]
fn an0223_stage_two_from_each_kind_of_process_telemetry_alone() {
    for kind in ["auditd", "sysmon-linux", "tetragon", "osquery", "falco", "eslogger"] {
        let more = ["--log-host", "web1"];
        let found = alerts(kind, &processes(kind, "nginx"), &more);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        let alert = &found[0];
        assert_eq!(
            (&alert["detector"], &alert["severity"]),
            (&"chain".into(), &"informational".into())
        );
        assert_eq!(alert["analytics"], json!(["AN0223"]), "{kind}");
        assert_eq!(alert["entity"]["id"], "web1", "{kind}");
        assert_eq!(alert["case"]["timeline"][0]["what"], "shell_from_service", "{kind}");
        // A person who logs in has a shell below a service, too.
        assert!(alerts(kind, &processes(kind, "sshd"), &more).is_empty(), "{kind}");
    }
}
