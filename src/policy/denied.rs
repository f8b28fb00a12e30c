//! Why something is not fetched.

use std::fmt;

/// A verdict against a URL, or against the addresses of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What about it is not allowed.
    pub kind: DeniedKind,
    /// For the caller: what to do. Says nothing of addresses, ranges and rules.
    pub detail: String,
    /// For the log: which range, row or rule decided. No query and no userinfo.
    pub reason: String,
}

/// What about a URL is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeniedKind {
    /// It cannot be taken for one, or only by being lenient.
    MalformedUrl,
    /// Its scheme.
    Scheme,
    /// It has a user or a password, if only an empty one.
    Userinfo,
    /// Its host.
    Host,
    /// Its port.
    Port,
    /// Its path.
    Path,
    /// The address that its host is, or one that its host leads to.
    Address,
    /// Where it redirects to, or how often.
    Redirect,
}

impl Denied {
    pub(super) fn new(
        kind: DeniedKind,
        detail: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self { kind, detail: detail.into(), reason: reason.into() }
    }

    /// The caller's fault, and nothing to hide.
    pub(super) fn malformed(detail: &str) -> Self {
        Self::new(DeniedKind::MalformedUrl, detail, detail)
    }

    pub(super) fn address(reason: String) -> Self {
        let detail = "the host resolves to an address that must not be fetched from: use a \
                      source with a public address, or ask the operator to permit this one";
        Self::new(DeniedKind::Address, detail, reason)
    }
}

impl DeniedKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::MalformedUrl,
        Self::Scheme,
        Self::Userinfo,
        Self::Host,
        Self::Port,
        Self::Path,
        Self::Address,
        Self::Redirect,
    ];

    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MalformedUrl => "malformed_url",
            Self::Scheme => "scheme",
            Self::Userinfo => "userinfo",
            Self::Host => "host",
            Self::Port => "port",
            Self::Path => "path",
            Self::Address => "address",
            Self::Redirect => "redirect",
        }
    }
}

impl fmt::Display for Denied {
    /// The detail: what may be shown to anyone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_of_the_metrics() {
        let names = DeniedKind::ALL.map(DeniedKind::as_str);
        let expected =
            ["malformed_url", "scheme", "userinfo", "host", "port", "path", "address", "redirect"];
        assert_eq!(names, expected);
    }

    #[test]
    fn what_is_displayed_is_the_detail() {
        let denied = Denied::address("10.0.0.1 is in 10.0.0.0/8".to_owned());
        assert_eq!(denied.to_string(), denied.detail);
        assert!(!denied.detail.contains("10."), "{denied}");
    }
}
