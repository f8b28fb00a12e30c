//! Processor time of one decode, slice by slice.

use super::DecodePool;
use crate::{overload::CpuSlot, quota_key::QuotaKey};
use std::time::{Duration, Instant};
use tokio::task::yield_now;

/// Limits a decode to half a millisecond of processor time at once, however hard its document is.
///
/// Then it gives its CPU slot to the next decode in turn, and lets everything else that is ready
/// run first.
pub(super) struct CpuBudget<'a> {
    pool: Option<DecodePool<'a>>,
    key: QuotaKey,
    /// The slice in use, if any.
    slice: Option<Slice>,
    /// How many bytes fit into one slice, as far as is known.
    piece: usize,
    /// How many bytes there were to scan so far.
    seen: usize,
    /// Processor time since the decode last let others run.
    unbroken: Duration,
}

struct Slice {
    began: Instant,
    _slot: Option<CpuSlot>,
}

impl<'a> CpuBudget<'a> {
    const SLICE: Duration = Duration::from_micros(500);
    /// So short a time delays no other work.
    const SHORT: Duration = Duration::from_micros(125);
    /// How many bytes are scanned without a slot. The hardest known document takes a third of a
    /// millisecond for them.
    const SMALL: usize = 4 * 1024;
    /// How many bytes are scanned before the clock is read again, however easy they are.
    const LARGE: usize = 32 * 1024;

    pub(super) fn new(pool: Option<DecodePool<'a>>, key: QuotaKey) -> Self {
        let (piece, seen, unbroken) = (Self::SMALL, 0, Duration::ZERO);
        Self { pool, key, slice: None, piece, seen, unbroken }
    }

    /// Adds `bytes`; true once the document is too large to scan without a slot.
    pub(super) fn needs_slot_for(&mut self, bytes: usize) -> bool {
        self.seen = self.seen.saturating_add(bytes);
        self.seen > Self::SMALL
    }

    /// Begins a slice, unless one is in use. Waits for a slot.
    pub(super) async fn begin(&mut self) {
        if self.slice.is_none() {
            let slot = match self.pool {
                Some(pool) => pool.cpu.slot(self.key).await,
                None => None,
            };
            self.slice = Some(Slice { began: Instant::now(), _slot: slot });
        }
    }

    /// How many bytes to scan before the clock is read again.
    pub(super) fn piece(&self) -> usize {
        self.piece
    }

    /// A piece is scanned. Ends the slice if it is used up.
    pub(super) async fn piece_done(&mut self) {
        let used = self.used();
        if used > Self::SLICE {
            self.end().await;
            self.piece = (self.piece / 2).max(Self::SMALL / 2);
        } else if used < Self::SHORT {
            self.piece = (self.piece * 2).min(Self::LARGE);
        }
    }

    /// Ends the slice, if any: there is nothing to compute for the moment.
    pub(super) async fn end(&mut self) {
        let used = self.used();
        if let (Some(_), Some(pool)) = (&self.slice, self.pool) {
            pool.permits.add_cpu_time(used);
        }
        self.unbroken += used;
        if self.unbroken > Self::SHORT {
            // Everything else that is ready runs before the next slice of any decode.
            yield_now().await;
            self.unbroken = Duration::ZERO;
        }
        self.slice = None;
    }

    fn used(&self) -> Duration {
        self.slice.as_ref().map(|slice| slice.began.elapsed()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    };

    #[tokio::test]
    async fn short_slices_add_up_until_others_run() {
        let others = Arc::new(AtomicU32::new(0));
        let counts = Arc::clone(&others);
        let other = tokio::spawn(async move {
            loop {
                counts.fetch_add(1, Relaxed);
                yield_now().await;
            }
        });
        let mut budget = CpuBudget::new(None, QuotaKey::LOCAL);
        for _ in 0..200 {
            budget.begin().await;
            let began = Instant::now();
            while began.elapsed() < CpuBudget::SHORT / 10 {}
            budget.end().await;
        }
        other.abort();

        assert!(others.load(Relaxed) >= 15, "{others:?}");
    }
}
