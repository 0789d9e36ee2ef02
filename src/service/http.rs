//! A small HTTP/1.1 server for `/metrics` and `/health`.
//!
//! It answers GET and HEAD with what was published last, and closes the
//! connection. It never reads a body. A few threads take one connection each
//! at a time, with a limit on the bytes and on the time of a request, so that
//! whoever talks to it can only use up these threads, and only for a short
//! time. On loopback unless told otherwise: there is no authentication.
//! Start at [`HttpServer::start`].

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::metrics::{Published, health, metrics_text};

/// Where Prometheus exporters of this kind listen, and the unit for systemd lets us.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9184";

/// Connections served at once; others wait in the listener's queue. Two
/// scrapers, a health check, and one to spare.
const CONNECTIONS: usize = 4;
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

/// The server; it ends when dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens and answers from now on. An error when the address is taken.
    pub fn start(address: SocketAddr, published: Arc<Published>) -> io::Result<Self> {
        Self::serve(TcpListener::bind(address)?, published)
    }

    /// Answers whoever connects to this listener.
    pub fn serve(listener: TcpListener, published: Arc<Published>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut server = Self { address, stop: Arc::clone(&stop), threads: Vec::new() };
        for _ in 0..CONNECTIONS {
            let (listener, stop) = (listener.try_clone()?, Arc::clone(&stop));
            let published = Arc::clone(&published);
            let serve = move || serve(&listener, &stop, &published);
            server.threads.push(Builder::new().name("http".to_owned()).spawn(serve)?);
        }
        Ok(server)
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
        // Each thread waits for a connection: it gets one.
        let woken = self.threads.iter().all(|_| TcpStream::connect_timeout(&to, TIME).is_ok());
        for thread in self.threads.drain(..).filter(|_| woken) {
            // One that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, stop: &AtomicBool, published: &Published) {
    /// After a failure that lasts, such as no file descriptor left.
    const REST: Duration = Duration::from_millis(100);
    loop {
        let accepted = listener.accept();
        if stop.load(Ordering::Acquire) {
            return;
        }
        match accepted {
            // Whatever goes wrong is the client's loss alone.
            Ok((stream, _)) => drop(answer(stream, published)),
            Err(_) => std::thread::sleep(REST),
        }
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
}

/// What was asked for.
struct Request {
    method: String,
    path: String,
}

fn answer(mut stream: TcpStream, published: &Published) -> io::Result<()> {
    let (answer, head_only) = match read_request(&mut stream, Instant::now() + TIME)? {
        Ok(request) => (respond(&request, published), request.method == "HEAD"),
        Err(status) => (Answer::text(status), false),
    };
    let Answer { status, content_type, body } = &answer;
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
    write_by(&mut stream, reply.as_bytes(), Instant::now() + TIME)?;
    stream.shutdown(Shutdown::Write)?;
    let deadline = Instant::now() + DRAIN_TIME;
    let mut thrown_away = [0; 4_096];
    let mut left = DRAINED_BYTES;
    while left > 0 {
        let read = read_by(&mut stream, &mut thrown_away, deadline)?;
        if read == 0 {
            break;
        }
        left = left.saturating_sub(read);
    }
    Ok(())
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

/// The request, or the status to refuse it with; an error when the client is
/// gone.
fn read_request(
    stream: &mut TcpStream,
    deadline: Instant,
) -> io::Result<Result<Request, &'static str>> {
    let mut head = Vec::new();
    let mut chunk = [0; 1_024];
    loop {
        let read = match read_by(stream, &mut chunk, deadline) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if is_timeout(&error) => return Ok(Err("408 Request Timeout")),
            Err(error) => return Err(error),
        };
        head.extend_from_slice(chunk.get(..read).unwrap_or_default());
        match parse(&head) {
            Ok(Some(request)) => return Ok(Ok(request)),
            Err(status) => return Ok(Err(status)),
            Ok(None) if head.len() >= HEAD_BYTES => {
                return Ok(Err("431 Request Header Fields Too Large"));
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

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Time that is left; an error when there is none.
fn left(deadline: Instant) -> io::Result<Option<Duration>> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
}

fn read_by(stream: &mut TcpStream, into: &mut [u8], deadline: Instant) -> io::Result<usize> {
    stream.set_read_timeout(left(deadline)?)?;
    stream.read(into)
}

fn write_by(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(left(deadline)?)?;
        let written = stream.write(bytes)?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
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

    #[test]
    fn clients_that_say_nothing_are_sent_away_in_time() {
        let (server, _) = server();
        let mut idle: Vec<TcpStream> =
            (0..2 * CONNECTIONS).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
        idle[0].write_all(b"GET /metr").unwrap();
        let asked = Instant::now();
        assert_eq!(status(&say(&server, b"GET /health HTTP/1.1\r\n\r\n")), "200");
        let mut reply = String::new();
        idle[0].read_to_string(&mut reply).unwrap();
        assert_eq!(status(&reply), "408");
        // Behind two rounds of idle ones, and a busy machine's time.
        assert!(asked.elapsed() < 3 * TIME + Duration::from_secs(5), "{:?}", asked.elapsed());
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
