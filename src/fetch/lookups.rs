//! Lookups of the system: each holds a thread until the system is done with it, and nobody can
//! end it.
//!
//! So each has one of a bounded number of permits for as long as its thread is busy, whether or
//! not anyone still waits for what it finds, and is charged to its caller. No caller has all of
//! them, however many names it knows about which nobody answers: 29 are left to others, which is
//! plenty, for a lookup that is answered has its permit for milliseconds.

use super::resolver::NoAddress;
use crate::{
    overload::{Admission, PermitPool, PoolLimits},
    quota_key::QuotaKey,
};
use std::time::Duration;
use tokio::task::spawn_blocking;

/// So many are under way at a time: half of the threads that tokio has for what blocks.
const LOOKUPS: usize = 256;
/// One may wait for its permit for this part of the time for a connection, so that there is some
/// left to look it up and connect.
const PART: u32 = 2;

/// PermitPool for lookups of the system.
#[derive(Clone)]
pub(super) struct Lookups(PermitPool);

impl Lookups {
    /// All of them free.
    pub(super) fn new(connect_timeout: Duration) -> Self {
        let bounds = PoolLimits {
            permits: LOOKUPS,
            // Each is for a fetch, whose number is bounded.
            queue: usize::MAX,
            max_wait: Some(connect_timeout / PART),
            keeps_reserve: true,
        };
        Self(PermitPool::new(bounds, None))
    }

    /// Looks something up for a caller, once there is a permit. As long as that takes, it keeps
    /// what is handed over.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        caller: QuotaKey,
        keeps: impl Send + 'static,
        look_up: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAddress> {
        let permit = match self.0.request(caller) {
            Admission::Admitted(permit) => Ok(permit),
            Admission::Queued(waiter) => waiter.permit().await,
            Admission::Refused(shed) => Err(shed),
        };
        let kept = (permit.map_err(|_| NoAddress::Crowded)?, keeps);
        let looking_up = spawn_blocking(move || {
            let _kept = kept;
            look_up()
        });
        looking_up.await.map_err(|error| NoAddress::Lookup(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::{sync::RwLock, task::yield_now, time::timeout};

    const GREEDY: QuotaKey = QuotaKey::Tenant(1);
    const MODEST: QuotaKey = QuotaKey::Tenant(2);
    /// Eight ninths.
    const MOST: usize = 227;

    /// A name server that says nothing until it is told to.
    #[derive(Default)]
    struct Silent(Arc<RwLock<()>>);

    impl Silent {
        /// More lookups than there are permits for, each given up as soon as it has begun: all
        /// that its caller may have stay.
        async fn is_asked_by(&self, caller: QuotaKey, lookups: &Lookups) {
            for _ in 0..LOOKUPS + 10 {
                let says = Arc::clone(&self.0);
                let asked = lookups.run(caller, (), move || drop(says.blocking_read()));
                let given_up = timeout(Duration::ZERO, asked).await;
                assert!(!matches!(given_up, Ok(Ok(()))), "it has said something");
            }
            assert_eq!((lookups.0.in_use(), lookups.0.waiting()), (MOST, 0));
        }
    }

    #[tokio::test]
    async fn who_looks_up_what_nobody_answers_leaves_room_for_others() {
        let (lookups, silent) = (Lookups::new(Duration::from_secs(2)), Silent::default());
        let silence = silent.0.write().await;
        silent.is_asked_by(GREEDY, &lookups).await;

        for _ in 0..100 {
            assert!(matches!(lookups.run(MODEST, (), || 5).await, Ok(5)));
        }

        // Nobody waits for them any more, and still they are charged to who began them.
        assert_eq!(lookups.0.in_use(), MOST);
        assert!(matches!(lookups.run(GREEDY, (), || 5).await, Err(NoAddress::Crowded)));
        drop(silence);
    }

    #[tokio::test]
    async fn who_waits_has_a_place_once_the_thread_of_another_lookup_is_back() {
        let (lookups, silent) = (Lookups::new(Duration::from_secs(60)), Silent::default());
        let silence = silent.0.write().await;
        silent.is_asked_by(GREEDY, &lookups).await;
        let waits = tokio::spawn({
            let lookups = lookups.clone();
            async move { lookups.run(GREEDY, (), || 5).await }
        });
        while lookups.0.waiting() == 0 {
            yield_now().await;
        }

        drop(silence);

        assert!(matches!(waits.await.unwrap(), Ok(5)));
        while lookups.0.in_use() > 0 {
            yield_now().await;
        }
    }
}
