//! What every command that reads the configuration knows.

use super::{Failure, Result};
use crate::config::{Config, Loaded, Said};
use clap::Args;
use std::{env, path::PathBuf};

#[derive(Debug, Clone, Args)]
pub(super) struct ConfigArgs {
    /// The configuration file [env: DECODER_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Loads the configuration with what else was said.
    pub(super) fn load(&self, said: &[Said]) -> Result<Loaded> {
        // An empty variable names no file.
        let variable = || env::var_os("DECODER_CONFIG").filter(|name| !name.is_empty());
        let file = self.config.clone().or_else(|| variable().map(PathBuf::from));
        Config::load(file.as_deref(), env::vars_os(), said).map_err(Failure::Configuration)
    }
}
