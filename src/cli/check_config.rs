//! `check-config`: the configuration as it would be used.

use super::{Result, config_args::ConfigArgs, print};
use crate::{answer::Escaped, config::Loaded};
use clap::Args;
use std::fmt::Write;

#[derive(Debug, Args)]
pub(super) struct CheckConfigArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(arguments: &CheckConfigArgs) -> Result<()> {
    print(effective(&arguments.config.load(&[])?).as_bytes())
}

/// The effective values as TOML, each that is not the default with its origin.
fn effective(loaded: &Loaded) -> String {
    let mut toml = String::new();
    let mut current = "";
    for setting in &loaded.settings {
        let (section, key) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
        if section != current {
            let gap = if current.is_empty() { "" } else { "\n" };
            let _ = writeln!(toml, "{gap}[{section}]");
            current = section;
        }
        let _ = match &setting.origin {
            Some(origin) => {
                writeln!(toml, "{key} = {} # {}", setting.value, Escaped(origin))
            }
            None => writeln!(toml, "{key} = {}", setting.value),
        };
    }
    toml
}
