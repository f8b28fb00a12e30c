//! `check-config`: the configuration as it would be used.

use super::{Failure, Result, print};
use crate::{
    answer::Escaped,
    config::{Config, Loaded},
};
use clap::Args;
use std::{env, fmt::Write, path::PathBuf};

#[derive(Debug, Args)]
pub(super) struct CheckConfigArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// What every command that reads the configuration knows.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The configuration file [env: DECODER_CONFIG]
    #[arg(long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Loaded> {
        // An empty variable names no file.
        let variable = || env::var_os("DECODER_CONFIG").filter(|name| !name.is_empty());
        let file = self.file.clone().or_else(|| variable().map(PathBuf::from));
        Config::load(file.as_deref(), env::vars_os()).map_err(Failure::Configuration)
    }
}

pub(super) fn run(arguments: &CheckConfigArgs) -> Result<()> {
    print(effective(&arguments.config.load()?).as_bytes())
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
