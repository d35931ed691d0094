//! The stream of a backup: what a server keeps, as of one moment.

use std::fs;
use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::durable::{Log, LogError, LogSnapshot, belongs_to_log};
use crate::model::Timestamp;
use crate::serve::rpc::times::timestamp;
use crate::serve::status::CallError;
use crate::wire::v1;
use crate::wire::v1::backup_data_response::Part;

/// Messages that may wait for the client.
const WAITING: usize = 4;
/// Bytes of records from which a message is sent.
const MESSAGE_BYTES: usize = 256 << 10;
/// How long a client may read nothing. The log keeps what it forgets until the backup
/// ends.
const MAX_STALL: Duration = Duration::from_secs(60);
/// Bytes of the largest file that is taken along.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The stream of the answer.
pub(crate) type BackupStream = ReceiverStream<Result<v1::BackupDataResponse, Status>>;

/// A backup that is being made. No other is while it holds its permit.
pub(crate) struct Backup {
    pub(crate) log: Arc<Log>,
    pub(crate) now: Timestamp,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Why a backup has no end.
#[derive(Debug, thiserror::Error)]
enum BackupError {
    #[error("the client left, or read nothing for {} s", MAX_STALL.as_secs())]
    NoReader,
    #[error("the log failed meanwhile")]
    LogFailed,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Files beside the log, and what is not taken along.
#[derive(Default)]
struct BesideLog {
    files: Vec<v1::BackupFile>,
    left_out: Vec<String>,
}

/// Where the parts of a backup go.
struct Parts {
    log: Arc<Log>,
    out: Sender<Result<v1::BackupDataResponse, Status>>,
}

impl Backup {
    /// Makes the backup on a thread of its own, as fast as the stream is read.
    pub(crate) fn start(self) -> BackupStream {
        let (parts, stream) = mpsc::channel(WAITING);
        tokio::task::spawn_blocking(move || {
            let parts = Parts {
                log: self.log.clone(),
                out: parts,
            };
            match self.send_all(&parts) {
                Ok(records) => tracing::info!(records, "a backup was made"),
                Err(error) => {
                    tracing::warn!(%error, "a backup was not made");
                    // Nobody may be left to be told.
                    let _ = parts.out.try_send(Err(CallError::NoBackup.into()));
                }
            }
            drop(self.permit);
        });
        ReceiverStream::new(stream)
    }

    /// Sends all parts, and returns how many records there were.
    fn send_all(&self, parts: &Parts) -> Result<u64, BackupError> {
        // Before the records: a file may say what was done with some of them, and must not
        // say so of records that the backup does not have.
        let directory = self.log.path().parent().unwrap_or(Path::new("."));
        let BesideLog { files, left_out } = BesideLog::read(directory)?;
        let snapshot = self.log.snapshot()?;
        parts.send(Part::Head(v1::BackupHead {
            store_id: self.log.store_id(),
            time: Some(timestamp(self.now)),
            build: env!("PINNERSAGE_BUILD").to_owned(),
            approximate_records: snapshot.approximate_records(),
        }))?;
        let mut counts = Vec::new();
        for keyspace in snapshot.keyspaces() {
            counts.push(v1::BackupCount {
                keyspace: keyspace.to_owned(),
                records: parts.send_records(&snapshot, keyspace)?,
            });
        }
        let records = counts.iter().map(|count| count.records).sum();
        for file in files {
            parts.send(Part::File(file))?;
        }
        parts.send(Part::End(v1::BackupEnd { counts, left_out }))?;
        Ok(records)
    }
}

impl BesideLog {
    /// Reads the files in `directory` that are no part of the log.
    fn read(directory: &Path) -> io::Result<Self> {
        let mut beside = Self::default();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // One that begins with a dot is being written.
            if belongs_to_log(&name) || name.starts_with('.') {
                continue;
            }
            let meta = entry.metadata()?;
            if meta.is_file() && meta.len() <= MAX_FILE_BYTES {
                let contents = fs::read(entry.path())?;
                beside.files.push(v1::BackupFile { name, contents });
            } else {
                beside.left_out.push(name);
            }
        }
        beside.files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        beside.left_out.sort_unstable();
        Ok(beside)
    }
}

impl Parts {
    fn send(&self, part: Part) -> Result<(), BackupError> {
        // A log that failed is opened again only when nobody reads it any more.
        if self.log.failure().is_some() {
            return Err(BackupError::LogFailed);
        }
        let part = v1::BackupDataResponse { part: Some(part) };
        let sending = self.out.send_timeout(Ok(part), MAX_STALL);
        let sent = Handle::current().block_on(sending);
        sent.map_err(|_| BackupError::NoReader)
    }

    /// Sends all records of `keyspace`, and returns how many there were.
    fn send_records(&self, snapshot: &LogSnapshot, keyspace: &str) -> Result<u64, BackupError> {
        let (mut count, mut bytes, mut records) = (0, 0, Vec::new());
        let mut sent = Ok(());
        let message = |records| {
            Part::Records(v1::BackupRecords {
                keyspace: keyspace.to_owned(),
                records,
            })
        };
        snapshot.for_each(keyspace, |key, value| {
            count += 1;
            bytes += key.len() + value.len();
            records.push(v1::BackupRecord {
                key: key.to_vec(),
                value: value.to_vec(),
            });
            if bytes >= MESSAGE_BYTES {
                bytes = 0;
                sent = self.send(message(mem::take(&mut records)));
            }
            match sent {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        sent?;
        if !records.is_empty() {
            self.send(message(records))?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_the_log_are_taken_along_and_the_rest_is_named() {
        let data = tempfile::tempdir().expect("a directory");
        let path = |name: &str| data.path().join(name);
        for (name, bytes) in [("b", 3), ("a", 2), (".partial", 1), ("acknowledged", 8)] {
            fs::write(path(name), vec![b'x'; bytes]).expect("a file");
        }
        fs::write(path("large"), vec![0; MAX_FILE_BYTES as usize + 1]).expect("a file");
        for directory in ["log", "journals-as-found", "mine"] {
            fs::create_dir(path(directory)).expect("a directory");
        }
        let beside = BesideLog::read(data.path()).expect("a directory");
        let files: Vec<_> = beside.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(files, ["a", "b"]);
        assert_eq!(beside.files[1].contents, b"xxx");
        assert_eq!(beside.left_out, ["large", "mine"]);
    }
}
