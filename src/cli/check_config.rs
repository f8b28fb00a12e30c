//! `check-config`: the configuration as it would be used.

use super::Result;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct CheckConfigArgs {}

pub(super) fn run(_: &CheckConfigArgs) -> Result<()> {
    Ok(())
}
