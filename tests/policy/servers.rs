//! How servers read a path: a table of models, which share nothing with the policy.
//!
//! A path is at most what one or two of them in a row make of it: a proxy that normalises
//! and the server behind it.

use std::collections::BTreeSet;

/// When path parameters (`;…` at the end of a segment) are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameters {
    Kept,
    BeforeDecoding,
    AfterDecoding,
    Both,
}

/// One program that receives a path and looks something up by it, or passes it on.
#[derive(Debug, Clone, Copy)]
struct Server {
    /// How often it percent-decodes.
    decodings: usize,
    parameters: Parameters,
    merges_empty_segments: bool,
    /// Backslashes are slashes, blanks at the ends of a segment are ignored, NUL ends the path,
    /// and other spellings of a character (overlong, `%u`, full width) are that character.
    is_lenient: bool,
}

const PARAMETERS: [Parameters; 4] =
    [Parameters::Kept, Parameters::BeforeDecoding, Parameters::AfterDecoding, Parameters::Both];

fn servers(decodings: std::ops::RangeInclusive<usize>) -> impl Iterator<Item = Server> {
    let flags = [false, true];
    decodings.flat_map(move |decodings| {
        PARAMETERS.into_iter().flat_map(move |parameters| {
            flags.into_iter().flat_map(move |merges_empty_segments| {
                flags.into_iter().map(move |is_lenient| Server {
                    decodings,
                    parameters,
                    merges_empty_segments,
                    is_lenient,
                })
            })
        })
    })
}

/// A path as text that need not be UTF-8: a character for each byte.
type Bytes = String;

impl Server {
    /// The segments of the place that it looks at.
    fn place(self, path: &str) -> Vec<Bytes> {
        use Parameters::{AfterDecoding, BeforeDecoding, Both};
        // Decoding may have revealed a query or a fragment to whoever parses the URL anew.
        let mut path = path.split(['?', '#']).next().unwrap_or_default().to_owned();
        if matches!(self.parameters, BeforeDecoding | Both) {
            path = without_parameters(&path);
        }
        for _ in 0..self.decodings {
            path = decoded(&path, self.is_lenient);
        }
        if self.is_lenient {
            path = leniently(&path);
        }
        if matches!(self.parameters, AfterDecoding | Both) {
            path = without_parameters(&path);
        }
        let mut left: Vec<Bytes> = Vec::new();
        for segment in path.split('/').skip(1) {
            let segment = if self.is_lenient { segment.trim_matches(' ') } else { segment };
            match segment {
                ".." => drop(left.pop()),
                "." => {}
                "" if self.merges_empty_segments => {}
                segment => left.push(segment.to_owned()),
            }
        }
        left
    }

    /// What it passes on when it is a proxy: the path without dot segments, decoded or
    /// encoded again.
    fn forwards(self, path: &str) -> [String; 2] {
        let path = format!("/{}", self.place(path).join("/"));
        let encoded = path.chars().fold(String::new(), |encoded, c| match c {
            '%' | '?' | '#' | ';' | ' ' | '\\' | '\0'..='\x1f' | '\x7f'..='\u{ff}' => {
                format!("{encoded}%{:02x}", u32::from(c))
            }
            c => encoded + &c.to_string(),
        });
        [path, encoded]
    }
}

fn without_parameters(path: &str) -> String {
    let name = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
    path.split('/').map(name).collect::<Vec<_>>().join("/")
}

/// Percent-decoded once. What is no escape stays.
fn decoded(path: &str, knows_unicode_escapes: bool) -> Bytes {
    let code = |digits: Option<&str>| u32::from_str_radix(digits?, 16).ok();
    let mut decoded = String::new();
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let escape = |from: usize, to: usize| rest.get(from..to).filter(|text| is_digits(text));
        if c == '%'
            && let Some(byte) = code(escape(1, 3)).and_then(char::from_u32)
        {
            decoded.push(byte);
            rest = &rest[3..];
        } else if knows_unicode_escapes
            && (rest.starts_with("%u") || rest.starts_with("%U"))
            && let Some(c) = code(escape(2, 6)).and_then(char::from_u32)
        {
            decoded.extend(c.to_string().bytes().map(char::from));
            rest = &rest[6..];
        } else {
            decoded.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    decoded
}

/// What a lenient server takes each spelling for.
fn leniently(path: &Bytes) -> Bytes {
    let path = path.split('\0').next().unwrap_or_default();
    let spellings = [
        ("\u{c0}\u{ae}", "."),
        ("\u{c0}\u{2e}", "."),
        ("\u{e0}\u{80}\u{ae}", "."),
        ("\u{f0}\u{80}\u{80}\u{ae}", "."),
        ("\u{c0}\u{af}", "/"),
        ("\u{c0}/", "/"),
        ("\u{e0}\u{80}\u{af}", "/"),
        ("\u{c1}\u{9c}", "/"),
        // U+FF0E and U+FF0F, their UTF-8.
        ("\u{ef}\u{bc}\u{8e}", "."),
        ("\u{ef}\u{bc}\u{8f}", "/"),
        ("\\", "/"),
        ("+", " "),
    ];
    spellings.iter().fold(path.to_owned(), |path, (from, to)| path.replace(from, to))
}

/// The places, as segments, that some server or proxy and server look at for a path.
fn places(path: &str) -> BTreeSet<Vec<Bytes>> {
    let mut received = BTreeSet::from([path.to_owned()]);
    for proxy in servers(0..=1) {
        received.extend(proxy.forwards(path));
    }
    received.iter().flat_map(|path| servers(1..=3).map(move |server| server.place(path))).collect()
}

/// The first place outside the prefix that some server looks at.
pub(crate) fn escape(path: &str, prefix: &str) -> Option<String> {
    let prefix: Vec<_> = prefix.split('/').filter(|segment| !segment.is_empty()).collect();
    let is_below = |place: &Vec<Bytes>| {
        place.len() >= prefix.len() && place.iter().zip(&prefix).all(|(is, must)| is == must)
    };
    let outside = places(path).into_iter().find(|place| !is_below(place))?;
    Some(format!("/{}", outside.join("/")))
}
