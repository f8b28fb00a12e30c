//! The value of a `Content-Type` header.

use super::charset::{Charset, UnknownCharset};
use data_url::mime::Mime;

/// A MIME type, parsed by the WHATWG MIME Sniffing Standard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType(Mime);

impl ContentType {
    /// Parses the value of a header, whatever its bytes are. `None`: it is no MIME type.
    pub fn parse(value: &[u8]) -> Option<Self> {
        // A header value is bytes; the standard reads each as the code point of its number.
        encoding_rs::mem::decode_latin1(value).parse().ok().map(Self)
    }

    /// The type and the subtype, in lower case.
    pub fn essence(&self) -> (&str, &str) {
        (&self.0.type_, &self.0.subtype)
    }

    /// The encoding that the first `charset` parameter names; UTF-8 without one, or where it is
    /// empty.
    pub fn charset(&self) -> Result<Charset, UnknownCharset> {
        let label = self.0.get_parameter("charset").filter(|label| !label.is_empty());
        label.map_or(Ok(Charset::UTF_8), Charset::for_label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charset_is_that_of_the_first_parameter_which_is_not_empty() {
        let check = |value: &str, expected: Result<&str, UnknownCharset>| {
            let expected = expected.map(|label| Charset::for_label(label).unwrap());
            let charset = ContentType::parse(value.as_bytes()).unwrap().charset();
            assert_eq!(charset, expected, "{value}");
        };
        check("text/plain", Ok("utf-8"));
        check("text/plain; charset=latin1", Ok("latin1"));
        check("text/plain; a=b;CharSet=\"utf-16le\" ; x", Ok("utf-16le"));
        check("text/plain; name=\"a;charset=utf-16le\"; charset=latin1", Ok("latin1"));
        check("text/plain; charset=latin1; charset=utf-16le", Ok("latin1"));
        check("text/plain; CHARSET=latin1; charset=utf-16le", Ok("latin1"));
        check("text/plain; charset", Ok("utf-8"));
        check("text/plain; charset=", Ok("utf-8"));
        check("text/plain; charset=; charset=latin1", Ok("latin1"));
        check("text/plain; charset=\"\"", Ok("utf-8"));
        check("text/plain; charset=klingon", Err(UnknownCharset));
        check("text/plain; charset='utf-8'", Err(UnknownCharset));
    }

    /// What web-platform-tests generate: each character that is no token, in each place.
    #[test]
    fn characters_that_are_no_token_are_opaque_or_a_fault() {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let gbk = Charset::for_label("gbk");
        for byte in (0..=0xff).filter(|byte| !is_token(*byte)) {
            let parse = |before: &str, after: &str| {
                ContentType::parse(&[before.as_bytes(), &[byte], after.as_bytes()].concat())
            };
            let charset = |before, after| parse(before, after).map(|parsed| parsed.charset());
            if byte != b'/' {
                assert_eq!((parse("", "/x"), parse("x/", "")), (None, None), "{byte}");
            }
            if !b";=".contains(&byte) {
                assert_eq!(charset("x/x;", "=x;charset=gbk"), Some(gbk), "{byte}");
            }
            if !b"\";\\".contains(&byte) {
                assert_eq!(charset("x/x;x=", ";charset=gbk"), Some(gbk), "{byte}");
                assert_eq!(charset("x/x;x=\"", "\";charset=gbk"), Some(gbk), "{byte}");
            }
        }
    }
}
