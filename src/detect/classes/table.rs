//! The table of classes as text: TOML, and everything that is wrong with it.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{ClassKind, Classes, Entry, Tool};

/// Far over what anybody looks after.
const MOST_ENTRIES: usize = 4_096;

const KEYS: [&str; 6] = ["id", "class", "names", "paths", "reason", "tool"];

/// Reads a table; says what is wrong, with lines.
pub(super) fn parse(text: &str) -> Result<Classes, String> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let place = |at: usize| {
        let before = text.as_bytes().get(..at).unwrap_or_default();
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    };
    if let Some(error) = errors.first() {
        let line = place(error.span().unwrap_or_default().start);
        return Err(format!("line {line}: {}", error.message()));
    }
    let table = table.get_ref();
    for (key, _) in table.iter() {
        if !["version", "usual_folders", "class"].contains(&key.get_ref().as_ref()) {
            let line = place(key.span().start);
            return Err(format!("line {line}: {}: no such key", key.get_ref()));
        }
    }
    let version = table.get("version").map(|value| text_of(value.get_ref()));
    let version = version.ok_or("version is missing: a text that alerts name")??;
    let mut usual_folders = Vec::new();
    if let Some(folders) = table.get("usual_folders") {
        usual_folders = texts_of(folders.get_ref())?;
    }
    let mut entries = Vec::new();
    if let Some(classes) = table.get("class") {
        let DeValue::Array(items) = classes.get_ref() else {
            return Err("class is a list of entries: [[class]]".to_owned());
        };
        if items.len() > MOST_ENTRIES {
            return Err(format!("{} entries: {MOST_ENTRIES} are allowed", items.len()));
        }
        for item in items.iter() {
            let line = place(item.span().start);
            let DeValue::Table(table) = item.get_ref() else {
                return Err(format!("line {line}: class is a list of entries: [[class]]"));
            };
            entries.push(entry(table).map_err(|why| format!("line {line}: {why}"))?);
        }
    }
    Ok(Classes { version: version.into(), usual_folders, entries })
}

fn entry(table: &DeTable<'_>) -> Result<Entry, String> {
    if let Some((key, _)) = table.iter().find(|(key, _)| !KEYS.contains(&key.get_ref().as_ref())) {
        return Err(format!("{}: no such key in [[class]]", key.get_ref()));
    }
    let wanted = |name: &str| {
        let value = table.get(name).ok_or_else(|| format!("{name} is missing"))?;
        text_of(value.get_ref()).map_err(|why| format!("{name}: {why}"))
    };
    let list = |name: &str| match table.get(name) {
        Some(value) => texts_of(value.get_ref()).map_err(|why| format!("{name}: {why}")),
        None => Ok(Vec::new()),
    };
    let class = wanted("class")?;
    let kind = ClassKind::ALL.into_iter().find(|kind| kind.name() == class);
    let kind = kind.ok_or_else(|| {
        let names = ClassKind::ALL.map(ClassKind::name).join(", ");
        format!("class: {class:?} is not one of {names}")
    })?;
    let tool = match table.contains_key("tool") {
        true => {
            let name = wanted("tool")?;
            let tool = Tool::ALL.into_iter().find(|tool| tool.name() == name);
            Some(tool.ok_or_else(|| format!("tool: {name:?} is no tool"))?)
        }
        false => None,
    };
    let (names, paths) = (list("names")?, list("paths")?);
    if names.is_empty() && paths.is_empty() {
        return Err("names or paths are missing".to_owned());
    }
    if let Some(path) = paths.iter().find(|path| !path.starts_with('/')) {
        return Err(format!("paths: {path:?} does not begin with /"));
    }
    let (id, reason) = (wanted("id")?, wanted("reason")?);
    Ok(Entry { id: id.into(), kind, tool, names, paths, reason })
}

fn text_of(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) if !text.trim().is_empty() => Ok(text.to_string()),
        _ => Err("a text is wanted".to_owned()),
    }
}

fn texts_of(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let DeValue::Array(items) = value else { return Err("a list of texts is wanted".to_owned()) };
    items.iter().map(|item| text_of(item.get_ref())).collect()
}

/// The table that comes with the program.
pub(super) fn built_in() -> Arc<Classes> {
    static TABLE: std::sync::LazyLock<Arc<Classes>> =
        std::sync::LazyLock::new(|| Arc::new(parse(super::BUILT_IN).unwrap_or_default()));
    Arc::clone(&TABLE)
}
