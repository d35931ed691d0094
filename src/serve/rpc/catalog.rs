//! `CatalogService`: single pins between two catalogs.

use std::collections::HashSet;
use std::sync::Arc;

use metrics::counter;
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status};

use crate::durable::PinRecord;
use crate::metrics as names;
use crate::model::PinId;
use crate::serve::rpc::convert::from_one;
use crate::serve::state::changed_pins::{ChangePinsError, ChangedPins, Serving};
use crate::serve::state::live::Live;
use crate::serve::status::CallError;
use crate::wire::v1;
use crate::wire::v1::catalog_service_server::CatalogService;

/// Most pins of one call.
const MAX_PINS: usize = 1_000;
const MAX_TITLE: usize = 1_024;
/// Pins in one message of a stream.
const LISTED_TOGETHER: usize = 200;

pub(crate) struct Service {
    pub(crate) live: Arc<Live>,
}

#[tonic::async_trait]
impl CatalogService for Service {
    async fn upsert_pins(
        &self,
        request: Request<v1::UpsertPinsRequest>,
    ) -> Result<Response<v1::UpsertPinsResponse>, Status> {
        let (serving, changed) = self.context()?;
        let pins = upserted(request.into_inner().pins, &serving)?;
        let changed_pins = self.change("upserted", pins, changed).await?;
        Ok(Response::new(v1::UpsertPinsResponse { changed_pins }))
    }

    async fn delete_pins(
        &self,
        request: Request<v1::DeletePinsRequest>,
    ) -> Result<Response<v1::DeletePinsResponse>, Status> {
        let (_, changed) = self.context()?;
        let pins = request.into_inner().pin_ids;
        from_one("pin_ids", pins.len(), MAX_PINS, "pins")?;
        let gone = |pin| (PinId(pin), PinRecord::Deleted);
        let pins = pins.into_iter().map(gone).collect();
        let changed_pins = self.change("deleted", pins, changed).await?;
        Ok(Response::new(v1::DeletePinsResponse { changed_pins }))
    }

    type ListChangesStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::ListChangesResponse, Status>>>;

    async fn list_changes(
        &self,
        _: Request<v1::ListChangesRequest>,
    ) -> Result<Response<Self::ListChangesStream>, Status> {
        let (serving, changed) = self.context()?;
        let list = move || changed.unsettled(&serving.loaded);
        let changes = spawn_blocking(list).await;
        let changes = changes.map_err(|_| CallError::Internal)?;
        let parts = changes.chunks(LISTED_TOGETHER).map(|part| Ok(listed(part)));
        let parts: Vec<_> = parts.collect();
        Ok(Response::new(tokio_stream::iter(parts)))
    }
}

impl Service {
    fn context(&self) -> Result<(Arc<Serving>, Arc<ChangedPins>), CallError> {
        let serving = self.live.get().ok_or(CallError::NotLoaded)?;
        let changed = self.live.changed_pins().ok_or(CallError::KeepsNothing)?;
        Ok((serving, changed.clone()))
    }

    async fn change(
        &self,
        kind: &'static str,
        pins: Vec<(PinId, PinRecord)>,
        changed: Arc<ChangedPins>,
    ) -> Result<u64, CallError> {
        let (live, count) = (self.live.clone(), pins.len() as u64);
        let done = spawn_blocking(move || changed.change(pins, &live)).await;
        match done.map_err(|_| CallError::Internal)? {
            Ok(changed) => {
                counter!(names::PIN_CHANGES, "kind" => kind).increment(count);
                Ok(changed as u64)
            }
            Err(ChangePinsError::TooMany(most)) => Err(CallError::TooManyChanges(most)),
            Err(ChangePinsError::Failed(error)) => {
                tracing::error!(%error, "changes of pins could not be written");
                Err(CallError::NotRecorded)
            }
        }
    }
}

/// The pins of a request, each with a unit vector that fits the catalog.
fn upserted(pins: Vec<v1::Pin>, serving: &Serving) -> Result<Vec<(PinId, PinRecord)>, CallError> {
    from_one("pins", pins.len(), MAX_PINS, "pins")?;
    let catalog = serving.loaded.catalog();
    let mut vectors = catalog.pins.vectors().empty_like();
    let mut met = HashSet::new();
    let mut records = Vec::with_capacity(pins.len());
    for (at, pin) in pins.into_iter().enumerate() {
        let wrong =
            |field: &str, reason: String| CallError::field(format!("pins[{at}].{field}"), reason);
        let id = pin.pin_id.map(PinId);
        let id = id.ok_or_else(|| wrong("pin_id", "is required".to_owned()))?;
        if !met.insert(id) {
            return Err(wrong("pin_id", format!("is {id} once more")));
        }
        let length = pin.title.len();
        if length > MAX_TITLE {
            let reason = format!("has {length} bytes, at most {MAX_TITLE} may be");
            return Err(wrong("title", reason));
        }
        let checked = vectors.push(&pin.embedding);
        checked.map_err(|e| wrong("embedding", format!("of pin {id}: {e}")))?;
        let vector = vectors.row(vectors.len() - 1).to_vec();
        let record = PinRecord::Upserted {
            embedding_version: catalog.manifest().facts.embedding_version.clone(),
            vector,
            title: pin.title,
        };
        records.push((id, record));
    }
    Ok(records)
}

fn listed(changes: &[(PinId, PinRecord)]) -> v1::ListChangesResponse {
    let mut listed = v1::ListChangesResponse::default();
    for (pin, record) in changes {
        match record {
            PinRecord::Upserted { vector, title, .. } => listed.upserted.push(v1::Pin {
                pin_id: Some(pin.0),
                embedding: vector.clone(),
                title: title.clone(),
            }),
            PinRecord::Deleted => listed.deleted_pin_ids.push(pin.0),
        }
    }
    listed
}
