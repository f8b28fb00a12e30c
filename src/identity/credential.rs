//! What a request shows to be let in.

use super::{ShownKey, key::PREFIX};

/// What a request shows.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// Nothing.
    None,
    /// Something that is no credential, or more than one.
    TokenError,
    /// An API key.
    Key(ShownKey<'a>),
    /// What may be a token.
    Token(&'a str),
}

impl<'a> Credential<'a> {
    /// Reads the values of the headers `Authorization` and `X-Api-Key`. Two are one too many:
    /// who is in front may have looked at the other.
    pub fn of(
        authorization: impl IntoIterator<Item = &'a [u8]>,
        api_key: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let (mut authorization, mut api_key) = (authorization.into_iter(), api_key.into_iter());
        let shown = (authorization.next(), api_key.next());
        if authorization.next().is_some() || api_key.next().is_some() {
            return Self::TokenError;
        }
        let text = |value: &'a [u8]| std::str::from_utf8(value).ok();
        let read = match shown {
            (None, None) => return Self::None,
            (Some(_), Some(_)) => None,
            (Some(value), None) => text(value).and_then(bearer).and_then(Self::of_bearer),
            (None, Some(value)) => text(value).and_then(ShownKey::parse).map(Self::Key),
        };
        read.unwrap_or(Self::TokenError)
    }

    fn of_bearer(text: &'a str) -> Option<Self> {
        // The parts of a token are base64url of JSON objects: none begins like this.
        match text.starts_with(PREFIX) {
            true => ShownKey::parse(text).map(Self::Key),
            false => Some(Self::Token(text)),
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, rest) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_credential_in_one_place() {
        let check = |authorization: &[&str], api_key: &[&str], expected: &str| {
            let bytes = |values: &[&'static str]| -> Vec<&'static [u8]> {
                values.iter().map(|value| value.as_bytes()).collect()
            };
            let own = |values: &[&str]| -> Vec<&'static str> {
                values.iter().map(|value| &*value.to_string().leak()).collect()
            };
            let found = match Credential::of(bytes(&own(authorization)), bytes(&own(api_key))) {
                Credential::None => "none".to_owned(),
                Credential::TokenError => "unfit".to_owned(),
                Credential::Key(key) => format!("key {}", key.id),
                Credential::Token(token) => format!("token {token}"),
            };
            assert_eq!(found, expected, "{authorization:?} {api_key:?}");
        };
        let key = format!("bpd_k1_{}", "a".repeat(43));
        let bearer = format!("Bearer {key}");
        check(&[], &[], "none");
        check(&[&bearer], &[], "key k1");
        check(&[&format!("bearer   {key}")], &[], "key k1");
        check(&[], &[&key], "key k1");
        check(&["Bearer a.b.c"], &[], "token a.b.c");
        check(&["Bearer bpd_k1_short"], &[], "unfit");
        check(&[&bearer, &bearer], &[], "unfit");
        check(&[], &[&key, &key], "unfit");
        check(&[&bearer], &[&key], "unfit");
        check(&["Basic dTpw"], &[], "unfit");
        check(&[&key], &[], "unfit");
        check(&["Bearer"], &[], "unfit");
        check(&[], &["a.b.c"], "unfit");
        check(&[], &[""], "unfit");
        check(&["Bearer \u{fc}.b.c"], &[], "token \u{fc}.b.c");
    }
}
