//! Reads a capture and prints its flows: `cargo run --example flows CAPTURE`.

use std::path::PathBuf;

use flowtap::engine::{RunOptions, run};
use flowtap::flow::FlowRecord;
use flowtap::input::{Input, InputOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path: PathBuf = std::env::args_os().nth(1).ok_or("name a capture")?.into();
    let input = Input::open(&[path], InputOptions::default())?;
    let mut print = |flow: &FlowRecord| {
        let (src, dst) = (flow.src_ip(), flow.dst_ip());
        let packets = flow.fwd.packets + flow.rev.packets;
        println!("{src}:{} > {dst}:{} {packets} packets", flow.src_port(), flow.dst_port());
    };
    let report = run(input, &RunOptions::default(), &mut print);
    println!("{} flows, {} alerts", report.flows, report.alerts.len());
    Ok(())
}
