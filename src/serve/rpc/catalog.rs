//! `CatalogService`: changes of single pins between two catalogs.

use std::collections::HashSet;
use std::sync::Arc;

use metrics::counter;
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status};

use crate::durable::PinRecord;
use crate::metrics as names;
use crate::model::PinId;
use crate::serve::request_limits::{CHANGED_PINS, TITLE};
use crate::serve::state::{ChangePinsError, ChangedPins, Live, Serving};
use crate::serve::status::CallError;
use crate::wire::v1;
use crate::wire::v1::catalog_service_server::CatalogService;

/// Number of pins in one message of a stream.
const PINS_PER_MESSAGE: usize = 200;

/// The service.
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
        let pins = upserted_pins(request.into_inner().pins, &serving)?;
        let changed_pins = self.change("upserted", pins, changed).await?;
        Ok(Response::new(v1::UpsertPinsResponse { changed_pins }))
    }

    async fn delete_pins(
        &self,
        request: Request<v1::DeletePinsRequest>,
    ) -> Result<Response<v1::DeletePinsResponse>, Status> {
        let (_, changed) = self.context()?;
        let pins = request.into_inner().pin_ids;
        CHANGED_PINS.check_not_empty("pin_ids", pins.len())?;
        let deletion = |pin| (PinId(pin), PinRecord::Deleted);
        let pins = pins.into_iter().map(deletion).collect();
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
        let messages = move || {
            let changes = changed.lock();
            let unsettled: Vec<_> = changes.unsettled(serving.loaded.catalog()).collect();
            let messages = unsettled.chunks(PINS_PER_MESSAGE);
            messages.map(|pins| Ok(changes_message(pins))).collect()
        };
        let messages: Vec<_> = spawn_blocking(messages)
            .await
            .map_err(|_| CallError::Internal)?;
        Ok(Response::new(tokio_stream::iter(messages)))
    }
}

impl Service {
    /// What is served, and the pins that may change; an error where none may.
    fn context(&self) -> Result<(Arc<Serving>, Arc<ChangedPins>), CallError> {
        let serving = self.live.get().ok_or(CallError::NotLoaded)?;
        let changed = self.live.changed_pins().ok_or(CallError::KeepsNothing)?;
        Ok((serving, changed.clone()))
    }

    /// Makes the changes durable and serves them. Returns the number of changed pins.
    async fn change(
        &self,
        kind: &'static str,
        pins: Vec<(PinId, PinRecord)>,
        changed: Arc<ChangedPins>,
    ) -> Result<u64, CallError> {
        let (live, count) = (self.live.clone(), pins.len() as u64);
        let done = spawn_blocking(move || live.change_pins(&changed, pins)).await;
        match done.map_err(|_| CallError::Internal)? {
            Ok(changed) => {
                counter!(names::PIN_CHANGES, "kind" => kind).increment(count);
                Ok(changed as u64)
            }
            Err(ChangePinsError::TooMany(max)) => Err(CallError::TooManyChanges(max)),
            Err(ChangePinsError::Failed(error)) => {
                tracing::error!(%error, "changes of pins could not be written");
                Err(CallError::NotRecorded)
            }
        }
    }
}

/// The pins of a request, each with a unit vector that fits the catalog.
fn upserted_pins(
    pins: Vec<v1::Pin>,
    serving: &Serving,
) -> Result<Vec<(PinId, PinRecord)>, CallError> {
    CHANGED_PINS.check_not_empty("pins", pins.len())?;
    let catalog = serving.loaded.catalog();
    let embedding_version = &catalog.manifest().facts.embedding_version;
    let mut vectors = catalog.pins.vectors().none_like();
    let mut ids = HashSet::new();
    let mut records = Vec::with_capacity(pins.len());
    for (at, pin) in pins.into_iter().enumerate() {
        let invalid =
            |field: &str, reason: String| CallError::field(format!("pins[{at}].{field}"), reason);
        let id = pin.pin_id.map(PinId);
        let id = id.ok_or_else(|| invalid("pin_id", "is required".to_owned()))?;
        if !ids.insert(id) {
            return Err(invalid("pin_id", format!("is {id} once more")));
        }
        TITLE.check(&format!("pins[{at}].title"), pin.title.len())?;
        let checked = vectors.push(&pin.embedding);
        checked.map_err(|e| invalid("embedding", format!("of pin {id}: {e}")))?;
        let record = PinRecord::Upserted {
            embedding_version: embedding_version.clone(),
            vector: vectors.row(vectors.len() - 1).to_vec(),
            title: pin.title,
        };
        records.push((id, record));
    }
    Ok(records)
}

fn changes_message(changes: &[(PinId, &PinRecord)]) -> v1::ListChangesResponse {
    let mut message = v1::ListChangesResponse::default();
    for (pin, record) in changes {
        match record {
            PinRecord::Upserted { vector, title, .. } => message.upserted.push(v1::Pin {
                pin_id: Some(pin.0),
                embedding: vector.clone(),
                title: title.clone(),
            }),
            PinRecord::Deleted => message.deleted_pin_ids.push(pin.0),
        }
    }
    message
}
