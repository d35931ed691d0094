//! `ActionService`: check, give to the log, tell what became of each action.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::{counter, histogram};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

use crate::actions::{ActionParams, Actions, FreshnessToken, Outcome, RecordError, Recorded};
use crate::metrics as names;
use crate::model::{Action, ActionId, ActionKind, MAX_ACTION_NAME, PinId, Timestamp, UserId};
use crate::serve::rpc::convert::from_one;
use crate::serve::state::changed_pins::Serving;
use crate::serve::state::live::Live;
use crate::serve::status::CallError;
use crate::wire::v1;
use crate::wire::v1::ActionStatus;
use crate::wire::v1::action_service_server::ActionService;

/// Most actions of one call.
const MAX_ACTIONS: usize = 1_000;
/// Most pins that a user may have turned against, give or take those of calls that
/// come at the same moment.
const MAX_HIDDEN: usize = 10_000;

pub(crate) struct Service {
    pub(crate) live: Arc<Live>,
    /// Tells the time at which actions arrive.
    pub(crate) clock: fn() -> Timestamp,
}

/// What became of the actions of one call, in their order.
struct Results {
    statuses: Vec<ActionStatus>,
    token: FreshnessToken,
}

#[tonic::async_trait]
impl ActionService for Service {
    async fn record_actions(
        &self,
        request: Request<v1::RecordActionsRequest>,
    ) -> Result<Response<v1::RecordActionsResponse>, Status> {
        let Results { statuses, token } = self.record(request.into_inner().actions).await?;
        Ok(Response::new(v1::RecordActionsResponse {
            results: statuses.into_iter().map(i32::from).collect(),
            freshness_token: token.to_bytes().to_vec(),
        }))
    }

    async fn feed_actions(
        &self,
        request: Request<Streaming<v1::FeedActionsRequest>>,
    ) -> Result<Response<v1::FeedActionsResponse>, Status> {
        let mut requests = request.into_inner();
        let mut counts: BTreeMap<ActionStatus, u64> = BTreeMap::new();
        let mut last = None;
        while let Some(request) = requests.message().await? {
            let Results { statuses, token } = self.record(request.actions).await?;
            for status in statuses {
                *counts.entry(status).or_default() += 1;
            }
            last = Some(token);
        }
        let counted = |(status, count)| v1::ActionStatusCount {
            status: i32::from(status),
            count,
        };
        Ok(Response::new(v1::FeedActionsResponse {
            counts: counts.into_iter().map(counted).collect(),
            freshness_token: last.map_or_else(Vec::new, |token| token.to_bytes().to_vec()),
        }))
    }
}

impl Service {
    async fn record(&self, actions: Vec<v1::Action>) -> Result<Results, CallError> {
        let serving = self.live.get().ok_or(CallError::NotLoaded)?;
        let log = self.live.actions().ok_or(CallError::TakesNoActions)?;
        let now = (self.clock)();
        let mut actions = convert(actions)?;
        for action in &mut actions {
            // A medoid that is not there has found nothing.
            action.medoid = action
                .medoid
                .filter(|&medoid| serving.pins().contains(medoid));
        }
        let statuses = actions.iter().map(|action| {
            let refusal = self.refusal(action, &serving, log, now)?;
            // What was accepted before counts, whatever has become of its pin.
            match log.contains(action.id) {
                Ok(true) => Some(ActionStatus::Duplicate),
                Ok(false) | Err(_) => Some(refusal),
            }
        });
        let mut statuses: Vec<Option<ActionStatus>> = statuses.collect();
        let taken = actions.into_iter().zip(&statuses);
        let taken = taken.filter(|(_, refused)| refused.is_none());
        let taken: Vec<Action> = taken.map(|(action, _)| action).collect();
        let times: Vec<Timestamp> = taken.iter().map(|action| action.time).collect();

        let Recorded { outcomes, token } = submit(log, taken).await?;
        let durable = (self.clock)();
        let mut of_taken = outcomes.into_iter().zip(times);
        for status in statuses.iter_mut().filter(|status| status.is_none()) {
            *status = of_taken.next().map(|(outcome, time)| match outcome {
                Outcome::Accepted => {
                    let seconds = durable.days_since(time).max(0.0) * 86_400.0;
                    histogram!(names::ACTION_FRESHNESS).record(seconds);
                    ActionStatus::Accepted
                }
                Outcome::Duplicate => ActionStatus::Duplicate,
            });
        }
        let statuses: Vec<ActionStatus> = statuses.into_iter().flatten().collect();
        for status in &statuses {
            counter!(names::ACTIONS, "result" => label(*status)).increment(1);
        }
        Ok(Results { statuses, token })
    }

    /// Why `action` cannot count, if so.
    fn refusal(
        &self,
        action: &Action,
        serving: &Serving,
        log: &Actions,
        now: Timestamp,
    ) -> Option<ActionStatus> {
        let ActionParams { weights, limits } = log.params();
        let age = now.days_since(action.time);
        let Some(kind) = weights.kind(&action.name) else {
            return Some(ActionStatus::UnknownAction);
        };
        let is_one_too_many = || {
            let (hidden, count) = log.state(action.user)?.hides(action.pin);
            Some(!hidden && count >= MAX_HIDDEN)
        };
        if age > limits.retention_days() {
            Some(ActionStatus::TooOld)
        } else if -age > limits.max_ahead_days() {
            Some(ActionStatus::InFuture)
        } else if !serving.pins().contains(action.pin) {
            Some(ActionStatus::UnknownPin)
        } else if matches!(kind, ActionKind::Negative(_)) && is_one_too_many() == Some(true) {
            Some(ActionStatus::TooManyHidden)
        } else {
            None
        }
    }
}

/// Returns when `actions` are durable and can be seen.
async fn submit(log: &Actions, actions: Vec<Action>) -> Result<Recorded, CallError> {
    let (give, taken) = oneshot::channel();
    // Without a taker the client has left; what is accepted stays so.
    log.submit(actions, move |recorded| _ = give.send(recorded));
    match taken.await {
        Ok(Ok(recorded)) => Ok(recorded),
        Ok(Err(RecordError::Busy)) => Err(CallError::Busy),
        Ok(Err(RecordError::Failed(_))) | Err(_) => Err(CallError::NotRecorded),
    }
}

fn convert(actions: Vec<v1::Action>) -> Result<Vec<Action>, CallError> {
    from_one("actions", actions.len(), MAX_ACTIONS, "actions")?;
    let actions = actions.into_iter().enumerate();
    actions.map(|(at, action)| one(at, action)).collect()
}

fn one(at: usize, action: v1::Action) -> Result<Action, CallError> {
    let wrong =
        |field: &str, reason: String| CallError::field(format!("actions[{at}].{field}"), reason);
    let required = |field| move || wrong(field, "is required".to_owned());
    let length = action.action_id.len();
    let id = action.action_id.try_into();
    let id = id.map_err(|_| wrong("action_id", format!("has {length} bytes, not 16")))?;
    let name = action.action;
    let field = format!("actions[{at}].action");
    from_one(&field, name.len(), MAX_ACTION_NAME, "bytes")?;
    let time = action.time.ok_or_else(required("time"))?;
    let micros = i64::from(time.nanos) / 1_000;
    let time = Timestamp::from_seconds(time.seconds)
        .filter(|_| (0..1_000_000_000).contains(&time.nanos))
        .and_then(|seconds| seconds.micros().checked_add(micros))
        .ok_or_else(|| wrong("time", "is no moment".to_owned()))?;
    Ok(Action {
        id: ActionId(id),
        user: UserId(action.user_id.ok_or_else(required("user_id"))?),
        pin: PinId(action.pin_id.ok_or_else(required("pin_id"))?),
        name,
        time: Timestamp::from_micros(time),
        medoid: action.medoid_pin_id.map(PinId),
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
    }
}
