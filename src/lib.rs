//! Finds the marked fragments of documents that you do not control, within declared
//! bounds.
//!
//! A document flows one way through the crate, and so do the imports:
//!
//! 1. [`cli`]: the edge. Parses arguments, opens documents, chooses exit codes.
//! 2. [`decode`]: one decode, from the first byte to the answer.
//! 3. [`scan`]: finds secrets in a stream of bytes; pure, in constant memory.
//! 4. [`answer`]: decides what of a secret is shown, and writes it.
//!
//! Beside that street stand [`policy`], which says what may be fetched and from where,
//! and [`config`]: the operator's decisions, typed and checked.
//! `tests/architecture.rs` holds every module to these arrows.

pub mod answer;
pub mod cli;
pub mod config;
pub mod decode;
pub mod policy;
pub mod scan;
