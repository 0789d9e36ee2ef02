//! What other sources observed, as it may leave.

use std::sync::Arc;

use super::{Privacy, Pseudonyms, text};
use crate::host::side::FlowHosts;
use crate::telemetry::Observation;
use crate::telemetry::observation::{FlowReport, Labels};
use crate::telemetry::request::Request;

impl Privacy {
    /// The observation as it may leave; nothing where it may as it is.
    pub fn observed(
        &self,
        observation: &Observation,
        hosts: Option<&FlowHosts>,
    ) -> Option<(Observation, Option<FlowHosts>)> {
        let masks = !self.keep_query_values || self.no_payload;
        let concerned = match observation {
            Observation::Flow(_) | Observation::Counter(_) | Observation::Host(_) => {
                self.pseudonyms.is_some()
            }
            Observation::Request(_) => masks || self.pseudonyms.is_some(),
        };
        if !concerned {
            return None;
        }
        let mut observation = observation.clone();
        match &mut observation {
            Observation::Flow(flow) => self.flow(flow),
            Observation::Request(request) => self.request(request),
            Observation::Counter(sample) => {
                if let Some(pseudonyms) = &self.pseudonyms {
                    labels(pseudonyms, &mut sample.labels);
                }
            }
            Observation::Host(_) => {}
        }
        let mut hosts = hosts.cloned();
        if let (Some(hosts), Some(pseudonyms)) = (&mut hosts, &self.pseudonyms) {
            pseudonyms.hosts(hosts);
        }
        Some((observation, hosts))
    }

    fn flow(&self, flow: &mut FlowReport) {
        let Some(pseudonyms) = &self.pseudonyms else { return };
        flow.src = pseudonyms.address(flow.src);
        flow.dst = pseudonyms.address(flow.dst);
        rewrite(pseudonyms, &mut flow.observer);
        labels(pseudonyms, &mut flow.labels);
    }

    fn request(&self, request: &mut Request) {
        if self.no_payload {
            request.uri = None;
            request.decoded_uri = None;
            request.referer = None;
            request.user_agent = None;
            request.host = None;
        }
        let urls = [&mut request.uri, &mut request.decoded_uri, &mut request.referer];
        for url in urls.into_iter().flatten() {
            if !self.keep_query_values && url.contains('?') {
                *url = text::mask_query(url).into();
            }
        }
        let Some(pseudonyms) = &self.pseudonyms else { return };
        request.client = request.client.map(|client| pseudonyms.address(client));
        if let Some(target) = &mut request.target {
            target.address = target.address.map(|address| pseudonyms.address(address));
            if let Some(name) = &mut target.name {
                rewrite(pseudonyms, name);
            }
        }
        let urls = [&mut request.uri, &mut request.decoded_uri, &mut request.referer];
        for text in urls.into_iter().chain([&mut request.forwarded_for]).flatten() {
            *text = text::rewrite(pseudonyms, text).into();
        }
        let names = [&mut request.host, &mut request.error];
        names.into_iter().flatten().for_each(|name| rewrite(pseudonyms, name));
        if let Some(agent) = &mut request.user_agent {
            *agent = text::rewrite_agent(pseudonyms, agent).into();
        }
        rewrite(pseudonyms, &mut request.observer);
        labels(pseudonyms, &mut request.labels);
    }
}

fn labels(pseudonyms: &Pseudonyms, labels: &mut Labels) {
    labels.iter_mut().for_each(|(_, value)| rewrite(pseudonyms, value));
}

fn rewrite(pseudonyms: &Pseudonyms, text: &mut Arc<str>) {
    *text = text::rewrite(pseudonyms, text).into();
}
