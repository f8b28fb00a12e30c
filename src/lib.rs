//! Finds the marked fragments of documents that you do not control, within declared
//! bounds.
//!
//! A document flows one way through the crate, and so do the imports:
//!
//! 1. [`cli`] and [`http`]: the edge. Parse what is asked, say what came of it.
//! 2. [`decode`]: the decoder service; one decode, from request to result.
//! 3. [`policy`]: which documents may be fetched, and from which addresses; pure.
//! 4. [`fetch`]: gets an approved document, and nothing else.
//! 5. [`scan`]: finds secrets in a stream of bytes; pure, in constant memory.
//! 6. [`answer`]: decides what of a secret is shown, and writes it.
//!
//! Beside that street stand [`limit`], how much of the service one caller may have;
//! [`identity`], who calls; [`config`], the operator's decisions, typed and checked;
//! [`telemetry`], what the service says about itself; [`failure`], why a decode did not
//! succeed and whose fault it is; and [`named_file`], how files that the operator names are
//! read. [`app`] wires it all. `tests/architecture.rs`
//! holds every module to these arrows.

pub mod answer;
pub mod app;
pub mod cli;
pub mod config;
pub mod decode;
pub mod failure;
pub mod fetch;
pub mod http;
pub mod identity;
pub mod limit;
pub mod named_file;
pub mod policy;
pub mod scan;
pub mod telemetry;
