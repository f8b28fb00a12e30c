//! The algorithms that a token may be signed with.
//!
//! All of them are asymmetric: who can check a token here can make none. Neither `none` nor
//! any of the symmetric ones may ever be among them.

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, VerificationAlgorithm,
};
use std::fmt;

/// An algorithm, by its name in RFC 7518 or RFC 8037.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, padded as in PKCS #1 v1.5, with SHA-256.
    Rs256,
    /// The same with SHA-384.
    Rs384,
    /// The same with SHA-512.
    Rs512,
    /// RSA, padded as in PSS, with SHA-256.
    Ps256,
    /// The same with SHA-384.
    Ps384,
    /// The same with SHA-512.
    Ps512,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// ECDSA over P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// How a signature is checked.
pub(super) enum Scheme {
    /// With a modulus and an exponent.
    Rsa(&'static RsaParameters),
    /// With a point of a curve.
    Curve(&'static dyn VerificationAlgorithm),
}

impl Algorithm {
    /// Every one there is.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The one of this name, in exactly this spelling.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) fn scheme(self) -> Scheme {
        match self {
            Self::Rs256 => Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Scheme::Rsa(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Scheme::Rsa(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Scheme::Rsa(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Scheme::Curve(&ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Scheme::Curve(&ECDSA_P384_SHA384_FIXED),
            Self::EdDsa => Scheme::Curve(&ED25519),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_has_one_name_in_one_spelling() {
        let check = |name, expected| assert_eq!(Algorithm::parse(name), expected, "{name}");
        for algorithm in Algorithm::ALL {
            check(algorithm.as_str(), Some(algorithm));
        }
        check("ES256", Some(Algorithm::Es256));
        check("EdDSA", Some(Algorithm::EdDsa));
        for other in ["", "es256", "ES256 ", "EDDSA", "Ed25519", "ES256K", "ES512"] {
            check(other, None);
        }
        assert_eq!(Algorithm::Ps512.to_string(), "PS512");
    }

    #[test]
    fn who_can_check_a_token_can_make_none() {
        for symmetric in ["none", "None", "NONE", "HS256", "HS384", "HS512", "A256GCMKW", "dir"] {
            assert_eq!(Algorithm::parse(symmetric), None, "{symmetric}");
        }
    }
}
