//! `[audit]`: the record of who read what.

use super::{
    kind::{choice, number, path, size},
    reader::Section,
};
use std::path::PathBuf;

/// The record of who read what.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    /// Where the records go.
    pub dir: Option<PathBuf>,
    /// The key of the chain.
    pub key_file: Option<PathBuf>,
    /// When a record counts as written.
    pub durability: Durability,
    /// When no record can be written.
    pub on_failure: OnFailure,
    /// The bytes of one file.
    pub max_file_bytes: u64,
    /// How long files are kept.
    pub keep_days: u64,
    /// How many files are kept.
    pub keep_files: u64,
}

/// When a record counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// With the operating system.
    Flush,
    /// On the disk.
    Fsync,
}

/// When no record can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Refuse the request.
    Deny,
    /// Go on without.
    Continue,
}

impl Audit {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let durability = &[("flush", Durability::Flush), ("fsync", Durability::Fsync)];
        let on_failure = &[("deny", OnFailure::Deny), ("continue", OnFailure::Continue)];
        Self {
            dir: section.take("dir", path().optional()),
            key_file: section.take("key_file", path().optional()),
            durability: section.take("durability", choice(durability)),
            on_failure: section.take("on_failure", choice(on_failure)),
            max_file_bytes: section.take("max_file_bytes", size("64KiB"..="1TiB")),
            keep_days: section.take("keep_days", number(1..=36_500)),
            keep_files: section.take("keep_files", number(1..=1_000_000)),
        }
    }
}
