//! Pins that change on a running server: durable, and as a delta beside the catalog.
//!
//! A change is dropped once two catalogs in a row have it, so that it is still there
//! after a rollback by one. So is a pin called by a number once two catalogs in a row call
//! pins by strings, and the other way about.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::actions::Actions;
use crate::durable::{Log, LogError, PinChange, PinRecord};
use crate::index::{Catalog, Delta, UpsertedPin};
use crate::model::{PinAttributes, PinId};

type Changes = BTreeMap<PinId, PinRecord>;

/// The pins that changed.
#[derive(Debug)]
pub(crate) struct ChangedPins {
    log: Arc<Log>,
    max_changes: usize,
    changes: Mutex<Changes>,
    /// Changes have come that are not served yet.
    came: Notify,
}

/// The pins that changed, locked. Whoever publishes a delta holds this until the delta
/// is served, so that no delta takes the place of a newer one.
#[derive(Debug)]
pub(crate) struct LockedChanges<'a> {
    log: &'a Log,
    changes: MutexGuard<'a, Changes>,
}

/// Why pins are not changed.
#[derive(Debug)]
pub(crate) enum ChangePinsError {
    /// The server keeps nothing.
    KeepsNothing,
    /// That many have changed already, and no more may.
    TooMany(usize),
    /// The change could not be made durable.
    Failed(LogError),
}

impl ChangedPins {
    /// The changes in `log`, of which there may be `max_changes`.
    pub(crate) fn open(log: Arc<Log>, max_changes: usize) -> Result<Self, LogError> {
        let changes = log.pin_changes()?.into_iter().collect();
        Ok(Self {
            log,
            max_changes,
            changes: Mutex::new(changes),
            came: Notify::new(),
        })
    }

    /// Waits until nobody else changes or publishes them.
    pub(crate) fn lock(&self) -> LockedChanges<'_> {
        LockedChanges {
            log: &self.log,
            // A panic leaves at worst a change that is durable and served later.
            changes: self.changes.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Makes `pins` durable in the log of `actions`, and a part of the changes, which are
    /// locked then.
    pub(crate) fn record(
        &self,
        actions: &Actions,
        pins: Vec<PinChange>,
    ) -> Result<LockedChanges<'_>, ChangePinsError> {
        let mut locked = self.lock();
        let is_new = |pin: &PinId| !locked.changes.contains_key(pin);
        let new = pins.iter().filter(|(pin, _)| is_new(pin)).count();
        if locked.changes.len() + new > self.max_changes {
            return Err(ChangePinsError::TooMany(self.max_changes));
        }
        let failed = ChangePinsError::Failed;
        if actions.is_shared() {
            // The tail brings them back, and takes them.
            drop(locked);
            actions.append_pins(&pins).map_err(failed)?;
            return Ok(self.lock());
        }
        actions.append_pins(&pins).map_err(failed)?;
        locked.changes.extend(pins);
        Ok(locked)
    }

    /// Drops those of `settled` that have not changed again since.
    pub(crate) fn drop_settled(&self, settled: &[PinChange]) -> Result<(), LogError> {
        let mut locked = self.lock();
        locked.log.remove_pin_changes(settled)?;
        for (pin, record) in settled {
            if locked.changes.get(pin) == Some(record) {
                locked.changes.remove(pin);
            }
        }
        Ok(())
    }

    /// Takes changes that have come from the log: see [`Self::wait`].
    pub(crate) fn take(&self, pins: Vec<PinChange>) {
        self.lock().changes.extend(pins);
        self.came.notify_one();
    }

    /// Waits until changes have come that are to be served.
    pub(crate) async fn wait(&self) {
        self.came.notified().await;
    }
}

impl LockedChanges<'_> {
    /// Reads the changes from the log again, after it was opened again: a write that
    /// failed may have left some.
    pub(crate) fn read_again(&mut self) -> Result<(), LogError> {
        *self.changes = self.log.pin_changes()?.into_iter().collect();
        Ok(())
    }

    /// The changes that `catalog` does not have, as a delta to serve beside it.
    pub(crate) fn delta_for(&self, catalog: &Catalog) -> Arc<Delta> {
        let mut delta = Delta::new(catalog.pins.vectors());
        for (pin, record) in self.unsettled(catalog) {
            match record {
                PinRecord::Upserted {
                    embedding_version,
                    vector,
                    title,
                    key,
                    attributes,
                } => {
                    if is_of_model(embedding_version, catalog) {
                        let upserted = UpsertedPin {
                            title: title.clone(),
                            key: catalog.pins.has_keys().then(|| key.clone()),
                            attributes: attributes.clone(),
                        };
                        delta.push(pin, vector, upserted);
                    }
                }
                PinRecord::Deleted => delta.push_deleted(pin),
            }
        }
        Arc::new(delta)
    }

    /// Warns of upserted pins that `catalog` cannot have, since it calls its pins otherwise:
    /// no answer has them, and no list of changes.
    pub(crate) fn warn_of_other_kind(&self, catalog: &Catalog) {
        let records = self.changes.values();
        let count = records.filter(|r| !is_called_alike(r, catalog)).count();
        if count > 0 {
            tracing::warn!(
                pins = count,
                catalog_has_string_ids = catalog.pins.has_keys(),
                "upserted pins are left out: the catalog calls its pins otherwise"
            );
        }
    }

    /// The changes that `catalog` does not have and could have, by ascending pin.
    pub(crate) fn unsettled(&self, catalog: &Catalog) -> impl Iterator<Item = (PinId, &PinRecord)> {
        let changes = self.changes.iter().map(|(&pin, record)| (pin, record));
        changes.filter(|&(pin, record)| !is_settled(pin, record, catalog))
    }

    /// The changes that both catalogs have, the one served before and the one served now.
    pub(crate) fn settled(&self, before: &Catalog, now: &Catalog) -> Vec<PinChange> {
        let in_both = |&(&pin, record): &(&PinId, &PinRecord)| {
            is_settled(pin, record, before) && is_settled(pin, record, now)
        };
        let settled = self.changes.iter().filter(in_both);
        settled
            .map(|(&pin, record)| (pin, record.clone()))
            .collect()
    }
}

/// Whether `catalog` is what it would be with this change.
fn is_settled(pin: PinId, record: &PinRecord, catalog: &Catalog) -> bool {
    if !is_called_alike(record, catalog) {
        // The pin can be none of this catalog, whose pins all are called otherwise.
        return true;
    }
    let in_catalog = catalog.pins.vector(pin);
    match record {
        PinRecord::Upserted {
            embedding_version,
            vector,
            title,
            key,
            attributes,
        } => in_catalog.is_some_and(|in_catalog| {
            // A catalog of another model has what it has of the pin.
            !is_of_model(embedding_version, catalog)
                || (in_catalog == vector.as_slice()
                    && catalog.pins.title(pin) == title
                    && catalog.pins.key(pin).unwrap_or_default() == key
                    && has_attributes(pin, attributes, catalog))
        }),
        PinRecord::Deleted => in_catalog.is_none(),
    }
}

/// Whether `catalog` has these attributes of `pin`, of those that it can have: another one
/// may be of fewer attributes, or of other types.
fn has_attributes(pin: PinId, attributes: &PinAttributes, catalog: &Catalog) -> bool {
    let fitting = attributes.fitting(catalog.attributes.definitions());
    let position = catalog.pins.position(pin);
    position.is_some_and(|position| catalog.attributes.of_pin(position) == fitting)
}

/// Whether a vector of this model can be one of `catalog`: one of another model is near
/// nothing there.
fn is_of_model(embedding_version: &str, catalog: &Catalog) -> bool {
    embedding_version == catalog.manifest().facts.embedding_version
}

/// Whether an upserted pin is called as the pins of `catalog` are: these are called by
/// strings all, or by numbers.
fn is_called_alike(record: &PinRecord, catalog: &Catalog) -> bool {
    match record {
        PinRecord::Upserted { key, .. } => key.is_empty() != catalog.pins.has_keys(),
        PinRecord::Deleted => true,
    }
}
