//! `pinnersage explain`.

use clap::Args;

use super::client::ServerArgs;
use super::id_or_key::UserArgs;
use super::runtime::block_on;
use super::{interest_list, output};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    user: UserArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    block_on(async {
        let interests = interest_list::fetch(&args.user.user(), &args.server).await?;
        if args.json {
            return output::print_json(&serde_json::to_string_pretty(&interests)?);
        }
        output::print(&interests)
    })
}
