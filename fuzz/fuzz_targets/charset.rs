//! A document in any charset says the same however it is cut, and what
//! `encoding_rs` decodes in one piece says the same again.

#![no_main]

use arbitrary::Arbitrary;
use blueprint_decoder::scan::{Charset, Options, Scanner, Secret, Summary};
use libfuzzer_sys::fuzz_target;
use std::ops::ControlFlow;

#[derive(Debug, Arbitrary)]
struct Input {
    label: u8,
    cuts: Vec<u16>,
    document: Vec<u8>,
}

const LABELS: [&str; 8] = [
    "utf-8",
    "utf-16le",
    "utf-16be",
    "windows-1252",
    "shift_jis",
    "gb18030",
    "iso-2022-jp",
    "big5",
];

fn scan(
    label: &str,
    document: &[u8],
    cuts: &[usize],
) -> (Vec<(u64, Option<u64>, String)>, Summary) {
    let charset = Charset::for_label(label).expect("a known label");
    let mut seen = Vec::new();
    let mut sink = |secret: Secret<'_>| {
        seen.push((secret.offset, secret.line, secret.reveal().to_owned()));
        ControlFlow::Continue(())
    };
    let mut scanner = Scanner::new(&Options::default(), charset);
    let mut from = 0;
    for &to in cuts.iter().chain([&document.len()]) {
        if scanner.push(&document[from..to], &mut sink).is_break() {
            break;
        }
        from = to;
    }
    let summary = scanner.finish(&mut sink);
    (seen, summary)
}

fuzz_target!(|input: Input| {
    let label = LABELS[usize::from(input.label % 8)];
    let length = input.document.len() + 1;
    let mut cuts: Vec<usize> = input.cuts.iter().map(|cut| usize::from(*cut) % length).collect();
    cuts.sort_unstable();

    let cut = scan(label, &input.document, &cuts);

    assert_eq!(cut, scan(label, &input.document, &[]));
    let encoding = encoding_rs::Encoding::for_label(label.as_bytes()).expect("a known label");
    let by_mark = encoding_rs::Encoding::for_bom(&input.document);
    if by_mark.map_or(encoding, |(encoding, _)| encoding) != encoding_rs::UTF_8 {
        let (text, ..) = encoding.decode(&input.document);
        // The text may begin with a mark of its own; one more keeps that.
        let marked = format!("\u{feff}{text}");
        assert_eq!(cut, scan("utf-8", marked.as_bytes(), &[]));
    }
});
