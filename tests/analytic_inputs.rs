//! Each kind of input that ANALYTICS.md lists for an analytic raises that analytic's alert
//! by itself, and what looks like it in the same format does not.
//!
//! Records are written here after the formats' own documentation, not by what reads them:
//! who reads them must find in them what was meant. The README's table of analytics and
//! inputs names these tests.
#![expect(clippy::expect_used, reason = "a step that fails fails its test")]

mod common;

use std::fmt::Write as _;

use common::{Dir, text};
use jiff::Timestamp;
use serde_json::{Value, json};

/// 2026-03-01T10:15:00Z.
const START_S: i64 = 1_772_360_100;
const SENDER: &str = "10.0.0.6";
const TARGET: &str = "203.0.113.9";

fn at(second: i64, format: &str) -> String {
    let time = Timestamp::from_second(second).expect("a time");
    time.strftime(format).to_string()
}

fn iso(second: i64) -> String {
    at(second, "%Y-%m-%dT%H:%M:%SZ")
}

/// Alerts of one file, with what else is said.
fn alerts(kind: &str, content: &str, more: &[&str]) -> Vec<Value> {
    let dir = Dir::new();
    dir.write("input", content.as_bytes());
    let output = dir.run(["read", "--quiet", "--out", "run"].iter().chain(more).chain(&["input"]));
    assert!(output.status.success(), "{kind}: {}", text(&output.stderr));
    let summary = std::fs::read_to_string(dir.path("run/summary.json")).expect("a summary");
    let summary: Value = serde_json::from_str(&summary).expect("JSON");
    let source = &summary["sources"][0];
    assert_eq!(source["kind"], kind, "{summary:#}");
    assert!(source.get("bad").is_none() && source.get("bad_parts").is_none(), "{source:#}");
    let lines = std::fs::read_to_string(dir.path("run/alerts.ndjson")).expect("alerts");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A minute of one flow, both ways.
#[derive(Clone, Copy)]
struct Volume {
    protocol: u8,
    /// Packets and bytes.
    sent: (u64, u64),
    received: (u64, u64),
}

/// One way, stateless, 20 Mbit/s.
const FLOOD: Volume = Volume { protocol: 17, sent: (300_000, 150_000_000), received: (0, 0) };
/// Answered: a backup.
const BACKUP: Volume =
    Volume { protocol: 6, sent: (60_000, 80_000_000), received: (30_000, 1_600_000) };

const MINUTES: i64 = 3;

fn flows(kind: &str, volume: Volume) -> String {
    let Volume { protocol, sent: (p, b), received: (rp, rb) } = volume;
    let (name, letter) = if protocol == 6 { ("TCP", "T") } else { ("UDP", "U") };
    let lower = name.to_lowercase();
    let mut out = String::new();
    match kind {
        "zeek-conn" => out.push_str(
            "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n\
             #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\t\
             orig_bytes\tresp_bytes\tconn_state\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\t\
             resp_pkts\tresp_ip_bytes\n",
        ),
        "nfdump-csv" => out.push_str(
            "ts,te,td,sa,da,sp,dp,pr,flg,fwd,stos,ipkt,ibyt,opkt,obyt,in,out,sas,das\n",
        ),
        _ => {}
    }
    for minute in 0..MINUTES {
        let (start, end) = (START_S + 60 * minute, START_S + 60 * minute + 58);
        let port = 40_112 + minute;
        let state = if minute + 1 < MINUTES { "C" } else { "E" };
        let payload = b - p * 28;
        let line = match kind {
            "aws-vpc" => {
                let record = |(src, from), (dst, to), packets, bytes| {
                    format!(
                        "2 123456789010 eni-0a000000000000006 {src} {dst} {from} {to} {protocol} \
                         {packets} {bytes} {start} {end} ACCEPT OK"
                    )
                };
                let there = record((SENDER, 40_112), (TARGET, 9_999), p, b);
                match rp {
                    0 => there,
                    _ => there + "\n" + &record((TARGET, 9_999), (SENDER, 40_112), rp, rb),
                }
            }
            "azure-nsg" => json!({"records": [{
                "time": iso(end), "systemId": "s", "category": "NetworkSecurityGroupFlowEvent",
                "resourceId": "/N", "operationName": "NetworkSecurityGroupFlowEvents",
                "properties": {"Version": 2, "flows": [{"rule": "UserRule_out", "flows": [{
                    "mac": "000D3A000001", "flowTuples": [format!(
                        "{end},{SENDER},{TARGET},40112,9999,{letter},O,A,{state},{p},{b},{rp},{rb}"
                    )],
                }]}]},
            }]})
            .to_string(),
            "azure-vnet" => json!({"records": [{
                "time": iso(end), "flowLogVersion": 4, "flowLogGUID": "g",
                "macAddress": "000D3A000001", "category": "FlowLogFlowEvent",
                "flowLogResourceID": "/F", "targetResourceID": "/V",
                "operationName": "FlowLogFlowEvent",
                "flowRecords": {"flows": [{"aclID": "a", "flowGroups": [{
                    "rule": "AllowOut", "flowTuples": [format!(
                        "{end}000,{SENDER},{TARGET},40112,9999,{protocol},O,{state},NX,{p},{b},{rp},{rb}"
                    )],
                }]}]},
            }]})
            .to_string(),
            "gcp-vpc" => json!({
                "logName": "projects/p/logs/compute.googleapis.com%2Fvpc_flows",
                "jsonPayload": {
                    "connection": {
                        "src_ip": SENDER, "src_port": 40_112, "dest_ip": TARGET,
                        "dest_port": 9_999, "protocol": protocol,
                    },
                    "reporter": "SRC", "bytes_sent": b.to_string(), "packets_sent": p.to_string(),
                    "start_time": iso(start), "end_time": iso(end),
                    "src_instance": {"project_id": "p", "vm_name": "web-1", "zone": "z"},
                },
            })
            .to_string(),
            "zeek-conn" => format!(
                "{start}.000000\tC{minute}\t{SENDER}\t{port}\t{TARGET}\t9999\t{lower}\t-\t58.000000\t\
                 {payload}\t{rb}\tSF\t0\tDd\t{p}\t{b}\t{rp}\t{rb}"
            ),
            "zeek-conn-json" => json!({
                "ts": start, "uid": format!("C{minute}"), "id.orig_h": SENDER, "id.orig_p": port,
                "id.resp_h": TARGET, "id.resp_p": 9_999, "proto": lower, "duration": 58.0,
                "orig_bytes": payload, "resp_bytes": rb, "conn_state": "SF", "missed_bytes": 0,
                "history": "Dd", "orig_pkts": p, "orig_ip_bytes": b, "resp_pkts": rp,
                "resp_ip_bytes": rb,
            })
            .to_string(),
            "suricata-eve" => {
                let time = |second| at(second, "%Y-%m-%dT%H:%M:%S.000000+0000");
                json!({
                    "timestamp": time(end + 30), "flow_id": 1_093_517_241_207_781 + minute,
                    "event_type": "flow", "src_ip": SENDER, "src_port": port,
                    "dest_ip": TARGET, "dest_port": 9_999, "proto": name,
                    "flow": {
                        "pkts_toserver": p, "pkts_toclient": rp, "bytes_toserver": b,
                        "bytes_toclient": rb, "start": time(start), "end": time(end), "age": 58,
                        "state": "new", "reason": "timeout", "alerted": false,
                    },
                })
                .to_string()
            }
            _ => {
                let time = |second| at(second, "%Y-%m-%d %H:%M:%S");
                format!(
                    "{},{},58.000,{SENDER},{TARGET},40112,9999,{name},........,0,0,{p},{b},0,0,2,3,0,0",
                    time(start),
                    time(end)
                )
            }
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[test]
fn an0972_from_each_kind_of_flow_log_alone() {
    for kind in
        ["aws-vpc", "azure-nsg", "azure-vnet", "zeek-conn", "zeek-conn-json", "suricata-eve"]
    {
        // AWS has a record a direction: that nothing came back shows only where records of
        // other flows come back.
        let mut log = flows(kind, FLOOD);
        if kind == "aws-vpc" {
            log.push_str(&flows(kind, Volume { sent: (9, 900), received: (9, 900), ..BACKUP }));
        }
        let found = alerts(kind, &log, &[]);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        let alert = &found[0];
        assert_eq!((&alert["detector"], &alert["severity"]), (&"egress".into(), &"high".into()));
        assert_eq!(alert["analytics"], json!(["AN0972"]), "{kind}");
        assert_eq!(alert["entity"]["id"], SENDER);
        assert_eq!(alert["peers"][0]["address"], TARGET);
        let missing = alert["missing_telemetry"].as_array().expect("a list");
        assert!(missing.contains(&"packets".into()), "{kind}: {missing:?}");
        assert!(alerts(kind, &flows(kind, BACKUP), &[]).is_empty(), "{kind}: a backup");
    }
    // Sources that tell of one direction can't say what is unanswered: more is needed.
    let large = Volume { sent: (1_000_000, 1_000_000_000), ..FLOOD };
    for (kind, entity) in [("gcp-vpc", "web-1"), ("nfdump-csv", SENDER)] {
        let found = alerts(kind, &flows(kind, large), &[]);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        assert_eq!(found[0]["analytics"], json!(["AN0972"]), "{kind}");
        assert_eq!(
            (&found[0]["severity"], &found[0]["entity"]["id"]),
            (&"medium".into(), &entity.into())
        );
        let missing = found[0]["missing_telemetry"].as_array().expect("a list");
        assert!(missing.contains(&"one_sided_reports".into()), "{kind}: {missing:?}");
        assert!(alerts(kind, &flows(kind, FLOOD), &[]).is_empty(), "{kind}: below its floor");
    }
}

/// Three requests of one client, a second apart.
fn requests(kind: &str, uri: &str, status: u16) -> String {
    let mut out = String::new();
    for second in START_S..START_S + 3 {
        let request = format!("GET {uri} HTTP/1.1");
        let tail = format!("{status} 1187 \"-\" \"curl/8.5.0\"");
        let clf = at(second, "%d/%b/%Y:%H:%M:%S +0000");
        let time = at(second, "%Y-%m-%dT%H:%M:%S");
        let line = match kind {
            "aws-alb" => format!(
                "http {time}.114903Z app/shop/0a1b2c3d4e5f6071 198.51.100.7:50412 10.0.3.21:8080 0.001 0.012 \
                 0.000 {status} {status} 421 1187 \"GET http://shop.example:80{uri} HTTP/1.1\" \"curl/8.5.0\" \
                 - - arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/01 \"Root=1-0-0\" \
                 \"-\" \"-\" 0 {time}.101000Z \"forward\" \"-\" \"-\" \"10.0.3.21:8080\" \"{status}\" \"-\" \"-\""
            ),
            "aws-elb" => format!(
                "{time}.114903Z shop 198.51.100.7:50412 10.0.3.21:8080 0.000073 0.001048 0.000057 {status} \
                 {status} 0 29 \"GET http://shop.example:80{uri} HTTP/1.1\" \"curl/8.5.0\" - -"
            ),
            "gcp-lb" => json!({
                "logName": "projects/p/logs/requests", "timestamp": format!("{time}Z"),
                "resource": {"type": "http_load_balancer", "labels": {"backend_service_name": "shop"}},
                "httpRequest": {
                    "requestMethod": "GET", "requestUrl": format!("https://shop.example{uri}"),
                    "requestSize": "421", "status": status, "responseSize": "1187",
                    "userAgent": "curl/8.5.0", "remoteIp": "198.51.100.7",
                    "serverIp": "10.0.3.21", "latency": "0.012s",
                },
                "jsonPayload": {
                    "@type": "type.googleapis.com/google.cloud.loadbalancing.type.LoadBalancerLogEntry",
                    "statusDetails": "response_sent_by_backend", "remoteIp": "198.51.100.7",
                },
            })
            .to_string(),
            "azure-appgw" => {
                let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
                json!({
                    "timeStamp": format!("{time}+00:00"), "resourceId": "/G", "listenerName": "l",
                    "ruleName": "r", "backendPoolName": "p", "backendSettingName": "s",
                    "operationName": "ApplicationGatewayAccess",
                    "category": "ApplicationGatewayAccessLog",
                    "properties": {
                        "instanceId": "appgw_1", "clientIP": "198.51.100.7", "clientPort": 50_412,
                        "httpMethod": "GET", "originalRequestUriWithArgs": uri,
                        "requestUri": path, "requestQuery": query, "userAgent": "curl/8.5.0",
                        "httpStatus": status, "httpVersion": "HTTP/1.1", "receivedBytes": 421,
                        "sentBytes": 1_187, "timeTaken": 0.013, "serverRouted": "10.0.3.21:8080",
                        "serverStatus": status.to_string(), "serverResponseLatency": "0.012",
                        "host": "shop.example",
                    },
                })
                .to_string()
            }
            "haproxy" => format!(
                "{} lb haproxy[4711]: 198.51.100.7:50412 [{}.101] fe-https app/srv2 0/0/1/12/13 {status} 1187 \
                 - - ---- 3/3/1/1/0 0/0 \"{request}\"",
                at(second, "%b %e %H:%M:%S"),
                at(second, "%d/%b/%Y:%H:%M:%S")
            ),
            "envoy" => format!(
                "[{time}.114Z] \"{request}\" {status} - 0 1187 13 12 \"198.51.100.7\" \"curl/8.5.0\" \
                 \"6f0c7c1e-0000-4000-8000-000000000001\" \"shop.example\" \"10.0.3.21:8080\""
            ),
            "nginx" => format!("198.51.100.7 - - [{clf}] \"{request}\" {tail} \"203.0.113.9\""),
            "apache" => format!("shop.example:80 198.51.100.7 - - [{clf}] \"{request}\" {tail}"),
            _ => format!("198.51.100.7 - - [{clf}] \"{request}\" {tail}"),
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[test]
fn an0223_stage_one_from_each_kind_of_request_log_alone() {
    const EXPLOIT: &str = "/item?id=1%27%20union%20select%201,2,3--";
    for (kind, place) in [
        ("aws-alb", "10.0.3.21"),
        ("aws-elb", "10.0.3.21"),
        ("gcp-lb", "10.0.3.21"),
        ("azure-appgw", "10.0.3.21"),
        ("envoy", "10.0.3.21"),
        // These name no target's address: the host that wrote them is told.
        ("haproxy", "web"),
        ("nginx", "web"),
        ("apache", "web"),
        ("combined", "web"),
    ] {
        let more: &[&str] = if place == "web" { &["--log-host", "web"] } else { &[] };
        let found = alerts(kind, &requests(kind, EXPLOIT, 200), more);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        let alert = &found[0];
        assert_eq!((&alert["detector"], &alert["entity"]["id"]), (&"chain".into(), &place.into()));
        assert_eq!(alert["severity"], "informational", "{kind}: one stage alone");
        assert_eq!(alert["analytics"], json!(["AN0223"]), "{kind}");
        assert_eq!(alert["case"]["timeline"][0]["what"], "exploit_request", "{kind}");
        assert!(alerts(kind, &requests(kind, "/item?id=7", 200), more).is_empty(), "{kind}");
        // What the target did not find is everyday noise.
        assert!(alerts(kind, &requests(kind, EXPLOIT, 404), more).is_empty(), "{kind}");
    }
}

/// A service begins, and half a minute later a shell below it.
fn processes(kind: &str, service: &str) -> String {
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

/// A value a period: much the same for long, then another.
fn series(quiet: i64, loud: i64, period_s: i64, then: u64) -> Vec<(i64, u64)> {
    let usual = |at: i64| 1_000_000 + 1_000 * (at % 7) as u64;
    let value = |at: i64| if at < quiet { usual(at) } else { then };
    (0..quiet + loud).map(|at| (START_S + period_s * at, value(at))).collect()
}

fn counters(kind: &str, then: u64) -> String {
    let mut total = 1_000_000_000;
    match kind {
        "cloudwatch" => {
            let points = series(30, 6, 300, then);
            let times: Vec<String> =
                points.iter().map(|&(second, _)| at(second, "%Y-%m-%dT%H:%M:%S+00:00")).collect();
            let values: Vec<f64> = points.iter().map(|&(_, bytes)| bytes as f64).collect();
            let label = "i-0123456789abcdef0 NetworkOut";
            json!({"MetricDataResults": [{
                "Id": "m1", "Label": label, "Timestamps": times, "Values": values,
                "StatusCode": "Complete",
            }]})
            .to_string()
        }
        "docker-stats" => series(60, 20, 60, then)
            .into_iter()
            .map(|(second, bytes)| {
                total += bytes;
                let line = json!({
                    "BlockIO": "0B / 0B", "CPUPerc": "0.26%", "Container": "171dd26cd78c",
                    "ID": "171dd26cd78c", "MemPerc": "0.00%", "MemUsage": "344KiB / 23.54GiB",
                    "Name": "job-1", "NetIO": format!("200kB / {total}B"), "PIDs": "1",
                });
                format!("{second}.000000000\n{line}\n")
            })
            .collect(),
        _ => series(60, 20, 60, then)
            .into_iter()
            .map(|(second, bytes)| {
                total += bytes;
                let labels = "{container=\"\",id=\"/kubepods/pod1\",image=\"\",interface=\"eth0\",name=\"\",\
                              namespace=\"shop\",pod=\"job-1\"}";
                format!(
                    "{second}.000000000\ncontainer_network_transmit_bytes_total{labels} {total}\n\
                     container_network_receive_bytes_total{labels} 1000\n"
                )
            })
            .collect(),
    }
}

#[test]
fn an0972_and_an0083_from_each_kind_of_counters_alone() {
    for (kind, analytic, entity) in [
        ("cloudwatch", "AN0972", "i-0123456789abcdef0"),
        ("docker-stats", "AN0083", "171dd26cd78c"),
        ("prometheus", "AN0083", "/kubepods/pod1"),
    ] {
        let found = alerts(kind, &counters(kind, 500_000_000), &[]);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        let alert = &found[0];
        assert_eq!(alert["detector"], "counter_increase", "{kind}");
        assert_eq!(alert["analytics"], json!([analytic]), "{kind}");
        assert_eq!(alert["entity"]["id"], entity, "{kind}");
        assert!(alerts(kind, &counters(kind, 1_200_000), &[]).is_empty(), "{kind}: a little more");
    }
}

/// Connections of one client with one server, so long after one another.
fn connections(kind: &str, gaps_s: impl Iterator<Item = i64>) -> String {
    let mut out = String::new();
    if kind == "zeek-conn" {
        out.push_str(
            "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n\
             #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\t\
             orig_bytes\tresp_bytes\tconn_state\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\t\
             resp_pkts\tresp_ip_bytes\n",
        );
    }
    let mut start = START_S;
    for (number, gap_s) in gaps_s.enumerate() {
        start += gap_s;
        let port = 40_000 + number;
        let line = match kind {
            "zeek-conn" => format!(
                "{start}.000000\tC{number}\t{SENDER}\t{port}\t{TARGET}\t443\ttcp\tssl\t0.400000\t617\t2800\tSF\t\
                 0\tShADadFf\t8\t1041\t7\t3172"
            ),
            "zeek-conn-json" => json!({
                "ts": start, "uid": format!("C{number}"), "id.orig_h": SENDER, "id.orig_p": port,
                "id.resp_h": TARGET, "id.resp_p": 443, "proto": "tcp", "service": "ssl",
                "duration": 0.4, "orig_bytes": 617, "resp_bytes": 2_800, "conn_state": "SF",
                "missed_bytes": 0, "history": "ShADadFf", "orig_pkts": 8, "orig_ip_bytes": 1_041,
                "resp_pkts": 7, "resp_ip_bytes": 3_172,
            })
            .to_string(),
            _ => {
                let time = |second| at(second, "%Y-%m-%dT%H:%M:%S.000000+0000");
                json!({
                    "timestamp": time(start + 60), "flow_id": 10_935_172_412_077_usize + number,
                    "event_type": "flow", "src_ip": SENDER, "src_port": port, "dest_ip": TARGET,
                    "dest_port": 443, "proto": "TCP", "app_proto": "tls",
                    "flow": {
                        "pkts_toserver": 8, "pkts_toclient": 7, "bytes_toserver": 1_153,
                        "bytes_toclient": 3_270, "start": time(start), "end": time(start + 1),
                        "age": 1, "state": "closed", "reason": "timeout", "alerted": false,
                    },
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
fn an0031_from_each_kind_of_connection_log_alone() {
    // The minutes of the golden section: far from even, and the same each time.
    let odd = |at: i64| 20 + at * 618_034 % 1_000_000 * at % 2_399;
    for kind in ["zeek-conn", "zeek-conn-json", "suricata-eve"] {
        let found = alerts(kind, &connections(kind, (0..144).map(|_| 600)), &[]);
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        assert_eq!(found[0]["detector"], "beacon", "{kind}");
        assert_eq!(found[0]["entity"]["id"], SENDER);
        // Without a process it can only be possible.
        assert_eq!(found[0]["analytics"], json!([]), "{kind}");
        assert_eq!(found[0]["possible_analytics"], json!(["AN0031"]), "{kind}");
        let person = alerts(kind, &connections(kind, (0..144).map(odd)), &[]);
        assert!(person.is_empty(), "{kind}: calls without a rhythm: {person:#?}");
    }
}
