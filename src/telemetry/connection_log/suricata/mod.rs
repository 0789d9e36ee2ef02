//! Suricata's EVE JSON: `flow` and `netflow` events.
//!
//! Both are written when a flow is over: `flow` of both sides in one event,
//! `netflow` of each side in its own. Where a log has both, the one that comes first
//! of a flow counts. Other events are passed over by name; what Suricata says that it dropped
//! (`stats`) is counted as lost. Sizes are whole frames.

mod event;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use serde::Deserialize;

use crate::telemetry::decode::{Bad, Context, Decoder, Out};
use crate::telemetry::framing::Framing;
use crate::telemetry::kind::{Gives, Head, Kind};
use event::Event;

pub(in crate::telemetry) static EVE: Kind = Kind {
    name: "suricata-eve",
    title: "Suricata EVE JSON",
    gives: Gives::Flows,
    versions: "Suricata 4 to 8: flow and netflow events; all others are counted and passed over",
    source: "Suricata user guide, EVE JSON format; flowtap's own eve.json",
    sample: "{\"timestamp\":\"2026-03-01T10:16:02.000000+0000\",\"flow_id\":1093517241207781,\"in_iface\":\"eth0\",\
        \"event_type\":\"flow\",\"src_ip\":\"192.0.2.10\",\"src_port\":40112,\"dest_ip\":\"198.51.100.7\",\"dest_port\":443,\
        \"proto\":\"TCP\",\"app_proto\":\"tls\",\"flow\":{\"pkts_toserver\":8,\"pkts_toclient\":7,\"bytes_toserver\":1153,\
        \"bytes_toclient\":3270,\"start\":\"2026-03-01T10:15:02.114000+0000\",\"end\":\"2026-03-01T10:15:03.364000+0000\",\
        \"age\":1,\"state\":\"closed\",\"reason\":\"timeout\",\"alerted\":false},\"tcp\":{\"tcp_flags\":\"1b\",\
        \"tcp_flags_ts\":\"1b\",\"tcp_flags_tc\":\"1b\",\"syn\":true,\"fin\":true,\"psh\":true,\"ack\":true,\"state\":\"closed\"}}\n",
    sees: "connections with both sides' packets, frame bytes, TCP flags, state and application protocol",
    absent: "payload and IP bytes, packet sizes and times, flows still open",
    // An established TCP flow that falls silent is written after 600 s, when the flow
    // manager comes by.
    lateness_s: 610,
    framing: Framing::Json,
    recognise,
    decoder,
};

fn recognise(head: &Head<'_>) -> bool {
    head.json_text("/event_type").is_some()
        && head.json_text("/timestamp").is_some()
        && ["/flow_id", "/stats", "/src_ip"].iter().any(|place| head.json_has(&[place]))
}

fn decoder(_: &Context) -> Result<Box<dyn Decoder>, String> {
    Ok(Box::new(Eve::default()))
}

#[derive(Default)]
struct Eve {
    recent: Recent,
    /// Totals since Suricata began, as last told.
    kernel_drops: u64,
}

impl Decoder for Eve {
    fn record(&mut self, record: &[u8], out: &mut Out) -> Result<(), Bad> {
        // Most events are others, of any form: looked at no further than this.
        let what: What<'_> = parsed(record)?;
        match &*what.event_type {
            "flow" => self.told(Form::Flow, &parsed(record)?, out),
            "netflow" => self.told(Form::Netflow, &parsed(record)?, out),
            "stats" => {
                self.stats(&parsed(record)?, out);
                out.pass("event type stats");
                Ok(())
            }
            "" => Err(Bad::new("no event type")),
            other => {
                out.pass(passed_name(other));
                Ok(())
            }
        }
    }
}

impl Eve {
    fn told(&mut self, form: Form, event: &Event<'_>, out: &mut Out) -> Result<(), Bad> {
        if event.flow_id.is_some_and(|id| self.recent.was_told_otherwise(id, form)) {
            out.pass("flow that was told in the other form");
            return Ok(());
        }
        match form {
            Form::Flow => event.flow_report(out),
            Form::Netflow => event.netflow_report(out),
        }
    }

    fn stats(&mut self, event: &StatsEvent, out: &mut Out) {
        let Some(drops) = event.stats.capture.kernel_drops else { return };
        // After a restart it begins at zero.
        let more = drops.checked_sub(self.kernel_drops).unwrap_or(drops);
        self.kernel_drops = drops;
        if more > 0 {
            out.lost("packets the kernel dropped before Suricata", more);
        }
    }
}

/// How Suricata tells of a flow that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Flow,
    Netflow,
}

/// Flows that were told last, and how.
#[derive(Default)]
struct Recent {
    forms: HashMap<u64, Form, ahash::RandomState>,
    order: VecDeque<u64>,
}

impl Recent {
    /// Both forms of a flow are written together, those of other threads between them.
    const MOST: usize = 4096;

    fn was_told_otherwise(&mut self, id: u64, form: Form) -> bool {
        if let Some(&first) = self.forms.get(&id) {
            return first != form;
        }
        if self.order.len() == Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.forms.remove(&oldest);
        }
        self.order.push_back(id);
        self.forms.insert(id, form);
        false
    }
}

fn parsed<'a, T: Deserialize<'a>>(record: &'a [u8]) -> Result<T, Bad> {
    serde_json::from_slice(record)
        .map_err(|error| Bad { reason: "not an event", detail: error.to_string() })
}

/// The event types that Suricata has, so that their names need no memory.
fn passed_name(event_type: &str) -> &'static str {
    macro_rules! names {
        ($($name:literal)*) => {
            match event_type {
                $($name => concat!("event type ", $name),)*
                _ => "event type of another name",
            }
        };
    }
    names!("alert" "anomaly" "arp" "bittorrent_dht" "dcerpc" "dhcp" "dnp3" "dns" "drop" "email"
        "engine" "enip" "fileinfo" "flow_start" "frame" "ftp" "ftp_data" "http" "http2" "ike"
        "ikev2" "krb5" "ldap" "lua" "mdns" "metadata" "modbus" "mqtt" "nfs" "packet" "pgsql"
        "pop3" "quic" "rdp" "rfb" "sip" "smb" "smtp" "snmp" "ssh" "stats" "template" "telnet"
        "tftp" "tls" "websocket")
}

#[derive(Deserialize)]
struct What<'a> {
    #[serde(borrow, default)]
    event_type: Cow<'a, str>,
}

#[derive(Deserialize)]
struct StatsEvent {
    #[serde(default)]
    stats: Stats,
}

#[derive(Default, Deserialize)]
struct Stats {
    #[serde(default)]
    capture: Capture,
}

#[derive(Default, Deserialize)]
struct Capture {
    #[serde(default)]
    kernel_drops: Option<u64>,
}
