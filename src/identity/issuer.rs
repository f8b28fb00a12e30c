//! An issuer of tokens, with its keys as they are known now.

use super::token::{Claims, IssuerKeys, Refresh, TokenSettings, Unfit};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    sync::watch,
    time::{sleep_until, timeout},
};

/// Whoever shows a token with an unknown key waits no longer than this for newer keys.
const PATIENCE: Duration = Duration::from_secs(2);

/// An issuer of tokens.
pub struct Issuer {
    settings: TokenSettings,
    keys: RwLock<Arc<IssuerKeys>>,
    refresh: Mutex<Refresh>,
    /// Tells who fetches the keys whether they are wanted before they are due,
    wanted: watch::Sender<bool>,
    /// and everyone that they were fetched, or could not be.
    tried: watch::Sender<()>,
}

impl Issuer {
    /// One of whom no keys are known yet.
    pub fn new(settings: TokenSettings) -> Self {
        let keys = IssuerKeys::default();
        let refresh = Mutex::new(Refresh::new(Instant::now()));
        let (wanted, tried) = (watch::Sender::new(false), watch::Sender::new(()));
        Self { settings, keys: RwLock::new(Arc::new(keys)), refresh, wanted, tried }
    }

    /// Who shows a token. One that was signed with a key that is not known may be worth
    /// [waiting](Self::newer_keys) for newer keys.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, Unfit> {
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        self.settings.verify(&keys, token, now)
    }

    /// Waits until the keys have been fetched again for a token whose key is not known; at
    /// once where that was done a moment ago, so that nobody has them fetched all the time.
    pub async fn newer_keys(&self) {
        let mut tried = self.tried.subscribe();
        if self.refresh().unknown_key(Instant::now()) {
            self.wanted.send_replace(true);
        } else if !*self.wanted.borrow() {
            return;
        }
        let _ = timeout(PATIENCE, tried.changed()).await;
    }

    /// Waits until the keys are to be fetched.
    pub async fn keys_are_due(&self) {
        let mut wanted = self.wanted.subscribe();
        let due = self.refresh().due();
        tokio::select! {
            () = sleep_until(due.into()) => {}
            _ = wanted.wait_for(|wanted| *wanted) => {}
        }
    }

    /// They were fetched, or could not be: then those that are known stay.
    pub fn tried(&self, fetched: Option<IssuerKeys>) {
        let now = Instant::now();
        match fetched {
            Some(keys) => {
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                self.refresh().fetched(now);
            }
            None => self.refresh().failed(now),
        }
        self.wanted.send_replace(false);
        self.tried.send_replace(());
    }

    fn refresh(&self) -> MutexGuard<'_, Refresh> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
