//! The document that `decode` reads on this machine.

use super::standard::Standard;
use crate::{
    answer::Escaped,
    failure::{Code, Failure},
};
use clap::Args;
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Where the document is; exactly one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct DocumentArgs {
    /// The URL of the document, fetched under the configured policy
    #[arg(long, value_name = "URL")]
    pub(super) source: Option<String>,

    /// The path of the document
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Read the document from standard input
    #[arg(value_name = "-", value_parser = only_a_hyphen)]
    stdin: Option<String>,
}

/// A document that is open for reading.
pub(super) struct Document {
    /// What a report calls it.
    pub(super) name: String,
    /// How long it is, where it is a regular file.
    pub(super) length: Option<u64>,
    /// Whether a person types it.
    pub(super) typed: bool,
    bytes: Box<dyn Read>,
}

impl DocumentArgs {
    /// Opens the one that is on this machine.
    pub(super) fn open(&self) -> Result<Document, Failure> {
        match &self.file {
            Some(path) => Document::file(path),
            None => Document::standard_input(),
        }
    }
}

impl Document {
    fn standard_input() -> Result<Self, Failure> {
        let name = "standard input".to_owned();
        let input = Standard::input().map_err(|error| unreadable(&name, &error))?;
        Ok(Self { name, length: None, typed: input.is_terminal(), bytes: Box::new(input) })
    }

    fn file(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = opened.map_err(|error| unreadable(&name, &error))?;
        if metadata.is_dir() {
            return Err(unreadable(&name, &io::ErrorKind::IsADirectory.into()));
        }
        // Files that the system makes up as they are read say 0.
        let length = Some(metadata.len()).filter(|length| metadata.is_file() && *length > 0);
        Ok(Self { name, length, typed: false, bytes: Box::new(file) })
    }

    /// Reads the next bytes; 0 at the end of the document.
    pub(super) fn read(&mut self, chunk: &mut [u8]) -> Result<usize, Failure> {
        loop {
            match self.bytes.read(chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(|error| unreadable(&self.name, &error)),
            }
        }
    }
}

fn only_a_hyphen(text: &str) -> Result<String, String> {
    if text == "-" {
        return Ok(text.to_owned());
    }
    let (document, option) =
        if text.contains("://") { ("URL", "--source") } else { ("file", "--file") };
    let quoted = shell_quoted(text);
    Err(format!("only - for standard input is allowed; for a {document}, write {option}={quoted}"))
}

/// A text as a word of a shell, without characters that are not safe to show.
fn shell_quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./,:+@%=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    if Escaped(text).to_string() == text {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    let mut quoted = "$'".to_owned();
    for character in text.chars() {
        match character {
            '\'' | '\\' => quoted.extend(['\\', character]),
            _ if Escaped(character.encode_utf8(&mut [0; 4])).to_string().starts_with('\\') => {
                let mut bytes = [0; 4];
                for byte in character.encode_utf8(&mut bytes).bytes() {
                    quoted.push_str(&format!("\\{byte:03o}"));
                }
            }
            _ => quoted.push(character),
        }
    }
    quoted + "'"
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::NotFound => Code::SourceNotFound,
        io::ErrorKind::PermissionDenied => Code::SourceRejected,
        _ => Code::SourceFailed,
    };
    Failure::new(code, format!("cannot read {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_says_so_has_a_length() {
        let length = |path: &str| Document::file(Path::new(path)).unwrap().length;
        assert_eq!(length("LICENSE"), Some(include_bytes!("../../LICENSE").len() as u64));
        assert_eq!(length("/proc/self/status"), None);
        assert_eq!(length("/dev/null"), None);
    }

    #[test]
    fn what_keeps_a_document_from_being_read_has_a_code() {
        let check = |kind: io::ErrorKind, code: &str| {
            let failure = unreadable("scroll.txt", &kind.into());
            assert_eq!(failure.code.as_str(), code);
            assert!(failure.detail.starts_with("cannot read scroll.txt: "), "{failure:?}");
        };
        check(io::ErrorKind::NotFound, "source_not_found");
        check(io::ErrorKind::PermissionDenied, "source_rejected");
        check(io::ErrorKind::IsADirectory, "source_failed");
        check(io::ErrorKind::UnexpectedEof, "source_failed");
    }
}
