//! Pins that change on a running server: durable, and as a delta beside the
//! catalog that is served.
//!
//! A change is given up once two catalogs in a row have it: after a rollback by
//! one it is still there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::durable::{Log, LogError, PinRecord};
use crate::index::{Delta, DeltaView};
use crate::model::PinId;
use crate::serve::state::live::{Live, Loaded};

/// One catalog, one set of profiles, and the pins that changed since.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) delta: Arc<Delta>,
}

impl Serving {
    /// What is served without changed pins.
    pub(crate) fn unchanged(loaded: Arc<Loaded>) -> Self {
        let delta = delta_of(&loaded, &BTreeMap::new());
        Self { loaded, delta }
    }

    /// The pins, changes included.
    pub(crate) fn pins(&self) -> DeltaView<'_> {
        DeltaView {
            pins: &self.loaded.catalog().pins,
            delta: &self.delta,
        }
    }
}

type Changes = BTreeMap<PinId, PinRecord>;

/// The pins that changed.
#[derive(Debug)]
pub(crate) struct ChangedPins {
    log: Arc<Log>,
    /// Most of them.
    most: usize,
    changes: Mutex<Changes>,
}

/// Why pins are not changed.
#[derive(Debug)]
pub(crate) enum ChangePinsError {
    /// That many have changed already, and no more may.
    TooMany(usize),
    /// It could not be made durable.
    Failed(LogError),
}

impl ChangedPins {
    /// The changes in `log`, of which there may be `most`.
    pub(crate) fn open(log: Arc<Log>, most: usize) -> Result<Self, LogError> {
        let changes = log.pin_changes()?.into_iter().collect();
        Ok(Self {
            log,
            most,
            changes: Mutex::new(changes),
        })
    }

    /// Makes `pins` durable and serves them. Returns how many have changed.
    pub(crate) fn change(
        &self,
        pins: Vec<(PinId, PinRecord)>,
        live: &Live,
    ) -> Result<usize, ChangePinsError> {
        let mut changes = self.lock();
        let new = pins.iter().filter(|(pin, _)| !changes.contains_key(pin));
        if changes.len() + new.count() > self.most {
            return Err(ChangePinsError::TooMany(self.most));
        }
        self.log
            .record_pin_changes(&pins)
            .map_err(ChangePinsError::Failed)?;
        changes.extend(pins);
        if let Some(serving) = live.get() {
            self.put(live, serving.loaded.clone(), &changes);
        }
        Ok(changes.len())
    }

    /// Serves `loaded` with what changed, in the place of what is served.
    pub(crate) fn serve(&self, loaded: &Arc<Loaded>, live: &Live) -> Result<(), LogError> {
        let mut changes = self.lock();
        let old = live.get();
        self.put(live, loaded.clone(), &changes);
        // New profiles of the same catalog settle nothing.
        let catalog = loaded.versions().catalog;
        let Some(old) = old.filter(|old| old.loaded.versions().catalog != catalog) else {
            return Ok(());
        };
        let settled = |&(pin, record): &(&PinId, &PinRecord)| {
            is_settled(*pin, record, &old.loaded) && is_settled(*pin, record, loaded)
        };
        let settled: Vec<PinId> = changes
            .iter()
            .filter(settled)
            .map(|(&pin, _)| pin)
            .collect();
        for pin in &settled {
            changes.remove(pin);
        }
        self.log.remove_pin_changes(&settled)
    }

    /// The changes that `loaded` does not have.
    pub(crate) fn unsettled(&self, loaded: &Loaded) -> Vec<(PinId, PinRecord)> {
        let changes = self.lock();
        let open = changes
            .iter()
            .filter(|(pin, record)| !is_settled(**pin, record, loaded));
        open.map(|(&pin, record)| (pin, record.clone())).collect()
    }

    fn put(&self, live: &Live, loaded: Arc<Loaded>, changes: &Changes) {
        let delta = delta_of(&loaded, changes);
        live.set(Arc::new(Serving { loaded, delta }));
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        // A panic leaves at worst a change that is durable and served later.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of `changes` the catalog of `loaded` does not have.
fn delta_of(loaded: &Loaded, changes: &Changes) -> Arc<Delta> {
    let mut delta = Delta::new(loaded.catalog().pins.vectors());
    for (&pin, record) in changes {
        if is_settled(pin, record, loaded) {
            continue;
        }
        match record {
            PinRecord::Upserted {
                embedding_version,
                vector,
                title,
            } => {
                // A vector of another model is near nothing here.
                if *embedding_version == loaded.catalog().manifest().facts.embedding_version {
                    delta.push(pin, vector, title.clone());
                }
            }
            PinRecord::Deleted => delta.push_deleted(pin),
        }
    }
    Arc::new(delta)
}

/// Whether the catalog of `loaded` is what it would be with this change.
fn is_settled(pin: PinId, record: &PinRecord, loaded: &Loaded) -> bool {
    let catalog = loaded.catalog();
    let there = catalog.pins.vector(pin);
    match record {
        PinRecord::Upserted {
            embedding_version,
            vector,
            title,
        } => there.is_some_and(|there| {
            // A catalog of another model has its own vector of the pin.
            let of_another = *embedding_version != catalog.manifest().facts.embedding_version;
            of_another || (there == vector.as_slice() && catalog.pins.title(pin) == title)
        }),
        PinRecord::Deleted => there.is_none(),
    }
}
