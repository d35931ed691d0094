//! `pinnersage actions erase`.

use std::time::Duration;

use clap::Args;

use crate::cli::client::{ServerArgs, status_error};
use crate::cli::id_or_key::UserArgs;
use crate::cli::output;
use crate::cli::runtime::block_on;
use crate::wire::v1;

/// How long to wait: all tables of the log are written anew.
const ERASE_TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Debug, Args)]
pub(in crate::cli) struct EraseArgs {
    #[command(flatten)]
    user: UserArgs,
    /// Erase also by a clock of the server that is more than a day ahead of the last use of
    /// its log, as after a pause or a restore.
    #[arg(long)]
    clock_is_right: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &EraseArgs) -> anyhow::Result<()> {
    let (user_id, user_key) = args.user.user().fields();
    let request = v1::EraseUserRequest {
        user_id,
        user_key,
        clock_is_right: args.clock_is_right,
    };
    let erased = block_on(async {
        let mut client = args.server.connect_for_admin_within(ERASE_TIMEOUT).await?;
        let erased = client.erase_user(request).await;
        let erased = erased.map_err(|status| status_error(&status))?;
        Ok(erased.into_inner())
    })?;
    let profile = if erased.has_profile {
        "the profile that is served has the user: it is not used any more"
    } else {
        "no profile that is served has the user"
    };
    output::print(&format!(
        "{} recorded actions erased, from memory and from the disk",
        erased.actions
    ))?;
    output::print(&format!(
        "{} actions erased from {} files of the archive",
        erased.archived_actions, erased.archive_files
    ))?;
    output::print(&profile)
}
