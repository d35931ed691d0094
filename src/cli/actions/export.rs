//! `pinnersage actions export`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use tokio::signal::ctrl_c;
use tonic::Streaming;

use super::parts::Parts;
use crate::cli::client::{ServerArgs, status_error};
use crate::cli::output;
use crate::cli::runtime::block_on;
use crate::durable::{Place, PlacedAction};
use crate::model::{Action, ActionId, ActionKeys, PinId, Timestamp, UserId};
use crate::progress::{Progress, Stage};
use crate::wire::v1;

/// Actions of one part, which are held in memory.
const PART_ACTIONS: usize = 100_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// Parquet file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Number of the first action: one more than the last that an earlier export has.
    #[arg(long, value_name = "N", default_value_t = 0)]
    from_sequence: u64,
    #[command(flatten)]
    server: ServerArgs,
}

/// What was fetched.
struct Fetched {
    /// Number of actions that came now.
    actions: u64,
    /// No exported action has a higher number.
    last_sequence: u64,
}

pub(super) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let mut parts = Parts::open(&args.out)?;
    let fetched = block_on(fetch(args, &mut parts));
    let again = "the same command goes on where it stopped";
    let Fetched {
        actions,
        last_sequence,
    } = fetched.context(again)?;
    parts.join()?;
    let (out, next) = (args.out.display(), last_sequence + 1);
    output::print(&format!(
        "{actions} actions fetched, all in {out}; for later ones: --from-sequence {next}"
    ))
}

async fn fetch(args: &ExportArgs, parts: &mut Parts) -> anyhow::Result<Fetched> {
    let after_parts = parts.last().map_or(0, |last| last + 1);
    let first = args.from_sequence.max(after_parts);
    let mut client = args.server.connect_for_admin().await?;
    let request = v1::ExportActionsRequest {
        from_sequence: first,
    };
    let answer = client.export_actions(request).await;
    let mut messages = answer.map_err(|status| status_error(&status))?.into_inner();
    let Some(begin) = next(&mut messages).await? else {
        bail!("the server sent nothing");
    };
    let (store_id, last_sequence) = (begin.store_id, begin.last_sequence);
    parts.check_store(store_id)?;
    let total = (last_sequence + 1).saturating_sub(first);
    let stage = Progress::for_stderr().stage("fetching actions", total);
    let mut part = ExportedPart {
        parts,
        store_id,
        actions: Vec::new(),
    };
    let done = receive(&mut messages, &mut part, &stage).await;
    // Whatever has come is kept, also when the rest has not.
    part.write()?;
    Ok(Fetched {
        actions: done?,
        last_sequence,
    })
}

/// The part that is filled now.
struct ExportedPart<'a> {
    parts: &'a mut Parts,
    store_id: u64,
    actions: Vec<PlacedAction>,
}

impl ExportedPart<'_> {
    fn write(&mut self) -> anyhow::Result<()> {
        let actions = std::mem::take(&mut self.actions);
        self.parts.add(self.store_id, &actions)
    }
}

/// Receives all `messages`, and returns the number of their actions.
async fn receive(
    messages: &mut Streaming<v1::ExportActionsResponse>,
    part: &mut ExportedPart<'_>,
    stage: &Stage,
) -> anyhow::Result<u64> {
    let mut count = 0;
    while let Some(message) = next(messages).await? {
        count += message.actions.len() as u64;
        stage.advance(message.actions.len() as u64);
        for action in message.actions {
            part.actions
                .push(placed(action).context("the server sent no action")?);
        }
        if part.actions.len() >= PART_ACTIONS {
            part.write()?;
        }
    }
    Ok(count)
}

/// The next message; an error when the command is interrupted.
async fn next(
    messages: &mut Streaming<v1::ExportActionsResponse>,
) -> anyhow::Result<Option<v1::ExportActionsResponse>> {
    tokio::select! {
        message = messages.message() => message.map_err(|status| status_error(&status)),
        _ = ctrl_c() => bail!("interrupted"),
    }
}

/// The action of a message; none when it is incomplete.
fn placed(exported: v1::ExportedAction) -> Option<PlacedAction> {
    let action = exported.action?;
    let keys = ActionKeys {
        user: action.user_key,
        pin: action.pin_key,
        medoid: action.medoid_pin_key,
    };
    Some(PlacedAction {
        place: Place {
            sequence: exported.sequence,
            recorded_at: moment(exported.recorded_at?)?,
        },
        action: Action {
            id: ActionId(action.action_id.try_into().ok()?),
            user: UserId(action.user_id?),
            pin: PinId(action.pin_id?),
            name: action.action,
            time: moment(action.time?)?,
            medoid: action.medoid_pin_id.map(PinId),
            keys: keys.some(),
        },
    })
}

fn moment(time: prost_types::Timestamp) -> Option<Timestamp> {
    let seconds = Timestamp::from_seconds(time.seconds)?;
    let micros = seconds
        .micros()
        .checked_add(i64::from(time.nanos) / 1_000)?;
    Some(Timestamp::from_micros(micros))
}
