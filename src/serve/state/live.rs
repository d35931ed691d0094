//! The handle of what is served now, which is replaced while calls are answered.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use crate::actions::Actions;
use crate::durable::PinRecord;
use crate::model::PinId;
use crate::serve::state::changed_pins::{ChangePinsError, ChangedPins};
use crate::serve::state::durable_state::DurableState;
use crate::serve::state::loaded::Loaded;
use crate::serve::state::serving::Serving;

/// What is served now; nothing until it is loaded.
#[derive(Debug, Default)]
pub(crate) struct Live {
    serving: ArcSwapOption<Serving>,
    durable: OnceLock<DurableState>,
}

impl Live {
    /// What is served now. A call holds it from its beginning to its end.
    pub(crate) fn get(&self) -> Option<Arc<Serving>> {
        self.serving.load_full()
    }

    /// Recorded actions; none before they are opened, and on a server that takes none.
    pub(crate) fn actions(&self) -> Option<&Arc<Actions>> {
        self.durable.get().map(|durable| &durable.actions)
    }

    /// Pins that changed; none in the same cases.
    pub(crate) fn changed_pins(&self) -> Option<&Arc<ChangedPins>> {
        self.durable.get().map(|durable| &durable.changed_pins)
    }

    /// Gives the server what it keeps. To be called once, before anything is served.
    pub(crate) fn set_durable(&self, durable: DurableState) {
        let set = self.durable.set(durable);
        debug_assert!(set.is_ok(), "a server has one durable state");
    }

    /// Serves `loaded` beside the pins that changed, in the place of what is served.
    pub(crate) fn serve(&self, loaded: Arc<Loaded>) {
        match self.changed_pins() {
            Some(changed_pins) => self.serve_with_changes(loaded, changed_pins),
            None => self.set(Serving::unchanged(loaded)),
        }
    }

    /// Makes `pins` durable in `changed_pins` and then serves them. Returns the number of
    /// changed pins.
    pub(crate) fn change_pins(
        &self,
        changed_pins: &ChangedPins,
        pins: Vec<(PinId, PinRecord)>,
    ) -> Result<usize, ChangePinsError> {
        // Held until the delta is served: see `LockedChanges`.
        let mut changes = changed_pins.lock();
        let count = changes.record(pins)?;
        if let Some(serving) = self.get() {
            let delta = changes.delta_for(serving.loaded.catalog());
            self.set(serving.with_delta(delta));
        }
        Ok(count)
    }

    fn serve_with_changes(&self, loaded: Arc<Loaded>, changed_pins: &ChangedPins) {
        // Held until the delta is served: see `LockedChanges`.
        let mut changes = changed_pins.lock();
        let before = self.get();
        let delta = changes.delta_for(loaded.catalog());
        self.set(Serving::new(loaded.clone(), delta));
        let version = |loaded: &Loaded| loaded.catalog().manifest().version.clone();
        // New profiles of the same catalog settle nothing.
        let Some(before) = before.filter(|before| version(&before.loaded) != version(&loaded))
        else {
            return;
        };
        if let Err(error) = changes.settle(before.loaded.catalog(), loaded.catalog()) {
            // They come back at the next start, and are dropped then.
            tracing::warn!(%error, "settled changes of pins stay in the log");
        }
    }

    fn set(&self, serving: Serving) {
        self.serving.store(Some(Arc::new(serving)));
    }
}
