//! Random documents, pairs, limits and cuts against the oracle.

use super::oracle::Case;
use proptest::{collection::vec, prelude::*, sample::select};

/// Few bytes, so that markers, near misses and cut characters are common.
fn document() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"a",
        b"b",
        b"ab",
        b"{",
        b"*",
        b"}",
        b"{*",
        b"*}",
        b"\n",
        b" ",
        b":",
        b"A: b",
        b"\0",
        "é".as_bytes(),
        "\u{a0}".as_bytes(),
        "\u{3000}".as_bytes(),
        "😀".as_bytes(),
        b"\xff",
        b"\xe2\x80",
        b"\xf0\x9f",
        b"\xef",
        b"\xef\xbb\xbf",
        b"                ",
    ];
    vec(select(pieces), 0..60).prop_map(|pieces| pieces.concat())
}

/// Markers over a small alphabet: equal ones, prefixes of one another and ones that
/// overlap themselves come up often.
fn marker() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[ab]{1,4}",
        2 => "[{*}]{1,3}",
        1 => "[ab{*}: é]{1,5}",
        1 => select(vec!["{*".to_owned(), "*}".to_owned(), "aab".to_owned(), "a".repeat(32)]),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let limits = (1..12_u64, 1..12_usize, any::<bool>(), any::<bool>());
    let ends =
        (proptest::option::weighted(0.3, 0..80_u64), proptest::option::weighted(0.2, 0..6_u64));
    (document(), vec((marker(), marker()), 1..=8), limits, ends).prop_map(
        |(
            document,
            pairs,
            (max_secrets, max_secret_chars, multiline, lines),
            (max_bytes, taken),
        )| Case {
            document,
            pairs,
            max_secrets,
            max_secret_chars,
            multiline,
            lines,
            max_bytes,
            taken,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_scanner_finds_what_the_regular_expression_captures(
        case in case(),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let options = case.options();
        prop_assume!(options.is_some());
        let options = options.expect("assumed");
        let mut cuts: Vec<usize> =
            cuts.iter().map(|cut| cut.index(case.document.len() + 1)).collect();
        cuts.sort_unstable();

        let seen = case.scan(&options, &cuts);

        prop_assert_eq!(seen, case.expected());
    }
}
