//! A small HTTP/1.1 server for `/metrics` and `/health`.
//!
//! It answers GET and HEAD with what was published last, and closes the
//! connection. It never reads a body. One thread has all connections and waits for
//! none of them: each has a limit on the bytes and on the time of its request and of its
//! answer, and where too many are open, the one that has kept a request back longest
//! makes room. So whoever says nothing, or reads nothing, keeps nobody else from an
//! answer. On loopback unless told otherwise: there is no authentication.
//! Start at [`HttpServer::start`].

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::metrics::{Published, health, metrics_text};

/// Where Prometheus exporters of this kind listen, and the unit for systemd lets us.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9184";

/// Connections open at once. Scrapers and health checks are a few; the rest is
/// patience with those that say nothing. Each costs its request and its answer in
/// memory, some 100 KiB.
const CONNECTIONS: usize = 64;
/// Connections taken in before those that are open have their turn again, so that many
/// new ones can't push out one whose request is there already.
const ACCEPTED_AT_ONCE: usize = 16;
/// Longest request line and headers. Prometheus and curl send some 300 bytes.
const HEAD_BYTES: usize = 8 << 10;
const HEADERS: usize = 64;
/// For a whole request, and again for its answer.
const TIME: Duration = Duration::from_secs(2);
/// For what a client still sends once it has its answer.
const DRAIN_TIME: Duration = Duration::from_millis(200);
/// What is read and thrown away after an error, so that the answer is not lost
/// to a reset.
const DRAINED_BYTES: usize = 64 << 10;
/// After a failure that lasts, such as no file descriptor left.
const REST: Duration = Duration::from_millis(100);

/// The server; it ends when dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens and answers from now on. An error when the address is taken.
    pub fn start(address: SocketAddr, published: Arc<Published>) -> io::Result<Self> {
        Self::serve(TcpListener::bind(address)?, published)
    }

    /// Answers whoever connects to this listener.
    pub fn serve(listener: TcpListener, published: Arc<Published>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let server = Serving { listener, stop: Arc::clone(&stop), published, open: Vec::new() };
        let thread = Builder::new().name("http".to_owned()).spawn(move || server.run())?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// With the port that was chosen, where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let to = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let to = SocketAddr::new(to, self.address.port());
        // The thread waits for a connection: it gets one.
        let woken = TcpStream::connect_timeout(&to, TIME).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            // One that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

/// The thread.
struct Serving {
    listener: TcpListener,
    stop: Arc<AtomicBool>,
    published: Arc<Published>,
    /// In the order in which they came.
    open: Vec<Connection>,
}

impl Serving {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            if self.wait().is_err() || self.accept().is_err() {
                std::thread::sleep(REST);
            }
            let published = &self.published;
            // Whatever goes wrong is the client's loss alone.
            self.open.retain_mut(|connection| connection.go_on(published).unwrap_or(false));
        }
    }

    /// Until there is something to do.
    fn wait(&self) -> io::Result<()> {
        let first = self.open.iter().map(|connection| connection.deadline).min();
        let left = first.map(|first| first.saturating_duration_since(Instant::now()));
        let timeout = left.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let mut waiting = vec![PollFd::new(&self.listener, PollFlags::IN)];
        waiting.extend(self.open.iter().map(|connection| {
            let for_what = match connection.state {
                State::Answering { .. } => PollFlags::OUT,
                State::Asking(_) | State::Draining { .. } => PollFlags::IN,
            };
            PollFd::new(&connection.stream, for_what)
        }));
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..ACCEPTED_AT_ONCE {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Gone before its turn.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            if self.open.len() >= CONNECTIONS {
                let asking = |open: &Connection| matches!(open.state, State::Asking(_));
                self.open.remove(self.open.iter().position(asking).unwrap_or(0));
            }
            self.open.push(Connection::new(stream));
        }
        Ok(())
    }
}

/// One client.
struct Connection {
    stream: TcpStream,
    state: State,
    /// For what it does now.
    deadline: Instant,
}

enum State {
    /// Its request so far.
    Asking(Vec<u8>),
    Answering {
        reply: Vec<u8>,
        sent: usize,
    },
    /// It has its answer; what it sends still is thrown away, so much at most.
    Draining {
        left: usize,
    },
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, state: State::Asking(Vec::new()), deadline: Instant::now() + TIME }
    }

    /// As far as it can be done without waiting; false when all is done.
    fn go_on(&mut self, published: &Published) -> io::Result<bool> {
        loop {
            let done = match &mut self.state {
                State::Asking(head) => match read_request(&mut self.stream, head)? {
                    Some(request) => {
                        self.answer(request, published);
                        true
                    }
                    None => false,
                },
                State::Answering { reply, sent } => {
                    let done = write_on(&mut self.stream, reply, sent)?;
                    if done {
                        self.stream.shutdown(Shutdown::Write)?;
                        self.state = State::Draining { left: DRAINED_BYTES };
                        self.deadline = Instant::now() + DRAIN_TIME;
                    }
                    done
                }
                State::Draining { left } => {
                    let mut thrown_away = [0; 4_096];
                    match read_on(&mut self.stream, &mut thrown_away)? {
                        Some(0) => return Ok(false),
                        Some(read) => *left = left.saturating_sub(read),
                        None => {}
                    }
                    if *left == 0 {
                        return Ok(false);
                    }
                    false
                }
            };
            if done {
                continue;
            }
            if Instant::now() < self.deadline {
                return Ok(true);
            }
            match self.state {
                State::Asking(_) => self.answer(Err("408 Request Timeout"), published),
                State::Answering { .. } | State::Draining { .. } => return Ok(false),
            }
        }
    }

    fn answer(&mut self, request: Result<Request, &'static str>, published: &Published) {
        let (answer, head_only) = match request {
            Ok(request) => (respond(&request, published), request.method == "HEAD"),
            Err(status) => (Answer::text(status), false),
        };
        self.state = State::Answering { reply: answer.bytes(head_only), sent: 0 };
        self.deadline = Instant::now() + TIME;
    }
}

/// Status and body of an answer.
struct Answer {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn text(status: &'static str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{status}\n") }
    }

    fn bytes(&self, head_only: bool) -> Vec<u8> {
        let Self { status, content_type, body } = self;
        let mut reply = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            reply,
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n",
            body.len()
        );
        if status.starts_with("405") {
            reply.push_str("Allow: GET, HEAD\r\n");
        }
        reply.push_str("\r\n");
        if !head_only {
            reply.push_str(body);
        }
        reply.into_bytes()
    }
}

/// What was asked for.
struct Request {
    method: String,
    path: String,
}

fn respond(request: &Request, published: &Published) -> Answer {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Answer::text("405 Method Not Allowed");
    }
    match request.path.split('?').next().unwrap_or_default() {
        "/metrics" => Answer {
            status: "200 OK",
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: metrics_text(published),
        },
        "/health" => {
            let health = health(published);
            let status = if health.is_ok() { "200 OK" } else { "503 Service Unavailable" };
            let body = serde_json::to_string(&health).unwrap_or_default();
            Answer { status, content_type: "application/json", body: body + "\n" }
        }
        "/" => Answer {
            status: "200 OK",
            content_type: "text/plain; charset=utf-8",
            body: "flowtap: /metrics /health\n".to_owned(),
        },
        _ => Answer::text("404 Not Found"),
    }
}

/// The request, or the status to refuse it with; `None` while neither is there, and an
/// error when the client is gone.
fn read_request(
    stream: &mut TcpStream,
    head: &mut Vec<u8>,
) -> io::Result<Option<Result<Request, &'static str>>> {
    let mut chunk = [0; 1_024];
    loop {
        let read = match read_on(stream, &mut chunk)? {
            None => return Ok(None),
            Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Some(read) => read,
        };
        head.extend_from_slice(chunk.get(..read).unwrap_or_default());
        match parse(head) {
            Ok(Some(request)) => return Ok(Some(Ok(request))),
            Err(status) => return Ok(Some(Err(status))),
            Ok(None) if head.len() >= HEAD_BYTES => {
                return Ok(Some(Err("431 Request Header Fields Too Large")));
            }
            Ok(None) => {}
        }
    }
}

/// `None` while the head is not whole.
fn parse(head: &[u8]) -> Result<Option<Request>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(_)) => match (request.method, request.path) {
            (Some(method), Some(path)) => {
                Ok(Some(Request { method: method.to_owned(), path: path.to_owned() }))
            }
            _ => Err("400 Bad Request"),
        },
        Err(httparse::Error::TooManyHeaders) => Err("431 Request Header Fields Too Large"),
        Err(_) => Err("400 Bad Request"),
    }
}

/// What is there; `None` when nothing is yet.
fn read_on(stream: &mut TcpStream, into: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(into) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read.map(Some),
        }
    }
}

/// As much as there is room for; whether that was all.
fn write_on(stream: &mut TcpStream, reply: &[u8], sent: &mut usize) -> io::Result<bool> {
    while *sent < reply.len() {
        match stream.write(reply.get(*sent..).unwrap_or_default()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            written => *sent += written?,
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::super::metrics::tests::snapshot;
    use super::*;

    fn server() -> (HttpServer, Arc<Published>) {
        let published = Arc::new(Published::default());
        published.publish(snapshot());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        (HttpServer::start(any, Arc::clone(&published)).unwrap(), published)
    }

    /// Everything that comes back for these bytes.
    fn say(server: &HttpServer, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(bytes).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        String::from_utf8(reply).unwrap()
    }

    fn status(reply: &str) -> &str {
        reply.split(' ').nth(1).unwrap_or_default()
    }

    #[test]
    fn curl_gets_metrics_and_health() {
        let (server, published) = server();
        let curl = |args: &[&str], path: &str| {
            let url = format!("http://{}{path}", server.address());
            let output =
                Command::new("curl").args(["-sS", "--max-time", "10"]).args(args).arg(url).output();
            let output = output.ok()?;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).unwrap())
        };
        let Some(metrics) = curl(&["-i"], "/metrics?x=1") else {
            eprintln!("SKIPPED: curl: not installed (tools/setup test)");
            return;
        };
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
        assert!(metrics.contains("\nflowtap_packets_total 90\n"));

        let format = ["-w", " %{http_code}"];
        let well = curl(&format, "/health").unwrap();
        assert!(well.starts_with("{\"status\":\"ok\"") && well.ends_with("}\n 200"), "{well}");
        let mut lost = snapshot();
        lost.taps[0].present = false;
        published.publish(lost);
        let ill = curl(&format, "/health").unwrap();
        assert!(ill.contains("there is no such interface") && ill.ends_with(" 503"), "{ill}");

        assert!(curl(&format, "/other").unwrap().ends_with(" 404"));
        assert!(curl(&["-w", " %{http_code}", "-d", "x"], "/metrics").unwrap().ends_with(" 405"));
        let head = curl(&["-I"], "/metrics").unwrap();
        assert!(head.contains("Content-Length: ") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn requests_that_are_none_are_refused() {
        let (server, _) = server();
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2 * HEAD_BYTES));
        assert_eq!(status(&say(&server, b"\x16\x03\x01\x02\x00\x01\x00")), "400");
        assert_eq!(status(&say(&server, many.as_bytes())), "431");
        assert_eq!(status(&say(&server, long.as_bytes())), "431");
        assert_eq!(status(&say(&server, b"GET /metrics HTTP/1.1\r\n\r\n")), "200");
    }

    /// So long a busy machine may take for what needs no waiting.
    const PATIENCE: Duration = Duration::from_secs(1);

    #[test]
    fn clients_that_say_or_read_nothing_keep_nobody_from_an_answer() {
        let (server, _) = server();
        let connect = || TcpStream::connect(server.address()).unwrap();
        let mut idle: Vec<TcpStream> = (0..40).map(|_| connect()).collect();
        idle[0].write_all(b"GET /metr").unwrap();
        for stream in &mut idle[1..20] {
            // They never look at their answers.
            stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        }
        for _ in 0..3 {
            let asked = Instant::now();
            assert_eq!(status(&say(&server, b"GET /health HTTP/1.1\r\n\r\n")), "200");
            assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
        }
        let mut reply = String::new();
        idle[0].read_to_string(&mut reply).unwrap();
        assert_eq!(status(&reply), "408", "sent away in time");
    }

    #[test]
    fn of_more_clients_than_fit_the_one_that_says_nothing_longest_makes_room() {
        let (server, _) = server();
        let connect = || TcpStream::connect(server.address()).unwrap();
        let mut idle: Vec<TcpStream> = (0..3 * CONNECTIONS).map(|_| connect()).collect();
        assert_eq!(status(&say(&server, b"GET /health HTTP/1.1\r\n\r\n")), "200");
        // It is closed without a word: a time-out would be answered.
        let mut reply = Vec::new();
        let read = idle[0].read_to_end(&mut reply);
        assert!(read.map_or(true, |bytes| bytes == 0), "{reply:?}");
        // The last one still has its turn.
        let mut last = idle.pop().unwrap();
        last.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
        let mut reply = String::new();
        last.read_to_string(&mut reply).unwrap();
        assert_eq!(status(&reply), "200");
    }

    #[test]
    fn it_ends_when_dropped_and_frees_its_port() {
        let (server, published) = server();
        let address = server.address();
        drop(server);
        drop(HttpServer::start(address, published).unwrap());
    }

    #[test]
    fn an_address_that_is_taken_is_an_error() {
        let (server, published) = server();
        assert!(HttpServer::start(server.address(), published).is_err());
    }

    proptest! {
        #[test]
        fn any_head_is_parsed_refused_or_waited_for(bytes in "(GET|POST|\\PC{0,9}) /\\PC{0,40}( HTTP/1.1\r\n)?[a:\r\n -~]{0,80}") {
            let parsed = parse(bytes.as_bytes());
            // What has come can't be judged otherwise once more has come.
            if let Ok(Some(request)) = parsed {
                let more = parse(&[bytes.as_bytes(), b"x"].concat()).unwrap().unwrap();
                prop_assert_eq!((more.method, more.path), (request.method, request.path));
            }
        }
    }
}
