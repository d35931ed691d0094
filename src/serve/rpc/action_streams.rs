//! Streams of recorded actions out of the log, and into it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::action_recorder::{ActionRecorder, AgeLimit, StatusCounts};
use super::times::timestamp;
use crate::actions::Actions;
use crate::durable::{LogError, PlacedAction};
use crate::serve::status::CallError;
use crate::wire::v1;

/// Actions of one message of a stream.
const ACTIONS_PER_MESSAGE: usize = 1_000;
/// Messages that wait for a slow client.
const MAX_WAITING: usize = 2;

/// Pause of an import when too many calls wait for the log.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Messages of a call, or the error that ends it.
pub(super) type Messages<T> = ReceiverStream<Result<T, Status>>;

/// All actions of `actions` that have numbers from `first` on.
pub(super) fn export(actions: Arc<Actions>, first: u64) -> Messages<v1::ExportActionsResponse> {
    let (messages, stream) = mpsc::channel(MAX_WAITING);
    // It ends with the actions, or when the client has left.
    spawn_blocking(move || send_actions(&actions, first, &messages));
    ReceiverStream::new(stream)
}

fn send_actions(
    actions: &Actions,
    first: u64,
    messages: &mpsc::Sender<Result<v1::ExportActionsResponse, Status>>,
) {
    let store_id = actions.store_id();
    let last_sequence = match actions.last_sequence() {
        Ok(last) => last,
        Err(error) => return fail(&error, messages),
    };
    let message = |actions: Vec<PlacedAction>| v1::ExportActionsResponse {
        actions: actions.into_iter().map(exported_action).collect(),
        last_sequence,
        store_id,
    };
    let mut next = first;
    let mut sent = messages.blocking_send(Ok(message(Vec::new())));
    while sent.is_ok() && next <= last_sequence {
        match actions.actions_from(next, ACTIONS_PER_MESSAGE) {
            Ok(mut part) => {
                part.retain(|action| action.place.sequence <= last_sequence);
                let Some(last) = part.last() else {
                    return;
                };
                next = last.place.sequence + 1;
                part.retain(|action| !actions.is_erased(action));
                sent = messages.blocking_send(Ok(message(part)));
            }
            Err(error) => return fail(&error, messages),
        }
    }
}

/// Ends an export with an error.
fn fail(error: &LogError, messages: &mpsc::Sender<Result<v1::ExportActionsResponse, Status>>) {
    tracing::error!(%error, "recorded actions cannot be read");
    // A client that has left needs none.
    let _ = messages.blocking_send(Err(CallError::NotReadable.into()));
}

fn exported_action(PlacedAction { place, action }: PlacedAction) -> v1::ExportedAction {
    let keys = action.keys.map_or_else(Default::default, |keys| *keys);
    v1::ExportedAction {
        action: Some(v1::Action {
            action_id: action.id.0.to_vec(),
            user_id: Some(action.user.0),
            pin_id: Some(action.pin.0),
            action: action.name,
            time: Some(timestamp(action.time)),
            medoid_pin_id: action.medoid.map(|pin| pin.0),
            user_key: keys.user,
            pin_key: keys.pin,
            medoid_pin_key: keys.medoid,
        }),
        sequence: place.sequence,
        recorded_at: Some(timestamp(place.recorded_at)),
    }
}

/// Records the actions of `requests`, and answers each.
pub(super) fn import(
    recorder: ActionRecorder,
    mut requests: Streaming<v1::ImportActionsRequest>,
) -> Messages<v1::ImportActionsResponse> {
    let (messages, stream) = mpsc::channel(MAX_WAITING);
    tokio::spawn(async move {
        loop {
            let answer = match requests.message().await {
                Ok(Some(request)) => import_part(&recorder, request).await,
                Ok(None) => return,
                Err(status) => Err(status),
            };
            let is_end = answer.is_err();
            if messages.send(answer).await.is_err() || is_end {
                return;
            }
        }
    });
    ReceiverStream::new(stream)
}

async fn import_part(
    recorder: &ActionRecorder,
    request: v1::ImportActionsRequest,
) -> Result<v1::ImportActionsResponse, Status> {
    let results = loop {
        match recorder
            .record(request.actions.clone(), AgeLimit::None)
            .await
        {
            // Others come first: an import has no hurry.
            Err(CallError::Busy) => tokio::time::sleep(BUSY_PAUSE).await,
            results => break results?,
        }
    };
    let mut counts = StatusCounts::default();
    counts.add(&results.statuses);
    Ok(v1::ImportActionsResponse {
        counts: counts.into_messages(),
    })
}
