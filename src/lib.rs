//! Blueprint decoder.
pub mod answer;
pub mod cli;
pub mod decode;
pub mod scan;
