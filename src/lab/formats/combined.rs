//! nginx's `combined`, which is Apache's too.

use super::{Answered, put_escaped, time_text};
use crate::lab::scenario::talk::LogLine;

pub(super) fn line(answered: &Answered<'_>) -> String {
    let LogLine { client, request, status, bytes, agent, .. } = answered.line;
    let time = time_text(answered.time_ns, "%d/%b/%Y:%H:%M:%S +0000");
    let mut line = format!("{client} - - [{time}] \"");
    put_escaped(&mut line, request);
    line.push_str(&format!("\" {status} {bytes} \"-\" \""));
    put_escaped(&mut line, agent);
    line.push_str("\"\n");
    line
}
