//! The level of the service's own lines, changed for a while: what an operator asks for while
//! something is wrong, and forgets to take back.

use super::log::Filter;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::AbortHandle, time::sleep};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{filter::Targets, reload};

/// After so long, levels are what the configuration says.
pub const FOR: Duration = Duration::from_secs(15 * 60);

/// Where these lines come from. Libraries are not asked for more: they may say what was on its
/// way.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// Changes levels while the service runs.
#[derive(Clone)]
pub struct Levels(Arc<Change>);

struct Change {
    usual: Filter,
    /// Puts other targets in place of those that decide.
    put: Box<dyn Fn(Targets) + Send + Sync>,
    /// What will put back the usual ones.
    back: Mutex<Option<AbortHandle>>,
}

impl Levels {
    /// The usual levels, and what holds events to them.
    pub(super) fn new<S: Subscriber + 'static>(usual: Filter) -> (Self, reload::Layer<Targets, S>) {
        let (layer, handle) = reload::Layer::new(usual.targets().clone());
        // It fails only where there is no subscriber any more, and so no lines.
        let put = Box::new(move |targets| drop(handle.reload(targets)));
        (Self(Arc::new(Change { usual, put, back: Mutex::default() })), layer)
    }

    /// From now on the service's own lines are those of this level, for [`FOR`] or until they
    /// are changed again.
    pub fn change(&self, level: LevelFilter) {
        let targets = self.0.usual.targets().clone();
        (self.0.put)(targets.with_target(OWN, level));
        let change = Arc::clone(&self.0);
        let back = tokio::spawn(async move {
            sleep(FOR).await;
            (change.put)(change.usual.targets().clone());
            tracing::info!(log = %change.usual, "log level restored");
        });
        let mut last = self.0.back.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.replace(back.abort_handle()) {
            last.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[tokio::test(start_paused = true)]
    async fn levels_are_back_after_a_while_counted_from_the_last_change() {
        let (levels, decides) = Levels::new("info,other=debug".parse().unwrap());
        let subscriber = tracing_subscriber::registry().with(decides);
        let _here = tracing::subscriber::set_default(subscriber);
        let minute = Duration::from_secs(60);
        let own = |level: Level| match level {
            Level::INFO => tracing::enabled!(target: OWN, Level::INFO),
            _ => tracing::enabled!(target: OWN, Level::DEBUG),
        };

        levels.change(LevelFilter::DEBUG);
        sleep(10 * minute).await;
        levels.change(LevelFilter::TRACE);
        sleep(14 * minute).await;

        assert!(own(Level::DEBUG));
        assert!(tracing::enabled!(target: "other", Level::DEBUG));
        assert!(!tracing::enabled!(target: "another", Level::DEBUG));
        sleep(2 * minute).await;
        assert!(!own(Level::DEBUG) && own(Level::INFO));
        assert!(tracing::enabled!(target: "other", Level::DEBUG));
    }
}
