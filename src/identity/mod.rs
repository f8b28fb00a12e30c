//! Who calls: an address, seen through proxies; and the bearer of a token, by what its issuer
//! says of them.
//!
//! Everything here is told what it needs, the time and the keys too.

mod algorithm;
mod client;
mod issuer_key;
mod issuer_keys;
mod refresh;
mod strict;
mod token;
mod unfit;

pub use algorithm::Algorithm;
pub use client::Proxies;
pub use issuer_keys::{IssuerKeys, Unusable};
pub use refresh::Refresh;
pub use token::{ClaimedRole, Claims, TokenSettings};
pub use unfit::{Claim, Unfit};

#[cfg(test)]
mod tests;
