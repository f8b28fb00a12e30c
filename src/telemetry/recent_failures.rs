//! The last failures with their context, for whoever is on call.

use serde::Serialize;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

/// How many are kept.
const CAPACITY: usize = 256;

/// The last failures; older ones are forgotten.
#[derive(Debug, Default)]
pub struct RecentFailures(Mutex<VecDeque<RecentFailure>>);

/// One failure as it was logged.
#[derive(Debug, Clone, Serialize)]
pub struct RecentFailure {
    /// When the request ended.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// Its id.
    pub request_id: String,
    /// Who asked.
    pub tenant: String,
    /// The method.
    pub method: &'static str,
    /// The route.
    pub route: &'static str,
    /// What was answered.
    pub status: u16,
    /// What went wrong.
    pub code: &'static str,
    /// What it counts as.
    pub outcome: &'static str,
    /// Whose fault it is.
    pub blame: &'static str,
    /// What the caller was told, but not where in the request.
    pub detail: String,
    /// What the caller was not told.
    pub reason: Option<String>,
    /// The host of the source.
    pub source_host: Option<String>,
    /// The rule that allowed it.
    pub rule: Option<String>,
    /// What the source answered.
    pub source_status: Option<u16>,
    /// How often it was tried.
    pub attempts: Option<u32>,
    /// From the head to the last byte.
    pub duration_ms: f64,
}

impl RecentFailures {
    pub(super) fn push(&self, failure: RecentFailure) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == CAPACITY {
            kept.pop_front();
        }
        kept.push_back(failure);
    }

    /// The newest first.
    pub fn newest_first(&self) -> Vec<RecentFailure> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().cloned().collect()
    }
}

fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&super::log::rfc3339(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_256_are_kept_and_the_newest_comes_first() {
        let recent = RecentFailures::default();
        for number in 0..300u16 {
            recent.push(RecentFailure {
                time: SystemTime::UNIX_EPOCH,
                request_id: String::new(),
                tenant: "anonymous".to_owned(),
                method: "POST",
                route: "/decode",
                status: number,
                code: "internal",
                outcome: "failed",
                blame: "service",
                detail: String::new(),
                reason: None,
                source_host: None,
                rule: None,
                source_status: None,
                attempts: None,
                duration_ms: 0.0,
            });
        }

        let kept = recent.newest_first();

        assert_eq!(kept.len(), CAPACITY);
        assert_eq!((kept[0].status, kept[255].status), (299, 44));
    }
}
