//! Waiting with an end: every wait says how long it lasts at most, and for what.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Longer than anything takes that a test waits for, on a slow machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks at a condition.
pub(super) const POLL: Duration = Duration::from_millis(2);

/// Waits for a future, at most this long.
pub(crate) async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    let outcome = timeout(limit, future).await;
    outcome.unwrap_or_else(|_| panic!("waited {limit:?} in vain for {what}"))
}

/// Asks again and again until there is a value, at most this long.
pub(crate) async fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut value: impl AsyncFnMut() -> Option<T>,
) -> T {
    let polled = async {
        loop {
            if let Some(found) = value().await {
                break found;
            }
            sleep(POLL).await;
        }
    };
    within(what, limit, polled).await
}

/// Asks again and again until the condition holds, at most this long.
pub(crate) async fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) {
    wait_for(what, limit, async || condition().await.then_some(())).await;
}

#[tokio::test]
async fn a_wait_ends_with_the_condition() {
    let mut looks = 0;
    let three = async || {
        looks += 1;
        looks == 3
    };
    wait_until("three looks", PATIENCE, three).await;
    assert_eq!(looks, 3);
}

#[tokio::test]
#[should_panic(expected = "waited 10ms in vain for a miracle")]
async fn a_wait_in_vain_says_for_what() {
    wait_until("a miracle", Duration::from_millis(10), async || false).await;
}
