//! What the kinds of this room have alike.

use crate::telemetry::decode::Context;
use crate::telemetry::kind::{Head, Kind, recognise};
use crate::telemetry::observation::Observation;
use crate::telemetry::request::Request;
use crate::telemetry::tests::decode;

/// The requests of a text that has nothing bad in it.
pub(super) fn all(kind: &Kind, format: Option<&str>, text: &str) -> Vec<Request> {
    let context = Context { format: format.map(Into::into), ..Context::default() };
    let (out, bad) = decode(kind, &context, text.as_bytes());
    assert_eq!(bad, [], "{text}");
    let requests = out.observations.into_iter().map(|observation| match observation {
        Observation::Request(request) => *request,
        other => panic!("{other:?}"),
    });
    requests.collect()
}

/// The only one.
pub(super) fn one(kind: &Kind, format: Option<&str>, text: &str) -> Request {
    let mut all = all(kind, format, text);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// The only one of a text that is recognised as this kind.
pub(super) fn one_of(kind: &Kind, format: Option<&str>, text: &str) -> Request {
    let head = Head::new(text.as_bytes(), true);
    assert_eq!(recognise(&head).map(|kind| kind.name), Some(kind.name), "{text}");
    one(kind, format, text)
}

pub(super) fn labels(request: &Request) -> Vec<(&str, &str)> {
    request.labels.iter().map(|(name, value)| (&**name, &**value)).collect()
}
