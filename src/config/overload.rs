//! `[overload]`: how many decodes run and wait.

use super::{
    kind::{duration, flag, number},
    reader::Section,
};
use std::time::Duration;

/// How many decodes run and wait.
#[derive(Debug, Clone, PartialEq)]
pub struct Overload {
    /// Whether decodes wait for a place.
    pub enabled: bool,
    /// Documents handed over, at a time.
    pub inline: u64,
    /// Documents fetched, at a time.
    pub fetch: u64,
    /// How many may wait for each.
    pub queue: u64,
    /// How long they may wait.
    pub max_wait: Duration,
}

impl Overload {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        Self {
            enabled: section.take("enabled", flag()),
            inline: section.take("inline", number(1..=1_000_000)),
            fetch: section.take("fetch", number(1..=1_000_000)),
            queue: section.take("queue", number(0..=1_000_000)),
            max_wait: section.take("max_wait", duration("0s"..="1h")),
        }
    }
}
