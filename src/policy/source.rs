//! The text of a URL: held to one meaning, and shown without what may be secret.
//!
//! The WHATWG parser forgives much: it strips, trims and repairs. What it would have
//! to forgive is refused before, so that nobody else reads the same text differently.

use super::denied::{Denied, DeniedKind};
use url::{Host, ParseError, Position, Url};

/// A URL of http or https that has one meaning.
#[derive(Debug)]
pub(super) struct Source {
    /// As it is requested: no userinfo, no fragment, no dot behind the host.
    pub(super) url: Url,
    pub(super) host: Host<String>,
    /// Its own or that of the scheme.
    pub(super) port: u16,
}

impl Source {
    pub(super) fn parse(text: &str) -> Result<Self, Denied> {
        check_text(text)?;
        check_authority(text)?;
        let mut url = Url::parse(text).map_err(|error| match error {
            ParseError::EmptyHost => NO_HOST.denied(),
            ParseError::InvalidPort => BAD_PORT.denied(),
            ParseError::IdnaError
            | ParseError::InvalidDomainCharacter
            | ParseError::InvalidIpv4Address
            | ParseError::InvalidIpv6Address => BAD_HOST.denied(),
            _ => NO_URL.denied(),
        })?;
        url.set_fragment(None);
        let written = url.host().ok_or_else(|| NO_HOST.denied())?.to_owned();
        let host = undotted(written).ok_or_else(|| BAD_HOST.denied())?;
        if let Host::Domain(name) = &host
            && Some(name.as_str()) != url.host_str()
        {
            url.set_host(Some(name)).map_err(|_| BAD_HOST.denied())?;
        }
        // What is judged is what is requested: the host is taken from the URL again.
        let requested = url.host().map(|host| host.to_owned());
        let port = url.port_or_known_default().filter(|port| *port != 0);
        match (requested, port) {
            (Some(requested), Some(port)) if requested == host => Ok(Self { url, host, port }),
            (_, None) => Err(BAD_PORT.denied()),
            _ => Err(BAD_HOST.denied()),
        }
    }
}

/// What is wrong with a text, in words for the caller.
struct Fault(&'static str);

const WHITE: Fault =
    Fault("a URL must not contain white space or control characters: percent-encode them");
const BACKSLASH: Fault =
    Fault("a URL must not contain backslashes: write slashes, or percent-encode them");
const NO_URL: Fault = Fault("this is not an absolute URL: begin with https:// and a host");
const NO_HOST: Fault = Fault("the URL has no host: write https://, a host and a path");
const BAD_HOST: Fault = Fault("the host of the URL is neither a valid DNS name nor an address");
const BAD_PORT: Fault = Fault("the port of a URL must be a number from 1 to 65535");

impl Fault {
    fn denied(&self) -> Denied {
        Denied::malformed(self.0)
    }
}

/// What the parser would strip, trim or turn around.
pub(super) fn check_text(text: &str) -> Result<(), Denied> {
    let white = |c: char| match c.is_ascii() {
        true => c <= ' ' || c == '\u{7f}',
        false => c.is_whitespace() || c.is_control(),
    };
    let faults = [(text.contains(white), WHITE), (text.contains('\\'), BACKSLASH)];
    let broken = faults.into_iter().find(|(broken, _)| *broken);
    broken.map_or(Ok(()), |(_, fault)| Err(fault.denied()))
}

/// What the parser would repair or drop: slashes that are missing or too many, and
/// userinfo that is empty.
fn check_authority(text: &str) -> Result<(), Denied> {
    let is_scheme = |scheme: &&str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let (scheme, rest) = text.split_once(':').ok_or_else(|| NO_URL.denied())?;
    let scheme = Some(scheme).filter(is_scheme).ok_or_else(|| NO_URL.denied())?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        let detail = "only https URLs are fetched: begin with https://";
        let reason = "the scheme is neither https nor http";
        return Err(Denied::new(DeniedKind::Scheme, detail, reason));
    }
    let rest = rest.strip_prefix("//").ok_or_else(|| NO_URL.denied())?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority {
        "" => Err(NO_HOST.denied()),
        _ if authority.contains('@') => {
            let detail =
                "a URL must not contain a user or a password: leave out everything up to the @";
            Err(Denied::new(DeniedKind::Userinfo, detail, detail))
        }
        _ => Ok(()),
    }
}

/// The host of a URL or of a rule as it is compared. `None`: no DNS name.
pub(super) fn undotted(host: Host<String>) -> Option<Host<String>> {
    match host {
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(&name);
            is_dns_name(name).then(|| Host::Domain(name.to_owned()))
        }
        address => Some(address),
    }
}

fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        (1..=63).contains(&label.len())
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// A source as it may be shown and logged: without its query.
pub(super) fn without_secrets(url: &Url) -> String {
    url[..Position::AfterPath].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The URL that is requested, or the kind of the denial.
    fn check(text: &str, expected: Result<&str, DeniedKind>) {
        let source = Source::parse(text);
        let found = source.as_ref().map(|source| source.url.as_str()).map_err(|denied| denied.kind);
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_url_has_one_meaning() {
        check("https://a.example", Ok("https://a.example/"));
        check("HTTPS://A.Example/B", Ok("https://a.example/B"));
        check("http://a.example:8080/x?q=1", Ok("http://a.example:8080/x?q=1"));
        check("https://a.example:443/", Ok("https://a.example/"));
        check("https://a.example:/", Ok("https://a.example/"));
        check("https://a.example/#secret", Ok("https://a.example/"));
        check("https://a.example#@x", Ok("https://a.example/"));
        check("https://a.example/@x:y", Ok("https://a.example/@x:y"));
        check("https://a.example?@x", Ok("https://a.example/?@x"));
        check("https://a.example./x", Ok("https://a.example/x"));
        check("https://a.example.:8443/x", Ok("https://a.example:8443/x"));
        check("https://bücher.example/ü", Ok("https://xn--bcher-kva.example/%C3%BC"));
        check("https://a。example/", Ok("https://a.example/"));
        check("https://_x.a-b.example/", Ok("https://_x.a-b.example/"));
        check("https://localhost/", Ok("https://localhost/"));
        check("https://%61.example/", Ok("https://a.example/"));
        check("https://[::1]:8443/", Ok("https://[::1]:8443/"));
        check("https://0x7f.1/", Ok("https://127.0.0.1/"));
        check("https://127.0.0.1./", Ok("https://127.0.0.1/"));
        check("https://a.example/a/../b/%2e%2e/c", Ok("https://a.example/c"));
    }

    #[test]
    fn what_needs_forgiving_is_malformed() {
        let check = |text: &str| check(text, Err(DeniedKind::MalformedUrl));
        check("");
        check("a.example");
        check("/x");
        check("//a.example/x");
        check("https");
        check("https:");
        check("https://");
        check("https:///a.example");
        check("https:////a.example");
        check("https:/a.example");
        check("https:a.example");
        check("https//a.example");
        check("://a.example");
        check("1https://a.example");
        check("https%3A//a.example");
        check(" https://a.example");
        check("https://a.example ");
        check("https://a.example/\n");
        check("\u{1}https://a.example");
        check("https://a.ex\tample/");
        check("ht\ntps://a.example/");
        check("https://a.example/a b");
        check("https://a.example/\u{a0}");
        check("https://a.example/\u{3000}");
        check("https://a.example/\u{7f}");
        check("https://a.example/\u{85}");
        check("https://a.example/?q=\0");
        check("https:\\\\a.example");
        check("https://a.example\\x");
        check("https://a.example/\\x");
        check("https://a.example:0/");
        check("https://a.example:65536/");
        check("https://a.example:x/");
        check("https://?x");
        check("https://#x");
        check("https://:443/");
        check("https://./");
        check("https://../");
        check("https://a..example/");
        check("https://a.example../");
        check("https://.a.example/");
        check("https://-a.example/");
        check("https://a-.example/");
        check("https://a!b.example/");
        check("https://a*.example/");
        check("https://*/");
        check("https://a%20b.example/");
        check("https://a%00.example/");
        check("https://a%40b.example/");
        check("https://xn--a.example/");
        check("https://256.1.1.1/");
        check("https://1.2.3.4.5/");
        check("https://1.2.3.4../");
        check("https://[::1/");
        check("https://[::1%25lo]/");
        check("https://[v1.a]/");
        check("https://a b@c.example/");
    }

    #[test]
    fn names_are_as_long_as_dns_allows() {
        let label = "a".repeat(63);
        let name = [label.as_str(), &label, &label, &"b".repeat(61)].join(".");
        assert_eq!(name.len(), 253);
        check(&format!("https://{name}/"), Ok(&format!("https://{name}/")));
        check(&format!("https://{name}./"), Ok(&format!("https://{name}/")));
        check(&format!("https://{name}b/"), Err(DeniedKind::MalformedUrl));
        check(&format!("https://{label}a.example/"), Err(DeniedKind::MalformedUrl));
    }

    /// Labels of the Web Platform Tests (`url/resources/toascii.json`) first. What the URL
    /// standard accepts beyond the `url` crate (servo/rust-url#1135) cannot be requested.
    #[test]
    fn an_xn_label_is_accepted_where_the_url_crate_accepts_it() {
        let accepted =
            |host: &str| check(&format!("https://{host}/"), Ok(&format!("https://{host}/")));
        accepted("xn--a---kp0a");
        accepted("xn----xhn");
        accepted("xn--zca.xn--zca");
        accepted("ab--c.xn--zca");
        accepted("xn--10cl1a0b660p");
        accepted("xn--mgba3gch31f060k");
        accepted("xn--1ch.xn--gdh.xn--hdh");
        accepted("_x.aa--b.xn--zca");
        let refused =
            |host: &str| check(&format!("https://{host}/"), Err(DeniedKind::MalformedUrl));
        refused("xn--");
        refused("xn--a");
        refused("xn--a.xn--zca");
        refused("xn--a-yoc");
        refused("xn--1ug.example");
        refused("xn--mhb.1");
        refused("xn--zn7c.com");
        refused("xn--x01234567890123456789012345678901234567890123456789012345678901-6963b");
        let bytes = b"ahz09-_";
        for label in 0..bytes.len().pow(4) {
            let byte = |place| char::from(bytes[label / bytes.len().pow(place) % bytes.len()]);
            let url = format!("https://a.XN--{}.example./", (0..4).map(byte).collect::<String>());
            assert_eq!(Source::parse(&url).is_ok(), Url::parse(&url).is_ok(), "{url}");
        }
    }

    #[test]
    fn other_schemes_and_userinfo_are_told_apart() {
        check("ftp://a.example/", Err(DeniedKind::Scheme));
        check("file:///etc/passwd", Err(DeniedKind::Scheme));
        check("data:text/plain,x", Err(DeniedKind::Scheme));
        check("javascript:alert(1)", Err(DeniedKind::Scheme));
        check("localhost:8080", Err(DeniedKind::Scheme));
        check("httpss://a.example/", Err(DeniedKind::Scheme));
        check("gopher://me@a.example/", Err(DeniedKind::Scheme));
        check("https://me@a.example/", Err(DeniedKind::Userinfo));
        check("https://me:pw@a.example/", Err(DeniedKind::Userinfo));
        check("https://:pw@a.example/", Err(DeniedKind::Userinfo));
        check("https://@a.example/", Err(DeniedKind::Userinfo));
        check("https://:@a.example/", Err(DeniedKind::Userinfo));
        check("https://a.example@b.example/", Err(DeniedKind::Userinfo));
        check("https://a@b@c.example/", Err(DeniedKind::Userinfo));
    }

    #[test]
    fn a_fault_repeats_nothing_of_the_text() {
        for text in ["https://s3cret:s3cret@x/", "https://s3cret s3cret", "s3cret://x", "s3cret"] {
            let denied = Source::parse(text).unwrap_err();
            assert!(!format!("{denied:?}").contains("s3cret"), "{denied:?}");
        }
    }
}
