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
mod tenants;

pub use audit::{Audit, Durability, OnFailure as AuditOnFailure};
pub use auth::{Auth, Jwt, Mode};
pub use egress::{Circuit, Egress};
pub use limits::Limits;
pub use overload::Overload;
pub use rate_limit::{Backend, OnFailure as RateLimitOnFailure, RateLimit, Valkey};
pub use reader::{Fault, Setting};
pub use server::{Server, Shutdown, Tls};
pub use telemetry::{LogFormat, Telemetry};
pub use tenants::{parse_tenants, read_tenants};

use crate::policy::Network;
use kind::Kind;
use layers::Layer;
use reader::Reader;
use serde_json::json;
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

/// A value that was given as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// `section.key`.
    pub key: &'static str,
    /// The argument, `--bind`.
    pub argument: &'static str,
    /// Its value.
    pub value: String,
}

impl Config {
    /// Loads the layers: `file`, if any, the variables of the environment that begin
    /// with `DECODER_`, and what was said on the command line. The error says
    /// everything that is wrong, a line each.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        said: &[Said],
    ) -> Result<Loaded, Vec<String>> {
        let mut unreadable = Vec::new();
        let layers = [Some(Layer::toml("default.toml", DEFAULT)), file.map(Layer::file)];
        let mut layers: Vec<Layer> = layers
            .into_iter()
            .flatten()
            .filter_map(|layer| layer.map_err(|faults| unreadable.extend(faults)).ok())
            .collect();
        layers.push(Layer::environment(variables));
        layers.push(Layer::command_line(said));
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
        server: Server::read(reader.section("server")),
        limits: Limits::read(reader.section("limits")),
        overload: Overload::read(reader.section("overload")),
        rate_limit: RateLimit::read(reader.section("rate_limit")),
        egress: Egress::read(reader.section("egress")),
        auth: Auth::read(reader.section("auth")),
        audit: Audit::read(reader.missing("audit log", "audit")),
        telemetry: Telemetry::read(reader.section("telemetry")),
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

/// Settings as JSON: the values section by section, and beside them where those come
/// from that are not the default.
pub fn as_json(settings: &[Setting]) -> serde_json::Value {
    let mut config = json!({});
    let mut origins = json!({});
    for Setting { key, value, origin } in settings {
        let place = key.split('.').fold(&mut config, |within, part| &mut within[part]);
        *place = Layer::toml("", &format!("value = {value}"))
            .ok()
            .and_then(|layer| layer.get("value").map(|(raw, _)| raw.as_json()))
            .unwrap_or_default();
        if let Some(origin) = origin {
            origins[key] = json!(origin);
        }
    }
    json!({ "config": config, "origins": origins })
}

/// A network, or an address by itself.
fn network() -> Kind<Network> {
    let allowed = "a network such as \"10.0.0.0/8\" without bits beyond its prefix, or an address";
    Kind::string(allowed, |text| text.parse().ok(), Network::to_string)
}

#[cfg(test)]
mod tests;
