//! The layers: the embedded defaults, a file, the environment.
//!
//! They are kept apart rather than merged, so that every fault in every layer is
//! found and each value knows where it came from.

use super::{Said, kind::Raw};
use config::{Map, Value, ValueKind};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::Path,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Variables that set a key begin with this.
pub(super) const PREFIX: &str = "DECODER__";

/// All variables of this program begin with this.
const OURS: &str = "DECODER_";

/// Names the configuration file; set apart from the keys.
pub(super) const CONFIG_FILE: &str = "DECODER_CONFIG";

/// Read when the program is built, and harmless when it runs.
const COMMIT: &str = "DECODER_COMMIT";

/// No configuration is larger; `/dev/zero` is.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;

/// Values by key, `section.key`, from one place.
pub(super) enum Layer {
    /// A TOML document; each value knows the file and the line.
    Toml(Map<String, Value>),
    /// Variables or arguments: name and text by key.
    Environment(BTreeMap<String, (String, String)>),
}

impl Layer {
    /// Parses a document; the error has a line for each place that is no TOML.
    pub(super) fn toml(name: &str, text: &str) -> Result<Self, Vec<String>> {
        let place = Place { name, lines: line_starts(text) };
        let (root, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Self::Toml(place.table(root.get_ref())));
        }
        let mut faults: Vec<(usize, &str)> = errors
            .iter()
            .map(|error| (error.span().map_or(0, |span| span.start), error.message()))
            .collect();
        faults.sort_unstable();
        Err(faults.iter().map(|(at, what)| format!("{}: {what}", place.at(*at))).collect())
    }

    pub(super) fn file(path: &Path) -> Result<Self, Vec<String>> {
        let name = path.display().to_string();
        let text = read(path).map_err(|error| vec![format!("{name}: cannot be read: {error}")])?;
        Self::toml(&name, &text)
    }

    /// All variables of this program that are about keys. One that is not spelt as a variable
    /// of a key stands under its own name, which is no key, so it is refused as unknown.
    ///
    /// Text that is no UTF-8 is taken with the bytes in question replaced: no key
    /// accepts those.
    pub(super) fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = variables.into_iter().filter_map(|(name, text)| {
            let name = name.to_string_lossy().into_owned();
            if !name.starts_with(OURS) || name == CONFIG_FILE || name == COMMIT {
                return None;
            }
            // Only the one spelling: two that name the same key could contradict.
            let is_spelt = |byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
            let key = match name.strip_prefix(PREFIX) {
                Some(key) if key.bytes().all(is_spelt) => key.to_lowercase().replace("__", "."),
                _ => name.clone(),
            };
            Some((key, (name, text.to_string_lossy().into_owned())))
        });
        Self::Environment(ours.collect())
    }

    /// What was said on the command line.
    pub(super) fn command_line(said: &[Said]) -> Self {
        let entry =
            |said: &Said| (said.key.to_owned(), (said.argument.to_owned(), said.value.clone()));
        Self::Environment(said.iter().map(entry).collect())
    }

    /// The value of a key and what to call the place that it came from.
    pub(super) fn get(&self, key: &str) -> Option<(Raw<'_>, &str)> {
        match self {
            Self::Environment(variables) => variables.get(key).map(of_variable),
            Self::Toml(root) => {
                let (sections, key) = key.rsplit_once('.').unwrap_or(("", key));
                let mut table = root;
                for section in sections.split('.').filter(|section| !section.is_empty()) {
                    match &table.get(section)?.kind {
                        ValueKind::Table(inner) => table = inner,
                        _ => return None,
                    }
                }
                table.get(key).map(of_toml)
            }
        }
    }

    /// All keys with what [`Layer::get`] says of them: of a file, the entries of its
    /// sections as `is_section` knows them, and whatever else it has.
    pub(super) fn entries(&self, is_section: &dyn Fn(&str) -> bool) -> Vec<Entry<'_>> {
        match self {
            Self::Environment(variables) => variables
                .iter()
                .map(|(key, variable)| (key.clone(), of_variable(variable)))
                .collect(),
            Self::Toml(root) => {
                let mut entries = Vec::new();
                collect(root, "", is_section, &mut entries);
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                entries
            }
        }
    }
}

type Entry<'a> = (String, (Raw<'a>, &'a str));

fn of_variable((name, text): &(String, String)) -> (Raw<'_>, &str) {
    (Raw::Text(text), name)
}

fn of_toml(value: &Value) -> (Raw<'_>, &str) {
    (Raw::Toml(value), value.origin().unwrap_or_default())
}

fn collect<'a>(
    table: &'a Map<String, Value>,
    prefix: &str,
    is_section: &dyn Fn(&str) -> bool,
    entries: &mut Vec<Entry<'a>>,
) {
    for (name, value) in table {
        // A name with a dot in it is one name: it must not pass for a path.
        let name = if name.contains('.') { format!("{name:?}") } else { name.clone() };
        let key = format!("{prefix}{name}");
        match &value.kind {
            ValueKind::Table(inner) if is_section(&key) => {
                collect(inner, &format!("{key}."), is_section, entries);
            }
            _ => entries.push((key, of_toml(value))),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    Ok(text)
}

/// Where the values of a document stand.
struct Place<'a> {
    name: &'a str,
    /// The offset of each line's first byte.
    lines: Vec<usize>,
}

fn line_starts(text: &str) -> Vec<usize> {
    let feeds = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    [0].into_iter().chain(feeds.map(|(at, _)| at + 1)).collect()
}

impl Place<'_> {
    fn at(&self, offset: usize) -> String {
        format!("{}:{}", self.name, self.lines.partition_point(|start| *start <= offset))
    }

    fn table(&self, table: &DeTable<'_>) -> Map<String, Value> {
        table.iter().map(|(key, value)| (key.get_ref().to_string(), self.value(value))).collect()
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        let kind = match value.get_ref() {
            DeValue::String(text) => ValueKind::String(text.to_string()),
            DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
            DeValue::Integer(number) => {
                let (digits, radix) = (number.as_str(), number.radix());
                let small = i64::from_str_radix(digits, radix).map(ValueKind::I64);
                let large = || i128::from_str_radix(digits, radix).map(ValueKind::I128);
                small.or_else(|_| large()).unwrap_or(ValueKind::Float(f64::INFINITY))
            }
            DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            // Values have no dates. Nil, which TOML does not have, stands for one: no
            // key accepts either.
            DeValue::Datetime(_) => ValueKind::Nil,
            DeValue::Array(items) => {
                ValueKind::Array(items.iter().map(|item| self.value(item)).collect())
            }
            DeValue::Table(table) => ValueKind::Table(self.table(table)),
        };
        Value::new(Some(&self.at(value.span().start)), kind)
    }
}
