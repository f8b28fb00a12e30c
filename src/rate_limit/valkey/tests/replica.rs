//! One who asks the server: a replica of the service, as far as this module sees it.

use super::{
    super::{Unavailable, Valkey, ValkeySettings},
    CallerLimits,
};
use crate::rate_limit::LimitOutcome;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// No password, no file of authorities, and time enough for a machine that is busy.
pub(super) fn settings(url: &str) -> ValkeySettings {
    let timeout = Duration::from_secs(2);
    ValkeySettings { url: url.to_owned(), password_file: None, ca_file: None, timeout }
}

pub(super) struct Replica {
    pub(super) valkey: Arc<Valkey>,
    told: Arc<Mutex<Vec<bool>>>,
    _keeping: JoinSet<()>,
}

impl Replica {
    /// One that begins to connect.
    pub(super) fn of(settings: ValkeySettings) -> Self {
        let told = Arc::<Mutex<Vec<bool>>>::default();
        let telling = Arc::clone(&told);
        let tell = move |is_up| telling.lock().unwrap().push(is_up);
        let valkey = Arc::new(Valkey::new(settings, Box::new(tell)).unwrap());
        let mut keeping = JoinSet::new();
        let kept = Arc::clone(&valkey);
        keeping.spawn(async move { match kept.keep_connected().await {} });
        Self { valkey, told, _keeping: keeping }
    }

    pub(super) async fn decide(
        &self,
        count: &str,
        limits: &CallerLimits,
        is_decode: bool,
    ) -> Result<LimitOutcome, Unavailable> {
        self.valkey.decide(count, limits, is_decode).await
    }

    /// Waits until it is down for this reason.
    pub(super) async fn is_down_because(&self, why: &str) {
        let is_so = async || self.valkey.why_down().as_deref() == Some(why);
        assert!(comes_about(is_so).await, "{:?}", self.valkey.why_down());
    }

    /// All that it was told.
    pub(super) fn told(&self) -> Vec<bool> {
        self.told.lock().unwrap().clone()
    }
}

#[cfg(feature = "real-tools")]
impl Replica {
    /// One that is connected.
    pub(super) async fn connected(settings: ValkeySettings) -> Self {
        let replica = Self::of(settings);
        replica.is_up().await;
        replica
    }

    /// Waits until the last that it was told is that the server is of use.
    pub(super) async fn is_up(&self) {
        self.is_told(true).await;
    }

    /// Waits until it is that the server is of none.
    pub(super) async fn is_down(&self) {
        self.is_told(false).await;
    }

    async fn is_told(&self, is_up: bool) {
        let is_so = async || self.told.lock().unwrap().last() == Some(&is_up);
        assert!(comes_about(is_so).await, "{:?}", self.valkey.why_down());
    }
}

/// Looks until it is so, or for too long.
pub(super) async fn comes_about(mut is_so: impl AsyncFnMut() -> bool) -> bool {
    let looking = async {
        while !is_so().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, looking).await.is_ok()
}
