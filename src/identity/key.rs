//! API keys: what a caller shows, and what is kept of it.
//!
//! A key is `bpd_<id>_<secret>`. The id says which key it is and is no secret. Of the secret
//! only its SHA-256 is kept: it is random to the last bit, so nothing slower is needed.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What each begins with, so that whoever finds one knows what it is.
pub(super) const PREFIX: &str = "bpd_";
/// The characters of a secret: 256 bits in base64url.
const SECRET: usize = 43;
const LONGEST_ID: usize = 16;

/// A key as it is shown, borrowed from where it stands.
#[derive(Clone, Copy)]
pub struct ShownKey<'a> {
    pub(super) id: &'a str,
    secret: &'a str,
}

impl<'a> ShownKey<'a> {
    /// Reads a key; `None` where it does not have the shape of one.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let fits = is_id(id) && secret.len() == SECRET && secret.bytes().all(is_base64url);
        fits.then_some(Self { id, secret })
    }

    /// What is kept of its secret.
    pub(super) fn hash(&self) -> SecretHash {
        SecretHash::of(self.secret)
    }
}

/// Whether a text can be the id of a key.
pub fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(fits)
}

/// The SHA-256 of a secret. Two are compared in the same time, whatever they are.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// No secret has it, as far as anyone knows.
    pub(super) const NOBODYS: Self = Self([0; 32]);

    fn of(secret: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
        Self(hash)
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (place, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(place * 2..place * 2 + 2)?, 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// It is no secret, but nothing that a log needs.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

/// A key that has just been made. It is shown once; what is kept is its id and its hash.
pub struct NewKey {
    /// Which key it is.
    pub id: String,
    /// The key as its owner shows it.
    pub text: Zeroizing<String>,
    /// What is kept of it.
    pub hash: SecretHash,
}

/// The system gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRandomness;

impl NewKey {
    /// Makes one with an id of its own: eight characters, which never meet by chance in one
    /// file.
    pub fn make() -> Result<Self, NoRandomness> {
        const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let id: [u8; 8] = random()?;
        let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
        let id: String = id.iter().map(letter).collect();
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(Zeroizing::new(random::<32>()?)));
        let hash = SecretHash::of(&secret);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 9 + SECRET));
        text.push_str(PREFIX);
        text.push_str(&id);
        text.push('_');
        text.push_str(&secret);
        Ok(Self { id, text, hash })
    }
}

fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET_TEXT: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN-_9";

    #[test]
    fn a_key_has_a_prefix_an_id_and_a_secret() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(ShownKey::parse(text).map(|key| key.id), expected, "{text}");
        };
        check(&format!("bpd_k1_{SECRET_TEXT}"), Some("k1"));
        check(&format!("bpd_abcdefghij012345_{SECRET_TEXT}"), Some("abcdefghij012345"));
        check(&format!("bpd_k1_{}", &SECRET_TEXT[..42]), None);
        check(&format!("bpd_k1_{SECRET_TEXT}a"), None);
        check(&format!("bpd_k1_{}=", &SECRET_TEXT[..42]), None);
        check(&format!("bpd_k1_{}+", &SECRET_TEXT[..42]), None);
        check(&format!("bpd_K1_{SECRET_TEXT}"), None);
        check(&format!("bpd__{SECRET_TEXT}"), None);
        check(&format!("bpd_abcdefghij0123456_{SECRET_TEXT}"), None);
        check(&format!("bpd_{SECRET_TEXT}"), None);
        check(&format!("BPD_k1_{SECRET_TEXT}"), None);
        check(&format!(" bpd_k1_{SECRET_TEXT}"), None);
        check("", None);
    }

    #[test]
    fn a_hash_is_64_hexadecimal_digits() {
        // From another program: printf hello | sha256sum
        let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let check = |text: &str, fits: bool| {
            assert_eq!(SecretHash::parse(text).is_some(), fits, "{text}");
        };
        check(hello, true);
        check(&hello.to_uppercase(), true);
        check(&hello[..63], false);
        check(&format!("{hello}0"), false);
        check(&format!("+{}", &hello[1..]), false);
        check(&hello.replace('2', "ä"), false);
        check("", false);
        assert!(SecretHash::of("hello") == SecretHash::parse(hello).unwrap());
        assert!(SecretHash::of("hellp") != SecretHash::parse(hello).unwrap());
        assert_eq!(SecretHash::of("hello").to_string(), hello);
        assert_eq!(format!("{:?}", SecretHash::of("hello")), "SecretHash");
    }

    #[test]
    fn a_new_key_is_one_that_is_read_again_and_no_two_are_alike() {
        let (one, other) = (NewKey::make().unwrap(), NewKey::make().unwrap());
        let shown = ShownKey::parse(&one.text).unwrap();
        assert_eq!(shown.id, one.id);
        assert!(shown.hash() == one.hash);
        assert!(one.hash != other.hash);
        assert!(one.id != other.id);
    }
}
