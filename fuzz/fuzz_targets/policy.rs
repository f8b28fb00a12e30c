//! The policy against a judge that shares nothing with it, on URLs, answers of name servers
//! and redirects that the fuzzer chooses: never a panic, and what is approved is approved
//! twice.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/policy/naive.rs"]
mod naive;
#[path = "../../tests/policy/servers.rs"]
mod servers;

#[derive(Debug, Arbitrary)]
struct Input {
    begin: Option<bool>,
    pieces: Vec<u8>,
    raw: String,
    answers: Vec<(u8, u128)>,
    to_pieces: Vec<u8>,
    to_raw: String,
}

fuzz_target!(|input: Input| {
    let begin = match input.begin {
        None => "",
        Some(true) => "https://",
        Some(false) => "https://docs.example/public/",
    };
    let source = format!("{begin}{}{}", naive::text(&input.pieces), input.raw);
    let location = naive::text(&input.to_pieces) + &input.to_raw;
    let address = |(form, bits): &(u8, u128)| naive::address(*form, *bits);
    let answers: Vec<_> = input.answers.iter().take(4).map(address).collect();
    naive::check(&source, &answers, &location);
});
