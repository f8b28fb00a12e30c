//! How a connection comes about, and how long an answer on it may take to begin.
//!
//! reqwest asks its resolver about a bare name. The request that it is for is handed
//! over beside it, in a task local: without it, nothing is resolved.

use super::{OriginPermit, times::Times};
use crate::policy::ApprovedTarget;
use std::{
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{sync::Notify, time::timeout_at};
use tower::Service;

tokio::task_local! {
    /// The request that a connection is wanted for.
    pub(super) static DIAL: Arc<Dial>;
}

/// What a connection is wanted for.
pub(super) struct Dial {
    pub(super) target: ApprovedTarget,
    /// Of the visit that it is for.
    pub(super) permit: OriginPermit,
    pub(super) times: Arc<Times>,
    /// How long the lookup took.
    pub(super) looked_up: OnceLock<Duration>,
    /// Whether a connection is being made just now.
    pub(super) dials: AtomicBool,
    /// When that is over.
    pub(super) stands: Notify,
}

impl Dial {
    /// Waits for the head of an answer, but no longer than that from when there is a
    /// connection.
    pub(super) async fn until_first_byte<T>(
        &self,
        sent: impl Future<Output = T>,
        longest: Duration,
    ) -> Option<T> {
        let mut sent = pin!(sent);
        let mut until = Instant::now() + longest;
        loop {
            if let Ok(sent) = timeout_at(until.into(), &mut sent).await {
                return Some(sent);
            }
            // Which has a time limit of its own.
            if self.dials.load(Relaxed) {
                tokio::select! {
                    sent = &mut sent => return Some(sent),
                    () = self.stands.notified() => {}
                }
            }
            match self.times.stands_since() {
                Some(since) if since + longest > until => until = since + longest,
                _ => return None,
            }
        }
    }
}

/// A connection is being made, until this is dropped: also by the time limit for that.
struct Dialling(Arc<Dial>);

impl Dialling {
    fn begin(dial: Arc<Dial>) -> Self {
        dial.dials.store(true, Relaxed);
        Self(dial)
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.dials.store(false, Relaxed);
        self.0.stands.notify_one();
    }
}

/// Measures how long it takes until a connection stands.
#[derive(Clone)]
pub(super) struct TimedConnector<S>(pub(super) S);

impl<S, R> Service<R> for TimedConnector<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: R) -> Self::Future {
        let began = Instant::now();
        let dialling = DIAL.try_with(Arc::clone).ok().map(Dialling::begin);
        let connecting = self.0.call(target);
        Box::pin(async move {
            let connected = connecting.await;
            // A connection that another one has overtaken goes on by itself, outside of
            // the request, whose time it is no part of.
            let _ = DIAL.try_with(|dial| {
                let Dial { times, looked_up, .. } = &**dial;
                let dns = looked_up.get().copied();
                if let Some(dns) = dns {
                    let _ = times.dns.set(dns);
                }
                if connected.is_ok() {
                    let connect = began.elapsed().saturating_sub(dns.unwrap_or_default());
                    let _ = times.connect.set(connect);
                    let _ = times.stands_since.set(Instant::now());
                }
            });
            drop(dialling);
            connected
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fetch::origins::{OriginSettings, Origins},
        policy::{Policy, Rule},
        quota_key::QuotaKey,
    };
    use std::future::pending;
    use tokio::time::{pause, sleep};

    const SECOND: Duration = Duration::from_secs(1);

    async fn dial() -> Arc<Dial> {
        let settings = OriginSettings {
            max_per_origin: 1,
            attempts: 1,
            circuit: None,
            circuits_open: Box::new(|_| ()),
        };
        let visit = Origins::new(settings)
            .visit("https://a.example".to_owned(), QuotaKey::LOCAL, false)
            .await;
        let rules = vec![Rule::parse("https://a.example").unwrap()];
        let policy = Policy::new(rules, Vec::new(), Vec::new(), Vec::new());
        Arc::new(Dial {
            target: policy.approve("https://a.example/").unwrap(),
            permit: visit.ok().unwrap().permit(),
            times: Arc::default(),
            looked_up: OnceLock::new(),
            dials: AtomicBool::new(false),
            stands: Notify::new(),
        })
    }

    #[tokio::test]
    async fn an_answer_has_its_time_from_when_there_is_a_connection() {
        pause();
        let dial = dial().await;
        let began = tokio::time::Instant::now();
        let none = dial.until_first_byte(pending::<()>(), 2 * SECOND).await;
        assert_eq!((none, began.elapsed().as_secs()), (None, 2));
        let some = dial.until_first_byte(async { 5 }, SECOND).await;
        assert_eq!(some, Some(5));
    }

    #[tokio::test]
    async fn a_connection_that_never_stands_is_waited_for_as_long_as_it_is_made() {
        pause();
        let dial = dial().await;
        let dialling = Dialling::begin(Arc::clone(&dial));
        // Its own time limit drops it.
        tokio::spawn(async move {
            sleep(5 * SECOND).await;
            drop(dialling);
        });
        let began = tokio::time::Instant::now();
        let none = dial.until_first_byte(pending::<()>(), 2 * SECOND).await;
        assert_eq!((none, began.elapsed().as_secs()), (None, 5));
    }
}
