//! What keeps the server quick when more is asked of it than it can do.
//!
//! Recommendations that lists answer cost less than to refuse them. What needs a
//! search has to [`Limiter::enter`]: so many searches at a time, a queue before them,
//! and no place in that queue for who would come out too late. The number adapts so that
//! those who are let in hardly wait for a core: waiting is done in the queue, where
//! it can be given up. Before anybody is refused, searches make less effort.
//!
//! Health and administration never pass through here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::sync::oneshot;

use crate::metrics as names;
use crate::serve::middleware::deadline::Budget;
use crate::serve::overload::params::OverloadParams;
use crate::serve::status::{CallError, Shed};

/// How often the limit of searches at a time is adapted.
const ADAPTED_EVERY: Duration = Duration::from_millis(100);
/// By how much it falls when searches wait for a core.
const BACK_OFF: f64 = 0.9;
/// Weight of the latest search in the mean duration of searches.
const LATEST: f64 = 1.0 / 16.0;
/// What a search is taken to last before one was seen.
const UNSEEN: Duration = Duration::from_millis(1);
/// How many times the expected wait and search must fit into what is left of a call's
/// budget, for both are means.
const CAUTION: u32 = 2;
/// Steps of the effort of searches, from all of it down to the least.
const STEPS: f64 = 4.0;
/// Bounds of what a caller is told to wait before it tries again.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Lets searches in; one for the whole process.
#[derive(Debug)]
pub(crate) struct Limiter {
    params: OverloadParams,
    /// Cores that search.
    workers: usize,
    state: Mutex<State>,
}

/// A search that was let in. It counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    limiter: Arc<Limiter>,
    /// Share of the usual effort that the search may make.
    effort: f32,
    entered: Instant,
    begun: Option<Instant>,
}

#[derive(Debug)]
struct State {
    /// Searches at a time.
    limit: f64,
    in_flight: usize,
    waiting: VecDeque<Waiting>,
    /// Mean duration of a search on its core.
    duration: Duration,
    /// Mean time from one search that ended to the next while all cores had work:
    /// other programs may have their share of the cores.
    interval: Duration,
    /// When the last search ended, if all cores had work then.
    last_end: Option<Instant>,
    adapted: Instant,
    /// The shortest that a search waited for a core since then.
    least_wait: Option<Duration>,
    /// Whether anybody had to wait to be let in since then.
    had_queue: bool,
    /// The effort that the latest search was given.
    effort: f32,
}

/// A call that waits to be let in, and where it is told.
#[derive(Debug)]
struct Waiting {
    until: Instant,
    give: Give,
}

type Give = oneshot::Sender<Result<Permit, CallError>>;

/// What becomes of a call that wants to search.
enum Entry {
    /// With this effort.
    In(f32),
    Wait(oneshot::Receiver<Result<Permit, CallError>>),
    Refused(CallError),
}

impl Limiter {
    /// Lets as many searches in as `params` allow; where those say 0 for the least,
    /// it is one for each of the `workers`.
    pub(crate) fn new(mut params: OverloadParams, workers: usize, now: Instant) -> Self {
        if params.min_in_flight == 0 {
            params.min_in_flight = workers;
        }
        params.max_in_flight = params.max_in_flight.max(params.min_in_flight);
        let state = State {
            limit: params.min_in_flight as f64,
            in_flight: 0,
            waiting: VecDeque::new(),
            duration: UNSEEN,
            interval: Duration::ZERO,
            last_end: None,
            adapted: now,
            least_wait: None,
            had_queue: false,
            effort: 1.0,
        };
        Self {
            params,
            workers,
            state: Mutex::new(state),
        }
    }

    /// Lets a search in, at once or after others. An error when it would not be done
    /// in time.
    pub(crate) async fn enter(self: &Arc<Self>, budget: Budget) -> Result<Permit, CallError> {
        let until = budget.search_until();
        match self.with_state(|state| state.enter(self, until, Instant::now())) {
            Entry::In(effort) => Ok(self.permit(effort, Instant::now())),
            Entry::Wait(given) => given.await.unwrap_or(Err(CallError::Internal)),
            Entry::Refused(error) => Err(error),
        }
    }

    /// Tells `/metrics` how things are.
    pub(crate) fn describe(&self) {
        self.with_state(|state| {
            gauge!(names::OVERLOAD_LIMIT).set(state.limit.floor());
            gauge!(names::OVERLOAD_WAITING).set(state.waiting.len() as f64);
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

    /// Lets the next ones in after a search that waited for a core and then took so
    /// long; none when it never began.
    fn leave(self: &Arc<Self>, times: Option<(Duration, Duration)>, now: Instant) {
        let told = self.with_state(|state| state.leave(self, times, now));
        // Without the lock: a permit that nobody takes comes back here.
        for (give, outcome) in told {
            let _ = give.send(outcome.map(|effort| self.permit(effort, now)));
        }
    }

    /// Share of the usual effort where the pressure is from 0 to 1.
    fn effort(&self, pressure: f64) -> f32 {
        let step = (pressure * STEPS).floor().clamp(0.0, STEPS - 1.0);
        1.0 - (1.0 - self.params.min_effort) * (step / (STEPS - 1.0)) as f32
    }

    fn with_state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn enter(&mut self, limiter: &Limiter, until: Instant, now: Instant) -> Entry {
        if self.in_flight < self.limit as usize {
            return Entry::In(self.grant(limiter, until, now));
        }
        self.had_queue = true;
        if self.waiting.len() >= limiter.params.queue {
            // Whose client has left takes no place.
            self.waiting.retain(|waiting| !waiting.give.is_closed());
        }
        if self.waiting.len() >= limiter.params.queue {
            return Entry::Refused(self.refusal(limiter, Shed::QueueFull));
        }
        if now + self.needed(limiter) > until {
            return Entry::Refused(self.refusal(limiter, Shed::Deadline));
        }
        let (give, given) = oneshot::channel();
        self.waiting.push_back(Waiting { until, give });
        Entry::Wait(given)
    }

    /// Who is let in now, and who has waited in vain.
    fn leave(
        &mut self,
        limiter: &Limiter,
        times: Option<(Duration, Duration)>,
        now: Instant,
    ) -> Vec<(Give, Result<f32, CallError>)> {
        self.in_flight -= 1;
        if let Some((wait, took)) = times {
            self.duration = mean(self.duration, took);
            if let Some(last) = self.last_end {
                self.interval = mean(self.interval, now.saturating_duration_since(last));
            }
            let all_busy = self.in_flight + self.waiting.len() >= limiter.workers;
            self.last_end = all_busy.then_some(now);
            if !all_busy {
                // What held under load says nothing of the next.
                self.interval = Duration::ZERO;
            }
            self.least_wait = Some(self.least_wait.map_or(wait, |least| least.min(wait)));
        }
        if now.saturating_duration_since(self.adapted) >= ADAPTED_EVERY {
            self.adapt(limiter, now);
        }
        let mut told = Vec::new();
        while self.in_flight < self.limit as usize
            && let Some(Waiting { until, give }) = self.waiting.pop_front()
        {
            if give.is_closed() {
                // The client has left.
                continue;
            }
            if now + self.duration > until {
                told.push((give, Err(self.refusal(limiter, Shed::Deadline))));
                continue;
            }
            let effort = self.grant(limiter, until, now);
            told.push((give, Ok(effort)));
        }
        told
    }

    /// Lets a search in that has until then, with this effort.
    fn grant(&mut self, limiter: &Limiter, until: Instant, now: Instant) -> f32 {
        self.effort = limiter.effort(self.pressure(limiter, until, now));
        self.in_flight += 1;
        self.effort
    }

    /// Fewer searches at a time when even the luckiest had to wait for a core, more
    /// when others waited to be let in and the cores had room.
    fn adapt(&mut self, limiter: &Limiter, now: Instant) {
        let (least, most) = (limiter.params.min_in_flight, limiter.params.max_in_flight);
        let waited = self.least_wait.take();
        let had_queue = std::mem::take(&mut self.had_queue);
        if waited.is_some_and(|wait| wait > limiter.params.target_wait) {
            self.limit *= BACK_OFF;
        } else if had_queue {
            self.limit += 1.0;
        }
        self.limit = self.limit.clamp(least as f64, most as f64);
        self.adapted = now;
    }

    /// How long one that comes now would wait for a core.
    fn expected_wait(&self, limiter: &Limiter) -> Duration {
        let before = self.in_flight + self.waiting.len();
        let ends = (before + 1).saturating_sub(limiter.workers) as f64;
        let interval = self.interval.max(self.duration / limiter.workers as u32);
        interval.mul_f64(ends)
    }

    /// What must be left of the budget of one that comes now.
    fn needed(&self, limiter: &Limiter) -> Duration {
        (self.expected_wait(limiter) + self.duration) * CAUTION
    }

    /// How near one that has until then is to being refused: 1 is where it would be. A
    /// short budget makes a search save as well, so that it comes to its end.
    fn pressure(&self, limiter: &Limiter, until: Instant, now: Instant) -> f64 {
        let left = until.saturating_duration_since(now).as_secs_f64();
        let share = self.needed(limiter).as_secs_f64() / left.max(f64::MIN_POSITIVE);
        let full = self.waiting.len() as f64 / limiter.params.queue.max(1) as f64;
        full.max(share)
    }

    fn refusal(&self, limiter: &Limiter, why: Shed) -> CallError {
        shed(why, self.expected_wait(limiter))
    }
}

/// The mean of durations with `latest` among them.
fn mean(so_far: Duration, latest: Duration) -> Duration {
    so_far.mul_f64(1.0 - LATEST) + latest.mul_f64(LATEST)
}

/// The refusal of a call, which can be tried again after about so long.
pub(crate) fn shed(why: Shed, after: Duration) -> CallError {
    let reason = match why {
        Shed::QueueFull => "queue_full",
        Shed::Deadline => "deadline",
        Shed::RateLimit => "rate_limit",
    };
    counter!(names::SHED, "reason" => reason).increment(1);
    CallError::Shed(why, after.clamp(RETRY_AFTER.0, RETRY_AFTER.1))
}

impl Permit {
    /// Share of the usual effort that the search may make.
    pub(crate) fn effort(&self) -> f32 {
        self.effort
    }

    /// The search has its core.
    pub(crate) fn begin(&mut self) {
        self.begun = Some(Instant::now());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        let times = self.begun.map(|begun| (begun - self.entered, now - begun));
        self.limiter.leave(times, now);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn limiter((min_in_flight, max_in_flight): (usize, usize), queue: usize) -> Arc<Limiter> {
        let params = OverloadParams {
            max_calls: 100,
            min_in_flight,
            max_in_flight,
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
            Err(CallError::Shed(why, _)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn searches_wait_in_order_and_who_leaves_is_passed_over() {
        let limiter = limiter((1, 1), 2);
        let first = limiter.enter(budget(60_000)).await.expect("a free place");
        let mut second = Box::pin(limiter.enter(budget(60_000)));
        let mut third = Box::pin(limiter.enter(budget(60_000)));
        assert!(futures_now(&mut second).is_none() && futures_now(&mut third).is_none());
        let fourth = limiter.enter(budget(60_000)).await;
        assert_eq!(refused(fourth), Shed::QueueFull);
        drop(second);
        drop(first);
        let third = futures_now(&mut third).expect("its turn").expect("a place");
        drop(third);
        limiter.with_state(|state| assert_eq!((state.in_flight, state.waiting.len()), (0, 0)));
    }

    #[tokio::test]
    async fn a_permit_that_nobody_takes_any_more_comes_back() {
        let limiter = limiter((1, 1), 2);
        let first = limiter.enter(budget(60_000)).await.expect("a free place");
        let mut second = Box::pin(limiter.enter(budget(60_000)));
        assert!(futures_now(&mut second).is_none());
        // It is let in, and its client leaves before it hears of that.
        drop(first);
        limiter.with_state(|state| assert_eq!(state.in_flight, 1));
        drop(second);
        limiter.with_state(|state| assert_eq!(state.in_flight, 0));
    }

    #[tokio::test]
    async fn who_would_be_late_is_refused_at_once_or_when_its_turn_comes() {
        let limiter = limiter((1, 1), 100);
        let first = limiter.enter(budget(60_000)).await.expect("a free place");
        limiter.with_state(|state| state.duration = 50 * MS);
        assert_eq!(refused(limiter.enter(budget(20)).await), Shed::Deadline);
        let mut patient = Box::pin(limiter.enter(budget(60_000)));
        assert!(futures_now(&mut patient).is_none());
        limiter.with_state(|state| state.duration = Duration::from_secs(100));
        drop(first);
        let outcome = futures_now(&mut patient).expect("its turn");
        assert_eq!(refused(outcome), Shed::Deadline);
    }

    #[test]
    fn effort_falls_in_steps_to_its_least() {
        let limiter = limiter((1, 1), 4);
        let efforts = [0.0, 0.2, 0.25, 0.5, 0.75, 1.0, 7.0].map(|p| limiter.effort(p));
        assert_eq!(efforts, [1.0, 1.0, 0.75, 0.5, 0.25, 0.25, 0.25]);
    }

    #[test]
    fn the_limit_follows_how_long_searches_wait_for_a_core() {
        let limiter = limiter((0, 5), 4);
        let now = Instant::now();
        let adapted = |least_wait: Duration, had_queue: bool| {
            limiter.with_state(|state| {
                (state.least_wait, state.had_queue) = (Some(least_wait), had_queue);
                state.adapt(&limiter, now);
                state.limit
            })
        };
        // One for each worker at first; more only when somebody waits to be let in.
        assert_eq!(adapted(Duration::ZERO, false), 2.0);
        let grown: Vec<f64> = (0..4).map(|_| adapted(MS, true)).collect();
        assert_eq!(grown, [3.0, 4.0, 5.0, 5.0]);
        assert_eq!(adapted(3 * MS, true), 4.5);
        (0..20).for_each(|_| _ = adapted(3 * MS, true));
        assert_eq!(adapted(3 * MS, false), 2.0);
    }

    /// What `future` has come to by now.
    fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
