//! Whatever the policy approves, a naive judge approves, too.

#![allow(clippy::expect_used)]

mod naive;
mod paths;
mod servers;

use proptest::{collection::vec, prelude::*};

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_approved_is_approved_by_a_naive_judge(
        source in vec(any::<u8>(), 0..8),
        answers in vec((any::<u8>(), any::<u128>()), 1..3),
        location in vec(any::<u8>(), 0..8),
    ) {
        let answers: Vec<_> =
            answers.iter().map(|(form, bits)| naive::address(*form, *bits)).collect();
        // Most begin like a URL.
        for begin in ["", "https://", "http://", "https://docs.example/public/", "https://x.b.example"] {
            let source = format!("{begin}{}", naive::text(&source));
            naive::check(&source, &answers, &naive::text(&location));
        }
    }
}

#[test]
fn much_is_approved() {
    let approved = |source: &str, location: &str| naive::check(source, &[], location);
    assert_eq!(approved("https://docs.example/public/a/../b?c", "/public/d"), 2);
    assert_eq!(approved("http://c.example:8080/x/%41", "https://x.b.example"), 2);
    assert_eq!(approved("https://8.8.8.8", "https://[2606:2800:220:1::1]/"), 2);
    assert_eq!(approved("https://10.1.0.1", ""), 0);
}
