//! A whole run over an arbitrary file: nothing is lost, and one worker says
//! the same as two.
#![no_main]

use flowtap::engine::{RunOptions, run};
use flowtap::flow::FlowRecord;
use flowtap::input::{Input, InputOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let one = outcome(data, 1);
    assert!(one == outcome(data, 2), "two workers disagree with one");
});

fn outcome(data: &[u8], workers: usize) -> (Vec<FlowRecord>, String) {
    // Small blocks and a small table: their edges are what is looked for.
    let input = InputOptions { block_frames: 3, ..InputOptions::default() };
    let input = Input::from_bytes(vec![data.to_vec()], input);
    let options = RunOptions { workers, max_flows: 1 << 16, ..RunOptions::default() };
    let mut flows = Vec::new();
    let report = run(input, &options, &mut |flow: &FlowRecord| flows.push(flow.clone()));
    let total = report.accounting.total();
    assert_eq!(total.packets, report.input.frames);
    assert_eq!(total.wire_bytes, report.input.wire_bytes);
    let alerts: Vec<&str> = report.alerts.iter().map(|alert| alert.summary.as_str()).collect();
    (flows, alerts.join("\n"))
}
