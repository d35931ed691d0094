//! Records actions of calls: checks them, gives them to the log, and tells the status of
//! each.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::{counter, histogram};
use tokio::sync::oneshot;

use crate::actions::{
    ActionOutcome, ActionParams, Actions, FreshnessToken, RecordError, RecordedActions,
};
use crate::index::DeltaView;
use crate::metrics as names;
use crate::model::{Action, ActionId, ActionKeys, ActionKind, MAX_ACTION_NAME, PinId, Timestamp};
use crate::serve::request_limits::{ACTIONS, MAX_HIDDEN_PINS, MaxCount};
use crate::serve::rpc::ids;
use crate::serve::rpc::times::moment;
use crate::serve::state::{Live, Serving};
use crate::serve::status::CallError;
use crate::wire::v1;
use crate::wire::v1::ActionStatus;

/// Length of the name of an action.
const ACTION_NAME: MaxCount = MaxCount::new(MAX_ACTION_NAME, "bytes");
const SECONDS_PER_DAY: f64 = 86_400.0;

/// Records the actions of calls.
#[derive(Clone)]
pub(crate) struct ActionRecorder {
    pub(crate) live: Arc<Live>,
    /// Tells the time at which actions arrive.
    pub(crate) clock: fn() -> Timestamp,
}

/// How old an action may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AgeLimit {
    /// As old as the server keeps actions.
    Retention,
    /// Of any age: it comes from an archive.
    None,
}

/// Statuses of the actions of one call, in their order.
pub(crate) struct Results {
    pub(crate) statuses: Vec<ActionStatus>,
    pub(crate) token: FreshnessToken,
}

/// Number of actions by status.
#[derive(Debug, Default)]
pub(crate) struct StatusCounts(BTreeMap<ActionStatus, u64>);

/// What actions are checked against.
struct Context<'a> {
    serving: &'a Serving,
    log: &'a Actions,
    now: Timestamp,
    age_limit: AgeLimit,
}

impl ActionRecorder {
    /// Makes `actions` durable and visible, but for those that do not count.
    pub(crate) async fn record(
        &self,
        actions: Vec<v1::Action>,
        age_limit: AgeLimit,
    ) -> Result<Results, CallError> {
        let serving = self.live.get().ok_or(CallError::NotLoaded)?;
        let log = self.live.actions().ok_or(CallError::TakesNoActions)?;
        let now = (self.clock)();
        let mut actions = checked_actions(actions)?;
        for action in &mut actions {
            fit_to_catalog(action, serving.pins());
        }
        let context = Context {
            serving: &serving,
            log,
            now,
            age_limit,
        };
        let rejections = actions.iter().map(|action| context.rejection(action));
        let rejections: Vec<Option<ActionStatus>> = rejections.collect();
        let accepted = actions.into_iter().zip(&rejections);
        let accepted = accepted.filter(|(_, rejection)| rejection.is_none());
        let accepted: Vec<Action> = accepted.map(|(action, _)| action).collect();
        let times: Vec<Timestamp> = accepted.iter().map(|action| action.time).collect();

        let RecordedActions { outcomes, token } = submit(log, accepted, now).await?;
        let durable_at = (self.clock)();
        let mut recorded = outcomes.into_iter().zip(times);
        let status = |rejection: Option<ActionStatus>| {
            rejection.or_else(|| {
                let (outcome, time) = recorded.next()?;
                Some(recorded_status(outcome, time, durable_at))
            })
        };
        let statuses: Vec<ActionStatus> = rejections.into_iter().filter_map(status).collect();
        for status in &statuses {
            counter!(names::ACTIONS, "result" => label(*status)).increment(1);
        }
        Ok(Results { statuses, token })
    }
}

impl Context<'_> {
    /// The status of an action that is not recorded; none for one that is.
    fn rejection(&self, action: &Action) -> Option<ActionStatus> {
        let refusal = self.refusal(action)?;
        // What was accepted before counts, whatever has become of its pin.
        match self.log.contains(action.id) {
            Ok(true) => Some(ActionStatus::Duplicate),
            Ok(false) | Err(_) => Some(refusal),
        }
    }

    /// Why `action` cannot count, if so.
    fn refusal(&self, action: &Action) -> Option<ActionStatus> {
        let ActionParams { weights, limits } = self.log.params();
        let age = self.now.days_since(action.time);
        let Some(kind) = weights.kind(&action.name) else {
            return Some(ActionStatus::UnknownAction);
        };
        if self.age_limit == AgeLimit::Retention && age > limits.retention_days() {
            Some(ActionStatus::TooOld)
        } else if -age > limits.max_ahead_days() {
            Some(ActionStatus::InFuture)
        } else if !self.has_pin(action) {
            Some(ActionStatus::UnknownPin)
        } else if matches!(kind, ActionKind::Negative(_)) && self.hides_one_too_many(action) {
            Some(ActionStatus::TooManyHidden)
        } else {
            None
        }
    }

    /// Whether the pin of `action` exists, under the key of the action.
    fn has_pin(&self, action: &Action) -> bool {
        let key = action.keys.as_ref().and_then(|keys| keys.pin.as_deref());
        has_pin(self.serving.pins(), action.pin, key)
    }

    /// Whether the user has hidden as many pins as may be, not counting that of `action`: in
    /// the profile, unless that is of before an erasure, and since.
    fn hides_one_too_many(&self, action: &Action) -> bool {
        let state = self.log.state(action.user);
        let recorded = state.as_ref().map_or(&[][..], |state| state.hidden());
        let erasure = self.log.erasure(action.user);
        let profile = self.serving.profile(action.user, erasure);
        let in_batch = profile.map_or(&[][..], |profile| profile.hidden);
        if recorded.len() + in_batch.len() < MAX_HIDDEN_PINS {
            return false;
        }
        let is_in_batch = |pin: &PinId| in_batch.binary_search(pin).is_ok();
        let is_hidden = is_in_batch(&action.pin) || recorded.binary_search(&action.pin).is_ok();
        let only_recorded = recorded.iter().filter(|pin| !is_in_batch(pin)).count();
        !is_hidden && only_recorded + in_batch.len() >= MAX_HIDDEN_PINS
    }
}

impl StatusCounts {
    /// Counts `statuses`.
    pub(crate) fn add(&mut self, statuses: &[ActionStatus]) {
        for status in statuses {
            *self.0.entry(*status).or_default() += 1;
        }
    }

    /// The counts by rising number of the status.
    pub(crate) fn into_messages(self) -> Vec<v1::ActionStatusCount> {
        let counted = |(status, count)| v1::ActionStatusCount {
            status: i32::from(status),
            count,
        };
        self.0.into_iter().map(counted).collect()
    }
}

/// Takes a medoid that does not exist away from `action`, for it has found nothing, and
/// adds the keys that the catalog has for pins that the caller calls by numbers.
fn fit_to_catalog(action: &mut Action, pins: DeltaView<'_>) {
    let mut keys = action
        .keys
        .take()
        .map_or_else(Default::default, |keys| *keys);
    let is_there = |&medoid: &PinId| has_pin(pins, medoid, keys.medoid.as_deref());
    action.medoid = action.medoid.filter(is_there);
    if action.medoid.is_none() {
        keys.medoid = None;
    }
    if pins.pins.has_keys() {
        let known = |pin| pins.key(pin).map(str::to_owned);
        keys.pin = keys.pin.or_else(|| known(action.pin));
        keys.medoid = keys.medoid.or_else(|| known(action.medoid?));
    }
    action.keys = keys.some();
}

/// Whether there is a pin `pin` that is not called otherwise than `key`: two keys can have
/// one id.
fn has_pin(pins: DeltaView<'_>, pin: PinId, key: Option<&str>) -> bool {
    let is_called = |key: &str| pins.key(pin).is_none_or(|known| known == key);
    pins.contains(pin) && key.is_none_or(is_called)
}

/// Returns when `actions`, which came at `now`, are durable and can be seen.
async fn submit(
    log: &Actions,
    actions: Vec<Action>,
    now: Timestamp,
) -> Result<RecordedActions, CallError> {
    let (give, taken) = oneshot::channel();
    // Without a taker the client has left; what is accepted stays so.
    log.submit(actions, now, move |recorded| _ = give.send(recorded));
    match taken.await {
        Ok(Ok(recorded)) => Ok(recorded),
        Ok(Err(RecordError::Busy)) => Err(CallError::Busy),
        Ok(Err(RecordError::Failed(_))) | Err(_) => Err(CallError::NotRecorded),
    }
}

/// The status of an action that the log took, and how long that took since it happened.
fn recorded_status(outcome: ActionOutcome, time: Timestamp, durable_at: Timestamp) -> ActionStatus {
    match outcome {
        ActionOutcome::Accepted => {
            let seconds = durable_at.days_since(time).max(0.0) * SECONDS_PER_DAY;
            histogram!(names::ACTION_FRESHNESS).record(seconds);
            ActionStatus::Accepted
        }
        ActionOutcome::Duplicate => ActionStatus::Duplicate,
        ActionOutcome::Erased => ActionStatus::Erased,
    }
}

fn checked_actions(actions: Vec<v1::Action>) -> Result<Vec<Action>, CallError> {
    ACTIONS.check_not_empty("actions", actions.len())?;
    let actions = actions.into_iter().enumerate();
    actions
        .map(|(at, action)| checked_action(at, action))
        .collect()
}

/// The action at the position `at` of a request.
fn checked_action(at: usize, action: v1::Action) -> Result<Action, CallError> {
    let path = |field: &str| format!("actions[{at}].{field}");
    let invalid = |field: &str, reason: String| CallError::field(path(field), reason);
    let length = action.action_id.len();
    let id = action.action_id.try_into();
    let id = id.map_err(|_| invalid("action_id", format!("has {length} bytes, not 16")))?;
    let name = action.action;
    ACTION_NAME.check_not_empty(&path("action"), name.len())?;
    let time = action.time;
    let time = time.ok_or_else(|| invalid("time", "is required".to_owned()))?;
    let time = moment(time).ok_or_else(|| invalid("time", "is no moment".to_owned()))?;
    let keys = ActionKeys {
        user: action.user_key,
        pin: action.pin_key,
        medoid: action.medoid_pin_key,
    };
    let medoid_key = keys.medoid.as_deref();
    let medoid_path = || path("medoid_pin_key");
    Ok(Action {
        id: ActionId(id),
        user: ids::required_user(action.user_id, keys.user.as_deref(), path)?,
        pin: ids::required_pin(action.pin_id, keys.pin.as_deref(), path)?,
        name,
        time,
        medoid: ids::optional_pin(action.medoid_pin_id, medoid_key, medoid_path)?,
        keys: keys.some(),
    })
}

fn label(status: ActionStatus) -> &'static str {
    match status {
        ActionStatus::Unspecified => "unspecified",
        ActionStatus::Accepted => "accepted",
        ActionStatus::Duplicate => "duplicate",
        ActionStatus::UnknownPin => "unknown_pin",
        ActionStatus::UnknownAction => "unknown_action",
        ActionStatus::TooOld => "too_old",
        ActionStatus::InFuture => "in_future",
        ActionStatus::TooManyHidden => "too_many_hidden",
        ActionStatus::Erased => "erased",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserId;
    use crate::serve::state::test_world::{
        COLLIDING_KEY, KNOWN_USER, PROFILE_DAY, TestWorld, day, durable_state, key_of,
    };
    use crate::store::ErasedThrough;

    fn message() -> v1::Action {
        v1::Action {
            action_id: vec![7; 16],
            user_id: Some(1),
            pin_id: Some(2),
            action: "save".to_owned(),
            time: Some(prost_types::Timestamp {
                seconds: 3,
                nanos: 4_000,
            }),
            medoid_pin_id: None,
            ..Default::default()
        }
    }

    fn refused_field(change: impl FnOnce(&mut v1::Action)) -> String {
        let mut action = message();
        change(&mut action);
        match checked_actions(vec![message(), action]) {
            Err(CallError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_action_is_read_to_the_microsecond() {
        let action = checked_action(0, message()).expect("a good action");
        assert_eq!(action.time, Timestamp::from_micros(3_000_004));
        assert_eq!((action.user, action.pin), (UserId(1), PinId(2)));
        assert_eq!((action.id, action.medoid), (ActionId([7; 16]), None));
    }

    #[test]
    fn a_bad_field_is_named_with_the_position_of_its_action() {
        assert_eq!(refused_field(|a| a.user_id = None), "actions[1].user_id");
        assert_eq!(refused_field(|a| a.pin_id = None), "actions[1].pin_id");
        assert_eq!(refused_field(|a| a.time = None), "actions[1].time");
        let short = refused_field(|a| a.action_id = vec![7; 15]);
        assert_eq!(short, "actions[1].action_id");
        assert_eq!(refused_field(|a| a.action.clear()), "actions[1].action");
        let long = refused_field(|a| a.action = "x".repeat(MAX_ACTION_NAME + 1));
        assert_eq!(long, "actions[1].action");
        for (seconds, nanos) in [(i64::MAX, 0), (0, -1), (0, 1_000_000_000)] {
            let time = Some(prost_types::Timestamp { seconds, nanos });
            assert_eq!(refused_field(|a| a.time = time), "actions[1].time");
        }
    }

    #[test]
    fn keys_are_kept_beside_the_ids_that_they_have() {
        assert_eq!(
            refused_field(|a| a.user_key = Some("u".to_owned())),
            "actions[1].user_key"
        );
        assert_eq!(
            refused_field(|a| a.pin_key = Some(String::new())),
            "actions[1].pin_key"
        );
        let long = Some("x".repeat(257));
        let medoid = refused_field(|a| a.medoid_pin_key = long);
        assert_eq!(medoid, "actions[1].medoid_pin_key");
        let keyed = v1::Action {
            user_id: None,
            user_key: Some("user-1".to_owned()),
            medoid_pin_key: Some("tea".to_owned()),
            ..message()
        };
        let action = checked_action(0, keyed).expect("a good action");
        let ids = (action.user, action.pin, action.medoid);
        let medoid = Some(PinId::of_key("tea"));
        assert_eq!(ids, (UserId::of_key("user-1"), PinId(2), medoid));
        let keys = action.keys.expect("keys");
        assert_eq!(keys.user.as_deref(), Some("user-1"));
        assert_eq!((&keys.pin, keys.medoid.as_deref()), (&None, Some("tea")));
    }

    /// The keys of pin and medoid that an action on `pin` by `medoid` has in a catalog of
    /// strings, and whether its pin is there.
    fn fitted(pin: (u64, Option<&str>), medoid: (u64, Option<&str>)) -> (ActionKeys, bool) {
        let serving = Serving::unchanged(TestWorld::with_keys().load());
        let keys = ActionKeys {
            user: None,
            pin: pin.1.map(str::to_owned),
            medoid: medoid.1.map(str::to_owned),
        };
        let mut action = Action {
            pin: PinId(pin.0),
            medoid: Some(PinId(medoid.0)),
            keys: keys.some(),
            ..checked_action(0, message()).expect("a good action")
        };
        fit_to_catalog(&mut action, serving.pins());
        let keys = action.keys.as_deref().cloned().unwrap_or_default();
        assert_eq!(keys.medoid.is_some(), action.medoid.is_some());
        let is_there = has_pin(serving.pins(), action.pin, keys.pin.as_deref());
        (keys, is_there)
    }

    #[test]
    fn keys_come_from_the_catalog_and_must_not_differ_from_its_own() {
        let [one, two] = [1, 2].map(key_of);
        let [one_id, two_id] = [&one, &two].map(|key| PinId::of_key(key).0);
        let by_number = fitted((one_id, None), (two_id, None));
        assert_eq!(
            by_number,
            fitted((one_id, Some(&one)), (two_id, Some(&two)))
        );
        let (keys, is_there) = by_number;
        assert_eq!((keys.pin, keys.medoid), (Some(one), Some(two)));
        assert!(is_there);
        // Neither is in the catalog.
        assert_eq!(fitted((1, None), (2, None)), (ActionKeys::default(), false));
        // The catalog has another pin of that id.
        let colliding = PinId::of_key(COLLIDING_KEY).0;
        let collided = Some(COLLIDING_KEY);
        let (keys, is_there) = fitted((colliding, collided), (colliding, collided));
        assert_eq!((keys.pin.as_deref(), keys.medoid), (collided, None));
        assert!(!is_there);
    }

    #[test]
    fn pins_that_were_hidden_before_an_erasure_leave_room_for_others() {
        let world = TestWorld::new();
        let hidden: Vec<PinId> = (0..MAX_HIDDEN_PINS as u64).map(PinId).collect();
        world.publish_profiles_without(ErasedThrough::default(), &hidden);
        let serving = Serving::unchanged(world.load());
        let durable = durable_state(&world.path("data"), 1);
        let now = day(PROFILE_DAY);
        let context = Context {
            serving: &serving,
            log: &durable.actions,
            now,
            age_limit: AgeLimit::Retention,
        };
        let action = Action {
            user: KNOWN_USER,
            pin: PinId(u64::MAX),
            ..checked_action(0, message()).expect("a good action")
        };
        assert!(context.hides_one_too_many(&action));
        let erased = durable.actions.erase(KNOWN_USER, now);
        erased.expect("an erasure");
        assert!(!context.hides_one_too_many(&action));
    }

    #[test]
    fn a_call_has_one_action_or_more_up_to_its_limit() {
        assert!(checked_actions(Vec::new()).is_err());
        let most = checked_actions(vec![message(); ACTIONS.max]);
        assert_eq!(most.map(|actions| actions.len()), Ok(ACTIONS.max));
        assert!(checked_actions(vec![message(); ACTIONS.max + 1]).is_err());
    }
}
