//! The scanner against the contract: the published vectors under every cut, random documents
//! against the `regex` crate, and content types against the tables of the WHATWG.

#![allow(clippy::expect_used)]

mod content_types;
mod oracle;
mod properties;
mod vectors;
