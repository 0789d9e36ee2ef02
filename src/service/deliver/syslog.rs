//! Syslog: the message (RFC 5424), in datagrams (RFC 5426) or a stream with
//! octet counting (RFC 6587, section 3.4.1).

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::DeliveryOptions;
use super::connection::{Connection, Sent, addresses};
use super::message::Message;
use crate::alert::{Alert, Severity, sentence};
use crate::engine::SensorEvent;
use crate::time::rfc3339;

/// Longest message in a datagram: what receivers should take (RFC 5424,
/// section 6.1), below the path MTU with room to spare nowhere guaranteed.
const DATAGRAM_BYTES: usize = 2_048;
/// Longest message in a stream: what rsyslog takes by default.
const STREAM_BYTES: usize = 8_192;
/// Longest value in the structured data, before escaping.
const VALUE_BYTES: usize = 255;
/// Private enterprise number in the names of structured data: the one kept for
/// documentation (RFC 5612), as there is none of our own.
const ENTERPRISE: u32 = 32_473;

/// RFC 5424, table 1, those that fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Facility {
    User = 1,
    #[default]
    Daemon = 3,
    Auth = 4,
    Local0 = 16,
    Local1 = 17,
    Local2 = 18,
    Local3 = 19,
    Local4 = 20,
    Local5 = 21,
    Local6 = 22,
    Local7 = 23,
}

/// Severities of RFC 5424, table 2.
const CRITICAL: u8 = 2;
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFORMATIONAL: u8 = 6;

/// Formats messages.
struct Format {
    facility: u8,
    hostname: String,
    longest_bytes: usize,
}

impl Format {
    fn new(options: &DeliveryOptions, longest_bytes: usize) -> Self {
        let hostname = name_field(&options.hostname, 255);
        Self { facility: options.facility as u8, hostname, longest_bytes }
    }

    fn message(&self, message: &Message) -> Vec<u8> {
        match message {
            Message::Alert(alert) => self.alert(alert),
            Message::Event(event) => self.event(event),
        }
    }

    fn alert(&self, alert: &Alert) -> Vec<u8> {
        let severity = match alert.severity {
            Severity::Informational => INFORMATIONAL,
            Severity::Low => NOTICE,
            Severity::Medium => WARNING,
            Severity::High => ERROR,
            Severity::Critical => CRITICAL,
        };
        let revision = alert.revision.to_string();
        let confidence = alert.confidence.to_string();
        let analytics = alert.analytics.join(",");
        let mut parameters: Vec<(&str, &str)> = vec![
            ("id", &alert.id),
            ("revision", &revision),
            ("detector", &alert.detector),
            ("severity", alert.severity.name()),
            ("confidence", &confidence),
            ("entity", &alert.entity.id),
            ("analytics", &analytics),
        ];
        let interfaces = match alert.interfaces.is_empty() {
            true => alert.interface.clone(),
            false => alert.interfaces.join(","),
        };
        let place: [(&str, &str); 2] = [("sensor", &alert.sensor), ("interface", &interfaces)];
        parameters.extend(place.into_iter().filter(|(_, name)| !name.is_empty()));
        let mut data = structured_data("alert", &parameters);
        data.push_str(time_quality(alert.clock_synchronised));
        // The last activity that the alert speaks of.
        self.line(severity, &rfc3339(alert.end_ns), "alert", &data, &sentence(alert))
    }

    fn event(&self, event: &SensorEvent) -> Vec<u8> {
        let severity = if event.is_good_news() { NOTICE } else { WARNING };
        let mut data = structured_data(
            "sensor",
            &[("kind", event.kind), ("interface", &event.interface), ("sensor", &event.sensor)],
        );
        data.push_str(time_quality(event.clock_synchronised));
        self.line(severity, &event.time, event.kind, &data, &event.text)
    }

    fn line(&self, severity: u8, time: &str, id: &str, data: &str, text: &str) -> Vec<u8> {
        let priority = u16::from(self.facility) * 8 + u16::from(severity);
        let process = std::process::id();
        let mut line = format!(
            "<{priority}>1 {} {} flowtap {process} {} {data} ",
            microseconds(time),
            self.hostname,
            name_field(id, 32),
        );
        // What is not ASCII is announced by a byte order mark.
        if !text.is_ascii() {
            line.push('\u{feff}');
        }
        // A line break would end the message for some receivers, and begin a forged one.
        line.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
        line.truncate(line.floor_char_boundary(self.longest_bytes));
        line.into_bytes()
    }
}

/// TIME-SECFRAC has at most six digits.
fn microseconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, fraction)) => {
            let digits: String =
                fraction.chars().take_while(char::is_ascii_digit).take(6).collect();
            format!("{seconds}.{digits}Z")
        }
        None => time.to_owned(),
    }
}

/// PRINTUSASCII up to so many, or NILVALUE.
fn name_field(text: &str, longest: usize) -> String {
    let name: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

/// The standard's own element for it (RFC 5424, section 7.1); our times are UTC.
fn time_quality(clock_synchronised: Option<bool>) -> &'static str {
    match clock_synchronised {
        Some(true) => "[timeQuality tzKnown=\"1\" isSynced=\"1\"]",
        Some(false) => "[timeQuality tzKnown=\"1\" isSynced=\"0\"]",
        None => "",
    }
}

/// SD-ELEMENT; `", `\` and `]` are escaped (RFC 5424, section 6.3.3).
fn structured_data(name: &str, parameters: &[(&str, &str)]) -> String {
    let mut data = format!("[{name}@{ENTERPRISE}");
    for (key, value) in parameters {
        // Writing to a String cannot fail.
        let _ = write!(data, " {key}=\"");
        for c in value[..value.floor_char_boundary(VALUE_BYTES)].chars() {
            if matches!(c, '"' | '\\' | ']') {
                data.push('\\');
            }
            data.push(if c.is_control() { ' ' } else { c });
        }
        data.push('"');
    }
    data.push(']');
    data
}

/// Syslog in datagrams. A closed port is noticed when its refusal comes in,
/// with the next message; then the one before is sent again.
pub(super) struct SyslogUdp {
    host: String,
    port: u16,
    format: Format,
    socket: Option<UdpSocket>,
    before: Vec<u8>,
    before_was_refused: bool,
}

impl SyslogUdp {
    pub(super) fn new(host: &str, port: u16, options: &DeliveryOptions) -> Self {
        Self {
            host: host.to_owned(),
            port,
            format: Format::new(options, DATAGRAM_BYTES),
            socket: None,
            before: Vec::new(),
            before_was_refused: false,
        }
    }

    fn attempt(&mut self, message: &[u8], timeout: Duration) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.socket.insert(self.connect()?),
        };
        socket.set_write_timeout(Some(timeout))?;
        if self.before_was_refused {
            socket.send(&self.before)?;
        }
        socket.send(message)?;
        Ok(())
    }

    fn connect(&self) -> io::Result<UdpSocket> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses(&self.host, self.port)? {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let made = UdpSocket::bind(any).and_then(|socket| {
                // Connected, or refusals would not come back.
                socket.connect(address)?;
                Ok(socket)
            });
            match made {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Connection for SyslogUdp {
    fn send(&mut self, message: &Message, timeout: Duration) -> io::Result<Sent> {
        let bytes = self.format.message(message);
        match self.attempt(&bytes, timeout) {
            Ok(()) => {
                self.before = bytes;
                self.before_was_refused = false;
                Ok(Sent::Delivered)
            }
            Err(error) => {
                let refused = error.kind() == io::ErrorKind::ConnectionRefused;
                self.before_was_refused |= refused && !self.before.is_empty();
                // The name may lead elsewhere by then.
                self.socket = None;
                Err(error)
            }
        }
    }
}

/// Syslog over a TCP stream.
pub(super) struct SyslogTcp {
    host: String,
    port: u16,
    format: Format,
    stream: Option<TcpStream>,
}

impl SyslogTcp {
    pub(super) fn new(host: &str, port: u16, options: &DeliveryOptions) -> Self {
        let format = Format::new(options, STREAM_BYTES);
        Self { host: host.to_owned(), port, format, stream: None }
    }

    fn connect(&self, timeout: Duration) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let deadline = Instant::now() + timeout;
        for address in addresses(&self.host, self.port)? {
            match connect_by(&address, deadline) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn connect_by(address: &SocketAddr, deadline: Instant) -> io::Result<TcpStream> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let stream = TcpStream::connect_timeout(address, left)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A receiver of syslog never answers: what can be read is its end. Without
/// this look the first message after it restarted would be lost.
fn is_open(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let mut byte = [0];
    let open = match stream.peek(&mut byte) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    };
    open && stream.set_nonblocking(false).is_ok()
}

impl Connection for SyslogTcp {
    fn send(&mut self, message: &Message, timeout: Duration) -> io::Result<Sent> {
        let mut stream = match self.stream.take().filter(is_open) {
            Some(stream) => stream,
            None => self.connect(timeout)?,
        };
        stream.set_write_timeout(Some(timeout))?;
        let message = self.format.message(message);
        let mut frame = format!("{} ", message.len()).into_bytes();
        frame.extend_from_slice(&message);
        // After half a message the stream is of no use: it is not put back.
        stream.write_all(&frame)?;
        self.stream = Some(stream);
        Ok(Sent::Delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{alert, event};
    use super::*;
    use proptest::prelude::*;

    fn format(longest_bytes: usize) -> Format {
        let hostname = "sensor-1".to_owned();
        Format::new(&DeliveryOptions { hostname, ..DeliveryOptions::default() }, longest_bytes)
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_alert_is_a_message_of_rfc_5424() {
        let mut alert = alert("T\"x]\\y");
        alert.sensor = "tap-7".to_owned();
        alert.clock_synchronised = Some(true);
        let line = text(format(STREAM_BYTES).alert(&alert));
        let process = std::process::id();
        // Facility daemon (3) and severity warning (4): 3 * 8 + 4.
        let head = format!(
            "<28>1 2026-11-21T13:13:05.000000Z sensor-1 flowtap {process} alert \
             [alert@32473 id=\"T\\\"x\\]\\\\y\" revision=\"1\" detector=\"udp_flood\" severity=\"medium\" \
             confidence=\"0.6\" entity=\"203.0.113.7\" analytics=\"AN0001,AN0002\" sensor=\"tap-7\"]\
             [timeQuality tzKnown=\"1\" isSynced=\"1\"] "
        );
        assert_eq!(line, head + &sentence(&alert));
    }

    #[test]
    fn an_event_is_a_message_of_its_kind() {
        let line = text(format(STREAM_BYTES).event(&event("eth0: no packet for 60 s")));
        assert!(line.starts_with("<28>1 2026-11-21T13:13:03.000000Z sensor-1 flowtap "), "{line}");
        let end = " sensor.silent [sensor@32473 kind=\"sensor.silent\" interface=\"eth0\" sensor=\"tap-7\"][timeQuality tzKnown=\"1\" isSynced=\"0\"] eth0: no packet for 60 s";
        assert!(line.ends_with(end), "{line}");
    }

    #[test]
    fn text_that_is_not_ascii_is_marked_as_utf_8() {
        let line = text(format(STREAM_BYTES).event(&event("é")));
        assert!(line.ends_with("] \u{feff}é"), "{line}");
    }

    #[test]
    fn a_host_without_a_name_is_nil() {
        let options = DeliveryOptions { hostname: " é ".to_owned(), ..DeliveryOptions::default() };
        assert_eq!(Format::new(&options, 1).hostname, "-");
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_line_or_its_length(said in "\\PC*|[\\x00-\\x1f\\]\"\\\\é]{0,3000}", longest in 300_usize..3_000) {
            let mut hostile = event(&said);
            hostile.interface = said;
            let line = text(format(longest).event(&hostile));
            prop_assert!(line.len() <= longest);
            prop_assert!(!line.chars().any(char::is_control));
        }

        #[test]
        fn values_come_back_as_they_were(value in "[ -~é]{0,80}") {
            let data = structured_data("x", &[("k", &value)]);
            let inner = data.strip_prefix("[x@32473 k=\"").and_then(|data| data.strip_suffix("\"]")).unwrap();
            let mut back = String::new();
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                prop_assert!(!matches!(c, '"' | ']'), "not escaped: {}", inner);
                back.push(if c == '\\' { chars.next().unwrap() } else { c });
            }
            prop_assert_eq!(back, value);
        }
    }
}
