//! The service over HTTP: routes, layers, wire types, and the connections beneath.
//!
//! With `app` the only module that knows axum and hyper. Handlers turn requests into
//! jobs and results into responses; what a decode is, they leave to the decoder. An
//! error is handed outwards as a [`Failure`](crate::failure::Failure) and becomes a
//! response in one place, `problem.rs`.

mod accept;
mod authenticator;
mod body;
mod connection;
mod decode;
mod gate;
mod host;
mod layers;
mod operator;
mod pages;
mod probes;
mod problem;
mod rate;
mod recording;
mod routes;
mod unread;
mod usage;

pub use authenticator::{ActiveTenant, Authenticator, TenantLimits, TenantSnapshot};
pub use connection::{ConnectionLimits, Server, Watch};
pub use decode::{Decoding, RequestLimits};
pub use gate::Gates;
pub use host::AllowedHosts;
pub use layers::layered;
pub use operator::{EffectiveConfig, ReloadFaults, Reloads};
pub use pages::list as problems;
pub use probes::Readiness;
pub use problem::Refusal;
pub use routes::{Admin, Kind, Public, ROUTES, Route, admin, labels, public};
