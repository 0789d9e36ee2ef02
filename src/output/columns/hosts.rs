//! Columns of the hosts at a record's ends: what one filters and groups by. The
//! rest is in `flows.ndjson`. Texts are one line and harmless to a terminal,
//! however a process was named.

use super::{Kind, Value, float, int, joined, some};
use crate::host::process::Process;
use crate::host::side::HostSide;
use crate::host::workload::Workload;
use crate::output::printable::{command_line, printable};

pub(in crate::output) type OfHost = (&'static str, Kind, fn(&HostSide) -> Value<'_>);

/// Behind `src_` and `dst_`.
pub(in crate::output) const HOST: [OfHost; 18] = [
    ("process_pid", Kind::Int, |h| process(h).map_or(Value::Null, |p| int(p.id.pid))),
    ("process_name", Kind::Text, |h| known(process(h).map(|p| &*p.name))),
    ("process_exe", Kind::Text, |h| known(process(h).map(|p| &*p.exe))),
    ("process_command_line", Kind::Text, |h| {
        some(process(h).map(|p| command_line(&p.args)).filter(|line| !line.is_empty()))
    }),
    ("process_user", Kind::Text, |h| known(process(h).map(|p| &*p.user))),
    ("process_start", Kind::Time, |h| {
        process(h).and_then(|p| p.started_ns).map_or(Value::Null, Value::Time)
    }),
    ("container", Kind::Text, |h| {
        let of_process = || process(h).map(|p| &*p.container);
        known(workload(h).map(|w| &*w.container).or_else(of_process))
    }),
    ("image", Kind::Text, |h| known(workload(h).map(|w| &*w.image))),
    ("pod", Kind::Text, |h| known(workload(h).map(|w| &*w.pod))),
    ("namespace", Kind::Text, |h| known(workload(h).map(|w| &*w.namespace))),
    ("instance", Kind::Text, |h| known(h.instance.as_ref().map(|one| &*one.id))),
    ("attribution_method", Kind::Text, |h| {
        some(h.attribution.as_ref().and_then(|how| how.method).map(|method| method.name()))
    }),
    ("attribution_certainty", Kind::Float, |h| {
        let how = h.attribution.as_ref().filter(|how| how.method.is_some());
        float(how.map(|how| how.certainty))
    }),
    ("attribution_reason", Kind::Text, |h| {
        some(h.attribution.as_ref().and_then(|how| how.reason).map(|reason| reason.name()))
    }),
    ("attribution_basis", Kind::Text, |h| {
        some(h.attribution.as_ref().and_then(|how| how.basis).map(|basis| basis.name()))
    }),
    ("attribution_others", Kind::Text, |h| {
        let how = h.attribution.as_ref();
        joined(how.iter().flat_map(|how| &how.others).map(u32::to_string))
    }),
    ("attribution_translated", Kind::Bool, |h| {
        let how = h.attribution.as_ref().filter(|how| how.method.is_some());
        how.map_or(Value::Null, |how| Value::Bool(how.translated))
    }),
    ("attribution_provoked", Kind::Bool, |h| {
        let how = h.attribution.as_ref().filter(|how| how.method.is_some());
        how.map_or(Value::Null, |how| Value::Bool(how.provoked))
    }),
];

fn process(side: &HostSide) -> Option<&Process> {
    side.process.as_ref().map(|view| &view.process)
}

fn workload(side: &HostSide) -> Option<&Workload> {
    side.workload.as_deref()
}

fn known(text: Option<&str>) -> Value<'_> {
    some(text.filter(|text| !text.is_empty()).map(printable))
}
