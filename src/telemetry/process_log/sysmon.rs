//! Sysmon for Linux: XML events in lines of syslog, or as JSON that a collector made
//! of them, one event a line.
//!
//! Read are programs (event 1), connections with both ends (3) and ends of processes
//! (5).

#[cfg(test)]
mod tests;
mod xml;

use serde_json::Value;

use super::command::{set_command_line, set_executable, short_text};
use super::fields::Fields;
use super::hosts::{HostNumber, Hosts, Seen, Sighting, bound, claim, instance};
use crate::host::attribution::Basis;
use crate::host::event::{Socket, SocketKind, What};
use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use crate::telemetry::text::{number, rfc3339_ns};

const PROVIDER: &str = "Linux-Sysmon";

pub(in crate::telemetry) static SYSMON: Kind = Kind {
    name: "sysmon-linux",
    title: "Sysmon for Linux events",
    gives: Gives::Hosts,
    versions: "XML in syslog lines; JSON with Event.System and Event.EventData, and winlog.event_data; \
        event ids 1, 3 and 5",
    source: "Sysmon documentation, Events; Sysmon for Linux, README",
    sample: "Mar  1 10:15:02 web1 sysmon: <Event><System><Provider Name=\"Linux-Sysmon\" \
        Guid=\"{ff032593-a8d3-4f13-b0d6-01fc615a0f97}\"/><EventID>3</EventID><Version>5</Version>\
        <TimeCreated SystemTime=\"2026-03-01T10:15:02.120000000Z\"/><EventRecordID>7</EventRecordID>\
        <Channel>Linux-Sysmon/Operational</Channel><Computer>web1</Computer></System><EventData>\
        <Data Name=\"UtcTime\">2026-03-01 10:15:02.114</Data>\
        <Data Name=\"ProcessGuid\">{11112222-3333-4444-5555-666677778888}</Data>\
        <Data Name=\"ProcessId\">901</Data><Data Name=\"Image\">/usr/bin/curl</Data>\
        <Data Name=\"User\">ann</Data><Data Name=\"Protocol\">tcp</Data>\
        <Data Name=\"Initiated\">true</Data><Data Name=\"SourceIp\">192.0.2.10</Data>\
        <Data Name=\"SourcePort\">40112</Data><Data Name=\"DestinationIp\">203.0.113.9</Data>\
        <Data Name=\"DestinationPort\">443</Data></EventData></Event>\n",
    sees: "programs with arguments, parents and users from start to end; both ends of connections",
    absent: "terminals; containers; bytes; what its configuration filters",
    // Written as they happen, by way of syslog.
    lateness_s: 10,
    framing: Framing::Lines,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    let is_json =
        ["/winlog/provider_name", "/Event/System/Provider/Name", "/Event/System/Provider/@Name"];
    let is_xml =
        |line: &&[u8]| memchr::memmem::find(line, b"<Provider Name=\"Linux-Sysmon\"").is_some();
    head.lines.iter().any(is_xml)
        || is_json.iter().any(|provider| head.json_text(provider) == Some(PROVIDER))
}

fn decoder(context: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Sysmon { hosts: Hosts::new(context) }))
}

struct Sysmon {
    hosts: Hosts,
}

/// An event in either form.
struct Event<'a> {
    id: u32,
    host: String,
    /// When it was written.
    written_ns: Option<i64>,
    data: Fields<'a>,
}

impl Decoder for Sysmon {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        if record.first() == Some(&b'{') {
            let json: Value =
                serde_json::from_slice(record).map_err(|_| Bad::value("no JSON", record))?;
            let event = from_json(&json).ok_or_else(|| Bad::value("not an event", record))?;
            return self.tell(&event, out);
        }
        let Some(at) = memchr::memmem::find(record, b"<Event>") else {
            out.pass("other line of syslog");
            return Ok(());
        };
        let text = String::from_utf8_lossy(record.get(at..).unwrap_or_default());
        if !text.trim_end().ends_with("</Event>") {
            return Err(Bad::new("an event that is cut off"));
        }
        let event = xml::event(&text).ok_or_else(|| Bad::value("not an event", text.as_bytes()))?;
        self.tell(&event, out)
    }
}

impl Sysmon {
    fn tell(&mut self, event: &Event<'_>, out: &mut Out) -> Result<(), Bad> {
        if !matches!(event.id, 1 | 3 | 5) {
            out.pass("other event");
            return Ok(());
        }
        let data = &event.data;
        let host = self.hosts.host(event.host.as_bytes(), out)?;
        let time_ns = rfc3339_ns(data.text("UtcTime").as_bytes())
            .or(event.written_ns)
            .ok_or_else(|| Bad::value("no time", data.text("UtcTime").as_bytes()))?;
        let pid = data.number::<u32>("ProcessId").filter(|&pid| pid != 0);
        let pid =
            pid.ok_or_else(|| Bad::value("no process number", data.text("ProcessId").as_bytes()))?;
        match event.id {
            1 => self.tell_program(data, host, time_ns, pid, out),
            3 => return self.tell_connection(data, host, time_ns, pid, out),
            _ => {
                self.sighted(data, host, time_ns, pid, out);
                self.hosts.exits(host, pid, time_ns, out);
            }
        }
        Ok(())
    }

    /// Of an event that says little of its process.
    fn sighted(
        &mut self,
        data: &Fields<'_>,
        host: HostNumber,
        time_ns: i64,
        pid: u32,
        out: &mut Out,
    ) -> crate::host::process::ProcessId {
        let sighting = Sighting {
            seen: Seen::Runs,
            pid,
            start_ticks: 0,
            exe: value(data, "Image"),
            parent: None,
            instance: guid(data, "ProcessGuid"),
        };
        self.hosts.sighted(host, time_ns, &sighting, out, |process| {
            set_executable(process, value(data, "Image"));
            process.user = short_text(value(data, "User"));
        })
    }

    fn tell_program(
        &mut self,
        data: &Fields<'_>,
        host: HostNumber,
        time_ns: i64,
        pid: u32,
        out: &mut Out,
    ) {
        let parent = data.number::<u32>("ParentProcessId").filter(|&pid| pid != 0);
        // Some events name none but the number.
        if let Some(pid) = parent.filter(|_| !value(data, "ParentImage").is_empty()) {
            let sighting = Sighting {
                seen: Seen::Runs,
                pid,
                start_ticks: 0,
                exe: value(data, "ParentImage"),
                parent: None,
                instance: guid(data, "ParentProcessGuid"),
            };
            self.hosts.sighted(host, time_ns, &sighting, out, |process| {
                set_executable(process, value(data, "ParentImage"));
                set_command_line(process, value(data, "ParentCommandLine"));
                process.user = short_text(value(data, "ParentUser"));
            });
        }
        let instance = guid(data, "ProcessGuid");
        // The identifier stays when the process runs another program.
        let known = instance.is_some_and(|guid| self.hosts.is_instance(host, pid, guid));
        let seen = if known || instance.is_none() { Seen::Execs } else { Seen::Begins };
        let image = value(data, "Image");
        let sighting = Sighting { seen, pid, start_ticks: 0, exe: image, parent, instance };
        self.hosts.sighted(host, time_ns, &sighting, out, |process| {
            set_executable(process, image);
            set_command_line(process, value(data, "CommandLine"));
            process.user = short_text(value(data, "User"));
        });
    }

    fn tell_connection(
        &mut self,
        data: &Fields<'_>,
        host: HostNumber,
        time_ns: i64,
        pid: u32,
        out: &mut Out,
    ) -> Result<(), Bad> {
        let (kind, protocol, basis) = match data.text("Protocol") {
            "tcp" => (SocketKind::Stream, 6, Basis::Opened),
            // Told when something was sent or received.
            "udp" => (SocketKind::Datagram, 17, Basis::Used),
            protocol => return Err(Bad::value("unknown protocol", protocol.as_bytes())),
        };
        let end = |address: &str, port: &str| {
            let address = data.address(address);
            let address = address
                .ok_or_else(|| Bad::value("not an address", data.text("SourceIp").as_bytes()))?;
            let port = data.number::<u16>(port);
            let port =
                port.ok_or_else(|| Bad::value("not a port", data.text("SourcePort").as_bytes()))?;
            Ok((bound(Some(address)), port))
        };
        let source = end("SourceIp", "SourcePort")?;
        let destination = end("DestinationIp", "DestinationPort")?;
        let ((local, local_port), (remote, remote_port)) = match data.text("Initiated") {
            "true" => (source, destination),
            "false" => (destination, source),
            initiated => return Err(Bad::value("unknown side", initiated.as_bytes())),
        };
        let id = self.sighted(data, host, time_ns, pid, out);
        let socket =
            Socket { local, local_port, remote, remote_port, ..claim(kind, protocol, basis, id) };
        let what = match basis {
            Basis::Used => What::SocketUse(socket),
            _ => What::SocketOpen(socket),
        };
        self.hosts.tell(host, time_ns, what, out);
        Ok(())
    }
}

/// `-` stands for nothing.
fn value<'a>(data: &'a Fields<'_>, name: &str) -> &'a str {
    match data.text(name) {
        "-" => "",
        text => text,
    }
}

/// The identifier of a process; of one that is not known it is all zeros.
fn guid(data: &Fields<'_>, name: &str) -> Option<u64> {
    let text = value(data, name);
    let digits = text.bytes().filter(u8::is_ascii_hexdigit);
    digits.clone().any(|digit| digit != b'0').then(|| instance(text)).flatten()
}

/// The event with its names, as converters and shippers have it.
fn from_json(json: &Value) -> Option<Event<'_>> {
    let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let id = |pointer: &str| crate::telemetry::json::number(json.pointer(pointer)?);
    let (data, id, host, time) = match json.pointer("/winlog/event_data") {
        Some(data) => {
            (data, id("/winlog/event_id"), text("/winlog/computer_name"), text("/@timestamp"))
        }
        None => {
            let time =
                ["/Event/System/TimeCreated/SystemTime", "/Event/System/TimeCreated/@SystemTime"]
                    .map(text)
                    .into_iter()
                    .find(|time| !time.is_empty());
            let data = json.pointer("/Event/EventData")?;
            (data, id("/Event/System/EventID"), text("/Event/System/Computer"), time.unwrap_or(""))
        }
    };
    let mut fields = Fields::default();
    let mut push = |name: &str, value: &Value| match value {
        Value::String(text) => fields.push(name.to_owned(), text.clone()),
        Value::Number(_) | Value::Bool(_) => fields.push(name.to_owned(), value.to_string()),
        _ => {}
    };
    match data.get("Data").and_then(Value::as_array) {
        // A list of names and texts, as converters make it of XML.
        Some(list) => list.iter().for_each(|element| {
            let member = |names: [&str; 2]| names.iter().find_map(|name| element.get(name));
            if let (Some(name), Some(value)) =
                (member(["@Name", "Name"]).and_then(Value::as_str), member(["#text", "Value"]))
            {
                push(name, value);
            }
        }),
        None => data.as_object()?.iter().for_each(|(name, value)| push(name, value)),
    }
    Some(Event {
        id: u32::try_from(id?).ok()?,
        host: host.to_owned(),
        written_ns: rfc3339_ns(time.as_bytes()),
        data: fields,
    })
}

impl<'a> Event<'a> {
    fn from_parts(id: &str, host: String, time: &str, data: Fields<'a>) -> Option<Self> {
        let written_ns = rfc3339_ns(time.as_bytes());
        Some(Self { id: number(id.as_bytes())?, host, written_ns, data })
    }
}
