//! Access log of an AWS application load balancer, as if one stood before the server: the
//! 29 fields up to the reason of a classification.

use std::net::SocketAddr;

use super::{Answered, put_escaped, time_text};
use crate::lab::scenario::talk::LogLine;

/// A balancer has times of its own, which a scenario does not: what the target took.
const TARGET_NS: i64 = 1_000_000;

pub(super) fn line(answered: &Answered<'_>) -> String {
    let LogLine { client, request, status, bytes, agent, host, request_bytes } = answered.line;
    let client = SocketAddr::new(*client, answered.client_port);
    let target = SocketAddr::new(answered.server.0, answered.server.1);
    let time = |ns: i64| {
        let micros = ns.rem_euclid(1_000_000_000) / 1_000;
        format!("{}.{micros:06}Z", time_text(ns, "%Y-%m-%dT%H:%M:%S"))
    };
    let (answered_at, begun) = (time(answered.time_ns), time(answered.time_ns - TARGET_NS));
    let mut line = format!(
        "http {answered_at} app/lab/0a1b2c3d4e5f6071 {client} {target} 0.000 0.001 0.000 {status} {status} \
         {request_bytes} {bytes} \""
    );
    // The whole URL stands between method and version.
    let mut words = request.splitn(3, ' ');
    let (method, path) = (words.next().unwrap_or("-"), words.next().unwrap_or("/"));
    let version = words.next().unwrap_or("HTTP/1.1");
    put_escaped(&mut line, &format!("{method} http://{host}:80{path} {version}"));
    line.push_str("\" \"");
    put_escaped(&mut line, agent);
    let second = answered.time_ns.div_euclid(1_000_000_000);
    line.push_str(&format!(
        "\" - - arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/lab/01 \
         \"Root=1-{second:08x}-{:024x}\" \"-\" \"-\" 0 {begun} \"forward\" \"-\" \"-\" \"{target}\" \"{status}\" \"-\" \"-\"\n",
        answered.time_ns
    ));
    line
}
