//! The tenants file: who may call, in the words of the operator. It is read again while the
//! service runs, so it is a thing of its own and no layer of the configuration.

use super::{
    egress::rule,
    kind::{Kind, Raw, flag, number, size},
    layers::{Layer, MAX_FILE_BYTES},
    reader::{Fault, shown},
};
use crate::{
    identity::{
        self, KeyEntry, Role, SecretHash, TENANT_NAME, TenantConfig, TenantRegistry,
        is_tenant_name, moment,
    },
    named_file,
    policy::BlockedHost,
    scan::{Marker, MarkerPair, Pairs},
};
use config::{Map, Value, ValueKind};
use std::{collections::BTreeSet, io, path::Path, time::SystemTime};

/// Reads the text of the file.
pub fn read_tenants(path: &Path) -> io::Result<String> {
    let text = named_file::read(path, MAX_FILE_BYTES)?;
    let text = str::from_utf8(&text).map_err(|_| io::Error::other("it is not UTF-8"))?;
    Ok(text.to_owned())
}

/// What such a text says; or everything that is wrong with it, a line each, under this name.
pub fn parse_tenants(name: &str, text: &str) -> Result<TenantRegistry, Vec<String>> {
    let layer = Layer::toml(name, text)?;
    let Layer::Toml(root) = &layer else { return Ok(TenantRegistry::default()) };
    let mut faults = Vec::new();
    let mut file = Table::new(String::new(), name, root, &mut faults);
    let mut roster = TenantRegistry {
        blocked_hosts: file.take("blocked_hosts", blocked_host().list()).unwrap_or_default(),
        ..TenantRegistry::default()
    };
    file.each("tenant", |mut table| roster.tenants.push(tenant(&mut table)));
    file.each("staff", |mut table| {
        roster.staff.extend(key(&mut table, &[Role::Auditor, Role::Operator]));
    });
    file.finish();
    let mut faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
    faults.extend(repeated(&roster).into_iter().map(|fault| format!("{name}: {fault}")));
    if roster.tenants.is_empty() && roster.staff.is_empty() && faults.is_empty() {
        faults.push(format!("{name}: there is nobody in it: write a [[tenant]] or [[staff]]"));
    }
    if faults.is_empty() { Ok(roster) } else { Err(faults) }
}

fn tenant(table: &mut Table<'_>) -> TenantConfig {
    let mut keys = Vec::new();
    table.each("key", |mut table| keys.extend(key(&mut table, &[Role::Viewer, Role::Decoder])));
    let most = 1_000_000_000;
    let entry = TenantConfig {
        name: table.need("name", name()).unwrap_or_default(),
        disabled: table.take("disabled", flag()).unwrap_or_default(),
        allow: table.take("allow", tenant_rule().list()),
        markers: table.take("markers", markers()),
        requests_per_minute: table.take("requests_per_minute", number(1..=most)),
        burst: table.take("burst", number(1..=most)),
        decodes_per_day: table.take("decodes_per_day", number(1..=most * 1000)),
        max_document_bytes: table.take("max_document_bytes", size("1B"..="1TiB")),
        keys,
    };
    table.finish();
    entry
}

fn key(table: &mut Table<'_>, roles: &'static [Role]) -> Option<KeyEntry> {
    let entry = (
        table.need("id", id()),
        table.need("sha256", sha256()),
        table.need("role", role(roles)),
        table.take("expires", expiry()),
    );
    table.finish();
    let (Some(id), Some(sha256), Some(role), expires) = entry else { return None };
    Some(KeyEntry { id, sha256, role, expires })
}

/// What must be there once and is there twice.
fn repeated(roster: &TenantRegistry) -> Vec<String> {
    let (mut names, mut ids, mut faults) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for TenantConfig { name, .. } in &roster.tenants {
        if !name.is_empty() && !names.insert(name) {
            faults.push(format!("two tenants have the name {name:?}"));
        }
    }
    let of_tenants = roster.tenants.iter().flat_map(|tenant| &tenant.keys);
    for KeyEntry { id, .. } in of_tenants.chain(&roster.staff) {
        if !ids.insert(id) {
            faults.push(format!("two keys have the id {id:?}"));
        }
    }
    faults
}

fn name() -> Kind<String> {
    let parse = |text: &str| is_tenant_name(text).then(|| text.to_owned());
    Kind::string(TENANT_NAME, parse, String::clone)
}

fn id() -> Kind<String> {
    let parse = |text: &str| identity::is_id(text).then(|| text.to_owned());
    Kind::string("1 to 16 of a-z and 0-9", parse, String::clone)
}

fn sha256() -> Kind<SecretHash> {
    let allowed = "64 hexadecimal digits, as `blueprint-decoder keys new` prints them";
    Kind::string(allowed, SecretHash::parse, SecretHash::to_string)
}

fn role(roles: &'static [Role]) -> Kind<Role> {
    let names: Vec<String> = roles.iter().map(|role| format!("{:?}", role.as_str())).collect();
    let parse = |text: &str| Role::of_name(text).filter(|role| roles.contains(role));
    Kind::string(names.join(" or "), parse, |role| role.as_str().to_owned())
}

fn expiry() -> Kind<SystemTime> {
    let allowed = "a moment such as \"2027-01-01T00:00:00Z\", in quotes";
    // It is only ever read.
    Kind::string(allowed, moment, |_| String::new())
}

fn blocked_host() -> Kind<BlockedHost> {
    let allowed = "a host, *.name for all below, or * for all";
    Kind::string(allowed, BlockedHost::parse, |host| format!("{host:?}"))
}

/// A rule of which it is known that it may have an authorization file, if it has.
fn tenant_rule() -> Kind<crate::policy::Rule> {
    let Kind { allowed, parse, show } = rule();
    let allowed = format!("{allowed}, that for one host and one port");
    let parse = move |raw: Raw<'_>| {
        parse(raw).filter(|rule| rule.authorization_file.is_none() || rule.has_one_origin())
    };
    Kind::new(allowed, parse, show)
}

fn markers() -> Kind<Pairs> {
    let marker = |table: &Map<String, Value>, side: &str| {
        Marker::new(Raw::Toml(table.get(side)?).string()?).ok()
    };
    let pair = move |value: &Value| match &value.kind {
        ValueKind::Table(table) if table.len() == 2 => {
            Some(MarkerPair { start: marker(table, "start")?, end: marker(table, "end")? })
        }
        _ => None,
    };
    let parse = move |raw: Raw<'_>| match raw {
        Raw::Toml(value) if let ValueKind::Array(pairs) = &value.kind => {
            Pairs::new(pairs.iter().map(pair).collect::<Option<Vec<_>>>()?).ok()
        }
        _ => None,
    };
    let allowed = "a list of 1 to 8 { start = \"…\", end = \"…\" }, each once, with 1 to 32 bytes \
                   a marker and no line feed";
    Kind::new(allowed, parse, |pairs| format!("{} pairs", pairs.iter().len()))
}

/// A table of the file, whose keys are read one by one.
struct Table<'a> {
    /// What its keys begin with.
    path: String,
    /// Where it begins.
    origin: &'a str,
    table: &'a Map<String, Value>,
    known: Vec<&'static str>,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Table<'a> {
    fn new(
        path: String,
        origin: &'a str,
        table: &'a Map<String, Value>,
        faults: &'a mut Vec<Fault>,
    ) -> Self {
        Self { path, origin, table, known: Vec::new(), faults }
    }

    /// The value of a key, if it is there.
    fn take<T: 'static>(&mut self, key: &'static str, kind: Kind<T>) -> Option<T> {
        self.known.push(key);
        let value = self.table.get(key)?;
        let parsed = (kind.parse)(Raw::Toml(value));
        if parsed.is_none() {
            self.fault(key, Some(value), format!("allowed is {}", kind.allowed));
        }
        parsed
    }

    /// The value of a key that must be there.
    fn need<T: 'static>(&mut self, key: &'static str, kind: Kind<T>) -> Option<T> {
        if !self.table.contains_key(key) {
            self.known.push(key);
            let allowed = format!("is missing; allowed is {}", kind.allowed);
            self.fault(key, None, allowed);
            return None;
        }
        self.take(key, kind)
    }

    /// Each table of a list of tables.
    fn each(&mut self, key: &'static str, mut take: impl FnMut(Table<'_>)) {
        self.known.push(key);
        let Some(list) = self.table.get(key) else { return };
        let ValueKind::Array(tables) = &list.kind else {
            let allowed = format!("write [[{key}]] for each");
            return self.fault(key, Some(list), allowed);
        };
        for (place, table) in tables.iter().enumerate() {
            let path = format!("{}{key}[{place}].", self.path);
            let origin = table.origin().unwrap_or_default();
            match &table.kind {
                ValueKind::Table(table) => take(Table::new(path, origin, table, self.faults)),
                _ => self.fault(key, Some(table), format!("write [[{key}]] for each")),
            }
        }
    }

    /// The faults of what nothing has read.
    fn finish(&mut self) {
        let mut unknown: Vec<&String> =
            self.table.keys().filter(|key| !self.known.contains(&key.as_str())).collect();
        unknown.sort_unstable();
        let allowed = format!("unknown key; there are {}", self.known.join(", "));
        for key in unknown {
            self.fault(key, self.table.get(key), allowed.clone());
        }
    }

    fn fault(&mut self, key: &str, value: Option<&Value>, allowed: String) {
        let origin = value.and_then(Value::origin).unwrap_or(self.origin).to_owned();
        // What nobody knows, or is right beside a secret, may be one.
        let may_be_secret = !self.known.contains(&key) || ["id", "sha256"].contains(&key);
        let value = value.filter(|_| !may_be_secret).and_then(|value| shown(Raw::Toml(value)));
        let key = format!("{}{key}", self.path);
        self.faults.push(Fault { key, value, origin, allowed });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const HASH: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn a_file_says_who_may_call() {
        let text = format!(
            "blocked_hosts = [\"*.evil.example\"]\n\
             [[tenant]]\n\
             name = \"league\"\n\
             allow = [\"https://a.example\", {{ url = \"https://b.example\", name = \"b\" }}]\n\
             markers = [{{ start = \"<<\", end = \">>\" }}]\n\
             requests_per_minute = 600\n\
             burst = 100\n\
             decodes_per_day = 100000\n\
             max_document_bytes = \"20MiB\"\n\
             [[tenant.key]]\nid = \"k1\"\nsha256 = \"{HASH}\"\nrole = \"decoder\"\n\
             expires = \"1970-01-02T00:00:00Z\"\n\
             [[tenant.key]]\nid = \"k2\"\nsha256 = \"{HASH}\"\nrole = \"viewer\"\n\
             [[tenant]]\nname = \"plain\"\ndisabled = true\n\
             [[staff]]\nid = \"ops1\"\nsha256 = \"{HASH}\"\nrole = \"operator\"\n"
        );

        let roster = parse_tenants("tenants.toml", &text).unwrap();

        assert_eq!(roster.blocked_hosts, [BlockedHost::parse("*.evil.example").unwrap()]);
        let [league, plain] = roster.tenants.as_slice() else { panic!("{roster:?}") };
        assert_eq!((league.name.as_str(), league.disabled), ("league", false));
        assert_eq!(league.allow.as_ref().unwrap()[1].name.as_deref(), Some("b"));
        assert_eq!(league.markers.as_ref().unwrap().iter().len(), 1);
        assert_eq!((league.requests_per_minute, league.burst), (Some(600), Some(100)));
        assert_eq!(league.decodes_per_day, Some(100_000));
        assert_eq!(league.max_document_bytes, Some(20 << 20));
        let keys: Vec<_> = league.keys.iter().map(|key| (key.id.as_str(), key.role)).collect();
        assert_eq!(keys, [("k1", Role::Decoder), ("k2", Role::Viewer)]);
        assert_eq!(league.keys[0].expires, Some(UNIX_EPOCH + Duration::from_secs(86_400)));
        assert!(plain.disabled && plain.allow.is_none() && plain.keys.is_empty());
        assert_eq!(roster.staff[0].role, Role::Operator);
    }

    #[test]
    fn the_example_is_one() {
        let text = include_str!("../../config/tenants.example.toml");
        let roster = parse_tenants("tenants.example.toml", text).unwrap();
        let names: Vec<&str> = roster.tenants.iter().map(|tenant| tenant.name.as_str()).collect();
        assert_eq!(names, ["league", "guests"]);
        assert_eq!((roster.tenants[0].keys.len(), roster.staff.len()), (2, 1));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_and_nothing_that_may_be_secret() {
        let text = "block = []\n\
                    [[tenant]]\n\
                    name = \"Big\"\n\
                    burst = 0\n\
                    markers = [{ start = \"a\" }]\n\
                    allow = [{ url = \"https://*\", authorization_file = \"x\" }]\n\
                    [[tenant.key]]\n\
                    sha256 = \"bpd_k1_secret\"\n\
                    role = \"operator\"\n\
                    expires = 2027-01-01T00:00:00Z\n\
                    [staff]\n\
                    id = \"x\"\n";

        let faults = parse_tenants("t", text).unwrap_err();

        let found: Vec<&str> =
            faults.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
        assert_eq!(
            found,
            [
                "tenant[0].key[0].id = (not shown) (t:7)",
                "tenant[0].key[0].sha256 = (not shown) (t:8)",
                "tenant[0].key[0].role = \"operator\" (t:9)",
                "tenant[0].key[0].expires = (a date) (t:10)",
                "tenant[0].name = \"Big\" (t:3)",
                "tenant[0].allow = [{ authorization_file, url }] (t:6)",
                "tenant[0].markers = [{ start }] (t:5)",
                "tenant[0].burst = 0 (t:4)",
                "staff = { id } (t:11)",
                "block = (not shown) (t:1)",
            ],
            "{faults:#?}"
        );
        assert!(!faults.concat().contains("secret"));
    }

    #[test]
    fn what_must_be_there_once_is() {
        let check = |text: &str, expected: &str| {
            let faults = parse_tenants("t", text).unwrap_err();
            assert_eq!(faults.join("\n"), expected, "{text}");
        };
        let nobody = "t: there is nobody in it: write a [[tenant]] or [[staff]]";
        check("", nobody);
        check("# nothing\nblocked_hosts = [\"a.example\"]\n", nobody);
        check(
            "[[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"a\"\n",
            "t: two tenants have the name \"a\"",
        );
        let key = format!("id = \"k\"\nsha256 = \"{HASH}\"\n");
        check(
            &format!(
                "[[tenant]]\nname = \"a\"\n[[tenant.key]]\n{key}role = \"viewer\"\n\
                 [[staff]]\n{key}role = \"auditor\"\n"
            ),
            "t: two keys have the id \"k\"",
        );
        let reserved = parse_tenants("t", "[[tenant]]\nname = \"anonymous\"\n").unwrap_err();
        assert!(reserved[0].contains("and not \"anonymous\""), "{reserved:?}");
        assert!(parse_tenants("t", "[[tenant]\n").is_err());
    }
}
