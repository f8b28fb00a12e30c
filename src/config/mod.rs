//! The configuration: three layers, read once, every fault at once.
//!
//! Later layers win: the embedded `config/default.toml`, a file, the environment.
//! Each section is a small typed struct in its own file, whose `read` names every
//! key with the kind of value that it accepts. No module that is configured
//! knows this one: it is handed its values, in its own types where it has some.

mod audit;
mod auth;
mod contradictions;
mod egress;
mod kind;
mod layers;
mod limits;
mod overload;
mod rate_limit;
mod reader;
mod server;
mod telemetry;

pub use audit::{Audit, Durability, OnFailure as AuditOnFailure};
pub use auth::{Auth, Jwt, Mode};
pub use egress::{Circuit, Egress};
pub use limits::Limits;
pub use overload::Overload;
pub use rate_limit::{Backend, OnFailure as RateLimitOnFailure, RateLimit, Valkey};
pub use reader::{Fault, Setting};
pub use server::{Server, Shutdown, Tls};
pub use telemetry::{LogFormat, Telemetry};

use crate::policy::Network;
use kind::Kind;
use layers::Layer;
use reader::Reader;
use std::{ffi::OsString, path::Path};

/// The first layer.
const DEFAULT: &str = include_str!("../../config/default.toml");

/// What the program does, as far as its operator decides it.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the service listens and what it grants a connection.
    pub server: Server,
    /// The bounds of one decode.
    pub limits: Limits,
    /// How many decodes run and wait.
    pub overload: Overload,
    /// How often a caller may call.
    pub rate_limit: RateLimit,
    /// What may be fetched.
    pub egress: Egress,
    /// Who may call.
    pub auth: Auth,
    /// The record of who read what.
    pub audit: Audit,
    /// Logs and traces.
    pub telemetry: Telemetry,
}

/// A configuration without a fault.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The same, key by key in the order of the sections, with where each is from.
    pub settings: Vec<Setting>,
}

impl Config {
    /// Loads the layers: `file`, if any, and the variables of the environment that
    /// begin with `DECODER__`. The error says everything that is wrong, a line each.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, Vec<String>> {
        let mut unreadable = Vec::new();
        let layers = [Some(Layer::toml("default.toml", DEFAULT)), file.map(Layer::file)];
        let mut layers: Vec<Layer> = layers
            .into_iter()
            .flatten()
            .filter_map(|layer| layer.map_err(|faults| unreadable.extend(faults)).ok())
            .collect();
        layers.push(Layer::environment(variables));
        let (loaded, faults) = read(&layers);
        if unreadable.is_empty() && faults.is_empty() {
            return Ok(loaded);
        }
        unreadable.extend(faults.iter().map(Fault::to_string));
        Err(unreadable)
    }
}

fn read(layers: &[Layer]) -> (Loaded, Vec<Fault>) {
    let mut reader = Reader::new(layers);
    let config = Config {
        server: Server::read(reader.missing("service", "server")),
        limits: Limits::read(reader.section("limits")),
        overload: Overload::read(reader.missing("admission", "overload")),
        rate_limit: RateLimit::read(reader.missing("rate limit", "rate_limit")),
        egress: Egress::read(reader.missing("fetching", "egress")),
        auth: Auth::read(reader.missing("authentication", "auth")),
        audit: Audit::read(reader.missing("audit log", "audit")),
        telemetry: Telemetry::read(reader.missing("telemetry", "telemetry")),
    };
    reader.finish();
    let Reader { settings, mut faults, .. } = reader;
    // What is wrong by itself cannot be set against anything.
    let contradictions = contradictions::contradictions(&config, &settings);
    let is_new = |fault: &Fault| faults.iter().all(|known| known.key != fault.key);
    let contradictions: Vec<Fault> = contradictions.into_iter().filter(is_new).collect();
    faults.extend(contradictions);
    (Loaded { config, settings }, faults)
}

/// A network, or an address by itself.
fn network() -> Kind<Network> {
    let allowed = "a network such as \"10.0.0.0/8\" without bits beyond its prefix, or an address";
    Kind::string(allowed, |text| text.parse().ok(), Network::to_string)
}

#[cfg(test)]
mod tests;
