//! Who may call, as the tenants file says, and as it says anew while the service runs.
//!
//! What cannot be used changes nothing. What can is in force as a whole, from one request to
//! the next.

use super::settling::Settling;
use crate::{
    config::{Auth, Config, Mode, parse_tenants, read_tenants},
    decode::{Decoder, Tenant, TenantSettings},
    http::{Agreed, Callers, Decoding, Door, Member, Readiness, ReloadFaults},
    identity::{Keyring, Roster, TenantEntry},
    limit::{Caller, Gcra, Terms},
    telemetry::{ANONYMOUS, Metrics},
};
use anyhow::Context;
use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    signal::unix::Signal,
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::sleep,
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// What could not be used is tried again after so long.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What it is called where its path is nobody's business.
const NAME: &str = "the tenants file";

/// The tenants file is of no use; a line each.
#[derive(Debug)]
pub struct Unusable(pub Vec<String>);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Unusable {}

/// Who asks for a reload, and is told what came of it.
pub(super) type Asked = mpsc::Receiver<oneshot::Sender<Result<(), ReloadFaults>>>;

/// What holds for everyone of whom nothing else is said.
struct Usual {
    requests_per_minute: u64,
    burst: u64,
    replicas: u64,
    max_document_bytes: u64,
}

/// Makes members of what is said of tenants.
pub(super) struct Members {
    usual: Usual,
    decoding: Arc<Decoding>,
    metrics: Arc<Metrics>,
    /// By name; a tenant keeps its number for as long as this process runs.
    numbers: Mutex<HashMap<String, u32>>,
}

impl Members {
    pub(super) fn new(config: &Config, decoding: Arc<Decoding>, metrics: Arc<Metrics>) -> Self {
        let rate_limit = &config.rate_limit;
        let usual = Usual {
            requests_per_minute: rate_limit.requests_per_minute,
            burst: rate_limit.burst,
            replicas: rate_limit.replicas_hint,
            max_document_bytes: config.limits.max_document_bytes,
        };
        Self { usual, decoding, metrics, numbers: Mutex::default() }
    }

    /// Whoever need not say who they are.
    pub(super) fn anonymous(&self) -> anyhow::Result<Arc<Member>> {
        let tenant = anonymous(&self.decoding.decoder, self.usual.max_document_bytes)?;
        let rate = Gcra::new(self.usual.requests_per_minute, self.usual.burst);
        let terms = Terms { rate, decodes_per_day: None };
        let counted = Arc::clone(&self.metrics.callers.anonymous);
        let terms = Agreed::new(terms, self.usual.replicas);
        Ok(Arc::new(Member { tenant, terms, counted }))
    }

    fn callers(&self, roster: &Roster, before: Option<&Callers>) -> Result<Callers, Vec<String>> {
        let members = roster.tenants.iter().map(|entry| self.member(entry, before));
        let (members, faults): (Vec<_>, Vec<_>) = members.partition(Result::is_ok);
        let faults: Vec<String> = faults.into_iter().filter_map(Result::err).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        let members = members.into_iter().filter_map(Result::ok).collect();
        Ok(Callers { keyring: Keyring::new(roster, before.map(|before| &before.keyring)), members })
    }

    fn member(&self, entry: &TenantEntry, before: Option<&Callers>) -> Result<Arc<Member>, String> {
        let Usual { requests_per_minute, burst, replicas, max_document_bytes } = self.usual;
        let TenantEntry { name, .. } = entry;
        let before = before.and_then(|before| before.member(name));
        let settings = TenantSettings {
            name: name.clone(),
            caller: Some(Caller::Tenant(self.number(name))),
            markers: entry.markers.clone(),
            max_document_bytes: entry
                .max_document_bytes
                .map_or(max_document_bytes, |bytes| bytes.min(max_document_bytes)),
            allow: entry.allow.clone(),
        };
        let tenant = self.decoding.decoder.tenant(settings, before.as_ref().map(|of| &*of.tenant));
        let tenant = tenant.map_err(|error| format!("tenant {name}: {error}"))?;
        let rate = Gcra::new(
            entry.requests_per_minute.unwrap_or(requests_per_minute),
            entry.burst.unwrap_or(burst),
        );
        let terms = Terms { rate, decodes_per_day: entry.decodes_per_day };
        let counted = match &before {
            Some(before) => Arc::clone(&before.counted),
            None => self.metrics.callers.tenant(name),
        };
        let (tenant, terms) = (Arc::new(tenant), Agreed::new(terms, replicas));
        Ok(Arc::new(Member { tenant, terms, counted }))
    }

    fn number(&self, name: &str) -> u32 {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        *numbers.entry(name.to_owned()).or_insert(next)
    }
}

/// The tenant of those who are not known.
pub fn anonymous(decoder: &Decoder, max_document_bytes: u64) -> anyhow::Result<Arc<Tenant>> {
    let name = ANONYMOUS.to_owned();
    let settings =
        TenantSettings { name, caller: None, markers: None, max_document_bytes, allow: None };
    Ok(Arc::new(decoder.tenant(settings, None)?))
}

/// The tenants file, and those who wait for it to change.
pub(super) struct TenantsFile {
    /// None: there are no tenants.
    path: Option<PathBuf>,
    members: Members,
    door: Arc<Door>,
    readiness: Arc<Readiness>,
}

/// What stands in the file, or why nothing does.
type Text = Result<String, Vec<String>>;

/// Whether a file seems to be written to its end: its last line ends, and there is not less in
/// it than there was.
fn looks_whole(before: &Text, there: &Text) -> bool {
    let length = |text: &Text| text.as_ref().map_or(0, String::len);
    let ends = there.as_ref().is_ok_and(|text| text.ends_with('\n'));
    ends && length(there) >= length(before)
}

/// Does what a disk may hold up where that holds up nothing else.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Vec<String>> + Send + 'static,
) -> Result<T, Vec<String>> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(vec![error.to_string()]))
}

impl TenantsFile {
    /// Reads the file for the first time; the door is made of what stands there.
    pub(super) fn open(
        auth: &Auth,
        members: Members,
        readiness: Arc<Readiness>,
        door: impl FnOnce(bool, Callers, Arc<Member>) -> Door,
    ) -> anyhow::Result<(Arc<Self>, Settling<Text>)> {
        let path = auth.tenants_file.clone();
        let name = path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let text = path.as_deref().map(read_tenants).transpose();
        let text = text.map_err(|error| Unusable(vec![format!("{name}: {error}")]))?;
        let roster = text.as_ref().map(|text| parse_tenants(&name, text)).transpose();
        let roster = roster.map_err(Unusable)?.unwrap_or_default();
        let callers = members.callers(&roster, None).map_err(Unusable)?;
        let anonymous = members.anonymous().context("nobody can be served")?;
        let door = Arc::new(door(auth.mode == Mode::Required, callers, anonymous));
        let file = Arc::new(Self { path, members, door, readiness });
        file.switch(&roster, &file.door.callers());
        file.count(&file.door.callers());
        file.tell_expiry();
        Ok((file, Settling::new(Ok(text.unwrap_or_default()))))
    }

    pub(super) fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// Looks after the file, for as long as it is asked to: whenever it has changed, is asked
    /// to read it, or is told so by SIGHUP.
    pub(super) async fn keep_current(
        self: &Arc<Self>,
        mut settling: Settling<Text>,
        mut asked: Asked,
        mut hangups: Signal,
    ) -> Infallible {
        let mut last: Result<(), Vec<String>> = Ok(());
        let mut again_at = None;
        loop {
            let told = tokio::select! {
                () = sleep(LOOK_EVERY) => None,
                Some(told) = asked.recv() => Some(Some(told)),
                Some(()) = hangups.recv() => Some(None),
            };
            self.tell_expiry();
            let Some(path) = self.path.clone() else {
                // There is nothing else to reload, and nothing wrong.
                told.flatten().map(|told| told.send(Ok(())));
                continue;
            };
            let read =
                move || read_tenants(&path).map_err(|error| vec![format!("{NAME}: {error}")]);
            let text = off_the_runtime(read).await;
            let now = Instant::now();
            let is_whole = looks_whole(settling.last(), &text);
            // What is wrong may be with something that the file names.
            let again = again_at.is_some_and(|at| now >= at);
            if told.is_none() && !again && !settling.has_settled(&text, is_whole, now) {
                continue;
            }
            settling.judged(text.clone());
            let done = match text {
                Ok(text) => {
                    let this = Arc::clone(self);
                    off_the_runtime(move || this.apply(&text)).await
                }
                Err(faults) => Err(faults),
            };
            again_at = done.is_err().then(|| now + TRY_AGAIN_AFTER);
            if done != last || told.is_some() || done.is_ok() {
                self.tell(&done);
            }
            last.clone_from(&done);
            told.flatten().map(|told| told.send(done));
        }
    }

    fn apply(&self, text: &str) -> Result<(), Vec<String>> {
        let roster = parse_tenants(NAME, text)?;
        let before = self.door.callers();
        let callers = self.members.callers(&roster, Some(&before))?;
        let is_gone = |member: &&Arc<Member>| callers.member(&member.tenant.name).is_none();
        for member in before.members.iter().filter(is_gone) {
            self.members.metrics.callers.forget_tenant(&member.tenant.name);
        }
        self.count(&callers);
        // What is switched off is off before anyone is let in by the new file.
        self.switch(&roster, &callers);
        self.door.replace(callers);
        self.members.decoding.decoder.switched();
        self.tell_expiry();
        Ok(())
    }

    /// What the roster switches is switched.
    fn switch(&self, roster: &Roster, callers: &Callers) {
        for (entry, member) in roster.tenants.iter().zip(&callers.members) {
            member.tenant.serve(!entry.disabled);
        }
        self.members.decoding.decoder.block(roster.blocked_hosts.clone());
    }

    /// The rules of all of them have series, and no others.
    fn count(&self, callers: &Callers) {
        let members = callers.members.iter().chain([self.door.anonymous()]);
        let rules = members.flat_map(|member| member.tenant.rules()).map(str::to_owned);
        self.members.metrics.callers.rules(&rules.collect());
    }

    fn tell(&self, done: &Result<(), Vec<String>>) {
        let metrics = &self.members.metrics.callers;
        match done {
            Ok(()) => {
                let tenants = self.door.callers().members.len();
                tracing::info!(tenants, "the tenants file was read again and is in force");
                metrics.reloaded(SystemTime::now());
                self.readiness.note("tenants", true, "in force as the file says");
            }
            Err(faults) => {
                let faults = faults.join("; ");
                tracing::error!(faults, "the tenants file is of no use: nothing has changed");
                metrics.reload_success.set(0);
                let detail = "the file is of no use: what was in force before it still is";
                self.readiness.note("tenants", false, detail);
            }
        }
    }

    fn tell_expiry(&self) {
        let next = self.door.callers().keyring.next_expiry(SystemTime::now());
        self.members.metrics.callers.next_key_expires(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::settling::{LONG, SHORT};

    /// A change is seen, has to stand for a while, and is judged when it is looked at next.
    #[test]
    fn a_change_is_in_force_within_a_second() {
        for rest in [SHORT, LONG] {
            assert!(2 * LOOK_EVERY + rest < Duration::from_secs(1), "{rest:?}");
        }
    }

    #[test]
    fn what_has_become_less_may_be_half_of_it() {
        let check = |before: &str, there: &str, expected: bool| {
            let text = |text: &str| Ok(text.to_owned());
            assert_eq!(looks_whole(&text(before), &text(there)), expected, "{before:?} {there:?}");
        };
        check("a\nb\n", "a\nb\nc\n", true);
        check("a\nb\n", "a\nc\n", true);
        check("a\nb\n", "a\n", false);
        check("a\nb\n", "a\nb\nc", false);
        assert!(!looks_whole(&Ok(String::new()), &Err(Vec::new())));
        assert!(looks_whole(&Err(Vec::new()), &Ok("a\n".to_owned())));
    }
}
