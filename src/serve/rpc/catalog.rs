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
use crate::serve::state::{ChangePinsError, ChangedPins, Live, PinChangeCounts, Serving};
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
        let counts = self.change("upserted", pins, changed).await?;
        Ok(Response::new(v1::UpsertPinsResponse {
            changed_pins: counts.changed as u64,
        }))
    }

    async fn delete_pins(
        &self,
        request: Request<v1::DeletePinsRequest>,
    ) -> Result<Response<v1::DeletePinsResponse>, Status> {
        let (_, changed) = self.context()?;
        let mut pins = request.into_inner().pin_ids;
        CHANGED_PINS.check_not_empty("pin_ids", pins.len())?;
        pins.sort_unstable();
        pins.dedup();
        let deletion = |pin| (PinId(pin), PinRecord::Deleted);
        let pins = pins.into_iter().map(deletion).collect();
        let counts = self.change("deleted", pins, changed).await?;
        Ok(Response::new(v1::DeletePinsResponse {
            changed_pins: counts.changed as u64,
            unknown_pins: counts.unknown as u64,
        }))
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

    /// Makes the changes durable and serves them.
    async fn change(
        &self,
        kind: &'static str,
        pins: Vec<(PinId, PinRecord)>,
        changed: Arc<ChangedPins>,
    ) -> Result<PinChangeCounts, CallError> {
        let (live, count) = (self.live.clone(), pins.len() as u64);
        let done = spawn_blocking(move || live.change_pins(&changed, pins)).await;
        match done.map_err(|_| CallError::Internal)? {
            Ok(counts) => {
                counter!(names::PIN_CHANGES, "kind" => kind).increment(count);
                Ok(counts)
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
    let mut vectors = catalog.pins.vectors().empty_like();
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
                pin_key: None,
            }),
            PinRecord::Deleted => message.deleted_pin_ids.push(pin.0),
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::state::test_world::{MODEL, TestWorld, vector_of};

    fn message(pin: u64) -> v1::Pin {
        v1::Pin {
            pin_id: Some(pin),
            embedding: vector_of(pin).iter().map(|x| 3.0 * x).collect(),
            title: format!("pin {pin}"),
            pin_key: None,
        }
    }

    fn serving() -> Serving {
        Serving::unchanged(TestWorld::new().load())
    }

    #[test]
    fn an_upserted_pin_gets_a_unit_vector_of_the_model_of_the_catalog() {
        let records = upserted_pins(vec![message(50), message(3)], &serving());
        let records = records.expect("good pins");
        assert_eq!(records.len(), 2);
        let (pin, record) = &records[0];
        let PinRecord::Upserted {
            embedding_version,
            vector,
            title,
        } = record
        else {
            panic!("{record:?}");
        };
        assert_eq!((*pin, title.as_str()), (PinId(50), "pin 50"));
        assert_eq!(embedding_version, MODEL);
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }

    #[test]
    fn a_bad_pin_is_named_with_its_position() {
        let serving = serving();
        let refused_field = |change: fn(&mut v1::Pin)| {
            let mut pin = message(51);
            change(&mut pin);
            match upserted_pins(vec![message(50), pin], &serving) {
                Err(CallError::Field { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused_field(|pin| pin.pin_id = None), "pins[1].pin_id");
        assert_eq!(refused_field(|pin| pin.pin_id = Some(50)), "pins[1].pin_id");
        let title = refused_field(|pin| pin.title = "x".repeat(TITLE.max + 1));
        assert_eq!(title, "pins[1].title");
        let short = refused_field(|pin| pin.embedding.truncate(3));
        assert_eq!(short, "pins[1].embedding");
        let zero = refused_field(|pin| pin.embedding.fill(0.0));
        assert_eq!(zero, "pins[1].embedding");
        assert!(upserted_pins(Vec::new(), &serving).is_err());
    }

    #[test]
    fn listed_changes_tell_upserted_pins_from_deleted_ones() {
        let upserted = PinRecord::Upserted {
            embedding_version: MODEL.to_owned(),
            vector: vec![1.0, 0.0],
            title: "a pin".to_owned(),
        };
        let message = changes_message(&[(PinId(1), &upserted), (PinId(2), &PinRecord::Deleted)]);
        assert_eq!(message.deleted_pin_ids, [2]);
        assert_eq!(message.upserted.len(), 1);
        assert_eq!(message.upserted[0].pin_id, Some(1));
        assert_eq!(message.upserted[0].embedding, [1.0, 0.0]);
    }
}
