//! `CatalogService`: changes of single pins between two catalogs.

use std::collections::HashSet;
use std::sync::Arc;

use metrics::counter;
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status};

use crate::durable::{PinChange, PinRecord};
use crate::metrics as names;
use crate::model::{AttributeDefinition, PinId};
use crate::serve::request_limits::{CHANGED_PINS, TITLE};
use crate::serve::rpc::attributes;
use crate::serve::rpc::ids::{self, PinLists};
use crate::serve::state::{ChangePinsError, ChangedPins, Live, PinChangeCounts, Serving};
use crate::serve::status::CallError;
use crate::wire::attributes::messages_of;
use crate::wire::v1;
use crate::wire::v1::catalog_service_server::CatalogService;

/// Number of pins in one message of a stream.
const PINS_PER_MESSAGE: usize = 100;

/// The pins of a call that deletes some.
const DELETED: PinLists = PinLists {
    ids: "pin_ids",
    keys: "pin_keys",
    max: CHANGED_PINS,
};

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
        let (serving, _) = self.context()?;
        let pins = upserted_pins(request.into_inner().pins, &serving)?;
        let counts = self.change("upserted", pins).await?;
        Ok(Response::new(v1::UpsertPinsResponse {
            changed_pins: counts.changed as u64,
        }))
    }

    async fn delete_pins(
        &self,
        request: Request<v1::DeletePinsRequest>,
    ) -> Result<Response<v1::DeletePinsResponse>, Status> {
        let (serving, _) = self.context()?;
        let pins = deleted_pins(request.into_inner(), &serving)?;
        let counts = self.change("deleted", pins).await?;
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
            let definitions = serving.loaded.catalog().attributes.definitions();
            warn_of_unfitting(&unsettled, definitions);
            messages
                .map(|pins| Ok(changes_message(pins, definitions)))
                .collect()
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
        pins: Vec<PinChange>,
    ) -> Result<PinChangeCounts, CallError> {
        let (live, count) = (self.live.clone(), pins.len() as u64);
        let done = spawn_blocking(move || live.change_pins(pins)).await;
        match done.map_err(|_| CallError::Internal)? {
            Ok(counts) => {
                counter!(names::PIN_CHANGES, "kind" => kind).increment(count);
                Ok(counts)
            }
            Err(ChangePinsError::KeepsNothing) => Err(CallError::KeepsNothing),
            Err(ChangePinsError::TooMany(max)) => Err(CallError::TooManyChanges(max)),
            Err(ChangePinsError::Failed(error)) => {
                tracing::error!(%error, "changes of pins could not be written");
                Err(CallError::NotRecorded)
            }
        }
    }
}

/// The pins of a request, each with a unit vector that fits the catalog.
fn upserted_pins(pins: Vec<v1::Pin>, serving: &Serving) -> Result<Vec<PinChange>, CallError> {
    CHANGED_PINS.check_not_empty("pins", pins.len())?;
    let catalog = serving.loaded.catalog();
    let embedding_version = &catalog.manifest().facts.embedding_version;
    let mut vectors = catalog.pins.vectors().empty_like();
    let mut ids = HashSet::new();
    let mut records = Vec::with_capacity(pins.len());
    for (at, pin) in pins.into_iter().enumerate() {
        let path = |field: &str| format!("pins[{at}].{field}");
        let invalid = |field: &str, reason: String| CallError::field(path(field), reason);
        let key = pin.pin_key.as_deref();
        let key_path = || path("pin_key");
        check_is_called_alike(key, serving, key_path)?;
        let id = ids::required_pin(pin.pin_id, key, path)?;
        if !ids.insert(id) {
            let field = key.map_or("pin_id", |_| "pin_key");
            return Err(invalid(field, format!("is {id} once more")));
        }
        check_has_own_id(id, key, serving, key_path)?;
        TITLE.check(&path("title"), pin.title.len())?;
        let checked = vectors.push(&pin.embedding);
        checked.map_err(|e| invalid("embedding", format!("of pin {id}: {e}")))?;
        let definitions = catalog.attributes.definitions();
        let attributes = attributes::from_messages(pin.attributes, definitions, path)?;
        let record = PinRecord::Upserted {
            embedding_version: embedding_version.clone(),
            vector: vectors.row(vectors.len() - 1).to_vec(),
            title: pin.title,
            key: pin.pin_key.unwrap_or_default(),
            attributes,
        };
        records.push((id, record));
    }
    Ok(records)
}

/// The pins of a request, each once, as deleted.
fn deleted_pins(
    request: v1::DeletePinsRequest,
    serving: &Serving,
) -> Result<Vec<PinChange>, CallError> {
    let v1::DeletePinsRequest { pin_ids, pin_keys } = request;
    if pin_keys.is_empty() {
        CHANGED_PINS.check_not_empty(DELETED.ids, pin_ids.len())?;
    }
    let by_number = pin_ids.len();
    let mut pins = DELETED.pins(pin_ids, &pin_keys)?;
    for (at, (&pin, key)) in pins[by_number..].iter().zip(&pin_keys).enumerate() {
        let path = || format!("{}[{at}]", DELETED.keys);
        check_has_own_id(pin, Some(key), serving, path)?;
    }
    pins.sort_unstable();
    pins.dedup();
    let deletion = |pin| (pin, PinRecord::Deleted);
    Ok(pins.into_iter().map(deletion).collect())
}

/// Refuses a pin that has a `key` where the catalog calls pins by numbers, or none where it
/// calls them by strings: later batches could not read it beside the others.
fn check_is_called_alike(
    key: Option<&str>,
    serving: &Serving,
    path: impl Fn() -> String,
) -> Result<(), CallError> {
    let reason = match (serving.loaded.catalog().pins.has_keys(), key) {
        (true, None) => "is required: the catalog calls pins by strings",
        (false, Some(_)) => "is not allowed: the catalog calls pins by numbers",
        (true, Some(_)) | (false, None) => return Ok(()),
    };
    Err(CallError::field(path(), reason))
}

/// Refuses a `key` whose id is that of another key, in the catalog or upserted since.
fn check_has_own_id(
    id: PinId,
    key: Option<&str>,
    serving: &Serving,
    path: impl Fn() -> String,
) -> Result<(), CallError> {
    match (key, serving.pins().key(id)) {
        (Some(key), Some(known)) if known != key => {
            let reason = format!("is {key:?}, but {known:?} has the same id {id} already");
            Err(CallError::field(path(), reason))
        }
        _ => Ok(()),
    }
}

/// Warns of pins with attributes that pins of the catalog cannot have: [`changes_message`]
/// leaves them out.
fn warn_of_unfitting(changes: &[(PinId, &PinRecord)], definitions: &[AttributeDefinition]) {
    let has_unfitting = |(_, record): &&(PinId, &PinRecord)| match record {
        PinRecord::Upserted { attributes, .. } => attributes.fitting(definitions) != *attributes,
        PinRecord::Deleted => false,
    };
    let pins = changes.iter().filter(has_unfitting).count();
    if pins > 0 {
        tracing::warn!(
            pins,
            "attributes of upserted pins are left out: the catalog has none of their name and type"
        );
    }
}

/// The changes as a message, with those attributes that the pins of the catalog can have:
/// pins that were upserted beside another one may have others, which no build of this one
/// could take.
fn changes_message(
    changes: &[(PinId, &PinRecord)],
    definitions: &[AttributeDefinition],
) -> v1::ListChangesResponse {
    let mut message = v1::ListChangesResponse::default();
    for (pin, record) in changes {
        match record {
            PinRecord::Upserted {
                vector,
                title,
                key,
                attributes,
                ..
            } => message.upserted.push(v1::Pin {
                pin_id: Some(pin.0),
                embedding: vector.clone(),
                title: title.clone(),
                pin_key: Some(key.clone()).filter(|key| !key.is_empty()),
                attributes: messages_of(&attributes.fitting(definitions)),
            }),
            PinRecord::Deleted => message.deleted_pin_ids.push(pin.0),
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AttributeValue, PinAttributes};
    use crate::serve::state::test_world::{COLLIDING_KEY, MODEL, TestWorld, key_of, vector_of};

    fn message(pin: u64) -> v1::Pin {
        v1::Pin {
            pin_id: Some(pin),
            embedding: vector_of(pin).iter().map(|x| 3.0 * x).collect(),
            title: format!("pin {pin}"),
            pin_key: None,
            attributes: Vec::new(),
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
            key,
            attributes,
        } = record
        else {
            panic!("{record:?}");
        };
        assert_eq!((*pin, title.as_str()), (PinId(50), "pin 50"));
        assert_eq!(key, "");
        assert!(attributes.is_empty());
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

    fn refusal<T: std::fmt::Debug>(checked: Result<T, CallError>) -> String {
        match checked {
            Err(CallError::Field { field, reason }) => format!("{field} {reason}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_catalog_of_strings_takes_pins_with_keys_and_another_takes_none() {
        let with_key = |key: &str| v1::Pin {
            pin_id: None,
            pin_key: Some(key.to_owned()),
            ..message(50)
        };
        let by_numbers = refusal(upserted_pins(vec![with_key("new")], &serving()));
        let reason = "is not allowed: the catalog calls pins by numbers";
        assert_eq!(by_numbers, format!("pins[0].pin_key {reason}"));

        let serving = Serving::unchanged(TestWorld::with_keys().load());
        let upsert = |pin| upserted_pins(vec![with_key("new"), pin], &serving);
        let records = upsert(with_key(&key_of(1))).expect("good pins");
        let [(id, PinRecord::Upserted { key, .. }), _] = &records[..] else {
            panic!("{records:?}");
        };
        assert_eq!((*id, key.as_str()), (PinId::of_key("new"), "new"));
        let by_number = refusal(upsert(message(51)));
        let reason = "is required: the catalog calls pins by strings";
        assert_eq!(by_number, format!("pins[1].pin_key {reason}"));
        let again = refusal(upsert(with_key("new")));
        let reason = format!("is {} once more", PinId::of_key("new"));
        assert_eq!(again, format!("pins[1].pin_key {reason}"));
        let id = PinId::of_key(COLLIDING_KEY);
        let reason = format!(r#"is "colliding", but "pin-19" has the same id {id} already"#);
        let colliding = refusal(upsert(with_key(COLLIDING_KEY)));
        assert_eq!(colliding, format!("pins[1].pin_key {reason}"));
    }

    #[test]
    fn pins_are_deleted_by_numbers_and_by_keys() {
        let serving = Serving::unchanged(TestWorld::with_keys().load());
        let delete = |pin_ids: Vec<u64>, pin_keys: &[&str]| {
            let pin_keys = pin_keys.iter().map(|&key| key.to_owned()).collect();
            deleted_pins(v1::DeletePinsRequest { pin_ids, pin_keys }, &serving)
        };
        let new = PinId::of_key("new");
        let deleted = delete(vec![7, new.0, 7], &["new"]).expect("good pins");
        assert_eq!(
            deleted,
            [7, new.0].map(|pin| (PinId(pin), PinRecord::Deleted))
        );
        let nothing = refusal(delete(Vec::new(), &[]));
        assert_eq!(nothing, "pin_ids has 0 pins, from 1 to 1000 may be");
        let many = refusal(delete(vec![7; CHANGED_PINS.max], &["new"]));
        assert_eq!(many, "pin_keys has 1 pins beside the ids, at most 0 may be");
        let colliding = refusal(delete(vec![7], &["new", COLLIDING_KEY]));
        assert!(colliding.starts_with("pin_keys[1] is "), "{colliding}");
    }

    #[test]
    fn listed_changes_tell_upserted_pins_from_deleted_ones() {
        let upserted = PinRecord::Upserted {
            embedding_version: MODEL.to_owned(),
            vector: vec![1.0, 0.0],
            title: "a pin".to_owned(),
            key: "tea".to_owned(),
            attributes: PinAttributes::new([("safe".to_owned(), AttributeValue::Bool(true))]),
        };
        let message = changes_message(
            &[(PinId(1), &upserted), (PinId(2), &PinRecord::Deleted)],
            &["safe:bool".parse().expect("a definition")],
        );
        assert_eq!(message.deleted_pin_ids, [2]);
        assert_eq!(message.upserted.len(), 1);
        assert_eq!(message.upserted[0].pin_id, Some(1));
        assert_eq!(message.upserted[0].embedding, [1.0, 0.0]);
        assert_eq!(message.upserted[0].pin_key(), "tea");
        let safe = v1::Attribute {
            name: "safe".to_owned(),
            value: Some(v1::attribute::Value::Flag(true)),
        };
        assert_eq!(message.upserted[0].attributes, [safe]);
    }
}
