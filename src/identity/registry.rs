//! Who may call: tenants with their keys, and the staff. And how a caller who shows a
//! credential is found among them.

use super::{Action, Role, SecretHash, ShownKey};
use crate::{
    policy::{BlockedHost, Rule},
    scan::Pairs,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What the operator says of callers, in one file.
#[derive(Debug, Clone, Default)]
pub struct TenantRegistry {
    /// Hosts from which nobody gets a document.
    pub blocked_hosts: Vec<BlockedHost>,
    /// Who may have documents decoded.
    pub tenants: Vec<TenantConfig>,
    /// Who runs the service.
    pub staff: Vec<KeyEntry>,
}

/// One tenant. What is not said is as for everyone.
#[derive(Debug, Clone, Default)]
pub struct TenantConfig {
    /// What it is called, also in metrics.
    pub name: String,
    /// Whether it is served.
    pub disabled: bool,
    /// What may be fetched for it, instead of what may be for everyone.
    pub allow: Option<Vec<Rule>>,
    /// Its markers, where a request names none.
    pub markers: Option<Pairs>,
    /// Requests.
    pub requests_per_minute: Option<u64>,
    /// At once, from rest.
    pub burst: Option<u64>,
    /// Decodes in a day of UTC.
    pub decodes_per_day: Option<u64>,
    /// The bytes of a document.
    pub max_document_bytes: Option<u64>,
    /// What it shows to be let in.
    pub keys: Vec<KeyEntry>,
}

/// What a tenant may be called.
pub const TENANT_NAME: &str = "1 to 32 of a-z, 0-9 and -, and not \"anonymous\"";

/// Whether a tenant may be called so. The name of those who are not known is taken.
pub fn is_tenant_name(name: &str) -> bool {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=32).contains(&name.len()) && name.bytes().all(fits) && name != "anonymous"
}

/// One key.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// Which one it is.
    pub id: String,
    /// What is kept of its secret.
    pub sha256: SecretHash,
    /// What may be done with it.
    pub role: Role,
    /// From when on it is none any more.
    pub expires: Option<SystemTime>,
}

/// Who calls, as is proven.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The key that was shown; none: a token, or nobody in particular.
    pub key: Option<Arc<str>>,
    /// What may be done.
    pub role: Role,
    /// The place of the tenant in the roster; none: the staff, or nobody in particular.
    pub tenant: Option<usize>,
}

impl Principal {
    /// Whoever it is, where nobody has to say.
    pub const ANYONE: Self = Self { key: None, role: Role::Decoder, tenant: None };

    /// Whether this one may do that.
    pub fn may(&self, action: Action) -> bool {
        self.role.may(action)
    }
}

/// Why a key opens nothing. For the log: the caller is not told which of these it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// There is no key of this id.
    Unknown,
    /// The secret is another one.
    Wrong,
    /// It was valid.
    Expired,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "there is no key of this id",
            Self::Wrong => "the secret is not that of the key",
            Self::Expired => "the key has expired",
        })
    }
}

/// Finds callers by their keys, and tenants by their names.
#[derive(Debug, Default)]
pub struct KeyTable {
    keys: HashMap<Arc<str>, Held>,
    tenants: HashMap<String, usize>,
}

#[derive(Debug)]
struct Held {
    entry: KeyEntry,
    tenant: Option<usize>,
    /// In seconds since 1970; 0: never.
    last_used: AtomicU64,
}

/// A key, for the staff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// Which one it is.
    pub id: String,
    /// What may be done with it.
    pub role: Role,
    /// The place of its tenant in the roster; none: one of the staff's.
    pub tenant: Option<usize>,
    /// From when on it is none any more.
    pub expires: Option<SystemTime>,
    /// When it let someone in last, as far as this instance knows.
    pub last_used: Option<SystemTime>,
}

impl KeyTable {
    /// The keys of a roster, in which no id stands twice. What was known of the use of keys that
    /// are still the same stays known.
    pub fn new(roster: &TenantRegistry, before: Option<&Self>) -> Self {
        let of_tenants =
            roster.tenants.iter().enumerate().flat_map(|(place, tenant)| {
                tenant.keys.iter().map(move |entry| (Some(place), entry))
            });
        let of_staff = roster.staff.iter().map(|entry| (None, entry));
        let held = |(tenant, entry): (Option<usize>, &KeyEntry)| {
            let known = before.and_then(|before| before.keys.get(entry.id.as_str()));
            let known = known.filter(|known| known.entry.sha256 == entry.sha256);
            let last_used = known.map_or(0, |known| known.last_used.load(Relaxed));
            let last_used = AtomicU64::new(last_used);
            (Arc::from(entry.id.as_str()), Held { entry: entry.clone(), tenant, last_used })
        };
        let names = roster.tenants.iter().map(|tenant| tenant.name.clone());
        Self {
            keys: of_tenants.chain(of_staff).map(held).collect(),
            tenants: names.enumerate().map(|(place, name)| (name, place)).collect(),
        }
    }

    /// Who shows a key. It takes the same time whether the id is unknown or the secret is
    /// wrong: a hash is made and compared in any case.
    pub fn find(&self, shown: ShownKey<'_>, now: SystemTime) -> Result<Principal, KeyError> {
        let held = self.keys.get_key_value(shown.id);
        let expected = held.map_or(&SecretHash::NOBODYS, |(_, held)| &held.entry.sha256);
        let is_right = shown.hash() == *expected;
        let Some((id, Held { entry, tenant, last_used })) = held else {
            return Err(KeyError::Unknown);
        };
        if !is_right {
            return Err(KeyError::Wrong);
        }
        if entry.expires.is_some_and(|expires| expires <= now) {
            return Err(KeyError::Expired);
        }
        last_used.store(since_epoch(now), Relaxed);
        Ok(Principal { key: Some(Arc::clone(id)), role: entry.role, tenant: *tenant })
    }

    /// The place of a tenant in the roster.
    pub fn tenant(&self, name: &str) -> Option<usize> {
        self.tenants.get(name).copied()
    }

    /// All keys in the order of their ids, with when they were used.
    pub fn used(&self) -> Vec<KeyUse> {
        let moment =
            |seconds: u64| (seconds > 0).then(|| UNIX_EPOCH + Duration::from_secs(seconds));
        let used = |(id, held): (&Arc<str>, &Held)| KeyUse {
            id: id.to_string(),
            role: held.entry.role,
            tenant: held.tenant,
            expires: held.entry.expires,
            last_used: moment(held.last_used.load(Relaxed)),
        };
        let mut keys: Vec<KeyUse> = self.keys.iter().map(used).collect();
        keys.sort_by(|one, other| one.id.cmp(&other.id));
        keys
    }

    /// When the next key expires, of those that have not.
    pub fn next_expiry(&self, now: SystemTime) -> Option<SystemTime> {
        let expiries = self.keys.values().filter_map(|held| held.entry.expires);
        expiries.filter(|expires| *expires > now).min()
    }
}

fn since_epoch(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::NewKey;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn entry(key: &NewKey, role: Role, expires: Option<u64>) -> KeyEntry {
        KeyEntry { id: key.id.clone(), sha256: key.hash, role, expires: expires.map(at) }
    }

    fn tenant(name: &str, keys: Vec<KeyEntry>) -> TenantConfig {
        TenantConfig {
            name: name.to_owned(),
            disabled: false,
            allow: None,
            markers: None,
            requests_per_minute: None,
            burst: None,
            decodes_per_day: None,
            max_document_bytes: None,
            keys,
        }
    }

    #[test]
    fn a_key_leads_to_its_owner_until_it_expires() {
        let keys: Vec<NewKey> = (0..5).map(|_| NewKey::make().unwrap()).collect();
        let roster = TenantRegistry {
            tenants: vec![
                tenant("one", vec![entry(&keys[0], Role::Viewer, None)]),
                tenant(
                    "two",
                    vec![
                        entry(&keys[1], Role::Decoder, Some(100)),
                        entry(&keys[2], Role::Decoder, Some(200)),
                    ],
                ),
            ],
            staff: vec![entry(&keys[3], Role::Auditor, None)],
            ..TenantRegistry::default()
        };
        let key_table = KeyTable::new(&roster, None);
        let check = |text: &str, now: u64, expected: Result<(Role, Option<usize>), KeyError>| {
            let found = key_table.find(ShownKey::parse(text).unwrap(), at(now));
            let found = found.map(|of| (of.role, of.tenant));
            assert_eq!(found, expected, "{text} {now}");
        };

        check(&keys[0].text, 0, Ok((Role::Viewer, Some(0))));
        check(&keys[1].text, 99, Ok((Role::Decoder, Some(1))));
        check(&keys[1].text, 100, Err(KeyError::Expired));
        check(&keys[2].text, 100, Ok((Role::Decoder, Some(1))));
        check(&keys[3].text, 100, Ok((Role::Auditor, None)));
        check(&keys[4].text, 0, Err(KeyError::Unknown));
        let of_another = keys[0].text.replace(&keys[0].id, &keys[1].id);
        check(&of_another, 0, Err(KeyError::Wrong));
        check(&of_another, 1000, Err(KeyError::Wrong));
        assert_eq!((key_table.tenant("two"), key_table.tenant("three")), (Some(1), None));
        let next = [0, 99, 100, 200].map(|now| key_table.next_expiry(at(now)));
        assert_eq!(next, [Some(at(100)), Some(at(100)), Some(at(200)), None]);
    }

    #[test]
    fn the_hash_that_stands_in_for_a_missing_one_opens_nothing() {
        let key = NewKey::make().unwrap();
        let nobody = KeyEntry { sha256: SecretHash::NOBODYS, ..entry(&key, Role::Operator, None) };
        let roster = TenantRegistry { staff: vec![nobody], ..TenantRegistry::default() };
        let found = KeyTable::new(&roster, None).find(ShownKey::parse(&key.text).unwrap(), at(0));
        assert_eq!(found.map(drop), Err(KeyError::Wrong));
    }

    #[test]
    fn the_use_of_keys_is_known_and_stays_known_while_they_are_the_same() {
        let keys: Vec<NewKey> = (0..3).map(|_| NewKey::make().unwrap()).collect();
        let roster = |second: &NewKey| TenantRegistry {
            tenants: vec![tenant("one", vec![entry(&keys[0], Role::Viewer, Some(900))])],
            staff: vec![KeyEntry { id: keys[1].id.clone(), ..entry(second, Role::Operator, None) }],
            ..TenantRegistry::default()
        };
        let key_table = KeyTable::new(&roster(&keys[1]), None);
        let show = |key_table: &KeyTable, key: &NewKey, now: u64| {
            key_table.find(ShownKey::parse(&key.text).unwrap(), at(now)).map(drop)
        };
        let of = |key_table: &KeyTable, key: &NewKey| {
            let used = key_table.used();
            assert!(used.is_sorted_by(|one, other| one.id < other.id));
            used.into_iter().find(|of| of.id == key.id).unwrap()
        };
        let expected = |key: &NewKey, role, tenant, expires: Option<u64>, used: Option<u64>| {
            let (expires, last_used) = (expires.map(at), used.map(at));
            KeyUse { id: key.id.clone(), role, tenant, expires, last_used }
        };
        let first = |used| expected(&keys[0], Role::Viewer, Some(0), Some(900), used);
        let second = |used| expected(&keys[1], Role::Operator, None, None, used);
        assert_eq!(
            (of(&key_table, &keys[0]), of(&key_table, &keys[1])),
            (first(None), second(None))
        );
        assert_eq!(show(&key_table, &keys[0], 1000), Err(KeyError::Expired));
        assert_eq!(of(&key_table, &keys[0]), first(None));

        assert_eq!(show(&key_table, &keys[0], 700), Ok(()));
        assert_eq!(show(&key_table, &keys[1], 1), Ok(()));

        assert_eq!(of(&key_table, &keys[0]), first(Some(700)));
        let same = KeyTable::new(&roster(&keys[1]), Some(&key_table));
        assert_eq!(of(&same, &keys[1]), second(Some(1)));
        // Another secret under the same id is another key.
        let other = KeyTable::new(&roster(&keys[2]), Some(&key_table));
        assert_eq!((of(&other, &keys[0]), of(&other, &keys[1])), (first(Some(700)), second(None)));
    }

    #[test]
    fn the_log_says_why_a_key_opens_nothing() {
        let texts =
            [KeyError::Unknown, KeyError::Wrong, KeyError::Expired].map(|why| why.to_string());
        assert_eq!(
            texts,
            [
                "there is no key of this id",
                "the secret is not that of the key",
                "the key has expired"
            ]
        );
    }
}
