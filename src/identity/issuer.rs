//! An issuer of tokens, with its keys as they are known now.

use super::token::{Claims, IssuerKeys, Refresh, TokenError, TokenSettings};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

/// Whoever shows a token with an unknown key waits no longer than this for newer keys.
const PATIENCE: Duration = Duration::from_secs(2);
/// No more than so many wait at a time: nobody knows who they are, and those who are known
/// need the room.
const MOST_WAITING: usize = 256;

/// An issuer of tokens.
pub struct Issuer {
    settings: TokenSettings,
    keys: RwLock<Arc<IssuerKeys>>,
    refresh: Mutex<Refresh>,
    /// Tells who fetches the keys whether they are wanted before they are due, and everyone
    /// else that they were fetched, or could not be.
    fetches: watch::Sender<Fetches>,
}

/// The fetches of keys, by their numbers. One that had begun before a token came may bring
/// what the issuer had before it signed that token: only the next one counts.
#[derive(Debug, Default)]
struct Fetches {
    /// The last one that began.
    begun: u64,
    /// The last one that ended.
    ended: u64,
    /// The last one that a token has made, or will have.
    wanted: u64,
}

impl Issuer {
    /// One of whom no keys are known yet.
    pub fn new(settings: TokenSettings) -> Self {
        let keys = IssuerKeys::default();
        let refresh = Mutex::new(Refresh::new(now()));
        let fetches = watch::Sender::default();
        Self { settings, keys: RwLock::new(Arc::new(keys)), refresh, fetches }
    }

    /// Who shows a token. One that was signed with a key that is not known may be worth
    /// [waiting](Self::newer_keys) for newer keys.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, TokenError> {
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        self.settings.verify(&keys, token, now)
    }

    /// Waits until the keys have been fetched again for a token whose key is not known; at
    /// once where that was done a moment ago, so that nobody has them fetched all the time.
    pub async fn newer_keys(&self) {
        let mut awaited = 0;
        // Under one lock: whoever comes second waits for what whoever came first wants.
        self.fetches.send_if_modified(|fetches| {
            let is_new = self.refresh().unknown_key(now());
            if is_new {
                fetches.wanted = fetches.begun + 1;
            }
            awaited = fetches.wanted;
            is_new
        });
        let mut fetches = self.fetches.subscribe();
        // Whoever fetches the keys may be among them.
        if self.fetches.receiver_count() > MOST_WAITING + 1 {
            return;
        }
        let _ = timeout(PATIENCE, fetches.wait_for(|fetches| fetches.ended >= awaited)).await;
    }

    /// Waits until the keys are to be fetched. From then on they are [being](Self::begin).
    pub async fn keys_are_due(&self) {
        let mut fetches = self.fetches.subscribe();
        let due = self.refresh().due();
        tokio::select! {
            () = sleep_until(due.into()) => {}
            _ = fetches.wait_for(|fetches| fetches.wanted > fetches.begun) => {}
        }
    }

    /// From now on they are being fetched, until that was [tried](Self::tried).
    pub fn begin(&self) {
        self.fetches.send_modify(|fetches| fetches.begun += 1);
    }

    /// They were fetched, or could not be: then those that are known stay.
    pub fn tried(&self, fetched: Option<IssuerKeys>) {
        match fetched {
            Some(keys) => {
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                self.refresh().fetched(now());
            }
            None => self.refresh().failed(now()),
        }
        self.fetches.send_modify(|fetches| fetches.ended = fetches.begun);
    }

    fn refresh(&self) -> MutexGuard<'_, Refresh> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By the clock that waits, too.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Algorithm;
    use tokio::{
        join, spawn,
        task::yield_now,
        time::{advance, pause},
    };

    fn issuer() -> Arc<Issuer> {
        pause();
        Arc::new(Issuer::new(TokenSettings {
            issuer: "https://issuer.example".to_owned(),
            audience: "blueprints".to_owned(),
            algorithms: vec![Algorithm::Es256],
            tenant_claim: "tenant".to_owned(),
            role_claim: "role".to_owned(),
        }))
    }

    /// One whose keys were fetched a moment ago.
    async fn settled() -> Arc<Issuer> {
        let issuer = issuer();
        fetch(&issuer).await;
        issuer
    }

    async fn fetch(issuer: &Issuer) {
        issuer.keys_are_due().await;
        issuer.begin();
        issuer.tried(Some(IssuerKeys::default()));
    }

    /// How long something takes, in seconds.
    async fn lasts(work: impl Future<Output = ()>) -> u64 {
        let began = Instant::now();
        work.await;
        began.elapsed().as_secs()
    }

    #[tokio::test]
    async fn a_token_with_an_unknown_key_has_the_keys_fetched_and_waits_for_them() {
        let issuer = settled().await;

        let (token, fetch) = join!(lasts(issuer.newer_keys()), lasts(fetch(&issuer)));

        assert_eq!((token, fetch), (0, 0));
    }

    #[tokio::test]
    async fn keys_that_nobody_wants_are_fetched_when_they_are_due() {
        let issuer = settled().await;
        assert_eq!(lasts(fetch(&issuer)).await, 300);
        issuer.begin();
        issuer.tried(None);
        assert_eq!(lasts(issuer.keys_are_due()).await, 5);
    }

    #[tokio::test]
    async fn all_tokens_of_a_moment_wait_for_one_fetch() {
        let issuer = settled().await;
        let wait = || {
            let issuer = Arc::clone(&issuer);
            spawn(async move { lasts(issuer.newer_keys()).await })
        };
        let mut tokens = vec![wait()];
        issuer.keys_are_due().await;
        tokens.push(wait());
        issuer.begin();
        tokens.push(wait());
        yield_now().await;
        assert!(tokens.iter().all(|token| !token.is_finished()));

        advance(Duration::from_secs(1)).await;
        issuer.tried(None);

        for token in tokens {
            assert_eq!(token.await.unwrap(), 1);
        }
        // Later ones do not wait, and want nothing.
        assert_eq!(lasts(issuer.newer_keys()).await, 0);
        assert_eq!(lasts(issuer.keys_are_due()).await, 5);
    }

    #[tokio::test]
    async fn a_fetch_that_was_under_way_before_is_not_the_one_that_a_token_waits_for() {
        let issuer = settled().await;
        issuer.begin();
        let token = spawn({
            let issuer = Arc::clone(&issuer);
            async move { issuer.newer_keys().await }
        });
        yield_now().await;

        issuer.tried(Some(IssuerKeys::default()));

        yield_now().await;
        assert!(!token.is_finished());
        assert_eq!(lasts(fetch(&issuer)).await, 0);
        token.await.unwrap();
    }

    #[tokio::test]
    async fn a_token_waits_no_longer_than_it_may_and_the_fetch_goes_on() {
        let issuer = settled().await;
        assert_eq!(lasts(issuer.newer_keys()).await, 2);
        // Whoever wanted it has gone.
        assert_eq!(lasts(issuer.keys_are_due()).await, 0);
        issuer.begin();
        issuer.tried(None);
        assert_eq!(lasts(issuer.newer_keys()).await, 0);
    }

    #[tokio::test]
    async fn a_crowd_does_not_wait() {
        let issuer = settled().await;
        let tokens = (0..2 * MOST_WAITING).map(|_| {
            let issuer = Arc::clone(&issuer);
            spawn(async move { lasts(issuer.newer_keys()).await })
        });
        let mut waited = 0;
        for token in tokens.collect::<Vec<_>>() {
            waited += usize::from(token.await.unwrap() > 0);
        }
        // The place of who fetches is free here.
        assert_eq!(waited, MOST_WAITING + 1);
    }

    #[tokio::test]
    async fn a_minute_later_a_token_may_have_the_keys_fetched_again() {
        let issuer = settled().await;
        for _ in 0..3 {
            let (_, waited) = join!(issuer.newer_keys(), lasts(fetch(&issuer)));
            assert_eq!(waited, 0);
            advance(Duration::from_secs(59)).await;
            assert_eq!(lasts(issuer.newer_keys()).await, 0);
            advance(Duration::from_secs(1)).await;
        }
    }
}
