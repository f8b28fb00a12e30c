//! Reads keys from the layers and collects every fault on the way.

use super::{
    kind::{Kind, Raw},
    layers::{CONFIG_FILE, Layer, PREFIX},
};
use std::{collections::BTreeSet, fmt};
use strsim::damerau_levenshtein;

/// Something in the configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `section.key`, or the name of an unknown variable.
    pub key: String,
    /// The value as it stands there; `None` where that must not be shown.
    pub value: Option<String>,
    /// The name of the file or of the variable.
    pub origin: String,
    /// What would be right.
    pub allowed: String,
}

/// A key that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `section.key`.
    pub key: String,
    /// The effective value as TOML.
    pub value: String,
    /// Where it came from, unless it is the default.
    pub origin: Option<String>,
}

pub(super) struct Reader<'a> {
    /// The defaults first; later ones win.
    layers: &'a [Layer],
    pub(super) settings: Vec<Setting>,
    pub(super) faults: Vec<Fault>,
    sections: BTreeSet<String>,
}

/// The reader in one section.
pub(super) struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    name: String,
    /// The part of the program that the keys belong to, where this version does not
    /// have it.
    missing: Option<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a [Layer]) -> Self {
        Self { layers, settings: Vec::new(), faults: Vec::new(), sections: BTreeSet::new() }
    }

    /// A section of a part that exists.
    pub(super) fn section(&mut self, name: &str) -> Section<'_, 'a> {
        self.open(name, None)
    }

    /// A section of a part that does not exist yet: a value other than the default
    /// is refused, because nothing would heed it.
    pub(super) fn missing(&mut self, part: &'static str, name: &str) -> Section<'_, 'a> {
        self.open(name, Some(part))
    }

    fn open(&mut self, name: &str, missing: Option<&'static str>) -> Section<'_, 'a> {
        self.sections.insert(name.to_owned());
        Section { reader: self, name: name.to_owned(), missing }
    }

    /// The faults of what no section has read.
    pub(super) fn finish(&mut self) {
        let known: BTreeSet<&str> = self.settings.iter().map(|read| read.key.as_str()).collect();
        for layer in self.layers {
            for (key, (raw, origin)) in layer.entries(&|key| self.sections.contains(key)) {
                if known.contains(key.as_str()) {
                    continue;
                }
                let value = shown_unknown(&key, raw);
                let origin = origin.to_owned();
                self.faults.push(match raw {
                    Raw::Toml(_) => {
                        let allowed = self.instead_of_key(&key, &known);
                        Fault { key, value, origin, allowed }
                    }
                    Raw::Text(_) => {
                        let allowed = self.instead_of_variable(&origin, &key, &known);
                        Fault { key: origin.clone(), value, origin, allowed }
                    }
                });
            }
        }
    }

    fn instead_of_key(&self, key: &str, known: &BTreeSet<&str>) -> String {
        if self.sections.contains(key) {
            return format!("this is a section: write [{key}] and its keys");
        }
        match self.keys_beside(key, known) {
            Some(keys) => format!("unknown key; {keys}"),
            None => format!("unknown section; there are {}", self.section_names()),
        }
    }

    fn instead_of_variable(&self, name: &str, key: &str, known: &BTreeSet<&str>) -> String {
        if self.sections.contains(key) {
            return format!("this is a section: write one of its keys, as in {name}__KEY");
        }
        if let Some(likely) = likely_variable(name, known) {
            return format!("unknown variable; did you mean {likely}?");
        }
        if let Some(keys) = self.keys_beside(key, known) {
            return format!("unknown variable; {keys}");
        }
        // A Service of Kubernetes that is named `decoder` sets variables of these names in the
        // pods beside it.
        let of_a_service = name.contains("_PORT") || name.ends_with("_SERVICE_HOST");
        let hint = if of_a_service {
            "; if Kubernetes sets it for a Service, set enableServiceLinks: false in the pod's spec"
        } else {
            ""
        };
        let sections = self.section_names();
        format!(
            "unknown variable; write {CONFIG_FILE} or {PREFIX}SECTION__KEY; sections are \
             {sections}{hint}"
        )
    }

    /// The keys of the section that `key` would be in, where there is that section.
    fn keys_beside(&self, key: &str, known: &BTreeSet<&str>) -> Option<String> {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        if !self.sections.contains(section) {
            return None;
        }
        let within = |known: &&str| known.rsplit_once('.').map(|(of, _)| of) == Some(section);
        let keys: Vec<&str> =
            known.iter().copied().filter(within).map(|known| &known[section.len() + 1..]).collect();
        Some(format!("[{section}] has {}", keys.join(", ")))
    }

    fn section_names(&self) -> String {
        self.sections.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// The variable that was probably meant by the name of one that nothing knows: other
/// underscores, other letters by two at most, or a key without its sections that only one
/// section has.
fn likely_variable(name: &str, known: &BTreeSet<&str>) -> Option<String> {
    let letters = |name: &str| -> String {
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase()
    };
    let variable = |key: &str| format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"));
    let given = letters(name);
    let variables = known.iter().map(|key| variable(key)).chain([CONFIG_FILE.to_owned()]);
    let distant = variables.map(|name| (damerau_levenshtein(&given, &letters(&name)), name));
    let nearest = distant.filter(|(distance, _)| *distance <= MAX_DISTANCE).min();
    nearest.map(|(_, name)| name).or_else(|| {
        let is_it = |key: &&&str| {
            let parts: Vec<&str> = key.split('.').collect();
            let (section, key) = (parts[0], parts[parts.len() - 1]);
            given == letters(&format!("{PREFIX}{key}"))
                || given == letters(&format!("{PREFIX}{section}{key}"))
        };
        let mut likely = known.iter().filter(is_it);
        likely.next().filter(|_| likely.next().is_none()).map(|key| variable(key))
    })
}

/// Two letters that are wrong, missing, too many or swapped are a slip of the hand.
const MAX_DISTANCE: usize = 2;

impl<'a> Section<'_, 'a> {
    /// The effective value of a key.
    #[expect(clippy::expect_used, reason = "the embedded defaults are read by every test")]
    pub(super) fn take<T: PartialEq + 'static>(&mut self, key: &str, kind: Kind<T>) -> T {
        let key = format!("{}.{key}", self.name);
        let mut values = Vec::new();
        for layer in self.reader.layers {
            let Some((raw, origin)) = layer.get(&key) else { continue };
            match (kind.parse)(raw) {
                Some(value) => values.push((value, raw, origin)),
                None => self.reader.faults.push(Fault {
                    value: shown(raw),
                    origin: origin.to_owned(),
                    allowed: format!("allowed is {}", kind.allowed),
                    key: key.clone(),
                }),
            }
        }
        let (value, raw, origin) = values.pop().expect("config/default.toml has every key");
        let changed = values.first().is_some_and(|(default, ..)| *default != value);
        if let (true, Some(part)) = (changed, self.missing) {
            self.reader.faults.push(Fault {
                value: shown(raw),
                origin: origin.to_owned(),
                allowed: format!("this version has no {part}: leave the default"),
                key: key.clone(),
            });
        }
        self.reader.settings.push(Setting {
            value: (kind.show)(&value),
            origin: changed.then(|| origin.to_owned()),
            key,
        });
        value
    }

    /// The same section, for keys of a part that does not exist yet.
    pub(super) fn lacking(&mut self, part: &'static str) -> Section<'_, 'a> {
        Section { reader: &mut *self.reader, name: self.name.clone(), missing: Some(part) }
    }

    /// A section within this one, of the same part.
    pub(super) fn section(&mut self, name: &str) -> Section<'_, 'a> {
        let name = format!("{}.{name}", self.name);
        self.reader.open(&name, self.missing)
    }
}

/// The value of a known key as it may be shown: none has a secret, but for a URL
/// with one in it.
pub(super) fn shown(raw: Raw<'_>) -> Option<String> {
    let text = raw.show();
    let in_a_url = text.contains("://") && text.contains('?');
    (!text.contains('@') && !in_a_url).then_some(text)
}

/// The same for a key that nothing knows: its text may be a secret at the wrong place.
fn shown_unknown(key: &str, raw: Raw<'_>) -> Option<String> {
    let words =
        ["auth", "bearer", "cred", "key", "pass", "private", "pwd", "secret", "sign", "token"];
    let key = key.to_lowercase();
    if raw.has_text() && words.iter().any(|word| key.contains(word)) { None } else { shown(raw) }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, origin, allowed } = self;
        let value = value.as_deref().unwrap_or("(not shown)");
        match value.char_indices().nth(80) {
            Some((end, _)) => write!(f, "{key} = {}…", &value[..end])?,
            None => write!(f, "{key} = {value}")?,
        }
        if key != origin {
            write!(f, " ({origin})")?;
        }
        write!(f, ": {allowed}")
    }
}
