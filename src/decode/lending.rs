//! Lends the permit of a decode to others while its document does not arrive.

use crate::overload::Permit;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long a document may be waited for in total before its permit is lent.
const LEND_AFTER: Duration = Duration::from_millis(50);

/// How much longer a decode keeps its permit while it waits for its document.
pub struct Lending(Duration);

impl Default for Lending {
    fn default() -> Self {
        Self(LEND_AFTER)
    }
}

impl Lending {
    /// Waits for the next part of a document. Once the decode has waited too long in total, its
    /// permit is lent for the rest of the wait.
    pub async fn wait<T>(
        &mut self,
        permit: &mut Option<Permit>,
        next: impl Future<Output = T>,
    ) -> T {
        let (mut next, began) = (std::pin::pin!(next), Instant::now());
        if let Ok(arrived) = timeout(self.0, &mut next).await {
            self.0 = self.0.saturating_sub(began.elapsed());
            return arrived;
        }
        self.0 = Duration::ZERO;
        permit.iter_mut().for_each(Permit::lend);
        let arrived = next.await;
        permit.iter_mut().for_each(Permit::reclaim);
        arrived
    }
}
