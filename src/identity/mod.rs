//! Who calls. Without authentication that is an address.

mod client;

pub use client::Proxies;
