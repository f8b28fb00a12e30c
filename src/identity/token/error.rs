//! Why a token is not accepted.
//!
//! In words for the log of whoever runs the service. They never hold any part of the token,
//! which is a secret as long as it is good; and they are not for the caller, who could try
//! what helps.

use super::verify::LONGEST;
use std::fmt;

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// It is longer than any token need be.
    TooLong,
    /// It is no token.
    Malformed,
    /// It is signed with nothing that is allowed.
    Algorithm,
    /// The issuer has no such key, as far as is known.
    UnknownKey,
    /// The issuer did not sign it.
    Signature,
    /// It is good no longer.
    Expired,
    /// It is not good yet.
    NotYetValid,
    /// The issuer signed it, and it does not say what it has to.
    Claim(Claim),
}

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Who made it.
    Issuer,
    /// For whom it was made.
    Audience,
    /// When it is good.
    Time,
    /// Whose bearer it is.
    Tenant,
    /// What its bearer may do.
    Role,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the token is longer than {LONGEST} bytes"),
            Self::Malformed => f.write_str("it is no token that this service reads"),
            Self::Algorithm => f.write_str("the token's algorithm is none of the allowed ones"),
            Self::UnknownKey => f.write_str("the issuer has no key that the token could mean"),
            Self::Signature => f.write_str("the token's signature is wrong"),
            Self::Expired => f.write_str("the token has expired"),
            Self::NotYetValid => f.write_str("the token is not valid yet"),
            Self::Claim(claim) => claim.fmt(f),
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Issuer => "the token is of another issuer",
            Self::Audience => "the token is for another audience",
            Self::Time => "the token does not say in numbers when it is good",
            Self::Tenant => "the token's tenant claim is no name of a tenant",
            Self::Role => "the token's role claim is no role",
        })
    }
}

impl std::error::Error for TokenError {}
