//! `[limits]`: the bounds of one decode, whoever asks.

use super::{
    kind::{number, size},
    reader::Section,
};

/// The bounds of one decode, whoever asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The bytes of a document.
    pub max_document_bytes: u64,
    /// The bytes of a JSON request.
    pub max_request_bytes: u64,
    /// The bytes of the secrets of one answer, as JSON.
    pub max_response_bytes: u64,
    /// The most secrets that a caller may ask for.
    pub max_secrets: u64,
    /// The longest value that a caller may ask for.
    pub max_secret_chars: u64,
}

impl Limits {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        Self {
            max_document_bytes: section.take("max_document_bytes", size("1B"..="1TiB")),
            max_request_bytes: section.take("max_request_bytes", size("1KiB"..="1GiB")),
            max_response_bytes: section.take("max_response_bytes", size("1KiB"..="1GiB")),
            max_secrets: section.take("max_secrets", number(1..=1_000_000_000)),
            max_secret_chars: section.take("max_secret_chars", number(1..=16_777_216)),
        }
    }
}
