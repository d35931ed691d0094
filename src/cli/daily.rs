//! `pinnersage daily`: the nightly job of a small site.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;

use super::clock::now;
use super::profiles::check_as_of;
use super::{build_steps, output};
use crate::archive;
use crate::batch::{BadRowParams, Duplicates, NegativeLimits, ProfileInput, TextIds};
use crate::config::Settings;
use crate::model::Timestamp;
use crate::progress::Progress;
use crate::serve::pinned_profiles;
use crate::snapshot::prune;
use crate::store::ErasedThrough;

#[derive(Debug, Args)]
pub(super) struct DailyArgs {
    /// Archive of the server: the directory in `actions.archive`.
    #[arg(long, value_name = "DIR")]
    archive: PathBuf,
    /// Catalog whose vectors are clustered.
    #[arg(long, value_name = "DIR")]
    catalog: PathBuf,
    /// Directory that holds the versions of the profiles.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// End of the window: 2017-10-01 or 2017-10-01T06:00:00Z [default: now].
    #[arg(long, value_name = "TIME")]
    as_of: Option<Timestamp>,
    /// Take an --as-of after the present moment.
    #[arg(long)]
    allow_future_as_of: bool,
    /// Data of the server, to know which versions are pinned there. Without it, --keep has to
    /// be as many versions as somebody may pin.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Versions of the profiles to keep; the current one, the one before it, and one that is
    /// pinned in --data always stay.
    #[arg(long, value_name = "N", default_value_t = 14,
          value_parser = clap::value_parser!(u16).range(2..))]
    keep: u16,
}

/// The archive has no actions: there is nothing to build from, and what was served stays.
#[derive(Debug, thiserror::Error)]
#[error("{}: has no actions yet, so no profiles were built", .0.display())]
pub(super) struct NothingToBuild(PathBuf);

pub(super) fn run(args: &DailyArgs, settings: &Settings) -> anyhow::Result<()> {
    let archive = &args.archive;
    for directory in [Some(archive), args.data.as_ref()].into_iter().flatten() {
        let name = directory.display();
        ensure!(directory.is_dir(), "{name}: there is no such directory");
    }
    let as_of = args.as_of.unwrap_or_else(now);
    if !args.allow_future_as_of {
        check_as_of(as_of, now())?;
    }
    // Before its files are read: what is stated then holds for all of them.
    let erased_through = ErasedThrough {
        by_log: archive::erased_through(archive)?,
        ..ErasedThrough::default()
    };
    let files = archive::files(archive).with_context(|| archive.display().to_string())?;
    if files.is_empty() {
        return Err(NothingToBuild(archive.clone()).into());
    }
    let input = ProfileInput {
        actions: &files,
        catalog: &args.catalog,
        text_ids: TextIds::Auto,
        as_of,
        complete_through: None,
        erased_users: None,
        erased_through: &erased_through,
        duplicates: Duplicates::Drop,
        bad_rows: &BadRowParams::default(),
        negative: NegativeLimits::from(&settings.actions.limits),
    };
    let progress = Progress::for_stderr();
    build_steps::profiles(&input, &args.out, &settings.profiles, progress)?;
    build_steps::neighbor_lists(&args.catalog, &args.out, settings.neighbors, progress)?;
    let pinned = args.data.as_deref().map(pinned_profiles).transpose()?;
    let pinned = pinned.flatten();
    let old = prune(&args.out, usize::from(args.keep), pinned.as_deref())?;
    output::print(&format!(
        "{} old versions of the profiles removed",
        old.len()
    ))
}
