//! What a server keeps under `--data`: recorded actions and changed pins.

use std::path::PathBuf;
use std::sync::Arc;

use crate::actions::{ActionParams, Actions};
use crate::durable::{Log, LogError, TruncatedTail};
use crate::model::Timestamp;
use crate::serve::state::changed_pins::ChangedPins;
use crate::serve::state::loaded::{LoadError, Loaded};
use crate::serve::state::snapshot_source::ServingSource;

/// Location and limits of what a server keeps.
#[derive(Clone, Debug)]
pub struct DataParams {
    /// The directory, which is made where it is missing.
    pub directory: PathBuf,
    /// Recorded actions.
    pub actions: ActionParams,
    /// Number of pins that may change beside a catalog.
    pub max_changed_pins: usize,
}

/// Recorded actions and changed pins, which share one log.
#[derive(Debug)]
pub(crate) struct DurableState {
    pub(crate) actions: Arc<Actions>,
    pub(crate) changed_pins: Arc<ChangedPins>,
}

/// Everything that a server needs before it answers its first call.
#[derive(Debug)]
pub struct InitialState {
    /// A catalog and profiles.
    pub loaded: Loaded,
    /// None on a server that keeps nothing.
    pub(crate) durable: Option<DurableState>,
}

impl InitialState {
    /// Opens the catalog and the profiles of `source`, and what is kept in `data`. `now`
    /// decides which recorded actions are too old.
    pub fn open(
        source: &ServingSource,
        data: Option<DataParams>,
        now: Timestamp,
    ) -> Result<Self, LoadError> {
        let loaded = Loaded::open(source)?;
        let durable = data.map(|data| DurableState::open(data, now)).transpose()?;
        Ok(Self { loaded, durable })
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
        let changed_pins = ChangedPins::open(log.clone(), data.max_changed_pins)?;
        let (actions, found) = Actions::open(log, data.actions, now)?;
        tracing::info!(
            recorded = found.actions,
            forgotten = found.forgotten,
            users = actions.users(),
            "opened recorded actions"
        );
        Ok(Self {
            actions: Arc::new(actions),
            changed_pins: Arc::new(changed_pins),
        })
    }
}
