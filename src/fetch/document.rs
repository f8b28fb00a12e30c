//! A document that is on its way.

use super::{Corrupt, Error, Gunzip, Unsupported, retry_after};
use crate::{
    policy::Location,
    scan::{Charset, ContentType},
};
use bytes::Bytes;
use reqwest::{
    Response,
    header::{
        CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER, TRANSFER_ENCODING,
    },
};
use std::time::{Duration, SystemTime};

/// Types of content, `*` standing for anything within its half.
#[derive(Debug, Clone)]
pub struct ContentTypes(pub Vec<String>);

/// A document that is on its way.
pub struct Document {
    /// What the source answered: 200 or 203.
    pub status: u16,
    /// The charset that the source declares.
    pub charset: Charset,
    /// What unpacks it, where it is packed.
    pub gunzip: Option<Gunzip>,
    response: Response,
}

impl Document {
    pub(super) fn begin(response: Response, types: &ContentTypes) -> Result<Self, Error> {
        let status = response.status().as_u16();
        if !matches!(status, 200 | 203) {
            let locations = response.headers().get_all(LOCATION).iter().map(HeaderValue::as_bytes);
            return Err(match (status, Location::read(locations)) {
                (301..=303 | 307 | 308, Some(location)) => Error::Redirect(location),
                _ => Error::Status(status, retry_after(&response)),
            });
        }
        // Packed on the way, which was not asked for, and nobody has unpacked it.
        let mut codings = response.headers().get_all(TRANSFER_ENCODING).iter();
        if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
            return Err(Error::Protocol("a transfer encoding that was not asked for".to_owned()));
        }
        let unsupported = |what| Error::Unsupported(what);
        let mut charset = Charset::UTF_8;
        let content_type = response.headers().get(CONTENT_TYPE);
        if let Some(value) = content_type.filter(|value| !value.is_empty()) {
            let parsed = ContentType::parse(value.as_bytes());
            let parsed = parsed.filter(|parsed| types.contain(parsed));
            let parsed = parsed.ok_or(unsupported(Unsupported::ContentType))?;
            charset = parsed.charset().map_err(|_| unsupported(Unsupported::Charset))?;
        }
        let encodings = response.headers().get_all(CONTENT_ENCODING).iter();
        let is = |name: &[u8], one_of: &[&str]| {
            one_of.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        };
        let encodings = encodings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let encodings = encodings.map(<[u8]>::trim_ascii);
        // S3 keeps `aws-chunked`, which was the framing of the upload, as the object's encoding.
        let mut packings = encodings.filter(|name| !is(name, &["", "identity", "aws-chunked"]));
        let gunzip = match (packings.next(), packings.next()) {
            (None, _) => None,
            (Some(name), None) if is(name, &["gzip", "x-gzip"]) => Some(Gunzip::default()),
            _ => return Err(unsupported(Unsupported::ContentEncoding)),
        };
        Ok(Self { status, charset, gunzip, response })
    }

    /// The next bytes as they come from the network; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.response.chunk().await.map_err(|error| Error::after_the_head(&error))
    }
}

impl Document {
    /// All of it, which must not be larger than that, packed or not.
    pub async fn whole(&mut self, most: u64) -> Result<Vec<u8>, Error> {
        let corrupt = |Corrupt| Error::Corrupt("corrupt gzip".to_owned());
        let (mut text, mut arrived) = (Vec::new(), 0);
        while let Some(chunk) = self.chunk().await? {
            let mut packed = &chunk[..];
            // Padding behind gzip adds nothing to the text.
            arrived += chunk.len();
            check_length(arrived, most)?;
            match &mut self.gunzip {
                None => text.extend_from_slice(packed),
                Some(gunzip) => {
                    while let Some(bytes) = gunzip.unpack(&mut packed).map_err(corrupt)? {
                        text.extend_from_slice(bytes);
                        check_length(text.len(), most)?;
                    }
                }
            }
        }
        if let Some(gunzip) = &self.gunzip {
            gunzip.finish().map_err(corrupt)?;
        }
        Ok(text)
    }
}

fn check_length(bytes: usize, most: u64) -> Result<(), Error> {
    let fits = bytes as u64 <= most;
    fits.then_some(()).ok_or_else(|| Error::Protocol(format!("more than {most} bytes")))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    retry_after::parse(value, SystemTime::now())
}

impl ContentTypes {
    /// Whether the essence of a `Content-Type` is among them.
    fn contain(&self, content_type: &ContentType) -> bool {
        let (kind, subtype) = content_type.essence();
        self.0.iter().any(|pattern| {
            let pattern = pattern.to_ascii_lowercase();
            pattern
                .split_once('/')
                .is_some_and(|(kinds, subtypes)| fits(kinds, kind) && fits(subtypes, subtype))
        })
    }
}

/// Whether a text fits a pattern in which the first `*` is anything but nothing.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            text.len() > before.len() + after.len()
                && text.starts_with(before)
                && text.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_types_are_among_them() {
        let types = ["text/*", "application/json", "application/*+json", "*/xml"];
        let types = ContentTypes(types.map(str::to_owned).to_vec());
        let check = |value: &str, expected: bool| {
            let parsed = ContentType::parse(value.as_bytes()).unwrap();
            assert_eq!(types.contain(&parsed), expected, "{value}");
        };
        check("text/plain", true);
        check("TEXT/Markdown; charset=utf-8", true);
        check("application/json", true);
        check("application/json5", false);
        check("application/ld+json", true);
        check("application/+json", false);
        check("application/pdf", false);
        check("image/xml", true);
    }
}
