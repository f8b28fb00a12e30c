//! Who calls, as far as it can be known, and what they may do. Pure: it opens no file, asks
//! nobody and is told the time.

mod client;
mod credential;
mod key;
mod moment;
mod role;
mod roster;

pub use client::Proxies;
pub use credential::Credential;
pub use key::{NewKey, NoRandomness, SecretHash, ShownKey, is_id};
pub use moment::moment;
pub use role::{Action, Role};
pub use roster::{KeyEntry, Keyring, NoKey, Principal, Roster, TenantEntry};
