//! How a connection comes about, and how long an answer on it may take to begin.
//!
//! reqwest asks its resolver about a bare name. The request that it is for is handed
//! over beside it, in a task local: without it, nothing is resolved.

use super::times::Times;
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
        let wanted = DIAL.try_with(Arc::clone).ok();
        wanted.iter().for_each(|dial| dial.dials.store(true, Relaxed));
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
            if let Some(dial) = wanted {
                dial.dials.store(false, Relaxed);
                dial.stands.notify_one();
            }
            connected
        })
    }
}
