//! From the bytes of a document to the UTF-8 text that is scanned.

use encoding_rs::{CoderResult, Decoder, Encoding, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE};
use std::{fmt, ops::ControlFlow};
use zeroize::Zeroizing;

/// The declared encoding of a document; a byte-order mark overrules it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

/// The label names no encoding that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownCharset;

impl Charset {
    /// UTF-8, the encoding of a document that declares none.
    pub const UTF_8: Self = Self(UTF_8);

    /// The encoding of a label of the Encoding Standard, such as `iso-8859-1`.
    pub fn for_label(label: &str) -> Result<Self, UnknownCharset> {
        Encoding::for_label_no_replacement(label.as_bytes()).map(Self).ok_or(UnknownCharset)
    }
}

impl fmt::Display for UnknownCharset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the charset is not one of the Encoding Standard")
    }
}

impl std::error::Error for UnknownCharset {}

/// Turns the pieces of a document into pieces of UTF-8 text.
///
/// What is UTF-8 already passes through without a copy, invalid bytes included.
pub(super) struct Transcoder {
    state: State,
}

enum State {
    /// The bytes so far could be the beginning of a byte-order mark.
    Start {
        declared: &'static Encoding,
        held: Vec<u8>,
    },
    Utf8,
    Other(Box<Other>),
}

struct Other {
    decoder: Decoder,
    buffer: Zeroizing<[u8; 8 * 1024]>,
}

const BYTE_ORDER_MARKS: [(&[u8], &Encoding); 3] =
    [(b"\xef\xbb\xbf", UTF_8), (b"\xff\xfe", UTF_16LE), (b"\xfe\xff", UTF_16BE)];

impl Transcoder {
    pub(super) fn new(charset: Charset) -> Self {
        Self { state: State::Start { declared: charset.0, held: Vec::new() } }
    }

    /// Hands the text of the next piece of the document to `text`, in one or
    /// several pieces.
    pub(super) fn push(
        &mut self,
        mut piece: &[u8],
        text: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        while let State::Start { declared, held } = &mut self.state {
            let Some((&byte, rest)) = piece.split_first() else {
                return ControlFlow::Continue(());
            };
            let begins =
                |bytes: &[u8]| BYTE_ORDER_MARKS.iter().find(|(mark, _)| mark.starts_with(bytes));
            held.push(byte);
            match begins(held) {
                Some((mark, encoding)) if mark.len() == held.len() => {
                    self.state = State::of(encoding);
                    piece = rest;
                }
                Some(_) => piece = rest,
                None => {
                    held.pop();
                    let (declared, held) = (*declared, std::mem::take(held));
                    self.state = State::of(declared);
                    self.decode(&held, false, text)?;
                }
            }
        }
        self.decode(piece, false, text)
    }

    /// Hands over what was held back because more could have come. With `ended`
    /// the document ends here; else the scan stops within it, and half a character
    /// is none.
    pub(super) fn finish(
        &mut self,
        ended: bool,
        text: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if let State::Start { declared, held } = &mut self.state {
            let (declared, held) = (*declared, std::mem::take(held));
            self.state = State::of(declared);
            self.decode(&held, ended, text)
        } else {
            self.decode(b"", ended, text)
        }
    }

    fn decode(
        &mut self,
        mut piece: &[u8],
        last: bool,
        text: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let State::Other(other) = &mut self.state else {
            return if piece.is_empty() { ControlFlow::Continue(()) } else { text(piece) };
        };
        loop {
            let (result, read, written, _) =
                other.decoder.decode_to_utf8(piece, other.buffer.as_mut(), last);
            if written > 0 {
                let flow = text(&other.buffer[..written]);
                other.buffer[..written].fill(0);
                flow?;
            }
            piece = &piece[read..];
            if result == CoderResult::InputEmpty {
                return ControlFlow::Continue(());
            }
        }
    }
}

impl State {
    fn of(encoding: &'static Encoding) -> Self {
        debug_assert!(encoding != REPLACEMENT);
        if encoding == UTF_8 {
            return Self::Utf8;
        }
        Self::Other(Box::new(Other {
            decoder: encoding.new_decoder_without_bom_handling(),
            buffer: Zeroizing::new([0; 8 * 1024]),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcode(label: &str, pieces: &[&[u8]], ended: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut text = |piece: &[u8]| {
            out.extend_from_slice(piece);
            ControlFlow::Continue(())
        };
        let mut transcoder = Transcoder::new(Charset::for_label(label).unwrap());
        for piece in pieces {
            assert!(transcoder.push(piece, &mut text).is_continue());
        }
        assert!(transcoder.finish(ended, &mut text).is_continue());
        out
    }

    #[test]
    fn a_document_is_read_in_its_charset_however_it_is_cut() {
        let check = |label: &str, document: &[u8], expected: &[u8]| {
            for first in 0..=document.len() {
                for second in first..=document.len() {
                    let pieces =
                        [&document[..first], &document[first..second], &document[second..]];
                    let text = transcode(label, &pieces, true);
                    assert_eq!(text, expected, "{label} {document:?} {first} {second}");
                }
            }
        };
        check("utf-8", b"", b"");
        check("utf-8", b"abc", b"abc");
        check("utf-8", b"\xef\xbb\xbfabc", b"abc");
        check("utf-8", b"\xef\xbb\xbf\xef\xbb\xbf", b"\xef\xbb\xbf");
        check("utf-8", b"\xef\xbbabc", b"\xef\xbbabc");
        check("utf-8", b"\xef", b"\xef");
        check("utf-8", b"a\xff\xfe", b"a\xff\xfe");
        check("utf-8", b"\xff\xfea\0\xe9\0", "aé".as_bytes());
        check("utf-8", b"\xfe\xff\0a\0\xe9", "aé".as_bytes());
        check("utf-8", b"\xff\xffab", b"\xff\xffab");
        check("iso-8859-1", b"\xe9\xef\xbb", "éï»".as_bytes());
        check("iso-8859-1", b"\xef\xbb\xbf\xc3\xa9", "é".as_bytes());
        check("iso-8859-1", b"\xef\xbb", "ï»".as_bytes());
        check("windows-1252", b"\x80", "€".as_bytes());
        check("utf-16le", b"\xff\xfeab", "\u{6261}".as_bytes());
        check("utf-16be", b"\xff\xfea\0", b"a");
        check("utf-16", b"a\0b", "a\u{fffd}".as_bytes());
        check("shift_jis", b"\x93\xfa\x96\x7b", "日本".as_bytes());
        check("gb18030", b"\x84\x31\x95\x33x", "\u{feff}x".as_bytes());
    }

    #[test]
    fn half_a_character_at_a_stop_is_none() {
        assert_eq!(transcode("utf-16le", &[b"a\0b"], false), b"a");
        assert_eq!(transcode("utf-8", &[b"\xef\xbb"], false), b"\xef\xbb");
        assert_eq!(transcode("utf-16le", &[b"\xef\xbb"], false), "믯".as_bytes());
    }

    #[test]
    fn a_long_document_passes_through_a_small_buffer() {
        let document: Vec<u8> = b"\xe9".repeat(100_000);
        let text = transcode("latin1", &[&document], true);
        assert_eq!(text, "é".repeat(100_000).as_bytes());
    }

    #[test]
    fn which_labels_are_known() {
        let check = |label: &str, known: bool| {
            assert_eq!(Charset::for_label(label).is_ok(), known, "{label}");
        };
        check("UTF-8", true);
        check(" latin1 ", true);
        check("klingon", false);
        check("", false);
        check("replacement", false);
        check("iso-2022-kr", false);
        assert_eq!(Charset::for_label("utf8"), Ok(Charset::UTF_8));
        assert!(UnknownCharset.to_string().contains("Encoding Standard"));
    }
}
