//! The options of a document that is handed over: query parameters.

use super::{
    Decoding,
    asked::{Asking, Options},
};
use crate::{decode::Tenant, failure::Failure, scan::MarkerPair};
use std::collections::BTreeSet;

pub(super) fn parse(query: &str, decoding: &Decoding, tenant: &Tenant) -> Result<Options, Failure> {
    let mut asking = Asking::new(decoding, tenant);
    let mut seen = BTreeSet::new();
    let mut pairs = 0;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let (name, value) = (name.as_ref(), value.as_ref());
        if name == "marker" {
            match MarkerPair::split(value) {
                Some((start, end)) => asking.pair(pairs, Some(start), Some(end)),
                None => asking.fault(
                    format!("/markers/{pairs}"),
                    "a start and an end marker with a colon between them, such as {*:*}",
                ),
            }
            pairs += 1;
            continue;
        }
        if !seen.insert(name.to_owned()) {
            asking.fault(super::json::pointer(name), "given twice");
            continue;
        }
        let number = || value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok());
        match name {
            "max_secrets" => asking.max_secrets(number().flatten()),
            "max_secret_chars" => asking.max_secret_chars(number().flatten()),
            "multiline" => asking.multiline(value.parse().ok()),
            "allow_partial" => asking.allow_partial(value.parse().ok()),
            "output" => asking.output(Some(value)),
            _ => asking.fault(
                super::json::pointer(name),
                "unknown parameter; known parameters are marker, max_secrets, max_secret_chars, multiline, \
                 output and allow_partial",
            ),
        }
    }
    if pairs > 0 {
        asking.pairs_end(pairs);
    }
    // What is replaced or taken as it stands would be looked for, and never found.
    if !is_escaped_utf8(query) {
        let detail = "the parameters are not UTF-8 in percent-encoding; a % itself is written %25";
        asking.fault("", detail);
    }
    asking.end()
}

/// Whether the query is UTF-8 once it is unescaped, and every `%` escapes a byte.
fn is_escaped_utf8(query: &str) -> bool {
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let digit = |at: usize| after.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return false };
        bytes.push((high * 16 + low) as u8);
        rest = &after[2..];
    }
    std::str::from_utf8(&bytes).is_ok()
}
