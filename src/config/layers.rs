//! The layers: the embedded defaults, a file, the environment.
//!
//! They are kept apart rather than merged, so that every fault in every layer is
//! found and each value knows where it came from.

use super::kind::Raw;
use config::{File, FileFormat, Map, Source, Value, ValueKind};
use std::{collections::BTreeMap, ffi::OsString, path::Path};

/// What the variables of this program begin with.
pub(super) const PREFIX: &str = "DECODER__";

/// Values by key, `section.key`, from one place.
pub(super) enum Layer {
    /// A TOML document and what it is called.
    Toml { name: String, root: Map<String, Value> },
    /// The variables that begin with [`PREFIX`]: name and text by key.
    Environment(BTreeMap<String, (String, String)>),
}

impl Layer {
    pub(super) fn toml(name: &str, text: &str) -> Result<Self, String> {
        let root = File::from_str(text, FileFormat::Toml)
            .collect()
            .map_err(|error| format!("{name}: {}", one_line(&error.to_string())))?;
        Ok(Self::Toml { name: name.to_owned(), root })
    }

    pub(super) fn file(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{name}: cannot be read: {error}"))?;
        Self::toml(&name, &text)
    }

    /// A variable that is no UTF-8 is taken with the bytes in question replaced:
    /// no key accepts those.
    pub(super) fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = variables.into_iter().filter_map(|(name, text)| {
            let name = name.to_string_lossy().into_owned();
            let key = name.strip_prefix(PREFIX)?.split("__").collect::<Vec<_>>().join(".");
            // Only the one spelling: two that differ in case could contradict.
            let key = if key == key.to_uppercase() { key.to_lowercase() } else { key };
            Some((key, (name, text.to_string_lossy().into_owned())))
        });
        Self::Environment(ours.collect())
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Raw<'_>> {
        match self {
            Self::Environment(variables) => variables.get(key).map(|(_, text)| Raw::Text(text)),
            Self::Toml { root, .. } => {
                let (sections, key) = key.rsplit_once('.').unwrap_or(("", key));
                let mut table = root;
                for section in sections.split('.').filter(|section| !section.is_empty()) {
                    match &table.get(section)?.kind {
                        ValueKind::Table(inner) => table = inner,
                        _ => return None,
                    }
                }
                table.get(key).map(Raw::Toml)
            }
        }
    }

    /// What to call the place that a key came from.
    pub(super) fn origin(&self, key: &str) -> &str {
        match self {
            Self::Toml { name, .. } => name,
            Self::Environment(variables) => variables.get(key).map_or(PREFIX, |(name, _)| name),
        }
    }

    /// All keys with their values: of a file, the entries of its sections as
    /// `is_section` knows them, and whatever else it has.
    pub(super) fn entries(&self, is_section: &dyn Fn(&str) -> bool) -> Vec<(String, Raw<'_>)> {
        match self {
            Self::Environment(variables) => {
                variables.iter().map(|(key, (_, text))| (key.clone(), Raw::Text(text))).collect()
            }
            Self::Toml { root, .. } => {
                let mut entries = Vec::new();
                collect(root, "", is_section, &mut entries);
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                entries
            }
        }
    }
}

fn collect<'a>(
    table: &'a Map<String, Value>,
    prefix: &str,
    is_section: &dyn Fn(&str) -> bool,
    entries: &mut Vec<(String, Raw<'a>)>,
) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match &value.kind {
            ValueKind::Table(inner) if is_section(&key) => {
                collect(inner, &format!("{key}."), is_section, entries);
            }
            _ => entries.push((key, Raw::Toml(value))),
        }
    }
}

/// The first and the last line of a parser's message: where, and what. Between
/// them it quotes the file.
fn one_line(message: &str) -> String {
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().to_owned();
    match lines.next_back() {
        Some(last) => format!("{first}: {last}"),
        None => first,
    }
}
