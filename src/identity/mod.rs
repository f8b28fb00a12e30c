//! Who calls, as far as it can be known, and what they may do.
//!
//! It opens no file and asks nobody: what the operator and an issuer say is handed in, and so
//! is the time.

mod client;
mod credential;
mod issuer;
mod key;
mod moment;
mod registry;
mod role;
mod token;

pub use client::Proxies;
pub use credential::Credential;
pub use issuer::Issuer;
pub use key::{NewKey, NoRandomness, SecretHash, ShownKey, is_id};
pub use moment::moment;
pub use registry::{
    KeyEntry, KeyError, KeyTable, KeyUse, Principal, TENANT_NAME, TenantConfig, TenantRegistry,
    is_tenant_name,
};
pub use role::{Action, Role};
pub use token::{Algorithm, Claim, Claims, IssuerKeys, TokenError, TokenSettings, Unusable};
