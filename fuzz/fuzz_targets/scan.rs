//! The scanner against the regular expressions of the property test, on documents,
//! pairs, limits and cuts that the fuzzer chooses.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/scan/oracle.rs"]
mod oracle;

#[derive(Debug, Arbitrary)]
struct Input {
    /// Markers as indices into a small alphabet, so that they occur.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    max_secrets: u8,
    max_secret_chars: u8,
    multiline: bool,
    lines: bool,
    max_bytes: Option<u8>,
    taken: Option<u8>,
    cuts: Vec<u16>,
    document: Vec<u8>,
}

const ALPHABET: [char; 8] = ['{', '*', '}', 'a', 'b', ':', ' ', 'é'];

fn marker(indices: &[u8]) -> String {
    indices.iter().take(32).map(|index| ALPHABET[usize::from(index % 8)]).collect()
}

fuzz_target!(|input: Input| {
    let mut input = input;
    // UTF-16 is for the other target: here the bytes are the text.
    if input.document.starts_with(b"\xff\xfe") || input.document.starts_with(b"\xfe\xff") {
        input.document.insert(0, b'x');
    }
    let pairs = input.pairs.iter().map(|(start, end)| (marker(start), marker(end)));
    let case = oracle::Case {
        pairs: pairs.collect(),
        max_secrets: u64::from(input.max_secrets),
        max_secret_chars: usize::from(input.max_secret_chars),
        multiline: input.multiline,
        lines: input.lines,
        max_bytes: input.max_bytes.map(u64::from),
        taken: input.taken.map(u64::from),
        document: input.document,
    };
    let Some(options) = case.options() else { return };
    let length = case.document.len() + 1;
    let mut cuts: Vec<usize> = input.cuts.iter().map(|cut| usize::from(*cut) % length).collect();
    cuts.sort_unstable();

    assert_eq!(case.scan(&options, &cuts), case.expected());
});
