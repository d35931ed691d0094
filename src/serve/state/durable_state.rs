//! What a server keeps under `--data`: recorded actions, changed pins, and the versions
//! that are pinned.

use std::path::PathBuf;
use std::sync::Arc;

use crate::actions::{ActionParams, Actions};
use crate::archive::{ArchiveParams, Archiver};
use crate::durable::{Log, LogError, TruncatedTail};
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
    pub(crate) archiver: Option<Arc<Archiver>>,
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
        tracing::info!(
            recorded = found.actions,
            forgotten = found.forgotten,
            users = actions.users(),
            "opened recorded actions"
        );
        Ok(Self {
            log,
            actions: Arc::new(actions),
            changed_pins: Arc::new(changed_pins),
            archiver: archiver.map(Arc::new),
        })
    }
}
