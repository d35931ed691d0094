//! Concurrency limit of searches: it keeps the server quick when more is asked of it
//! than it can do.
//!
//! Recommendations from neighbor lists cost less than their refusal. A call that needs a
//! search has to [`Limiter::enter`]: there is a limit of searches at a time, a queue
//! before them, and no room in that queue for a call that would end too late. The limit
//! adapts so that searches hardly wait for a core: calls wait in the queue, where they
//! can still be given up. Before any call is refused, searches make less effort.
//!
//! Health and administration never pass through here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::gauge;

use super::load::{LoadEstimate, SearchTimes};
use super::queue::{Admission, WaitQueue, Waiter};
use crate::metrics as names;
use crate::serve::middleware::{Budget, shed};
use crate::serve::params::OverloadParams;
use crate::serve::status::{CallError, Shed};

/// Time between two adaptations of the limit.
const ADAPT_INTERVAL: Duration = Duration::from_millis(100);
/// Factor of the limit when searches wait for a core.
const BACK_OFF: f64 = 0.9;
/// Steps of the effort of searches, from all of it down to the smallest.
const EFFORT_STEPS: f64 = 4.0;

/// Admits searches; there is one limiter for the whole process.
#[derive(Debug)]
pub(crate) struct Limiter(Mutex<AdmissionState>);

/// An admitted search. It counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    limiter: Arc<Limiter>,
    effort: f32,
    entered: Instant,
    begun: Option<Instant>,
}

impl Limiter {
    /// Creates a limiter of searches on so many `workers`.
    pub(crate) fn new(params: OverloadParams, workers: usize, now: Instant) -> Self {
        Self(Mutex::new(AdmissionState::new(params, workers, now)))
    }

    /// Admits a search, at once or after others. The error is RESOURCE_EXHAUSTED when
    /// the search would not be done in time.
    pub(crate) async fn enter(self: &Arc<Self>, budget: Budget) -> Result<Permit, CallError> {
        let until = budget.search_until();
        match self.with_state(|state| state.enter(until, Instant::now())) {
            AdmissionDecision::Admit { effort } => Ok(self.permit(effort, Instant::now())),
            AdmissionDecision::Wait(admission) => {
                admission.await.unwrap_or(Err(CallError::Internal))
            }
            AdmissionDecision::Refuse(error) => Err(error),
        }
    }

    /// Sets the gauges of `/metrics`.
    pub(crate) fn describe(&self) {
        self.with_state(|state| {
            gauge!(names::OVERLOAD_LIMIT).set(state.limit.floor());
            gauge!(names::OVERLOAD_WAITING).set(state.queue.len() as f64);
            gauge!(names::OVERLOAD_EFFORT).set(f64::from(state.effort));
        });
    }

    fn permit(self: &Arc<Self>, effort: f32, entered: Instant) -> Permit {
        Permit {
            limiter: self.clone(),
            effort,
            entered,
            begun: None,
        }
    }

    /// Ends a search, and admits the next ones; `times` is none when it never began.
    fn leave(self: &Arc<Self>, times: Option<SearchTimes>, now: Instant) {
        let decided = self.with_state(|state| state.leave(times, now));
        // The lock is free here: a permit whose call has gone is dropped in `send`, and
        // comes back to this function.
        for Decided { waiter, outcome } in decided {
            let _ = waiter.send(outcome.map(|effort| self.permit(effort, now)));
        }
    }

    fn with_state<T>(&self, work: impl FnOnce(&mut AdmissionState) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Permit {
    /// Returns the share of the usual effort that the search may make.
    pub(crate) fn effort(&self) -> f32 {
        self.effort
    }

    /// Marks the moment at which the search gets its core.
    pub(crate) fn begin(&mut self) {
        self.begun = Some(Instant::now());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        let times = self.begun.map(|begun| SearchTimes {
            wait: begun - self.entered,
            run: now - begun,
        });
        self.limiter.leave(times, now);
    }
}

/// What happens to a call that needs a search.
enum AdmissionDecision {
    /// The search may begin, with this share of the usual effort.
    Admit { effort: f32 },
    /// The call waits for its admission.
    Wait(Admission<Result<Permit, CallError>>),
    /// The call is refused.
    Refuse(CallError),
}

/// A call that leaves the queue: the search may begin with this effort, or is refused.
struct Decided {
    waiter: Waiter<Result<Permit, CallError>>,
    outcome: Result<f32, CallError>,
}

/// State of the limiter, behind its lock.
#[derive(Debug)]
struct AdmissionState {
    params: OverloadParams,
    /// Limit of searches at a time; only its whole part counts.
    limit: f64,
    in_flight: usize,
    queue: WaitQueue<Result<Permit, CallError>>,
    load: LoadEstimate,
    /// Last adaptation of the limit.
    adapted: Instant,
    /// Shortest wait of a search for a core since the last adaptation.
    min_wait: Option<Duration>,
    /// Whether any call had to wait for its admission since the last adaptation.
    had_queue: bool,
    /// Effort of the latest admitted search.
    effort: f32,
}

impl AdmissionState {
    fn new(mut params: OverloadParams, workers: usize, now: Instant) -> Self {
        if params.min_in_flight == 0 {
            params.min_in_flight = workers;
        }
        params.max_in_flight = params.max_in_flight.max(params.min_in_flight);
        Self {
            limit: params.min_in_flight as f64,
            in_flight: 0,
            queue: WaitQueue::with_capacity(params.queue),
            load: LoadEstimate::new(workers),
            adapted: now,
            min_wait: None,
            had_queue: false,
            effort: 1.0,
            params,
        }
    }

    fn enter(&mut self, until: Instant, now: Instant) -> AdmissionDecision {
        if self.has_room() {
            let effort = self.admit(until, now);
            return AdmissionDecision::Admit { effort };
        }
        self.had_queue = true;
        if self.queue.is_full() {
            return AdmissionDecision::Refuse(self.refusal(Shed::QueueFull));
        }
        if now + self.load.required_budget(self.calls()) > until {
            return AdmissionDecision::Refuse(self.refusal(Shed::Deadline));
        }
        AdmissionDecision::Wait(self.queue.push(until))
    }

    /// Ends a search. Returns the calls that leave the queue for it.
    fn leave(&mut self, times: Option<SearchTimes>, now: Instant) -> Vec<Decided> {
        self.in_flight -= 1;
        if let Some(times) = times {
            self.load.record(times.run, self.calls(), now);
            let min_wait = self.min_wait.unwrap_or(times.wait);
            self.min_wait = Some(min_wait.min(times.wait));
        }
        if now.saturating_duration_since(self.adapted) >= ADAPT_INTERVAL {
            self.adapt(now);
        }
        let mut decided = Vec::new();
        while self.has_room()
            && let Some(waiter) = self.queue.pop()
        {
            let outcome = if now + self.load.search_duration > waiter.until {
                Err(self.refusal(Shed::Deadline))
            } else {
                Ok(self.admit(waiter.until, now))
            };
            decided.push(Decided { waiter, outcome });
        }
        decided
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.limit as usize
    }

    /// Number of calls that search or wait for a search.
    fn calls(&self) -> usize {
        self.in_flight + self.queue.len()
    }

    /// Admits a search that must end at `until`. Returns its effort.
    fn admit(&mut self, until: Instant, now: Instant) -> f32 {
        self.effort = self.effort_under(self.pressure(until, now));
        self.in_flight += 1;
        self.effort
    }

    /// Lowers the limit when even the luckiest search had to wait for a core. Raises it
    /// when calls waited for their admission while the cores had room.
    fn adapt(&mut self, now: Instant) {
        let min_wait = self.min_wait.take();
        let had_queue = std::mem::take(&mut self.had_queue);
        if min_wait.is_some_and(|wait| wait > self.params.target_wait) {
            self.limit *= BACK_OFF;
        } else if had_queue {
            self.limit += 1.0;
        }
        let (min, max) = (self.params.min_in_flight, self.params.max_in_flight);
        self.limit = self.limit.clamp(min as f64, max as f64);
        self.adapted = now;
    }

    /// Tells how near a call that must end at `until` is to its refusal, which is at 1. A
    /// short budget counts as well, so that such a search makes less effort and ends in
    /// time.
    fn pressure(&self, until: Instant, now: Instant) -> f64 {
        let left = until.saturating_duration_since(now).as_secs_f64();
        let required = self.load.required_budget(self.calls()).as_secs_f64();
        let budget_share = required / left.max(f64::MIN_POSITIVE);
        let queue_share = self.queue.len() as f64 / self.params.queue.max(1) as f64;
        queue_share.max(budget_share)
    }

    /// Returns the share of the usual effort under a pressure from 0 to 1.
    fn effort_under(&self, pressure: f64) -> f32 {
        let last = EFFORT_STEPS - 1.0;
        let step = (pressure * EFFORT_STEPS).floor().clamp(0.0, last);
        1.0 - (1.0 - self.params.min_effort) * (step / last) as f32
    }

    fn refusal(&self, reason: Shed) -> CallError {
        shed(reason, self.load.expected_wait(self.calls()))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use axum::http::HeaderName;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn limiter(in_flight: RangeInclusive<usize>, queue: usize) -> Arc<Limiter> {
        let params = OverloadParams {
            max_calls: 100,
            min_in_flight: *in_flight.start(),
            max_in_flight: *in_flight.end(),
            queue,
            target_wait: 2 * MS,
            min_effort: 0.25,
            rate_limit: 0,
            rate_burst: 1,
            rate_key_header: HeaderName::from_static("x-caller"),
        };
        Arc::new(Limiter::new(params, 2, Instant::now()))
    }

    fn budget(ms: u32) -> Budget {
        let begun = Instant::now();
        let until = begun + ms * MS;
        Budget { begun, until }
    }

    fn refused(outcome: Result<Permit, CallError>) -> Shed {
        match outcome {
            Err(CallError::Shed(reason, _)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn searches_wait_in_order_and_a_call_whose_client_left_is_passed_over() {
        let limiter = limiter(1..=1, 2);
        let first = limiter.enter(budget(60_000)).await.expect("room");
        let mut second = Box::pin(limiter.enter(budget(60_000)));
        let mut third = Box::pin(limiter.enter(budget(60_000)));
        assert!(poll_now(&mut second).is_none() && poll_now(&mut third).is_none());
        let fourth = limiter.enter(budget(60_000)).await;
        assert_eq!(refused(fourth), Shed::QueueFull);
        drop(second);
        drop(first);
        let third = poll_now(&mut third).expect("its turn").expect("a permit");
        drop(third);
        limiter.with_state(|state| assert_eq!((state.in_flight, state.queue.len()), (0, 0)));
    }

    #[tokio::test]
    async fn a_permit_whose_call_has_gone_comes_back() {
        let limiter = limiter(1..=1, 2);
        let first = limiter.enter(budget(60_000)).await.expect("room");
        let mut second = Box::pin(limiter.enter(budget(60_000)));
        assert!(poll_now(&mut second).is_none());
        // It is admitted, and its client leaves before the permit arrives.
        drop(first);
        limiter.with_state(|state| assert_eq!(state.in_flight, 1));
        drop(second);
        limiter.with_state(|state| assert_eq!(state.in_flight, 0));
    }

    #[tokio::test]
    async fn a_call_that_would_be_late_is_refused_at_once_or_at_its_turn() {
        let limiter = limiter(1..=1, 100);
        let first = limiter.enter(budget(60_000)).await.expect("room");
        limiter.with_state(|state| state.load.search_duration = 50 * MS);
        assert_eq!(refused(limiter.enter(budget(20)).await), Shed::Deadline);
        let mut patient = Box::pin(limiter.enter(budget(60_000)));
        assert!(poll_now(&mut patient).is_none());
        limiter.with_state(|state| state.load.search_duration = Duration::from_secs(100));
        drop(first);
        let outcome = poll_now(&mut patient).expect("its turn");
        assert_eq!(refused(outcome), Shed::Deadline);
    }

    #[test]
    fn effort_falls_in_steps_to_its_minimum() {
        let limiter = limiter(1..=1, 4);
        let effort = |pressure| limiter.with_state(|state| state.effort_under(pressure));
        let efforts = [0.0, 0.2, 0.25, 0.5, 0.75, 1.0, 7.0].map(effort);
        assert_eq!(efforts, [1.0, 1.0, 0.75, 0.5, 0.25, 0.25, 0.25]);
    }

    #[test]
    fn the_limit_follows_how_long_searches_wait_for_a_core() {
        let limiter = limiter(0..=5, 4);
        let now = Instant::now();
        let adapted = |min_wait: Duration, had_queue: bool| {
            limiter.with_state(|state| {
                (state.min_wait, state.had_queue) = (Some(min_wait), had_queue);
                state.adapt(now);
                state.limit
            })
        };
        // One per worker at first; more only when calls wait for their admission.
        assert_eq!(adapted(Duration::ZERO, false), 2.0);
        let grown: Vec<f64> = (0..4).map(|_| adapted(MS, true)).collect();
        assert_eq!(grown, [3.0, 4.0, 5.0, 5.0]);
        assert_eq!(adapted(3 * MS, true), 4.5);
        (0..20).for_each(|_| _ = adapted(3 * MS, true));
        assert_eq!(adapted(3 * MS, false), 2.0);
    }

    /// Returns the output of `future` if it is ready.
    fn poll_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
