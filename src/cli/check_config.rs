//! `check-config`: the configuration as it would be used, and the tenants file that it names.

use super::{Failure, Result, config_args::ConfigArgs, print};
use crate::{
    answer::Escaped,
    config::{Loaded, parse_tenants, read_tenants},
};
use clap::Args;
use std::fmt::Write;

#[derive(Debug, Args)]
pub(super) struct CheckConfigArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(arguments: &CheckConfigArgs) -> Result<()> {
    let loaded = arguments.config.load(&[])?;
    if let Some(path) = &loaded.config.auth.tenants_file {
        let name = path.display().to_string();
        let text = read_tenants(path)
            .map_err(|error| Failure::Configuration(vec![format!("{name}: {error}")]))?;
        parse_tenants(&name, &text).map_err(Failure::Configuration)?;
    }
    print(effective(&loaded).as_bytes())
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
