//! `pinnersage data backup`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::backup_files::{BackupFiles, BackupOrigin, BackupWriter};
use crate::cli::client::{ServerArgs, status_error};
use crate::cli::runtime::block_on;
use crate::cli::{output, times};
use crate::progress::{Progress, Stage};
use crate::wire::v1;
use crate::wire::v1::backup_data_response::Part;

/// How long to wait for the begin of a backup, which waits for a write in progress.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(in crate::cli) struct BackupArgs {
    /// Directory that holds the backups.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

/// A backup while it arrives.
struct Arriving {
    writer: BackupWriter,
    origin: BackupOrigin,
    stage: Stage,
    end: Option<v1::BackupEnd>,
}

pub(super) fn run(args: &BackupArgs) -> anyhow::Result<()> {
    let (version, left_out) = block_on(fetch(args))?;
    let backup = BackupFiles::open(&args.out.join(version))?;
    backup
        .check()
        .context("the backup was written, but cannot be read back")?;
    let out = args.out.display();
    output::print(&format!("{}, in {out}", backup.summary()))?;
    if left_out.is_empty() {
        return Ok(());
    }
    let left_out = left_out.join(", ");
    output::print(&format!(
        "not in it, because they are not the server's: {left_out}"
    ))
}

/// Stores what the server sends. Returns the version of the backup, and what lies in the
/// directory of the data and is not in it.
async fn fetch(args: &BackupArgs) -> anyhow::Result<(String, Vec<String>)> {
    let mut client = args.server.connect_for_admin_within(BEGIN_TIMEOUT).await?;
    let parts = client.backup_data(v1::BackupDataRequest {}).await;
    let mut parts = parts.map_err(|status| status_error(&status))?.into_inner();
    let mut arriving = None;
    while let Some(message) = parts
        .message()
        .await
        .map_err(|status| status_error(&status))?
    {
        match (message.part, &mut arriving) {
            (Some(Part::Head(head)), None) => arriving = Some(Arriving::begin(args, head)?),
            (Some(part), Some(arriving)) => arriving.take(part)?,
            (_, None) => bail!("the backup does not begin with its head"),
            (None, Some(_)) => bail!("the server sent what this version does not know"),
        }
    }
    let arriving: Arriving = arriving.context("the server sent no backup")?;
    arriving.finish()
}

impl Arriving {
    fn begin(args: &BackupArgs, head: v1::BackupHead) -> anyhow::Result<Self> {
        let time = head.time.context("the backup has no time")?;
        let progress = Progress::for_stderr();
        Ok(Self {
            writer: BackupWriter::create(&args.out)?,
            origin: BackupOrigin {
                time: times::from_message(time),
                store_id: head.store_id,
                build: head.build,
            },
            stage: progress.stage("back up records", head.approximate_records),
            end: None,
        })
    }

    fn take(&mut self, part: Part) -> anyhow::Result<()> {
        ensure!(self.end.is_none(), "the backup goes on behind its end");
        match part {
            Part::Head(_) => bail!("the backup has two heads"),
            Part::Records(part) => {
                for v1::BackupRecord { key, value } in &part.records {
                    self.writer.push(&part.keyspace, key, value)?;
                }
                self.stage.advance(part.records.len() as u64);
            }
            Part::File(file) => self.writer.add_file(&file.name, &file.contents)?,
            Part::End(end) => self.end = Some(end),
        }
        Ok(())
    }

    /// Compares what came with what the server counted, and finishes the backup.
    fn finish(self) -> anyhow::Result<(String, Vec<String>)> {
        let Self {
            mut writer,
            origin,
            stage,
            end,
        } = self;
        let end = end.context("the backup has no end: the connection was lost")?;
        for count in &end.counts {
            // A part without records came in no message.
            if count.records == 0 {
                writer.begin(&count.keyspace)?;
            }
        }
        let counted = end
            .counts
            .into_iter()
            .map(|count| (count.keyspace, count.records));
        let counted: BTreeMap<String, u64> = counted.collect();
        let received = writer.counts()?;
        ensure!(
            *received == counted,
            "{received:?} records came of the {counted:?} that the server sent"
        );
        let version = writer.finish(origin)?;
        drop(stage);
        Ok((version, end.left_out))
    }
}
