//! What other sources observed, as it may leave.

use std::sync::Arc;

use super::{Privacy, Pseudonyms, text};
use crate::host::side::FlowHosts;
use crate::telemetry::Observation;
use crate::telemetry::label;
use crate::telemetry::observation::{FlowReport, Labels};
use crate::telemetry::request::Request;
use crate::telemetry::sample::CounterSample;

impl Privacy {
    /// The observation as it may leave; nothing where it may as it is.
    pub fn observed(
        &self,
        observation: &Observation,
        hosts: Option<&FlowHosts>,
    ) -> Option<(Observation, Option<FlowHosts>)> {
        let concerned = match observation {
            Observation::Flow(flow) => self.no_payload && flow.app.is_some(),
            Observation::Request(_) => !self.keep_query_values || self.no_payload,
            Observation::Counter(_) | Observation::Host(_) | Observation::Gap(_) => false,
        };
        if !concerned && self.pseudonyms.is_none() {
            return None;
        }
        let mut observation = observation.clone();
        match &mut observation {
            Observation::Flow(flow) => self.flow(flow),
            Observation::Request(request) => self.request(request),
            Observation::Counter(sample) => self.counter(sample),
            Observation::Host(_) | Observation::Gap(_) => {}
        }
        let mut hosts = hosts.cloned();
        if let (Some(hosts), Some(pseudonyms)) = (&mut hosts, &self.pseudonyms) {
            pseudonyms.hosts(hosts);
        }
        Some((observation, hosts))
    }

    fn flow(&self, flow: &mut FlowReport) {
        if self.no_payload {
            flow.app = None;
            drop_content(&mut flow.labels);
        }
        let Some(pseudonyms) = &self.pseudonyms else { return };
        flow.src = pseudonyms.address(flow.src);
        flow.dst = pseudonyms.address(flow.dst);
        rewrite(pseudonyms, &mut flow.observer);
        labels(pseudonyms, &mut flow.labels);
    }

    fn counter(&self, sample: &mut CounterSample) {
        let Some(pseudonyms) = &self.pseudonyms else { return };
        let subject = &mut sample.subject;
        for name in [
            &mut subject.host,
            &mut subject.instance,
            &mut subject.container_name,
            &mut subject.pod,
            &mut subject.namespace,
            &mut subject.image,
            &mut subject.process,
        ] {
            rewrite(pseudonyms, name);
        }
        labels(pseudonyms, &mut sample.labels);
    }

    fn request(&self, request: &mut Request) {
        if self.no_payload {
            request.uri = None;
            request.decoded_uri = None;
            request.referer = None;
            request.user_agent = None;
            request.host = None;
            request.forwarded_for = None;
            request.tls.iter_mut().for_each(|tls| tls.server_name = None);
            drop_content(&mut request.labels);
        }
        if !self.keep_query_values {
            let urls = [&mut request.uri, &mut request.decoded_uri, &mut request.referer];
            for url in urls.into_iter().flatten() {
                if let Some(masked) = masked(url) {
                    *url = masked.into();
                }
            }
            // Headers and redirections that a log was told to keep.
            for (_, value) in &mut request.labels {
                if let Some(masked) = masked(value) {
                    *value = masked.into();
                }
            }
        }
        let Some(pseudonyms) = &self.pseudonyms else { return };
        request.client = request.client.map(|client| pseudonyms.address(client));
        if let Some(target) = &mut request.target {
            target.address = target.address.map(|address| pseudonyms.address(address));
            target.name.iter_mut().for_each(|name| rewrite(pseudonyms, name));
        }
        let texts = [&mut request.uri, &mut request.decoded_uri, &mut request.referer];
        for text in texts.into_iter().chain([&mut request.forwarded_for]).flatten() {
            *text = text::rewrite_glued(pseudonyms, text).into();
        }
        let server_name = request.tls.as_mut().and_then(|tls| tls.server_name.as_mut());
        let names = [&mut request.host, &mut request.error, &mut request.method];
        let names = names.into_iter().flatten().chain(server_name);
        names.for_each(|name| rewrite(pseudonyms, name));
        if let Some(agent) = &mut request.user_agent {
            *agent = text::rewrite_agent(pseudonyms, agent).into();
        }
        rewrite(pseudonyms, &mut request.observer);
        labels(pseudonyms, &mut request.labels);
    }
}

/// A URL or text without the values of its query, where it has one. Of an encoded one
/// nothing is kept: where a value ends in it can't be told.
fn masked(text: &str) -> Option<String> {
    if text.contains('?') {
        return Some(text::mask_query(text));
    }
    let at = text.find("%3F").or_else(|| text.find("%3f"))?;
    Some(format!("{}%3F*", text.get(..at)?))
}

/// Leaves the labels that kinds share: others are what a log was told to keep of a
/// message.
fn drop_content(labels: &mut Labels) {
    labels.retain(|(name, _)| label::ALL.contains(&&**name));
}

fn labels(pseudonyms: &Pseudonyms, labels: &mut Labels) {
    for (_, value) in labels {
        *value = text::rewrite_glued(pseudonyms, value).into();
    }
}

fn rewrite(pseudonyms: &Pseudonyms, text: &mut Arc<str>) {
    *text = text::rewrite(pseudonyms, text).into();
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::*;
    use crate::telemetry::request::{Target, Tls};

    fn request() -> Observation {
        Observation::Request(Box::new(Request {
            client: "198.51.100.7".parse().ok(),
            forwarded_for: Some("198.51.100.8".into()),
            target: Some(Target { address: "10.0.3.21".parse().ok(), ..Target::default() }),
            uri: Some("/r/http%3A%2F%2F192.0.2.1?token=hunter2".into()),
            referer: Some("https://192.0.2.2/%3Ftoken=hunter2".into()),
            host: Some("192.0.2.3".into()),
            tls: Some(Tls { server_name: Some("192.0.2.4".into()), ..Tls::default() }),
            observer: "udp 192.0.2.5:2055".into(),
            labels: vec![
                ("aws.redirect_url".into(), "https://192.0.2.6/?token=hunter2".into()),
                (label::TRACE_ID.into(), "trace".into()),
            ],
            ..Request::default()
        }))
    }

    fn left(privacy: &Privacy) -> String {
        let (observation, _) = privacy.observed(&request(), None).expect("it is concerned");
        format!("{observation:?}")
    }

    #[test]
    fn values_of_queries_are_masked_wherever_a_log_has_them() {
        let left = left(&Privacy::default());
        assert!(!left.contains("hunter2"), "{left}");
        assert!(left.contains("192.0.2.1"), "{left}");
    }

    #[test]
    fn no_address_is_left_under_pseudonyms() {
        let pseudonyms = Some(Pseudonyms::new(&Key::from_bytes([7; 32])));
        let left = left(&Privacy { pseudonyms, ..Privacy::none() });
        for address in ["198.51.100.", "10.0.3.21", "192.0.2."] {
            assert!(!left.contains(address), "{address} in {left}");
        }
    }

    #[test]
    fn without_payload_nothing_of_a_message_is_left() {
        let left = left(&Privacy { no_payload: true, ..Privacy::none() });
        for text in ["hunter2", "192.0.2.3", "192.0.2.4", "198.51.100.8"] {
            assert!(!left.contains(text), "{text} in {left}");
        }
        assert!(left.contains("trace"), "{left}");
    }
}
