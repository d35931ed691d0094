//! Work of a server that shares its action log with other replicas: it tells whether it has
//! read enough to serve, and serves and erases what others have changed and erased.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;

use super::erasing_turn::{own_delay, take_turns};
use super::health::ServiceHealth;
use super::params::ReplicaParams;
use super::state::Live;
use crate::actions::{Actions, Lag};
use crate::metrics as names;
use crate::model::Timestamp;

/// Interval at which the lag is looked at.
const LAG_INTERVAL: Duration = Duration::from_millis(50);
/// Pause before actions that could not be erased from the log are tried again.
const ERASE_AGAIN: Duration = Duration::from_secs(30);
/// Interval at which it is checked how far back the log reaches.
const REACH_INTERVAL: Duration = Duration::from_secs(600);
const SECONDS_PER_DAY: f64 = 86_400.0;
/// Looks between two reports of a replica that is behind.
const LOOKS_PER_REPORT: u32 = 200;

/// Follows the shared log. Never ends; on a server without one it does nothing.
pub(super) async fn follow(
    live: &Arc<Live>,
    health: &ServiceHealth,
    params: ReplicaParams,
    clock: fn() -> Timestamp,
) {
    let Some(actions) = live.actions().filter(|actions| actions.is_shared()) else {
        return pending().await;
    };
    tokio::join!(
        tell_whether_ready(live, actions, health, params),
        serve_changed_pins(live),
        finish_erasures(live, actions),
        resume_rewriting(actions),
        check_reach(live, actions, clock),
    );
}

/// Tells by health and `/readyz` whether enough is read.
async fn tell_whether_ready(
    live: &Live,
    actions: &Actions,
    health: &ServiceHealth,
    params: ReplicaParams,
) {
    let mut ticks = tokio::time::interval(LAG_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0;
    loop {
        ticks.tick().await;
        let lag = actions.lag();
        let is_ready = params.is_ready(lag);
        describe(lag, is_ready);
        match (live.is_behind(), is_ready) {
            (true, true) => {
                tracing::info!(
                    users = actions.users(),
                    "read enough of the action log to serve"
                );
                live.set_behind(false);
                health.serve().await;
                looks = 0;
            }
            (false, false) => {
                report(lag);
                live.set_behind(true);
                health.stop_serving().await;
                looks = 0;
            }
            (true, false) => {
                looks += 1;
                if looks % LOOKS_PER_REPORT == 0 {
                    report(lag);
                }
            }
            (false, true) => {}
        }
    }
}

fn describe(lag: Option<Lag>, is_ready: bool) {
    let Lag { messages, time, .. } = lag.unwrap_or_default();
    gauge!(names::LOG_LAG).set(time.as_secs_f64());
    gauge!(names::LOG_LAG_MESSAGES).set(messages as f64);
    gauge!(names::LOG_READY).set(if is_ready { 1.0 } else { 0.0 });
}

fn report(lag: Option<Lag>) {
    match lag {
        Some(Lag { messages, time, .. }) => tracing::warn!(
            messages,
            seconds = time.as_secs_f64(),
            "behind the action log: not ready"
        ),
        None => tracing::warn!("the end of the action log is not known yet: not ready"),
    }
}

/// Serves pins that others have changed.
async fn serve_changed_pins(live: &Arc<Live>) {
    let Some(changed_pins) = live.changed_pins() else {
        return pending().await;
    };
    loop {
        changed_pins.wait().await;
        let live = live.clone();
        // A panic is in the log already.
        let _ = spawn_blocking(move || live.serve_changed_pins()).await;
    }
}

/// Erases here the users whom others have erased: at once from what is cached, and in its turn
/// from the checkpoint.
async fn finish_erasures(live: &Arc<Live>, actions: &Arc<Actions>) {
    let note = || async {
        if let Some(serving) = live.get() {
            serving.forget_cached();
        }
        count_erasures(actions).await;
    };
    let finish = || async {
        let finishing = actions.clone();
        let is_done = match spawn_blocking(move || finishing.finish_erasures()).await {
            Ok(Ok(0)) => true,
            Ok(Ok(actions)) => {
                tracing::info!(actions, "erased users whom another replica has erased");
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "erased actions stay in the checkpoint until it can be written");
                false
            }
            // A panic is in the log already.
            Err(_) => true,
        };
        count_erasures(actions).await;
        is_done
    };
    let come = || actions.wait_for_erasures();
    take_turns(own_delay(), come, note, finish).await;
}

/// Tells how many users are erased, and still in the checkpoint.
async fn count_erasures(actions: &Arc<Actions>) {
    let actions = actions.clone();
    // While the checkpoint cannot be read, the gauge stays what it was.
    if let Ok(Ok(waiting)) = spawn_blocking(move || actions.waiting_erasures()).await {
        gauge!(names::LOG_ERASURES).set(waiting as f64);
    }
}

/// Ends in the shared log, once it is read, what an erasure has left there that was asked for
/// here before the last start.
async fn resume_rewriting(actions: &Arc<Actions>) {
    let mut ticks = tokio::time::interval(LAG_INTERVAL);
    // The erasure itself may be among what is still to be read.
    while !actions.lag().is_some_and(|lag| lag.has_caught_up) {
        ticks.tick().await;
    }
    loop {
        let actions = actions.clone();
        match spawn_blocking(move || actions.resume_rewriting()).await {
            Ok(Ok(None)) => return,
            Ok(Ok(Some(actions))) => {
                tracing::info!(
                    actions,
                    "ended an erasure in the action log that was begun before"
                );
                return;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "erased actions stay in the action log until it can be written");
            }
            // A panic is in the log already.
            Err(_) => return,
        }
        tokio::time::sleep(ERASE_AGAIN).await;
    }
}

/// Says when the log does not reach back to the profiles any more.
async fn check_reach(live: &Live, actions: &Arc<Actions>, clock: fn() -> Timestamp) {
    let mut ticks = tokio::time::interval(REACH_INTERVAL);
    loop {
        ticks.tick().await;
        let asked = actions.clone();
        let begins = match spawn_blocking(move || asked.log_begins()).await {
            Ok(Ok(begins)) => begins,
            Ok(Err(error)) => {
                tracing::warn!(%error, "how far back the action log reaches is not known");
                continue;
            }
            // A panic is in the log already.
            Err(_) => continue,
        };
        let missing_since = live.needs_actions_since(actions, clock());
        let missing = missing_since.and_then(|since| Some((since, begins?)));
        let missing = missing.filter(|(since, begins)| since < begins);
        gauge!(names::LOG_MISSING).set(missing.map_or(0.0, |(since, begins)| {
            begins.days_since(since) * SECONDS_PER_DAY
        }));
        if let Some((since, begins)) = missing {
            tracing::error!(
                %since, %begins,
                "the action log has lost what was recorded between these moments: the profiles \
                 lack it, and so does a replica that starts without a checkpoint"
            );
        }
    }
}
