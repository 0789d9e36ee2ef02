//! Thresholds of the detectors, each with its reason. Where ATT&CK names a
//! mutable element, the setting has its name in snake case.

use std::sync::Arc;

use super::HomeNets;
use super::classes::Classes;
use super::endpoints::Endpoints;
use super::kind::Kind;
use super::watch::Watch;
use crate::alert::AllowEntry;

/// What detectors compare with.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectSettings {
    pub home_nets: HomeNets,
    /// ATT&CK PacketRateThreshold: one window at or over it opens a flood
    /// alert. ATT&CK's own example for AN0969 is 10,000 packets/s.
    pub packet_rate_threshold: u64,
    /// Two windows in a row at or over it open one as well, if nobody answers.
    /// No ordinary one-way sender (syslog, statsd, a sensor) reaches it for
    /// long, and no tool that floods stays under it.
    pub unanswered_rate_threshold: u64,
    /// Packets back by packets in, under which a stream counts as unanswered.
    /// QUIC acknowledges about every tenth packet, RTCP about every fiftieth.
    pub answer_ratio: f64,
    /// ATT&CK BurstTimeWindow: seconds of activity that make a provisional
    /// flood sustained.
    pub burst_time_window_s: u64,
    /// ATT&CK ProtocolType: kinds of packet that need no connection and raise
    /// the severity of an outbound flood.
    pub protocol_type: Vec<Kind>,
    /// A flood gets the name of a type that holds more than this share of its
    /// packets (FastNetMon).
    pub typing_share: f64,
    /// Addresses of a prefix that must be hit together to speak of carpet
    /// bombing.
    pub carpet_addresses: u64,
    /// New connections a second at one address: FastNetMon's default for flows
    /// of one host.
    pub connection_rate_threshold: u64,
    /// New connections a second from one address to one other that are given up
    /// before any data: ntopng's default for flows of a host.
    pub empty_connection_rate_threshold: u64,
    /// Distinct ports of one target in a minute that make a scan, and twice as
    /// many in five minutes. UDP needs twice as many again: traceroute alone
    /// touches up to 90.
    pub scan_ports: u64,
    /// Distinct targets in a minute that make a scan, and twice as many in five
    /// minutes.
    pub scan_hosts: u64,
    /// Distinct targets of ICMP echo in a minute that make a sweep (Slips: 25),
    /// and twice as many in five minutes.
    pub sweep_hosts: u64,
    /// Distinct IP protocols probed at one target.
    pub scan_protocols: u64,
    /// Distinct targets of ARP requests from one MAC in a minute: a quarter of
    /// a /24 is more than a router asks for.
    pub arp_sweep_hosts: u64,
    /// Distinct reflectors whose unasked responses a second are a reflection
    /// attack already at `unanswered_rate_threshold`.
    pub reflectors: u64,
    /// Response bytes by request bytes that make a server a reflector
    /// (10: SNMP, the weakest of US-CERT TA14-017A worth an attack, gives 6.3).
    pub amplification: f64,
    /// Broadcast frames, and frames of control protocols, a second.
    pub storm_rate_threshold: u64,
    /// UDP multicast and other EtherTypes a second: video and market data over
    /// multicast run at thousands.
    pub bulk_storm_rate_threshold: u64,
    /// Seconds without activity that end an alert.
    pub quiet_time_s: u64,
    /// Alerts open at the same time.
    pub open_alerts: usize,
    /// Alerts of a run that ends. Live, where each is handed out as it comes,
    /// there is no such bound.
    pub total_alerts: usize,
    /// Alerts that are over and still held, for the summary: the newest.
    pub kept_alerts: usize,
    /// Packets of a thousand that an interface loses in a second: one in a
    /// hundred makes flows unreliable (Zeek's capture-loss notice: 10 %; a lost
    /// packet in a thousand is every busy sensor's).
    pub loss_per_mille: u64,
    /// Sources whose probes are remembered.
    pub scan_sources: usize,
    /// ATT&CK InstanceTrafficThreshold: percent by which egress must exceed the
    /// entity's normal of that hour. 300: four times as much; busy days of ordinary
    /// services stay under three times their median, a job that runs twice as wide
    /// under four.
    pub instance_traffic_threshold: f64,
    /// And how many robust sigmas (METHODS: 6; with 3 of 1,440 minutes of normally
    /// distributed traffic two would be over).
    pub egress_deviation: f64,
    /// Share of the egress that one destination or one service must take (METHODS).
    pub egress_concentration: f64,
    /// Egress a minute below which nothing is unusual, whatever the normal, and from
    /// which a one-way stream over a stateless protocol is reported without a
    /// baseline. 10 Mbit/s and 1,000 packets/s (METHODS): over a camera's stream,
    /// a call, syslog, statsd, metrics.
    pub egress_bytes_per_minute: u64,
    pub egress_packets_per_minute: u64,
    /// Egress a minute from which anything else is reported without a baseline, at
    /// most as informational while it is answered: 100 Mbit/s, and ATT&CK's
    /// 10,000 packets/s, in the mean of the minute.
    pub egress_absolute_bytes_per_minute: u64,
    pub egress_absolute_packets_per_minute: u64,
    /// Days of an entity's history from which its baseline counts as mature: a week
    /// has every hour of the week once.
    pub baseline_mature_days: f64,
    /// Share by which the 99th percentile of a mature entity's measures may grow from
    /// one day of activity to the next. A tenth doubles in a week, and holds who wants
    /// ten times the traffic to be normal up for 24 days.
    pub baseline_drift_per_day: f64,
    /// Minutes of event time between writes of baselines: what a kill can cost. Long
    /// against a write, short against what is forgotten in weeks.
    pub baseline_flush_minutes: u64,
    /// Days for which an entity's minutes under alert wait for a verdict before they
    /// are dropped: analysts have weekends.
    pub baseline_pending_days: f64,
    /// Entities whose baselines are in memory, 5 KB each at most; others wait on disk.
    pub baseline_held: usize,
    /// Echo packets a second of a process, or of processes of one tool together, that
    /// are a flood: ping sends one, a diagnosis five; without root one ping reaches 10
    /// on macOS and 500 on Linux (measured: 142 by `ping -i 0.002`), as root 10,000 and
    /// more.
    pub ping_packet_floor: u64,
    /// Packets a second that nobody answers, of a process that is no tool for that.
    /// The same as for a network's senders: syslog and statsd stay under it.
    pub process_packet_floor: u64,
    /// Bytes a second that nobody answers: 10 Mbit/s, METHODS 1.
    pub process_byte_floor: u64,
    /// New connections a second by HTTP clients: a script's loop makes some tens
    /// (measured: 56 by one `curl` after the other, as fast as they go).
    pub web_connection_floor: u64,
    /// New connections a second by any other process: ntopng's default for a host.
    pub process_connection_floor: u64,
    /// Of `burst_time_window_s`, the seconds at or over a floor that make a flood of a
    /// process: a start-up or a retry is over sooner.
    pub tool_flood_seconds: u64,
    /// Divergence of a minute's payload sizes from the learned ones that is a shift, in
    /// bits, or what the entity itself rarely reaches, if that is more (METHODS 7).
    pub payload_shift_threshold: f64,
    /// Packets with payload under which a minute has no shape (METHODS 7).
    pub payload_shift_packets: u64,
    /// ATT&CK DataRatioThreshold: payload bytes sent by received (METHODS 7: 10 to 1).
    pub data_ratio_threshold: f64,
    /// Payload bytes of a minute from which the ratio counts: less is a form or a log.
    pub data_ratio_bytes: u64,
    /// ATT&CK EntropyScore: bits per byte of the first 256 bytes from which they count
    /// as encrypted or packed; 256 bytes by lot have 7.17 on average.
    pub entropy_score: f64,
    /// RITA's score, times 100, of a beacon: busy pairs without any rhythm reach 70, its
    /// step from low to medium; 90 is the next.
    pub beacon_score: u64,
    /// Connections from which a rhythm counts: RITA's four say nothing of a stream.
    pub beacon_connections: u64,
    /// Seconds between the first and the last of them, at least: ten minutes, by when a
    /// loop in a script or a page that polls is over.
    pub beacon_span_s: u64,
    /// ATT&CK ProcessWhitelist: executables whose payloads, ratios and rhythms are not
    /// judged, by whole path; `*` at the end stands for anything.
    pub process_whitelist: Vec<String>,
    /// ATT&CK ImageName: container images that AN0083 is about; `*` at the end stands for
    /// anything. What others do is informational. Empty: all, since nobody's are known.
    pub image_name: Vec<String>,
    /// ATT&CK LBProjects: projects whose load balancers' logs count, where a log names one
    /// (Google). Empty: all, since who gives a log means it.
    pub lb_projects: Vec<String>,
    /// What kinds of program are expected to do.
    pub classes: Arc<Classes>,
    /// ATT&CK TimeWindow: seconds between the stages of a chain (AN0223).
    pub time_window_s: u64,
    /// Seconds that a log of requests may come late and still be joined, where its kind
    /// does not say longer: the five minutes in which most balancers publish.
    pub log_lateness_s: u64,
    /// Points of a score from which stages that were seen are a chain: two that are sure
    /// have it, two of which one is doubtful do not.
    pub chain_score: f64,
    /// ATT&CK SuspiciousPatterns: what is added to the table of texts that exploit-like
    /// requests hold (`class=text`), and what is taken out of it (`!text`).
    pub suspicious_patterns: Vec<String>,
    /// Bytes of a URI that are over-long: browsers and proxies agree on about 8 KiB,
    /// applications stay under half of it.
    pub long_uri_bytes: u64,
    /// ATT&CK ErrorRateThreshold: errors of a target in five minutes that are a floor,
    /// more than so many.
    pub error_rate_threshold: u64,
    /// ATT&CK ErrorBurst: errors of a target a minute that are a burst while it has no
    /// normal yet: one a second is more than a scanner leaves at a site of a few pages.
    pub error_burst: u64,
    /// ATT&CK WebProcList: programs that serve the network. Java for Log4Shell's sake.
    pub web_proc_list: Vec<String>,
    /// ATT&CK ChildToolList: programs that an exploited service starts.
    pub child_tool_list: Vec<String>,
    /// ATT&CK AllowedChildList: those that are expected (`tool`, `/path/tool`,
    /// `service:tool`). None until somebody knows of one.
    pub allowed_child_list: Vec<String>,
    /// ATT&CK MetadataEndpoints: addresses and names of clouds' metadata services.
    pub metadata_endpoints: Endpoints,
    /// Days after which a destination, a prefix or a name, is as new again.
    pub first_seen_days: u64,
    /// Share of all other addresses and instances with a baseline from which a destination
    /// is common.
    pub first_seen_prevalence: f64,
    /// Least symmetry of two legs, both ways, that makes a relay (METHODS: 0.85: what
    /// TLS, headers and retransmissions add to one leg is under a sixth).
    pub relay_symmetry: f64,
    /// Payload relayed in five minutes: 133 kbit/s in the mean. A chat or a health
    /// check through a proxy stays under it, sold bandwidth does not pay there.
    pub relay_bytes: u64,
    /// Images, programs and roles that relay by design: proxies, meshes, gateways.
    pub proxy_names: Vec<String>,
    /// Egress a minute (its 99th percentile) up to which an entity is dormant:
    /// 133 kbit/s, what health checks, metrics and logs take.
    pub dormant_bytes_per_minute: u64,
    /// Egress a minute from which it is active again: 1.3 Mbit/s.
    pub dormant_active_bytes_per_minute: u64,
    /// Days of dormancy that count in full (METHODS: 7: each day of the week).
    pub dormant_days: f64,
    /// ATT&CK ContainerBaselineNetworkUsage: percent by which counters of a container,
    /// instance or interface must exceed their own normal. As
    /// `instance_traffic_threshold`.
    pub container_baseline_network_usage: f64,
    /// Bytes sent a minute, by counters, below which nothing is an increase: 2 Mbit/s,
    /// a call or a software update over a slow line.
    pub counter_bytes_per_minute: u64,
    /// Seconds that an increase must last (ATT&CK: windows of 5 to 15 minutes).
    pub counter_increase_s: u64,
    /// Connections that one client holds open at one service with hardly any data: half
    /// of the 256 workers that Apache's prefork has by default (`MaxRequestWorkers`), of
    /// which each takes one. A browser opens six, a pool of connections ten to a hundred;
    /// slowloris.py opens 150.
    pub held_open_threshold: u64,
    /// Seconds from which a connection is held: Apache's `RequestReadTimeout` gives a
    /// request's header 20 to 40.
    pub held_open_s: u64,
    /// Requests a second of one client, in the mean of ten seconds, that are a flood. A
    /// page with all it holds takes a browser some dozens once.
    pub request_rate_threshold: u64,
    /// The same for all requests to one target: FastNetMon's default for flows.
    pub target_request_rate_threshold: u64,
    /// Distinct names of a domain from one client in five minutes: RITA's base is 100 a day,
    /// browsing shows 3 to 15 of a domain in that time.
    pub dns_tunnel_names: u64,
    /// Bytes in them before the domain: 4 KiB is one small file, or ten seconds of a
    /// shell; 50 ordinary names have 500.
    pub dns_tunnel_bytes: u64,
    /// Points of 100: iodine has over 80; block lists (many short names) and
    /// telemetry (a long new name each time, of ordinary types) have under 45.
    pub dns_tunnel_score: f64,
    /// Domains that look like tunnels by design: reputation and block lists, where each
    /// name is a digest or an address, and CDNs. See the list for whose they are.
    pub dns_tunnel_allowed_domains: Vec<String>,
    /// Echo messages with data of a pair in five minutes: twenty are ten pings.
    pub icmp_tunnel_packets: u64,
    /// Bytes of a pair in an hour: 100 KiB is a quarter of what `ping` sends and gets, and
    /// most of all monitoring stays under it. From ten times as many on new data counts by
    /// itself.
    pub icmp_tunnel_bytes: u64,
    /// Points of 120: replies unlike their requests give 30, ever new data of no ping
    /// program 25, megabytes of it 20 more; a flood of large pings has 15.
    pub icmp_tunnel_score: f64,
    /// Alerts that are counted instead of raised.
    pub allow: Vec<AllowEntry>,
    /// Whom somebody asks about; no setting of a run.
    pub watch: Option<Watch>,
}

impl Default for DetectSettings {
    fn default() -> Self {
        Self {
            home_nets: HomeNets::default(),
            packet_rate_threshold: 10_000,
            unanswered_rate_threshold: 1_000,
            answer_ratio: 0.05,
            burst_time_window_s: 15,
            protocol_type: vec![Kind::Udp, Kind::Icmp, Kind::Gre, Kind::OtherIp, Kind::Fragment],
            typing_share: 0.9,
            carpet_addresses: 16,
            connection_rate_threshold: 3_500,
            empty_connection_rate_threshold: 256,
            scan_ports: 50,
            scan_hosts: 30,
            sweep_hosts: 16,
            scan_protocols: 20,
            arp_sweep_hosts: 64,
            reflectors: 50,
            amplification: 10.0,
            storm_rate_threshold: 1_000,
            bulk_storm_rate_threshold: 10_000,
            quiet_time_s: 60,
            open_alerts: 1_024,
            total_alerts: 10_000,
            kept_alerts: 10_000,
            loss_per_mille: 10,
            scan_sources: 4_096,
            instance_traffic_threshold: 300.0,
            egress_deviation: 6.0,
            egress_concentration: 0.6,
            egress_bytes_per_minute: 75_000_000,
            egress_packets_per_minute: 60_000,
            egress_absolute_bytes_per_minute: 750_000_000,
            egress_absolute_packets_per_minute: 600_000,
            baseline_mature_days: 7.0,
            baseline_drift_per_day: 0.1,
            baseline_flush_minutes: 10,
            baseline_pending_days: 7.0,
            baseline_held: 100_000,
            ping_packet_floor: 100,
            process_packet_floor: 1_000,
            process_byte_floor: 1_250_000,
            web_connection_floor: 50,
            process_connection_floor: 256,
            tool_flood_seconds: 5,
            payload_shift_threshold: 0.15,
            payload_shift_packets: 200,
            data_ratio_threshold: 10.0,
            data_ratio_bytes: 1 << 20,
            entropy_score: 7.0,
            beacon_score: 80,
            beacon_connections: 20,
            beacon_span_s: 600,
            process_whitelist: Vec::new(),
            image_name: Vec::new(),
            lb_projects: Vec::new(),
            classes: Classes::built_in(),
            time_window_s: 900,
            log_lateness_s: 300,
            chain_score: 50.0,
            suspicious_patterns: Vec::new(),
            long_uri_bytes: 4_096,
            error_rate_threshold: 5,
            error_burst: 60,
            web_proc_list: names(&WEB_PROCESSES),
            child_tool_list: names(&CHILD_TOOLS),
            allowed_child_list: Vec::new(),
            metadata_endpoints: names(&METADATA_ENDPOINTS).into(),
            first_seen_days: 30,
            first_seen_prevalence: 0.01,
            relay_symmetry: 0.85,
            relay_bytes: 5_000_000,
            proxy_names: PROXY_NAMES.map(str::to_owned).into(),
            dormant_bytes_per_minute: 1_000_000,
            dormant_active_bytes_per_minute: 10_000_000,
            dormant_days: 7.0,
            container_baseline_network_usage: 300.0,
            counter_bytes_per_minute: 15_000_000,
            counter_increase_s: 300,
            held_open_threshold: 128,
            held_open_s: 30,
            request_rate_threshold: 100,
            target_request_rate_threshold: 3_500,
            dns_tunnel_names: 50,
            dns_tunnel_bytes: 4_096,
            dns_tunnel_score: 50.0,
            dns_tunnel_allowed_domains: super::analytic::dns_allowed_by_default(),
            icmp_tunnel_packets: 20,
            icmp_tunnel_bytes: 100 << 10,
            icmp_tunnel_score: 50.0,
            allow: Vec::new(),
            watch: None,
        }
    }
}

/// ATT&CK's seven, and others that serve applications.
const WEB_PROCESSES: [&str; 17] = [
    "apache2", "httpd", "nginx", "php-fpm", "uwsgi", "gunicorn", "node", "php-cgi", "lighttpd",
    "caddy", "haproxy", "envoy", "uvicorn", "puma", "unicorn", "java", "w3wp.exe",
];

/// ATT&CK's list, and what does the same elsewhere.
const CHILD_TOOLS: [&str; 21] = [
    "sh", "bash", "curl", "wget", "python", "perl", "socat", "nc", "dash", "zsh", "ksh", "ash",
    "ncat", "ruby", "php", "lua", "telnet", "busybox", "openssl", "whoami", "id",
];

/// ANALYTICS' list, names, and FORMATS section 8's others.
const METADATA_ENDPOINTS: [&str; 15] = [
    "169.254.169.254",
    "fd00:ec2::254",
    "169.254.170.2",
    "169.254.170.23",
    "fd00:ec2::23",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd20:ce::254",
    "169.254.42.42",
    "fd00:42::42",
    "metadata.google.internal",
    "metadata.goog",
    "metadata",
    "instance-data",
];

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

/// Reverse proxies, balancers, meshes and tunnels of services that are in wide use.
const PROXY_NAMES: [&str; 18] = [
    "apisix",
    "caddy",
    "cilium",
    "cloudflared",
    "contour",
    "coredns",
    "envoy",
    "gateway",
    "haproxy",
    "ingress",
    "istio-proxy",
    "kong",
    "linkerd",
    "nginx",
    "proxyv2",
    "router",
    "traefik",
    "varnish",
];
