//! What a server keeps under `--data`: recorded actions, changed pins, and the versions
//! that are pinned.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::actions::{ActionParams, Actions, ReplaySummary, SharedParts};
use crate::archive::{ArchiveParams, Archiver, LogArchiver, ReplicaArchiver};
#[cfg(feature = "kafka")]
use crate::durable::KafkaLog;
use crate::durable::{
    ActionLogKind, ActionLogParams, EMBEDDED_LOG, Log, LogError, NatsLog, SharedLog, TruncatedTail,
};
use crate::model::Timestamp;
use crate::serve::state::changed_pins::ChangedPins;
use crate::serve::state::loaded::{LoadError, Loaded};
use crate::serve::state::pinned_versions::{PinFile, PinnedVersions};
use crate::serve::state::snapshot_source::ServingSource;
use crate::serve::state::version_history::Refusal;

/// Location and limits of what a server keeps.
#[derive(Clone, Debug)]
pub struct DataParams {
    /// The directory, which is made where it is missing.
    pub directory: PathBuf,
    /// Recorded actions.
    pub actions: ActionParams,
    /// The log that keeps them.
    pub log: ActionLogParams,
    /// The archive of recorded actions.
    pub archive: ArchiveParams,
    /// Number of pins that may change beside a catalog.
    pub max_changed_pins: usize,
}

/// Recorded actions and changed pins, which share one log.
#[derive(Debug)]
pub(crate) struct DurableState {
    pub(crate) log: Arc<Log>,
    pub(crate) actions: Arc<Actions>,
    pub(crate) changed_pins: Arc<ChangedPins>,
    /// None without an archive.
    pub(crate) archiver: Option<Arc<LogArchiver>>,
}

/// Everything that a server needs before it answers its first call.
#[derive(Debug)]
pub struct InitialState {
    /// A catalog and profiles.
    pub loaded: Loaded,
    /// None on a server that keeps nothing.
    pub(crate) durable: Option<DurableState>,
    pub(crate) pin: InitialPin,
}

/// What a server finds pinned when it starts.
#[derive(Debug, Default)]
pub(crate) struct InitialPin {
    pub(crate) file: PinFile,
    /// The versions that were loaded for that; none for the published ones.
    pub(crate) pinned: Option<PinnedVersions>,
    /// Pinned versions that could not be loaded.
    pub(crate) refused: Option<Refusal>,
}

impl InitialState {
    /// Opens the catalog and the profiles of `source`, and what is kept in `data`: the
    /// pinned versions where there are some, else the published ones. `now` decides which
    /// recorded actions are too old.
    pub fn open(
        source: &ServingSource,
        data: Option<DataParams>,
        now: Timestamp,
    ) -> Result<Self, LoadError> {
        let file = data.as_ref().map(|data| &data.directory);
        let file = file.map_or_else(PinFile::default, |data| PinFile::in_directory(data));
        // First, because it keeps a second server away from the directory.
        let durable = data.map(|data| DurableState::open(data, now)).transpose()?;
        let (loaded, pin) = open_versions(source, file, now)?;
        Ok(Self {
            loaded,
            durable,
            pin,
        })
    }
}

/// Opens the versions that `file` pins, or the published ones where it pins none that can
/// be served.
fn open_versions(
    source: &ServingSource,
    file: PinFile,
    now: Timestamp,
) -> Result<(Loaded, InitialPin), LoadError> {
    let mut pin = InitialPin::default();
    match file.read() {
        Ok(Some(pinned)) if source.has_single_version() => {
            tracing::warn!(
                ?pinned,
                "serving the version of the command line, not the pinned one"
            );
        }
        Ok(Some(pinned)) => match Loaded::open(&source.at(&pinned.versions)) {
            Ok(loaded) => {
                pin.pinned = Some(pinned);
                pin.file = file;
                return Ok((loaded, pin));
            }
            Err(error) => pin.refused = Some(give_up(&file, pinned, &error, now)),
        },
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "pinned versions cannot be read: following"),
    }
    pin.file = file;
    Ok((Loaded::open(source)?, pin))
}

/// Follows published versions, because the pinned ones cannot be loaded for `error`.
fn give_up(file: &PinFile, pinned: PinnedVersions, error: &LoadError, now: Timestamp) -> Refusal {
    tracing::warn!(
        catalog = pinned.versions.catalog,
        profiles = pinned.versions.profiles,
        %error,
        "pinned versions cannot be served: following published versions again"
    );
    file.replace(None);
    Refusal {
        versions: pinned.versions,
        reason: format!("they were pinned, and cannot be served: {error}"),
        time: now,
    }
}

impl DurableState {
    fn open(data: DataParams, now: Timestamp) -> Result<Self, LogError> {
        match data.log.kind {
            ActionLogKind::Embedded => Self::open_embedded(data, now),
            ActionLogKind::Nats | ActionLogKind::Kafka => Self::open_replica(&data, now),
        }
    }

    fn open_embedded(data: DataParams, now: Timestamp) -> Result<Self, LogError> {
        let (log, truncated_tails) = Log::open(&data.directory)?;
        for TruncatedTail { journal, bytes } in &truncated_tails {
            let journal = journal.display();
            tracing::warn!(%journal, bytes, "truncated the unacknowledged tail of the journal");
        }
        let log = Arc::new(log);
        // Before anything is forgotten.
        let archiver = Archiver::new(log.clone(), &data.archive)?;
        let changed_pins = ChangedPins::open(log.clone(), data.max_changed_pins)?;
        let (actions, found) = Actions::open(log.clone(), data.actions, now)?;
        tell(&actions, found);
        Ok(Self {
            log,
            actions: Arc::new(actions),
            changed_pins: Arc::new(changed_pins),
            archiver: archiver.map(LogArchiver::Embedded).map(Arc::new),
        })
    }

    fn open_replica(data: &DataParams, now: Timestamp) -> Result<Self, LogError> {
        if data.directory.join(EMBEDDED_LOG).exists() {
            let directory = data.directory.display();
            tracing::warn!(
                %directory,
                "what the embedded log here has is not read: import it into the shared log"
            );
        }
        let (checkpoint, shared) = open_shared(data)?;
        Self::follow(data, checkpoint, shared, now)
    }

    /// Follows `shared` from where `checkpoint` ends. A checkpoint whose damage shows only when
    /// it is read is put aside, and all is read again.
    fn follow(
        data: &DataParams,
        checkpoint: Log,
        shared: Arc<dyn SharedLog>,
        now: Timestamp,
    ) -> Result<Self, LogError> {
        match Self::follow_from(data, checkpoint, shared.clone(), now) {
            Err(error) if error.is_damage() => {
                let checkpoint =
                    Log::renew_checkpoint(&data.directory, &error, || Ok(shared.id()))?;
                Self::follow_from(data, checkpoint, shared, now)
            }
            followed => followed,
        }
    }

    fn follow_from(
        data: &DataParams,
        checkpoint: Log,
        shared: Arc<dyn SharedLog>,
        now: Timestamp,
    ) -> Result<Self, LogError> {
        let checkpoint = Arc::new(checkpoint);
        // Before anything is forgotten.
        let archiver = ReplicaArchiver::new(
            checkpoint.clone(),
            shared.clone(),
            data.log.action_streams(),
            &data.archive,
        )?;
        let changed_pins = ChangedPins::open(checkpoint.clone(), data.max_changed_pins)?;
        let changed_pins = Arc::new(changed_pins);
        let taker = changed_pins.clone();
        let parts = SharedParts {
            log: shared,
            take_pins: Box::new(move |pins| taker.take(pins)),
        };
        let params = data.actions.clone();
        let (actions, found) = Actions::open_shared(checkpoint.clone(), parts, params, now)?;
        tell(&actions, found);
        Ok(Self {
            log: checkpoint,
            actions: Arc::new(actions),
            changed_pins,
            archiver: archiver.map(LogArchiver::Replica).map(Arc::new),
        })
    }
}

/// Opens the checkpoint of a replica, and the log that it is one of.
fn open_shared(data: &DataParams) -> Result<(Log, Arc<dyn SharedLog>), LogError> {
    let retention = data.actions.limits.retention;
    let open = |id| open_engine(&data.log, retention, id);
    let mut opened = None;
    let checkpoint = Log::open_checkpoint(&data.directory, || {
        let log = match opened.take() {
            Some(log) => log,
            None => open(None)?,
        };
        let id = log.id();
        opened = Some(log);
        Ok(id)
    })?;
    let shared = match opened {
        Some(log) => log,
        None => open(Some(checkpoint.store_id()))?,
    };
    Ok((checkpoint, shared))
}

/// Opens the shared log of the settings.
fn open_engine(
    params: &ActionLogParams,
    retention: Duration,
    id: Option<u64>,
) -> Result<Arc<dyn SharedLog>, LogError> {
    match params.kind {
        #[cfg(feature = "kafka")]
        ActionLogKind::Kafka => Ok(Arc::new(KafkaLog::open(params, retention, id)?)),
        #[cfg(not(feature = "kafka"))]
        ActionLogKind::Kafka => Err(LogError::NotReached(
            "this program was built without the feature kafka".to_owned(),
        )),
        ActionLogKind::Nats | ActionLogKind::Embedded => {
            Ok(Arc::new(NatsLog::open(params, retention, id)?))
        }
    }
}

fn tell(actions: &Actions, found: ReplaySummary) {
    tracing::info!(
        recorded = found.actions,
        forgotten = found.forgotten,
        users = actions.users(),
        "opened recorded actions"
    );
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use fjall::{Database, KeyspaceCreateOptions};

    use super::*;
    use crate::durable::ActionLog;
    use crate::durable::CHECKPOINT;
    use crate::durable::memory_log::MemoryLog;
    use crate::serve::state::test_world::{action_params, day};

    /// Puts bytes that are no record of ours into the store of a checkpoint, below its checks.
    fn damage(data: &Path, keyspace: &str, key: &[u8]) {
        let store = Database::builder(data.join(CHECKPOINT).join(EMBEDDED_LOG)).open();
        let store = store.expect("a store");
        let keyspace = store.keyspace(keyspace, KeyspaceCreateOptions::default);
        keyspace
            .expect("a keyspace")
            .insert(key, b"?")
            .expect("a write");
    }

    #[test]
    fn damage_that_shows_after_a_checkpoint_was_opened_does_not_stop_the_start() {
        let log = MemoryLog::default();
        let places = [
            ("meta", &b"positions"[..]),
            ("pins", &[1; 8]),
            ("erased", &[1; 16]),
            ("actions", &[1; 16]),
        ];
        for (keyspace, key) in places {
            let directory = tempfile::tempdir().expect("a directory");
            let data = DataParams {
                directory: directory.path().to_owned(),
                actions: action_params(),
                log: ActionLogParams::sample(),
                archive: ArchiveParams {
                    directory: None,
                    every: Duration::from_secs(60),
                },
                max_changed_pins: 10,
            };
            let open = || {
                let opened = Log::open_checkpoint(&data.directory, || Ok(log.id()));
                opened.expect("a checkpoint")
            };
            drop(open());
            damage(&data.directory, keyspace, key);
            let state = DurableState::follow(&data, open(), Arc::new(log.clone()), day(0));
            let state = state.expect("a new checkpoint");
            assert_eq!(state.actions.store_id(), log.id(), "{keyspace}");
            let aside = data.directory.join("checkpoint-damaged");
            assert!(aside.exists(), "{keyspace}");
        }
    }
}
