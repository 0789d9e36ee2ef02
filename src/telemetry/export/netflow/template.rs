//! Templates: what their fields do to a report, settled once for all records.

use std::collections::HashMap;
use std::sync::Arc;

use super::element::{Clock, Counter, Element, Op, Render, Sampling, element};
use crate::telemetry::decode::Bad;
use crate::telemetry::export::reader::Reader;
use crate::telemetry::export::texts::Form;
use crate::telemetry::names::Names;

/// Fields of one template; real ones have some dozen.
const MAX_FIELDS: usize = 512;
/// Length that says that each record has its own (IPFIX).
pub(super) const VARIABLE: u16 = 0xffff;

/// The layout of records.
#[derive(Debug)]
pub(super) struct Template {
    /// As the exporter wrote it: most repeat theirs every few datagrams.
    written: Box<[u8]>,
    pub(super) fields: Box<[Field]>,
    /// Names that [`Op::Label`] has the indices of.
    pub(super) labels: Box<[Arc<str>]>,
    /// Names of fields that are not known.
    pub(super) unknown: Box<[Arc<str>]>,
    /// Least length of a record; of fields that are all fixed the length.
    pub(super) least_bytes: usize,
    /// Of things around the flows (samplers, applications, the exporter itself).
    pub(super) options: bool,
    /// Counts are since the flow began, not since its last report.
    pub(super) totals: bool,
    /// Counts are those of who began and who answered.
    pub(super) by_role: bool,
    /// Has fields of the reverse direction.
    pub(super) reverse: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) op: Op,
    /// Of the reverse direction.
    pub(super) reverse: bool,
    pub(super) length: u16,
}

/// How the templates of a version are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V9,
    Ipfix,
}

/// A template as written, cut out of its set.
pub(super) struct Written<'a> {
    pub(super) id: u16,
    scopes: usize,
    count: usize,
    /// Its fields.
    bytes: &'a [u8],
    options: bool,
}

impl<'a> Written<'a> {
    /// The next template of a template set; `None` at its end, where less is left than
    /// a template takes.
    pub(super) fn next(set: &mut Reader<'a>, dialect: Dialect, options: bool) -> Option<Self> {
        const FIELD_BYTES: usize = 4;
        let id = set.u16()?;
        let (scopes, count) = match (dialect, options) {
            (_, false) => (0, usize::from(set.u16()?)),
            (Dialect::V9, true) => {
                let scopes = usize::from(set.u16()?) / FIELD_BYTES;
                (scopes, scopes + usize::from(set.u16()?) / FIELD_BYTES)
            }
            (Dialect::Ipfix, true) => match usize::from(set.u16()?) {
                // A withdrawal has no count of scopes.
                0 => (0, 0),
                count => (usize::from(set.u16()?), count),
            },
        };
        let mut ahead = *set;
        for _ in 0..count {
            let id = ahead.u16()?;
            let with_enterprise = dialect == Dialect::Ipfix && id & 0x8000 != 0;
            ahead.take(if with_enterprise { 6 } else { 2 })?;
        }
        let bytes = set.take(set.0.len() - ahead.0.len())?;
        Some(Self { id, scopes, count, bytes, options })
    }

    /// Says that the template is no longer valid.
    pub(super) fn withdraws(&self) -> bool {
        self.count == 0
    }

    pub(super) fn is(&self, template: &Template) -> bool {
        self.options == template.options && *template.written == *self.bytes
    }

    pub(super) fn template(&self, dialect: Dialect, names: &mut Names) -> Result<Template, Bad> {
        if self.count > MAX_FIELDS {
            return Err(Bad::new("template of too many fields"));
        }
        let mut new = Building { options: self.options, ..Building::default() };
        let mut least_bytes = 0;
        let mut rest = Reader(self.bytes);
        for at in 0..self.count {
            let (id, length) = rest.u16().zip(rest.u16()).unwrap_or_default();
            let (id, enterprise) = match dialect {
                Dialect::Ipfix if id & 0x8000 != 0 => (id & 0x7fff, rest.u32().unwrap_or_default()),
                _ => (id, 0),
            };
            // Else a record of few bytes could ask for any amount of work.
            if length == 0 {
                continue;
            }
            let scope = at < self.scopes && dialect == Dialect::V9;
            let varies = dialect == Dialect::Ipfix && length == VARIABLE;
            least_bytes += if varies { 1 } else { usize::from(length) };
            let (op, reverse) =
                if scope { (of_scope(id), false) } else { new.op(enterprise, id, varies, names) };
            new.fields.push(Field { op, reverse, length });
        }
        if least_bytes == 0 {
            return Err(Bad::new("template of records of no length"));
        }
        let (totals, by_role) = new.settle();
        Ok(Template {
            written: self.bytes.into(),
            reverse: new.fields.iter().any(|field| field.reverse),
            fields: new.fields.into(),
            labels: new.labels.into(),
            unknown: new.unknown.into(),
            least_bytes,
            options: self.options,
            totals,
            by_role,
        })
    }
}

/// An interface's number of 0 says that there is none.
const INTERFACE: Render = Render::NotZero(Form::Number);

/// Scopes of v9 have numbers of their own: system, interface, line card, cache, template.
fn of_scope(id: u16) -> Op {
    match id {
        2 => Op::Sampling(Sampling::Interface),
        3 => Op::Sampling(Sampling::LineCard),
        _ => Op::Skip,
    }
}

#[derive(Default)]
struct Building {
    options: bool,
    fields: Vec<Field>,
    labels: Vec<Arc<str>>,
    unknown: Vec<Arc<str>>,
}

impl Building {
    fn op(&mut self, enterprise: u32, id: u16, varies: bool, names: &mut Names) -> (Op, bool) {
        let (element, reverse) = element(enterprise, id);
        let (name, render) = match element {
            Element::Known(op) => return (op, reverse),
            Element::Interface(..) if self.options => {
                return (Op::Sampling(Sampling::Interface), reverse);
            }
            Element::Interface(name, end) if !reverse => {
                self.labels.push(names.of(name.as_bytes()));
                return (Op::Interface((self.labels.len() - 1) as u16, end), reverse);
            }
            Element::Interface(name, _) => {
                (names.of(format!("netflow.reverse.{name}").as_bytes()), INTERFACE)
            }
            Element::Kept(name, render) if reverse => {
                let name = name.trim_start_matches("netflow.");
                (names.of(format!("netflow.reverse.{name}").as_bytes()), render)
            }
            Element::Kept(name, render) => (names.of(name.as_bytes()), render),
            Element::Other => {
                let name = match enterprise {
                    0 => format!("netflow.{id}"),
                    _ => format!("netflow.{enterprise}.{id}"),
                };
                let name = names.of(name.as_bytes());
                self.unknown.push(Arc::clone(&name));
                // Lengths of their own are hardly ever those of numbers.
                (name, if varies { Render::Text } else { Render::Any })
            }
        };
        self.labels.push(name);
        (Op::Label((self.labels.len() - 1) as u16, render), reverse)
    }

    /// Of several counts and times of the same leaves the one that says most, so that
    /// records are read without asking. Returns whether counts are totals, and whether
    /// they are those of roles.
    fn settle(&mut self) -> (bool, bool) {
        let has = |fields: &[Field], counter| {
            fields.iter().any(|field| matches!(field.op, Op::Count(it, _) if it == counter))
        };
        let best = [
            Counter::Delta,
            Counter::Initiator,
            Counter::Total,
            Counter::Responder,
            Counter::Post,
            Counter::PostTotal,
        ]
        .into_iter()
        .find(|&counter| has(&self.fields, counter));
        let by_role = matches!(best, Some(Counter::Initiator | Counter::Responder));
        let finest = |fields: &[Field], of: fn(Op) -> Option<Clock>| {
            fields.iter().filter_map(|field| of(field.op)).max()
        };
        let (start, end) = (finest(&self.fields, start_of), finest(&self.fields, end_of));
        for field in &mut self.fields {
            match field.op {
                Op::Count(counter @ (Counter::Initiator | Counter::Responder), measure)
                    if by_role =>
                {
                    field.reverse = counter == Counter::Responder;
                    field.op = Op::Count(Counter::Delta, measure);
                }
                Op::Count(counter, measure) if Some(counter) == best => {
                    field.op = Op::Count(Counter::Delta, measure);
                }
                Op::Count(..) => field.op = Op::Skip,
                Op::Start(clock) if Some(clock) != start => field.op = Op::Skip,
                Op::End(clock) if Some(clock) != end => field.op = Op::Skip,
                _ => {}
            }
        }
        let totals = matches!(best, Some(Counter::Total | Counter::PostTotal));
        (totals, by_role)
    }
}

fn start_of(op: Op) -> Option<Clock> {
    match op {
        Op::Start(clock) => Some(clock),
        _ => None,
    }
}

fn end_of(op: Op) -> Option<Clock> {
    match op {
        Op::End(clock) => Some(clock),
        _ => None,
    }
}

/// The templates of one domain.
#[derive(Debug, Default)]
pub(super) struct Templates {
    by_id: HashMap<u16, Arc<Template>, ahash::RandomState>,
    weight: usize,
}

/// What a template weighs over its fields: its name, its place in the table.
const TEMPLATE_WEIGHT: usize = 16;
/// All templates of one domain, in fields: some hundred templates.
const MAX_DOMAIN_WEIGHT: usize = 1 << 14;

impl Templates {
    pub(super) fn get(&self, id: u16) -> Option<&Arc<Template>> {
        self.by_id.get(&id)
    }

    /// In fields.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn insert(&mut self, id: u16, template: Template) -> Result<(), Bad> {
        self.remove(id);
        let weight = template.fields.len() + TEMPLATE_WEIGHT;
        if self.weight + weight > MAX_DOMAIN_WEIGHT {
            return Err(Bad::new("template over the bound on templates"));
        }
        self.weight += weight;
        self.by_id.insert(id, Arc::new(template));
        Ok(())
    }

    pub(super) fn remove(&mut self, id: u16) {
        if let Some(old) = self.by_id.remove(&id) {
            self.weight -= old.fields.len() + TEMPLATE_WEIGHT;
        }
    }

    pub(super) fn remove_all(&mut self, options: bool) {
        self.by_id.retain(|_, template| template.options != options);
        self.weight = self.by_id.values().map(|it| it.fields.len() + TEMPLATE_WEIGHT).sum();
    }
}
