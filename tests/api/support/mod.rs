//! What the tests stand on; it asserts nothing about the service but that it answers.

pub(crate) mod app;
pub(crate) mod callers;
pub(crate) mod frames;
pub(crate) mod http_2_source;
pub(crate) mod issuer;
pub(crate) mod nameserver;
pub(crate) mod raw;
pub(crate) mod upload;
pub(crate) mod upstream;
#[cfg(feature = "real-tools")]
pub(crate) mod valkey;
