//! Interface counters of hosts, containers and instances to samples.
//!
//! A sample is what counters stood at, or by how much they grew over a period, of one
//! [`super::sample::Subject`]. [`series::Series`] makes growth of both.
//!
//! Snapshots that have no time in them (`/proc/net/dev`, `docker stats`, `podman
//! stats`, scraped exporters) are recorded with a line of `date +%s.%N` before each:
//! see `snapshot`.

mod cloudwatch;
mod containers;
mod cri;
mod docker_api;
mod proc_net_dev;
mod prometheus;
pub mod series;
mod snapshot;

#[cfg(test)]
mod tests;

use super::kind::Kind;

/// The kinds of this room, those that are surest to be recognised first.
pub(super) const KINDS: &[&Kind] = &[
    &proc_net_dev::KIND,
    &docker_api::KIND,
    &containers::DOCKER,
    &containers::PODMAN,
    &cri::KIND,
    &cloudwatch::KIND,
    &prometheus::KIND,
];
