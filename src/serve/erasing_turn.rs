//! When a replica removes from its checkpoint what others have erased. That writes the checkpoint
//! anew, so all replicas of a fleet do not begin at once: each waits for a time of its own.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// An erasure is begun in the checkpoint after this at the latest.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Pause before actions that could not be removed are tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// A time for which this replica waits.
pub(super) fn own_delay() -> Duration {
    MAX_DELAY.mul_f64(rand::random())
}

/// Calls `note` for each erasure that `come` waits for, and `finish`, which tells whether all is
/// removed, once `delay` after the first of them. Never ends.
pub(super) async fn take_turns<C: Future, N: Future, F: Future<Output = bool>>(
    delay: Duration,
    come: impl Fn() -> C,
    note: impl Fn() -> N,
    finish: impl Fn() -> F,
) {
    let mut due: Option<Instant> = None;
    loop {
        // Nothing is due: it is not asked for.
        let until = due.unwrap_or_else(Instant::now);
        tokio::select! {
            _ = come() => {
                note().await;
                due.get_or_insert_with(|| Instant::now() + delay);
            }
            () = sleep_until(until), if due.is_some() => {
                // What could not be removed is tried again, whether or not more comes.
                due = (!finish().await).then(|| Instant::now() + AGAIN);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn erasures_are_noted_at_once_and_done_together_after_the_delay_or_again() {
        let begun = Instant::now();
        let (comes, seen) = (Arc::new(Notify::new()), RefCell::new(Vec::new()));
        let see = |what: &'static str| seen.borrow_mut().push((what, begun.elapsed().as_secs()));
        let turns = take_turns(
            Duration::from_secs(20),
            || comes.notified(),
            || async { see("noted") },
            || async {
                see("finished");
                // The first time in vain.
                seen.borrow().len() > 3
            },
        );
        let events = async {
            for pause in [5, 10, 100, 100] {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                comes.notify_one();
            }
            tokio::time::sleep(Duration::from_secs(100)).await;
        };
        tokio::select! {
            () = turns => panic!("it has ended"),
            () = events => {}
        }
        let expected = [
            ("noted", 5),
            ("noted", 15),
            ("finished", 25),
            ("finished", 55),
            ("noted", 115),
            ("finished", 135),
            ("noted", 215),
            ("finished", 235),
        ];
        assert_eq!(*seen.borrow(), expected);
    }

    #[test]
    fn each_replica_has_a_delay_of_its_own_within_the_stated_time() {
        let mut delays: Vec<Duration> = (0..100).map(|_| own_delay()).collect();
        delays.sort_unstable();
        assert!(delays[99] <= MAX_DELAY && delays[0] < delays[99]);
    }
}
