//! Messages of NetFlow v9 and IPFIX: headers, and sets of templates and data.

use std::sync::Arc;

use super::domain::{Domain, Pending, lose};
use super::record::{Export, parts};
use super::template::{Dialect, Template, Written};
use crate::telemetry::decode::{Bad, Out};
use crate::telemetry::export::reader::Reader;
use crate::telemetry::export::texts::Texts;

const NS_PER_S: i64 = 1_000_000_000;
/// Sets of data have the number of their template, from here on.
const FIRST_TEMPLATE: u16 = 256;

/// A message without its sets.
pub(super) struct Header<'a> {
    pub(super) dialect: Dialect,
    pub(super) domain: u32,
    export: Export,
    sequence: u32,
    sets: Reader<'a>,
}

impl<'a> Header<'a> {
    /// Of what follows the version.
    pub(super) fn read(dialect: Dialect, rest: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(rest);
        let count_or_length = rest.u16()?;
        let uptime_ms = match dialect {
            Dialect::V9 => Some(rest.u32()?),
            Dialect::Ipfix => None,
        };
        let exported_s = rest.u32()?;
        let sequence = rest.u32()?;
        let domain = rest.u32()?;
        if dialect == Dialect::Ipfix {
            const HEADER_BYTES: usize = 16;
            let length = usize::from(count_or_length).checked_sub(HEADER_BYTES)?;
            rest = Reader(rest.take(length)?);
        }
        let export = Export { exported_ns: i64::from(exported_s) * NS_PER_S, uptime_ms };
        Some(Self { dialect, domain, export, sequence, sets: rest })
    }

    /// Reads the sets.
    pub(super) fn sets(
        mut self,
        domain: &mut Domain,
        texts: &mut Texts,
        out: &mut Out,
    ) -> Result<(), Bad> {
        if domain.up(&self.export) {
            lose(9, domain.begin_anew(out), out);
        }
        // Of v9 messages are counted, of IPFIX data records.
        let mut records = Some(0);
        let result = self.all_sets(&mut records, domain, texts, out);
        let lost = match self.dialect {
            Dialect::V9 => domain.sequence.seen(self.sequence, Some(1)),
            Dialect::Ipfix => {
                domain.records_seen(self.sequence, records.filter(|_| result.is_ok()))
            }
        };
        lose(if self.dialect == Dialect::V9 { 9 } else { 10 }, lost, out);
        result
    }

    fn all_sets(
        &mut self,
        records: &mut Option<u32>,
        domain: &mut Domain,
        texts: &mut Texts,
        out: &mut Out,
    ) -> Result<(), Bad> {
        const SET_HEADER_BYTES: usize = 4;
        while let Some((id, length)) = self.sets.u16().zip(self.sets.u16()) {
            let content = usize::from(length)
                .checked_sub(SET_HEADER_BYTES)
                .and_then(|length| self.sets.take(length))
                .ok_or_else(|| Bad::new("set longer than its datagram"))?;
            match (self.dialect, id) {
                (Dialect::V9, 0) | (Dialect::Ipfix, 2) => {
                    self.templates(content, false, domain, texts, out)?;
                }
                (Dialect::V9, 1) | (Dialect::Ipfix, 3) => {
                    self.templates(content, true, domain, texts, out)?;
                }
                (_, FIRST_TEMPLATE..) => {
                    let template = domain.templates.get(id).map(Arc::clone);
                    let count = template.map(|template| {
                        data((id, &template), content, &self.export, domain, texts, out)
                    });
                    if count.is_none() {
                        let pending = Pending { export: self.export, set: content.into() };
                        domain.keep(id, pending, out);
                    }
                    *records = records.zip(count).and_then(|(all, n)| all.checked_add(n));
                }
                _ => out.pass("sets of a reserved number"),
            }
        }
        Ok(())
    }

    fn templates(
        &self,
        set: &[u8],
        options: bool,
        domain: &mut Domain,
        texts: &mut Texts,
        out: &mut Out,
    ) -> Result<(), Bad> {
        let mut set = Reader(set);
        while !set.0.is_empty() {
            let rest = set;
            let Some(written) = Written::next(&mut set, self.dialect, options) else {
                if rest.0.iter().any(|&byte| byte != 0) {
                    out.bad_part("template cut off");
                }
                break;
            };
            if written.id < FIRST_TEMPLATE {
                // The number of the set itself withdraws all; zeros fill the set up.
                if self.dialect == Dialect::Ipfix && written.withdraws() && written.id != 0 {
                    domain.templates.remove_all(options);
                }
                continue;
            }
            if domain.templates.get(written.id).is_some_and(|known| written.is(known)) {
                continue;
            }
            if written.withdraws() {
                domain.templates.remove(written.id);
                continue;
            }
            if domain.templates.get(written.id).is_some_and(|known| known.options) {
                domain.known.samplers.forget_template(written.id);
            }
            let template = written.template(self.dialect, &mut out.names);
            let inserted = template.and_then(|it| domain.templates.insert(written.id, it));
            match inserted {
                Ok(()) => waited(written.id, domain, texts, out),
                // Data by an old layout would be misread.
                Err(bad) => {
                    domain.templates.remove(written.id);
                    out.bad_part(bad.reason);
                }
            }
        }
        Ok(())
    }
}

/// Reads the sets that waited for a template.
fn waited(id: u16, domain: &mut Domain, texts: &mut Texts, out: &mut Out) {
    let Some(template) = domain.templates.get(id).map(Arc::clone) else { return };
    for Pending { export, set } in domain.take_pending(id) {
        data((id, &template), &set, &export, domain, texts, out);
    }
}

/// Reads a data set. Returns how many records it has.
fn data(
    (id, template): (u16, &Template),
    set: &[u8],
    export: &Export,
    domain: &mut Domain,
    texts: &mut Texts,
    out: &mut Out,
) -> u32 {
    let mut set = Reader(set);
    let mut count = 0;
    // What is shorter than a record fills the set up.
    while set.0.len() >= template.least_bytes {
        let Some(parts) = parts(template, &mut set, export, texts, out) else {
            out.bad_part("record cut off");
            break;
        };
        count += 1;
        if template.options {
            domain.learn(id, parts, export, out);
        } else {
            parts.report(template, &domain.known, export, texts, out);
        }
    }
    count
}
