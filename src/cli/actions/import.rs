//! `pinnersage actions import`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, anyhow, ensure};
use clap::Args;
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
use crate::wire::v1;

/// Actions of one request.
const REQUEST_ACTIONS: usize = 1_000;
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
        for actions in actions.chunks(REQUEST_ACTIONS) {
            let actions = actions.iter().map(message).collect();
            let sent = requests.blocking_send(v1::ImportActionsRequest { actions });
            sent.map_err(|_| anyhow!("the server takes no more"))?;
        }
        anyhow::Ok(())
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
    v1::Action {
        action_id: action.id.0.to_vec(),
        user_id: Some(action.user.0),
        pin_id: Some(action.pin.0),
        action: action.name.clone(),
        time: Some(prost_types::Timestamp { seconds, nanos }),
        medoid_pin_id: action.medoid.map(|pin| pin.0),
        user_key: None,
        pin_key: None,
        medoid_pin_key: None,
    }
}
