//! `pinnersage actions import`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::batch::WholeActions;
use crate::cli::client::{ServerArgs, status_error};
use crate::cli::output;
use crate::cli::runtime::block_on;
use crate::cli::text_id_args::TextIdArgs;
use crate::model::Action;
use crate::progress::{Progress, Stage};
use crate::serve::MAX_ACTIONS_SIZE;
use crate::wire::v1;

/// Actions of one request.
const REQUEST_ACTIONS: usize = 1_000;
/// Bytes of one request before each action: its tag and its length.
const ACTION_HEAD: usize = 4;
/// Requests that wait for the server.
const MAX_WAITING: usize = 4;

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// Files of actions, directories of them or globs, in any order.
    #[arg(required = true, value_name = "PATH")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    text_ids: TextIdArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Number of actions by status.
type Counts = BTreeMap<v1::ActionStatus, u64>;

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let progress = Progress::for_stderr();
    let actions = WholeActions::open(&args.files, args.text_ids.text_ids(), progress)?;
    let total = actions.count();
    let stage = progress.stage("importing actions", total);
    let imported = block_on(import(actions, &args.server, &stage));
    let again = "what was imported counts once: the same command can run again";
    let counts = imported.context(again)?;
    drop(stage);
    for (status, count) in &counts {
        let status = status.as_str_name().trim_start_matches("ACTION_STATUS_");
        output::print(&format!("{count:>12} {status}"))?;
    }
    let counted = |status| counts.get(&status).copied().unwrap_or_default();
    let taken = counted(v1::ActionStatus::Accepted) + counted(v1::ActionStatus::Duplicate);
    ensure!(
        taken == total,
        "{} of {total} actions were not taken",
        total - taken
    );
    Ok(())
}

async fn import(
    actions: WholeActions,
    server: &ServerArgs,
    stage: &Stage,
) -> anyhow::Result<Counts> {
    let mut client = server.connect_for_admin().await?;
    let (requests, waiting) = mpsc::channel(MAX_WAITING);
    let reading = spawn_blocking(move || send(&actions, &requests));
    let answers = client.import_actions(ReceiverStream::new(waiting)).await;
    let mut answers = answers
        .map_err(|status| status_error(&status))?
        .into_inner();
    let imported = receive(&mut answers, stage).await;
    // A server that refuses ends the reading, so its error is the one to report.
    let counts = imported?;
    reading.await??;
    Ok(counts)
}

/// Sends all `actions`.
fn send(
    actions: &WholeActions,
    requests: &mpsc::Sender<v1::ImportActionsRequest>,
) -> anyhow::Result<()> {
    actions.read(|actions| {
        for request in requests_with(&actions) {
            let sent = requests.blocking_send(request);
            sent.map_err(|_| anyhow!("the server takes no more"))?;
        }
        anyhow::Ok(())
    })
}

/// Requests with all `actions`, in their order.
fn requests_with(actions: &[Action]) -> impl Iterator<Item = v1::ImportActionsRequest> {
    let mut messages = actions.iter().map(message).peekable();
    std::iter::from_fn(move || {
        let (mut actions, mut bytes) = (Vec::new(), 0);
        while actions.len() < REQUEST_ACTIONS
            && let Some(action) = messages.next_if(|action| {
                bytes += action.encoded_len() + ACTION_HEAD;
                actions.is_empty() || bytes <= MAX_ACTIONS_SIZE
            })
        {
            actions.push(action);
        }
        (!actions.is_empty()).then_some(v1::ImportActionsRequest { actions })
    })
}

async fn receive(
    answers: &mut Streaming<v1::ImportActionsResponse>,
    stage: &Stage,
) -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    while let Some(answer) = answers
        .message()
        .await
        .map_err(|status| status_error(&status))?
    {
        for counted in answer.counts {
            *counts.entry(counted.status()).or_default() += counted.count;
            stage.advance(counted.count);
        }
    }
    Ok(counts)
}

fn message(action: &Action) -> v1::Action {
    let (seconds, nanos) = action.time.seconds_and_nanos();
    let keys = action.keys.as_deref().cloned().unwrap_or_default();
    v1::Action {
        action_id: action.id.0.to_vec(),
        user_id: Some(action.user.0),
        pin_id: Some(action.pin.0),
        action: action.name.clone(),
        time: Some(prost_types::Timestamp { seconds, nanos }),
        medoid_pin_id: action.medoid.map(|pin| pin.0),
        user_key: keys.user,
        pin_key: keys.pin,
        medoid_pin_key: keys.medoid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActionId, ActionKeys, MAX_ACTION_NAME, MAX_KEY, PinId, Timestamp, UserId};

    /// One of the longest actions but for its keys, which have so many bytes each.
    fn action(key: usize) -> Action {
        let key = Some("x".repeat(key)).filter(|key| !key.is_empty());
        let keys = ActionKeys {
            user: key.clone(),
            pin: key.clone(),
            medoid: key,
        };
        Action {
            id: ActionId([7; 16]),
            user: UserId(u64::MAX),
            pin: PinId(u64::MAX),
            name: "x".repeat(MAX_ACTION_NAME),
            time: Timestamp::from_micros(253_402_300_799_999_999),
            medoid: Some(PinId(u64::MAX)),
            keys: keys.some(),
        }
    }

    /// The number of actions in each request with `count` of these actions.
    fn counts(action: &Action, count: usize) -> Vec<usize> {
        let actions = vec![action.clone(); count];
        let counts = requests_with(&actions).map(|request| {
            assert!(request.encoded_len() <= MAX_ACTIONS_SIZE);
            request.actions.len()
        });
        counts.collect()
    }

    #[test]
    fn a_request_has_as_many_actions_as_a_server_takes() {
        let uuid = "4a0b8f0e-3c6b-4d2a-9f57-0a7f5a0f9c11".len();
        assert_eq!(counts(&action(0), 2_500), [1_000, 1_000, 500]);
        assert_eq!(counts(&action(uuid), 1_001), [1_000, 1]);
        let longest = counts(&action(MAX_KEY), 1_000);
        assert!(longest[0] < 1_000 && longest.iter().sum::<usize>() == 1_000);
        assert_eq!(counts(&action(0), 0), [] as [usize; 0]);
    }
}
