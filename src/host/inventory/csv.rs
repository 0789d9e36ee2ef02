//! An inventory as CSV.

use super::Instance;
use super::build::Builder;
use super::field::Field;
use crate::host::table::{Columns, Content, Row, Rows, TableError, normal, shown};

pub(super) fn parse(content: &Content, builder: &mut Builder<'_>) -> Result<(), TableError> {
    let mut rows = Rows::new(content);
    let Some(header) = rows.next()? else {
        let what = "has comments alone: an inventory has a header".to_owned();
        return Err(TableError::File { file: content.file.clone(), what });
    };
    let columns = columns(&header)?;
    builder.warnings.extend(columns.warning.clone());
    let id_column = columns.of(Field::Id).unwrap_or(0);
    while let Some(row) = rows.next()? {
        columns.check(&row, true)?;
        let mut entry = Instance::default();
        for (column, field) in columns.known() {
            let name = field_name(field);
            let set = field.set(row.text(column)?, &mut entry);
            set.map_err(|what| row.wrong(column, format!("{name}: {what}")))?;
        }
        if entry.id.is_empty() {
            let what = "id is empty: name the instance (i-0abc, the host's name)".to_owned();
            return Err(row.wrong(id_column, what));
        }
        builder.add(entry, row.line)?;
    }
    Ok(())
}

fn columns(header: &Row<'_>) -> Result<Columns<Field>, TableError> {
    let columns = Columns::named(header, Field::of)?;
    if !columns.has(Field::Id) {
        let first = header.text(0)?;
        let separator = [';', '\t', '|'].into_iter().find(|&separator| {
            first.split(separator).any(|name| Field::of(&normal(name.trim())) == Some(Field::Id))
        });
        let what = match separator {
            Some(separator) => {
                format!("columns are separated by {}: use commas", shown(&separator.to_string()))
            }
            None => "no column id: the first line names the columns, \
                     such as id,name,owner,address,interface"
                .to_owned(),
        };
        return Err(header.wrong(0, what));
    }
    if !columns.has(Field::Addresses) && !columns.has(Field::Interfaces) {
        let what = "neither a column address nor interface: nothing could be found by it";
        return Err(header.wrong(0, what.to_owned()));
    }
    Ok(columns)
}

/// As messages name it.
fn field_name(field: Field) -> &'static str {
    match field {
        Field::Id => "id",
        Field::Name => "name",
        Field::Owner => "owner",
        Field::Application => "application",
        Field::Environment => "environment",
        Field::Purpose => "purpose",
        Field::Role => "role",
        Field::LastChange => "last_change",
        Field::SharedEgress => "shared_egress",
        Field::SecurityGroups => "security_groups",
        Field::Routes => "routes",
        Field::Addresses => "address",
        Field::Interfaces => "interface",
    }
}
