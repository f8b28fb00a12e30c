//! Finds the marked fragments of a document while it streams past.
//!
//! [`Scanner`] takes the bytes of one document in chunks of any size and hands
//! each [`Secret`] to a sink as soon as its end marker is complete. For one pair
//! `(S, E)` it finds exactly what the regular expression `S(.*?)E` captures.
//!
//! ```
//! use std::ops::ControlFlow;
//! use blueprint_decoder::scan::{Charset, Options, Scanner, Secret};
//!
//! let mut found = Vec::new();
//! let mut sink = |secret: Secret<'_>| {
//!     found.push((secret.offset, secret.line, secret.reveal().to_owned()));
//!     ControlFlow::Continue(())
//! };
//! let mut scanner = Scanner::new(&Options::default(), Charset::UTF_8);
//! for chunk in ["one {", "* DOOR: ea", "st *}\n"] {
//!     scanner.push(chunk.as_bytes(), &mut sink);
//! }
//! let summary = scanner.finish(&mut sink);
//!
//! assert_eq!(found, [(4, Some(1), "DOOR: east".to_owned())]);
//! assert_eq!((summary.returned, summary.unterminated), (1, 0));
//! ```
//!
//! This module does no I/O, knows no clock and nothing else of the crate. Its
//! memory depends on the number of pairs and on `max_secret_chars`, never on the
//! length of the document, of a line or of a fragment; its time is linear in the
//! bytes read, whatever they are.

mod capture;
mod charset;
mod content_type;
mod marker;
mod options;
mod pair;
mod scanner;
mod secret;

pub use charset::{Charset, UnknownCharset};
pub use content_type::ContentType;
pub use marker::{MAX_MARKER_BYTES, Marker, MarkerFault};
pub use options::{MAX_PAIRS, MarkerPair, Options, Pairs, PairsFault};
pub use scanner::{Scanner, StoppedBy, Summary};
pub use secret::{Secret, SecretText};
