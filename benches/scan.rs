//! How much of the floor's speed the scanner keeps.
//!
//! The floor is the least that any scanner must do to the same 64 KiB chunks: find
//! the start marker with `memchr::memmem` and count line feeds. Both run in turn,
//! round by round, so that a drift of the machine hits both; a ratio of 1 means as
//! fast as the floor. `cargo bench --bench scan`.

#![allow(clippy::print_stdout)]

use blueprint_decoder::scan::{Charset, Options, Scanner, Secret, Summary};
use memchr::{memchr_iter, memmem::Finder};
use std::{hint::black_box, num::NonZero, ops::ControlFlow, time::Instant};

const CHUNK: usize = 64 * 1024;
const SIZE: usize = 32 * 1024 * 1024;
const ROUNDS: usize = 31;

fn main() {
    let line = "Decoy data is present to deter villainous operatives.\n";
    let sparse = line.repeat(17 * 1024 / line.len()) + "{*VAULT_ACCESS_CODE: DELTA-7*}\n";
    println!("{:<14} {:>12} {:>12} {:>7}", "document", "floor GB/s", "scan GB/s", "ratio");
    compare("sparse", &sparse);
    compare("dense", "{*A: 123456*}\n");
    compare("near misses", "{ * {x *{ *} {* never closed } * }\n* } {");
    compare("one open line", "{* never closed, never ended ");
}

fn compare(name: &str, repeated: &str) {
    let document = repeated.repeat(SIZE / repeated.len());
    let mut rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| {
            let floor = seconds(|| floor(document.as_bytes()));
            let scan = seconds(|| scan(document.as_bytes()));
            (floor, scan)
        })
        .collect();
    let gigabytes = document.len() as f64 / 1e9;
    let mut median = |of: fn(&(f64, f64)) -> f64| {
        rounds.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&rounds[ROUNDS / 2])
    };
    println!(
        "{name:<14} {:>12.1} {:>12.1} {:>7.2}",
        gigabytes / median(|(floor, _)| *floor),
        gigabytes / median(|(_, scan)| *scan),
        median(|(floor, scan)| floor / scan),
    );
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64()
}

fn floor(document: &[u8]) -> (usize, usize) {
    let finder = Finder::new("{*");
    document.chunks(CHUNK).fold((0, 0), |(starts, lines), chunk| {
        let lines = lines + memchr_iter(b'\n', chunk).count();
        (starts + finder.find_iter(chunk).count(), lines)
    })
}

fn scan(document: &[u8]) -> Summary {
    let options = Options { max_secrets: NonZero::<u64>::MAX, ..Options::default() };
    let mut sink = |secret: Secret<'_>| {
        black_box(&secret);
        ControlFlow::Continue(())
    };
    let mut scanner = Scanner::new(&options, Charset::UTF_8);
    for chunk in document.chunks(CHUNK) {
        let _ = scanner.push(chunk, &mut sink);
    }
    scanner.finish(&mut sink)
}
