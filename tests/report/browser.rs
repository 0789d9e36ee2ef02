//! A real Chromium without a window, driven by its DevTools protocol over a pipe: it needs
//! no port and no library. Nothing of it touches the network.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: String,
    calls: u64,
    events: VecDeque<Value>,
    /// Its profile, which goes with it.
    _profile: TempDir,
}

/// A screen.
#[derive(Clone, Copy)]
pub(crate) struct Screen {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) mobile: bool,
}

pub(crate) const DESKTOP: Screen = Screen { width: 1280, height: 900, mobile: false };
/// What A4 has between margins of a centimetre.
pub(crate) const PAPER: Screen = Screen { width: 718, height: 1047, mobile: false };
pub(crate) const PHONE: Screen = Screen { width: 390, height: 844, mobile: true };

impl Browser {
    /// Starts it, or says aloud that it is missing. Where everything is to be tested that is
    /// a failure.
    pub(crate) fn or_skip(test: &str) -> Option<Self> {
        let is_there = |program: &&&str| {
            Command::new(program).arg("--version").output().is_ok_and(|it| it.status.success())
        };
        let Some(program) = PROGRAMS.iter().find(is_there) else {
            assert!(std::env::var_os("CI").is_none(), "{test}: no Chromium (tools/setup test)");
            eprintln!("SKIPPED: {test}: there is no Chromium (tools/setup test)");
            return None;
        };
        Some(Self::start(program))
    }

    fn start(program: &str) -> Self {
        let profile = TempDir::new().unwrap();
        // Chromium talks by its descriptors 3 and 4; only a shell can move them there
        // without unsafe code.
        let line = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null";
        let mut child = Command::new("sh")
            .args(["-c", line, program])
            // As root there is no sandbox; what is opened is a file of our own.
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--disable-domain-reliability", "--no-pings"])
            .args(["--no-first-run", "--no-default-browser-check", "--disable-extensions"])
            // Whatever it wants to reach: there is nobody.
            .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let session = String::new();
        let events = VecDeque::new();
        let mut this = Self { child, to, from, session, calls: 0, events, _profile: profile };
        let target = this.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = &target["targetId"];
        let attached =
            this.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        this.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network", "Security"] {
            this.call(&format!("{domain}.enable"), json!({}));
        }
        this
    }

    fn read(&mut self) -> Value {
        let mut message = Vec::new();
        self.from.read_until(0, &mut message).unwrap();
        assert_eq!(message.pop(), Some(0), "the browser has gone");
        serde_json::from_slice(&message).unwrap()
    }

    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(message.to_string().as_bytes()).unwrap();
        self.to.write_all(&[0]).unwrap();
        self.to.flush().unwrap();
        loop {
            let mut told = self.read();
            if told["id"] == self.calls {
                assert!(told["error"].is_null(), "{method}: {}", told["error"]);
                return told["result"].take();
            }
            self.events.push_back(told);
        }
    }

    /// Opens a file and waits until it is loaded.
    pub(crate) fn open(&mut self, file: &Path, screen: Screen) {
        let Screen { width, height, mobile } = screen;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}),
        );
        self.events.clear();
        let url = format!("file://{}", file.canonicalize().unwrap().display());
        let gone = self.call("Page.navigate", json!({"url": url}));
        assert!(gone["errorText"].is_null(), "{gone}");
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.read();
            self.events.push_back(event);
        }
    }

    pub(crate) fn theme(&mut self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    /// As it is laid out for paper; the screen's width is then the page's.
    pub(crate) fn paper(&mut self, is_paper: bool) {
        let media = if is_paper { "print" } else { "" };
        self.call("Emulation.setEmulatedMedia", json!({"media": media}));
    }

    /// The value of an expression, in the page that is open. Goes past the page's policy,
    /// as a person at the console does.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let told = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].clone()
    }

    /// What the page complained of since it was opened: the console, exceptions, its policy.
    pub(crate) fn complaints(&self) -> Vec<&Value> {
        const KINDS: [&str; 3] =
            ["Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"];
        let told = |event: &&Value| KINDS.iter().any(|kind| event["method"] == *kind);
        self.events.iter().filter(told).collect()
    }

    /// What it asked for since, beside the page itself.
    pub(crate) fn requests(&self) -> Vec<String> {
        let sent = |event: &&Value| event["method"] == "Network.requestWillBeSent";
        let urls = self.events.iter().filter(sent).map(|event| &event["params"]["request"]["url"]);
        urls.map(|url| url.as_str().unwrap().to_owned()).skip(1).collect()
    }

    /// The page on paper.
    pub(crate) fn pdf(&mut self) -> Vec<u8> {
        let told = self.call("Page.printToPDF", json!({"printBackground": true}));
        decoded(&told["data"])
    }

    /// A picture of the whole page, for people to look at.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let told = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": true}));
        decoded(&told["data"])
    }
}

fn decoded(data: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(data.as_str().unwrap()).unwrap()
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The process is our own child; its helpers go with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
