//! `pinnersage record`.

use clap::Args;

use super::client::{ServerArgs, status_error};
use super::clock::now;
use super::id_or_key::{IdOrKey, UserArgs};
use super::output;
use super::runtime::block_on;
use crate::model::Timestamp;
use crate::wire::v1;

#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    #[command(flatten)]
    user: UserArgs,
    /// Pins that the user acted on.
    #[arg(long, value_name = "PIN", num_args = 1.., required_unless_present = "pin_key")]
    pin: Vec<u64>,
    /// The same by their keys, where pins are called by strings.
    #[arg(long, value_name = "KEY", num_args = 1..)]
    pin_key: Vec<String>,
    /// Name of the action: save, click, hide, report, impression, or another one that the
    /// settings of the server give a weight to.
    #[arg(long, value_name = "NAME", default_value = "save")]
    action: String,
    /// Time of the action, such as 2026-11-23 or 2026-11-23T06:00:00Z [default: now].
    #[arg(long, value_name = "TIME")]
    time: Option<Timestamp>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &RecordArgs) -> anyhow::Result<()> {
    let (seconds, nanos) = args.time.unwrap_or_else(now).seconds_and_nanos();
    let (user_id, user_key) = args.user.user().fields();
    let pins = IdOrKey::all(&args.pin, &args.pin_key);
    let action = |pin: &IdOrKey| {
        let (pin_id, pin_key) = pin.fields();
        v1::Action {
            action_id: rand::random::<[u8; 16]>().to_vec(),
            user_id,
            pin_id,
            action: args.action.clone(),
            time: Some(prost_types::Timestamp { seconds, nanos }),
            medoid_pin_id: None,
            user_key: user_key.clone(),
            pin_key,
            medoid_pin_key: None,
        }
    };
    let request = v1::RecordActionsRequest {
        actions: pins.iter().map(action).collect(),
    };
    block_on(async {
        let mut client = args.server.connect_for_actions().await?;
        let answer = client.record_actions(request).await;
        let answer = answer.map_err(|status| status_error(&status))?.into_inner();
        let mut all_accepted = true;
        for (pin, status) in pins.iter().zip(answer.results()) {
            all_accepted &= status == v1::ActionStatus::Accepted;
            let status = status.as_str_name().trim_start_matches("ACTION_STATUS_");
            output::print(&format!("{} of pin {pin}: {status}", args.action))?;
        }
        anyhow::ensure!(all_accepted, "not all actions were accepted");
        Ok(())
    })
}
