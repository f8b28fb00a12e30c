//! Finds the marked fragments of documents that you do not control, within declared
//! bounds.
//!
//! A document takes one path through the crate, and imports follow it:
//!
//! 1. [`cli`] and [`http`]: the edge. They parse requests and write responses.
//! 2. [`decode`]: the decoder service; one decode, from request to result.
//! 3. [`policy`]: which documents may be fetched, and from which addresses; pure.
//! 4. [`fetch`]: gets an approved document, and nothing else.
//! 5. [`scan`]: finds secrets in a stream of bytes; pure, in constant memory.
//! 6. [`answer`]: decides what of a secret is shown, and writes it.
//!
//! Beside this path stand [`config`], the typed and checked configuration; [`identity`], who
//! calls; [`rate_limit`] and [`overload`], how much one caller may have and how much runs at once,
//! counted by [`quota_key`]; [`telemetry`], logs and metrics; [`failure`], why a decode did not
//! succeed and whose fault it is; and [`named_file`], which reads files named by the operator.
//! [`app`] connects everything. `tests/architecture.rs` checks which module may import which.

pub mod answer;
pub mod app;
pub mod cli;
pub mod config;
pub mod decode;
pub mod failure;
pub mod fetch;
pub mod http;
pub mod identity;
pub mod named_file;
pub mod overload;
pub mod policy;
pub mod quota_key;
pub mod rate_limit;
pub mod scan;
pub mod telemetry;
