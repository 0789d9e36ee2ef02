//! A list as CSV, with a header or without one.

use crate::host::table::{Columns, Content, Row, Rows, TableError, Warning, normal};

/// Calls `entry` for each row of the list. The first row is a header where its first
/// or second value is the name of a column; then it names both that `wanted` lists.
/// Without a header the columns are those of `order`; all after the second may be
/// missing.
pub(super) fn each<F: Copy + PartialEq>(
    content: &Content,
    order: &[F],
    wanted: &str,
    field: impl Fn(&str) -> Option<F>,
    mut entry: impl FnMut(&Row<'_>, &Columns<F>) -> Result<(), TableError>,
) -> Result<Option<Warning>, TableError> {
    let mut rows = Rows::new(content);
    let mut columns = Columns::positional(order);
    let mut first = true;
    while let Some(row) = rows.next()? {
        if std::mem::take(&mut first) {
            let is_named =
                |column| row.text(column).is_ok_and(|name| field(&normal(name)).is_some());
            if is_named(0) || is_named(1) {
                columns = Columns::named(&row, &field)?;
                if !order.iter().take(2).all(|&field| columns.has(field)) {
                    let what = format!("the header lacks a column: {wanted} are wanted");
                    return Err(row.wrong(0, what));
                }
                continue;
            }
        }
        columns.check(&row, false)?;
        entry(&row, &columns)?;
    }
    if first {
        let file = content.file.clone();
        return Err(TableError::File { file, what: "has no entry: a list has some".to_owned() });
    }
    Ok(columns.warning)
}

/// The value of a column; empty where there is none.
pub(super) fn value<'r, F: Copy + PartialEq>(
    row: &'r Row<'_>,
    columns: &Columns<F>,
    field: F,
) -> Result<&'r str, TableError> {
    columns.of(field).map_or(Ok(""), |column| row.text(column))
}
