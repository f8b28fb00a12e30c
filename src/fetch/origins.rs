//! The origins that are remembered, in bounded memory.
//!
//! One origin's trouble is none of another's: each has a circuit, a budget for retries and
//! permits of its own.

use super::{
    circuit::CircuitSettings,
    origin::{CLOSED, Origin, Refused, ShownOrigin},
    visit::Visit,
};
use crate::quota_key::QuotaKey;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// So many are remembered.
const MOST: usize = 1024;
/// What all origins are held to.
pub struct OriginSettings {
    /// Requests to one at a time.
    pub max_per_origin: usize,
    /// How often a document is asked for.
    pub attempts: u32,
    /// When one is left alone, if ever.
    pub circuit: Option<CircuitSettings>,
    /// Is told how many are.
    pub circuits_open: Box<dyn Fn(usize) + Send + Sync>,
}

/// The origins that are remembered.
pub(super) struct Origins {
    pub(super) settings: OriginSettings,
    known: Mutex<HashMap<String, Arc<Origin>>>,
}

impl Origins {
    pub(super) fn new(settings: OriginSettings) -> Arc<Self> {
        Arc::new(Self { settings, known: Mutex::default() })
    }

    /// Lets a request go to an origin, once there is a permit.
    pub(super) async fn visit(
        self: &Arc<Self>,
        name: String,
        caller: QuotaKey,
        is_retry: bool,
    ) -> Result<Visit, Refused> {
        let origin = self.origin(name);
        let permit = origin.permit(caller).await?;
        let pass = origin.pass(is_retry)?;
        Ok(Visit::begin(Arc::clone(self), origin, pass, permit))
    }

    /// All that are remembered, those in trouble first.
    pub(super) fn shown(&self) -> Vec<ShownOrigin> {
        let now = Instant::now();
        let known: Vec<Arc<Origin>> = self.known().values().cloned().collect();
        let shown = |origin: Arc<Origin>| origin.shown(now);
        let mut shown: Vec<ShownOrigin> = known.into_iter().map(shown).collect();
        shown.sort_by(|a, b| {
            let is_closed = |shown: &ShownOrigin| shown.circuit == CLOSED;
            (is_closed(a), &a.origin).cmp(&(is_closed(b), &b.origin))
        });
        shown
    }

    fn origin(&self, name: String) -> Arc<Origin> {
        let mut known = self.known();
        if let Some(origin) = known.get(&name) {
            return Arc::clone(origin);
        }
        if known.len() >= MOST {
            self.forget_one(&mut known);
        }
        let OriginSettings { max_per_origin, circuit, .. } = self.settings;
        let origin = Arc::new(Origin::new(name.clone(), max_per_origin, circuit));
        // Where none could be forgotten, this one is not remembered.
        if known.len() < MOST {
            known.insert(name, Arc::clone(&origin));
        }
        origin
    }

    /// Forgets the one that says least: nobody is there, nothing is held against it, and it
    /// was not asked for long.
    fn forget_one(&self, known: &mut HashMap<String, Arc<Origin>>) {
        let at_rest = known.values().filter(|origin| Arc::strong_count(origin) == 1);
        let least = at_rest.min_by_key(|origin| origin.worth());
        if let Some(name) = least.map(|origin| origin.name().to_owned()) {
            known.remove(&name);
            self.count(known);
        }
    }

    /// Tells how many are left alone; time alone changes it, too.
    pub(super) fn recount(&self) {
        self.count(&self.known());
    }

    fn count(&self, known: &HashMap<String, Arc<Origin>>) {
        let now = Instant::now();
        let open = known.values().filter(|origin| origin.is_left_alone(now)).count();
        (self.settings.circuits_open)(open);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Origin>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::{Conduct, Decision, Error, circuit::Pass, origin::WAITING, retry::Failed};
    use std::{
        collections::VecDeque,
        net::IpAddr,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        time::Duration,
    };
    use tokio::task::yield_now;

    fn origins(max_per_origin: usize) -> (Arc<Origins>, Arc<AtomicUsize>) {
        let open = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&open);
        let settings = OriginSettings {
            max_per_origin,
            attempts: 3,
            circuit: Some(CircuitSettings { failures: 2, open_for: Duration::from_secs(10) }),
            circuits_open: Box::new(move |open| told.store(open, Relaxed)),
        };
        (Origins::new(settings), open)
    }

    fn caller(number: u8) -> QuotaKey {
        QuotaKey::from(IpAddr::from([10, 0, 0, number]))
    }

    async fn visit(origins: &Arc<Origins>, name: &str) -> Result<Visit, Refused> {
        origins.visit(name.to_owned(), caller(1), false).await
    }

    /// Until so many wait for the first origin.
    async fn waits_for(origins: &Origins, count: usize) {
        let origin = origins.origin("https://a".to_owned());
        while origin.permits.waiting() < count {
            yield_now().await;
        }
    }

    async fn fail(origins: &Arc<Origins>, name: &str) {
        for _ in 0..2 {
            visit(origins, name).await.ok().unwrap().over(Conduct::Bad);
        }
    }

    #[tokio::test]
    async fn one_origin_is_left_alone_and_no_other() {
        let (origins, open) = origins(1);
        fail(&origins, "https://a").await;

        let Err(Refused::Open(wait)) = visit(&origins, "https://a").await else { panic!() };
        let (least, most) = (Duration::from_secs(9), Duration::from_secs(15));
        assert!((least..=most).contains(&wait), "{wait:?}");
        visit(&origins, "https://b").await.ok().unwrap().over(Conduct::Good);
        assert_eq!(open.load(Relaxed), 1);
        let shown = origins.shown();
        assert_eq!((shown[0].origin.as_str(), shown[0].circuit), ("https://a", "open"));
        assert_eq!((shown[1].origin.as_str(), shown[1].circuit), ("https://b", "closed"));
        assert_eq!((shown[0].failures, shown[1].in_flight), (2, 0));
    }

    #[tokio::test]
    async fn an_origin_that_nobody_asks_any_more_is_not_left_alone_for_ever() {
        let open = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&open);
        let origins = Origins::new(OriginSettings {
            max_per_origin: 1,
            attempts: 1,
            circuit: Some(CircuitSettings { failures: 1, open_for: Duration::from_millis(20) }),
            circuits_open: Box::new(move |open| told.store(open, Relaxed)),
        });
        visit(&origins, "https://a").await.ok().unwrap().over(Conduct::Bad);
        assert_eq!((open.load(Relaxed), origins.shown()[0].circuit), (1, "open"));

        while origins.shown()[0].circuit == "open" {
            yield_now().await;
        }
        origins.recount();

        assert_eq!((open.load(Relaxed), origins.shown()[0].circuit), (0, "due"));
    }

    #[tokio::test]
    async fn who_redirects_pays_for_what_is_tried_again_behind_it() {
        let (origins, _) = origins(1);
        let error = Error::Status(503, None);
        let mut retried = 0;
        for number in 0..30 {
            let before = visit(&origins, "https://a").await.ok().unwrap().over(Conduct::Good);
            let behind = visit(&origins, &format!("https://{number}")).await.ok().unwrap();
            let decision = behind.failed(&error, 1, Duration::from_secs(9), &[before]);
            retried += usize::from(matches!(decision, Some(Decision::Retried(_))));
        }
        // A fifth of thirty, however many origins are behind it.
        assert_eq!(retried, 6);
    }

    #[tokio::test]
    async fn a_retry_is_no_request_that_buys_others() {
        let (origins, _) = origins(1);
        for _ in 0..100 {
            let retry = origins.visit("https://a".to_owned(), caller(1), true).await;
            retry.ok().unwrap().over(Conduct::Good);
        }
        let origin = origins.origin("https://a".to_owned());
        let pays = || origin.state().budget.pay(Instant::now());
        assert_eq!((0..100).take_while(|_| pays()).count(), 3);
    }

    #[tokio::test]
    async fn a_probe_that_is_left_is_made_by_the_next_and_one_that_is_answered_is_over() {
        let (origins, open) = probing();
        let probes = || async {
            loop {
                if let Ok(visit) = visit(&origins, "https://a").await {
                    return visit;
                }
                yield_now().await;
            }
        };
        drop(probes().await);
        let mut second = probes().await;
        assert_eq!((second.pass, open.load(Relaxed)), (Pass::Probe, 1));
        second.answered();
        assert_eq!(open.load(Relaxed), 0);
        // From there on it is one of many.
        second.over(Conduct::Bad);
        assert_eq!((open.load(Relaxed), origins.shown()[0].failures), (0, 1));
    }

    /// One that has failed a moment ago.
    fn probing() -> (Arc<Origins>, Arc<AtomicUsize>) {
        let open = Arc::new(AtomicUsize::new(1));
        let told = Arc::clone(&open);
        let origins = Origins::new(OriginSettings {
            max_per_origin: 1,
            attempts: 1,
            circuit: Some(CircuitSettings { failures: 2, open_for: Duration::from_millis(1) }),
            circuits_open: Box::new(move |open| told.store(open, Relaxed)),
        });
        let origin = origins.origin("https://a".to_owned());
        for _ in 0..2 {
            origin.note(Pass::Usual(0), Conduct::Bad);
        }
        (origins, open)
    }

    #[tokio::test]
    async fn who_is_turned_away_buys_no_retries() {
        let (origins, _) = origins(1);
        fail(&origins, "https://a").await;
        for _ in 0..100 {
            assert!(visit(&origins, "https://a").await.is_err());
        }
        let origin = origins.origin("https://a".to_owned());
        let failed = Failed {
            attempts: 1,
            most: 9,
            retry_after: None,
            left: Duration::from_secs(9),
            roll: 0.0,
        };
        let now = Instant::now();
        let retried = |_: &i32| {
            failed.decide(&mut origin.state().budget, now) == Decision::Retried(Duration::ZERO)
        };
        assert_eq!((0..100).take_while(retried).count(), 3);
    }

    #[tokio::test]
    async fn who_goes_away_says_nothing_of_an_origin() {
        let (origins, open) = origins(1);
        for _ in 0..100 {
            drop(visit(&origins, "https://a").await.ok().unwrap());
        }
        assert_eq!(open.load(Relaxed), 0);
        assert_eq!(origins.shown()[0].failures, 0);
    }

    #[tokio::test]
    async fn so_many_are_there_at_a_time_and_so_many_wait() {
        let (origins, _) = origins(2);
        let one = visit(&origins, "https://a").await.ok().unwrap();
        // The last one is left to another caller.
        let two = origins.visit("https://a".to_owned(), caller(2), false).await;
        assert!(two.is_ok());
        let wait = || {
            tokio::spawn({
                let origins = Arc::clone(&origins);
                async move { visit(&origins, "https://a").await }
            })
        };
        let mut waiting: VecDeque<_> = (0..WAITING).map(|_| wait()).collect();
        waits_for(&origins, WAITING).await;

        assert_eq!(visit(&origins, "https://a").await.err(), Some(Refused::Crowd));
        assert!(visit(&origins, "https://b").await.is_ok());
        assert_eq!(origins.shown()[0].in_flight, 2);
        drop(one);
        let first = waiting.pop_front().unwrap().await.unwrap().ok().unwrap();
        // Who gives up makes room.
        let gives_up = waiting.pop_front().unwrap();
        gives_up.abort();
        assert!(gives_up.await.is_err_and(|error| error.is_cancelled()));
        waiting.extend([wait(), wait()]);
        waits_for(&origins, WAITING).await;
        assert_eq!(visit(&origins, "https://a").await.err(), Some(Refused::Crowd));
        drop(first);
        let next = waiting.pop_front().unwrap().await.unwrap();
        assert!(next.is_ok());
    }

    #[tokio::test]
    async fn nobody_waits_for_what_is_left_alone() {
        let (origins, _) = origins(1);
        let _busy = visit(&origins, "https://a").await.ok().unwrap();
        let origin = origins.origin("https://a".to_owned());
        for _ in 0..2 {
            origin.note(Pass::Usual(0), Conduct::Bad);
        }
        assert!(matches!(visit(&origins, "https://a").await, Err(Refused::Open(_))));
    }

    #[tokio::test]
    async fn those_who_wait_when_it_is_left_alone_do_not_go() {
        let (origins, _) = origins(1);
        visit(&origins, "https://a").await.ok().unwrap().over(Conduct::Bad);
        let last = visit(&origins, "https://a").await.ok().unwrap();
        let waits = tokio::spawn({
            let origins = Arc::clone(&origins);
            async move { visit(&origins, "https://a").await.err() }
        });
        yield_now().await;

        last.over(Conduct::Bad);

        assert!(matches!(waits.await.unwrap(), Some(Refused::Open(_))));
    }

    #[tokio::test]
    async fn so_many_are_remembered_and_trouble_longest() {
        let (origins, open) = origins(1);
        fail(&origins, "https://down").await;
        visit(&origins, "https://shaky").await.ok().unwrap().over(Conduct::Bad);
        let kept = visit(&origins, "https://busy").await.ok().unwrap();
        for number in 0..2 * MOST {
            visit(&origins, &format!("https://{number}")).await.ok().unwrap().over(Conduct::Good);
        }

        let shown = origins.shown();
        assert_eq!(shown.len(), MOST);
        let knows = |name: &str| shown.iter().any(|shown| shown.origin == name);
        assert!(knows("https://down") && knows("https://shaky") && knows("https://busy"));
        assert!(!knows("https://0") && knows(&format!("https://{}", 2 * MOST - 1)));
        assert_eq!(open.load(Relaxed), 1);
        drop(kept);
    }

    #[tokio::test]
    async fn where_all_are_busy_another_is_asked_without_being_remembered() {
        let (origins, open) = origins(1);
        let mut kept = Vec::new();
        for number in 0..MOST {
            kept.push(visit(&origins, &format!("https://{number}")).await.ok().unwrap());
        }
        let more = visit(&origins, "https://more").await;
        assert!(more.is_ok());
        assert_eq!(origins.shown().len(), MOST);
        kept.into_iter().for_each(|visit| drop(visit.over(Conduct::Bad)));
        assert_eq!(open.load(Relaxed), 0);
        visit(&origins, "https://0").await.ok().unwrap().over(Conduct::Bad);
        assert_eq!(open.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn what_is_left_alone_is_not_tried_again() {
        let (origins, _) = origins(1);
        let failed = async |name, status, attempts| {
            let left = Duration::from_secs(9);
            let error = Error::Status(status, Some(Duration::from_secs(1)));
            visit(&origins, name).await.ok().unwrap().failed(&error, attempts, left, &[])
        };
        let second = Some(Decision::Retried(Duration::from_secs(1)));
        assert_eq!(failed("https://a", 503, 1).await, second);
        assert_eq!(failed("https://a", 503, 2).await, Some(Decision::BudgetExhausted));
        assert_eq!(failed("https://b", 503, 3).await, Some(Decision::AttemptsExhausted));
        assert_eq!(failed("https://b", 404, 1).await, None);
        // Which is no fault of the origin.
        assert_eq!(failed("https://c", 429, 1).await, second);
        assert_eq!(failed("https://c", 429, 2).await, second);
    }
}
