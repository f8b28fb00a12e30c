//! Who calls, as far as it can be known, and what they may do.
//!
//! It opens no file and asks nobody: what the operator and an issuer say is handed in, and so
//! is the time.

mod client;
mod credential;
mod issuer;
mod key;
mod moment;
mod role;
mod roster;
mod token;

pub use client::Proxies;
pub use credential::Credential;
pub use issuer::Issuer;
pub use key::{NewKey, NoRandomness, SecretHash, ShownKey, is_id};
pub use moment::moment;
pub use role::{Action, Role};
pub use roster::{
    KeyEntry, KeyUse, Keyring, NoKey, Principal, Roster, TENANT_NAME, TenantEntry, is_tenant_name,
};
pub use token::{Algorithm, Claim, Claims, IssuerKeys, TokenSettings, Unfit, Unusable};
