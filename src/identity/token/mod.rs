//! JSON Web Tokens of one issuer: who they say is calling, and with which keys they are signed.
//!
//! Everything here is told what it needs, the time and the keys too. `ring` verifies the
//! signatures.

mod algorithm;
mod error;
mod issuer_key;
mod issuer_keys;
mod refresh;
mod strict;
mod verify;

pub use algorithm::Algorithm;
pub use error::{Claim, TokenError};
pub use issuer_keys::{IssuerKeys, Unusable};
pub(super) use refresh::Refresh;
pub use verify::{Claims, TokenSettings};

#[cfg(test)]
mod tests;
