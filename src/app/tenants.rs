//! Who may call, as the tenants file says, and as it says anew while the service runs.
//!
//! What cannot be used changes nothing. What can is in force as a whole, from one request to
//! the next.

use super::{
    settling::{SHORT, Settling},
    tenant_factory::TenantFactory,
};
use crate::{
    config::{Auth, Mode, parse_tenants, read_tenants},
    http::{ActiveTenant, Authenticator, Readiness, ReloadFaults, TenantSnapshot},
    identity::TenantRegistry,
    named_file::Patient,
};
use anyhow::Context;
use std::{
    convert::Infallible,
    fmt, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    signal::unix::Signal,
    sync::{mpsc, oneshot},
    time::sleep,
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// What could not be used is tried again after so long.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What it is called where its path is nobody's business.
const NAME: &str = "the tenants file";

/// What is said of a file that never stands still.
const RESTLESS: &str = "it changes all the time; it is read when nobody has written to it for a \
                        second: write it as a whole, and only when it is to change";

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
type Asking = oneshot::Sender<Result<(), ReloadFaults>>;
/// Those who ask.
pub(super) type Asked = mpsc::Receiver<Asking>;

/// The tenants file, and those who wait for it to change.
pub(super) struct TenantsReloader {
    /// None: there are no tenants.
    path: Option<PathBuf>,
    members: TenantFactory,
    authenticator: Arc<Authenticator>,
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

/// Who may call, as the file says, before it is in force.
struct Judged {
    roster: TenantRegistry,
    callers: TenantSnapshot,
}

/// What was read of the file, or why nothing was, without where it is.
fn of_disk(read: io::Result<io::Result<String>>) -> Text {
    read.flatten().map_err(|error| vec![named(error)])
}

fn named(error: io::Error) -> String {
    format!("{NAME}: cannot be read: {error}")
}

impl TenantsReloader {
    /// Reads the file for the first time and makes the authenticator of it.
    pub(super) fn open(
        auth: &Auth,
        members: TenantFactory,
        readiness: Arc<Readiness>,
        authenticator: impl FnOnce(bool, TenantSnapshot, Arc<ActiveTenant>) -> Authenticator,
    ) -> anyhow::Result<(Arc<Self>, Settling<Text>)> {
        let path = auth.tenants_file.clone();
        let name = path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let text = path.as_deref().map(read_tenants).transpose();
        let text =
            text.map_err(|error| Unusable(vec![format!("{name}: cannot be read: {error}")]))?;
        let roster = text.as_ref().map(|text| parse_tenants(&name, text)).transpose();
        let roster = roster.map_err(Unusable)?.unwrap_or_default();
        let callers = members.callers(&roster, None).map_err(Unusable)?;
        let anonymous = members.anonymous().context("nobody can be served")?;
        let authenticator =
            Arc::new(authenticator(auth.mode == Mode::Required, callers, anonymous));
        let file = Arc::new(Self { path, members, authenticator, readiness });
        file.switch(&roster, &file.authenticator.callers());
        file.count(&file.authenticator.callers());
        file.tell_expiry();
        Ok((file, Settling::new(Ok(text.unwrap_or_default()))))
    }

    pub(super) fn authenticator(&self) -> &Arc<Authenticator> {
        &self.authenticator
    }

    /// Looks after the file, for as long as it is asked to. It is judged when it has changed and
    /// has stood for a while, however it is asked for; and as it was judged before, when it is
    /// asked for, by SIGHUP too, or was of no use.
    pub(super) async fn keep_current(
        self: &Arc<Self>,
        mut settling: Settling<Text>,
        mut asked: Asked,
        mut hangups: Signal,
    ) -> Infallible {
        let (reading, judging) = (Patient::default(), Patient::default());
        let mut last: Result<(), Vec<String>> = Ok(());
        let mut again_at = None;
        let (mut is_asked, mut asking) = (false, Vec::<Asking>::new());
        loop {
            let look_after = if settling.is_settled() { LOOK_EVERY } else { SHORT };
            tokio::select! {
                () = sleep(look_after) => {}
                Some(asks) = asked.recv() => {
                    asking.push(asks);
                    is_asked = true;
                }
                Some(()) = hangups.recv() => is_asked = true,
            };
            self.tell_expiry();
            let Some(path) = self.path.clone() else {
                // There is nothing else to reload, and nothing wrong.
                asking.drain(..).for_each(|asks| drop(asks.send(Ok(()))));
                continue;
            };
            let text = of_disk(reading.run(move || read_tenants(&path)).await);
            let now = Instant::now();
            let is_whole = looks_whole(settling.last(), &text);
            // What is wrong may be with something that the file names.
            let once_more = is_asked || again_at.is_some_and(|at| now >= at);
            let done = if settling.is_due(&text, is_whole, once_more, now) {
                settling.judged(text.clone());
                match text {
                    Ok(text) => {
                        let this = Arc::clone(self);
                        let judged = judging.run(move || this.judge(&text)).await;
                        let judged = judged.unwrap_or_else(|error| Err(vec![named(error)]));
                        judged.map(|judged| self.put_in_force(judged))
                    }
                    Err(faults) => Err(faults),
                }
            } else if settling.is_restless(now) {
                Err(vec![format!("{NAME}: {RESTLESS}")])
            } else {
                continue;
            };
            again_at = done.is_err().then(|| now + TRY_AGAIN_AFTER);
            if done != last || is_asked || done.is_ok() {
                self.tell(&done);
            }
            last.clone_from(&done);
            is_asked = false;
            asking.drain(..).for_each(|asks| drop(asks.send(done.clone())));
        }
    }

    /// Whether what the file says can be in force. Nothing is by that.
    fn judge(&self, text: &str) -> Result<Judged, Vec<String>> {
        let roster = parse_tenants(NAME, text)?;
        let callers = self.members.callers(&roster, Some(&self.authenticator.callers()))?;
        Ok(Judged { roster, callers })
    }

    fn put_in_force(&self, Judged { roster, callers }: Judged) {
        let before = self.authenticator.callers();
        let is_gone = |member: &&Arc<ActiveTenant>| callers.member(&member.tenant.name).is_none();
        for member in before.members.iter().filter(is_gone) {
            self.members.metrics.callers.forget_tenant(&member.tenant.name);
        }
        self.count(&callers);
        // What is switched off is off before anyone is let in by the new file.
        self.switch(&roster, &callers);
        self.authenticator.replace(callers);
        self.members.decoding.decoder.switched();
        self.tell_expiry();
    }

    /// What the roster switches is switched.
    fn switch(&self, roster: &TenantRegistry, callers: &TenantSnapshot) {
        for (entry, member) in roster.tenants.iter().zip(&callers.members) {
            member.tenant.serve(!entry.disabled);
        }
        self.members.decoding.decoder.block(roster.blocked_hosts.clone());
    }

    /// The rules of all of them have series, and no others.
    fn count(&self, callers: &TenantSnapshot) {
        let members = callers.members.iter().chain([self.authenticator.anonymous()]);
        let rules = members.flat_map(|member| member.tenant.rules()).map(str::to_owned);
        self.members.metrics.callers.rules(&rules.collect());
    }

    fn tell(&self, done: &Result<(), Vec<String>>) {
        let metrics = &self.members.metrics.callers;
        match done {
            Ok(()) => {
                let tenants = self.authenticator.callers().members.len();
                tracing::info!(tenants, "tenants file reloaded");
                metrics.reloaded(SystemTime::now());
                self.readiness.note("tenants", true, "the file is in force");
            }
            Err(faults) => {
                let faults = faults.join("; ");
                tracing::error!(
                    faults,
                    "tenants file could not be loaded; keeping the previous one"
                );
                metrics.reload_success.set(0);
                let detail = "could not be loaded; the previous file is in force";
                self.readiness.note("tenants", false, detail);
            }
        }
    }

    fn tell_expiry(&self) {
        let next = self.authenticator.callers().key_table.next_expiry(SystemTime::now());
        self.members.metrics.callers.next_key_expires(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::settling::LONG;

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
