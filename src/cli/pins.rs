//! `pinnersage pins`: single pins of a running server.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use tonic::Code;

use super::client::{PinClient, ServerArgs, display_title, status_error};
use super::id_or_key::{IdOrKey, display_id};
use super::output;
use super::runtime::block_on;
use super::table::TextTable;
use super::text_id_args::TextIdArgs;
use crate::batch::{UpsertedPin, read_pins};
use crate::model::{AttributeDefinition, MAX_KEY, PinAttributes, PinId};
use crate::progress::Progress;
use crate::wire::{attributes, v1};

/// Most pins of one request.
const MAX_PINS: usize = 1_000;
/// Most components of all vectors of one request: 1 MiB of the 2 MiB that a server takes
/// by default; titles come on top, and keys and attributes count as components.
const MAX_COMPONENTS: usize = 1 << 18;

#[derive(Debug, Subcommand)]
pub(super) enum PinsCommand {
    /// Add or replace pins.
    ///
    /// Reads files as `catalog build` does; quality and signature are not looked at. Columns
    /// that are attributes of the catalog that is served become those of the pins.
    Upsert(UpsertArgs),
    /// Delete pins.
    Delete(DeleteArgs),
    /// List the pins that differ from the catalog that is served.
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct UpsertArgs {
    /// Files of pins (Parquet or .jsonl), directories or globs of them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    text_ids: TextIdArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// The pins.
    #[arg(value_name = "ID", required_unless_present = "pin_key")]
    pins: Vec<u64>,
    /// The same by their keys, where pins are called by strings.
    #[arg(long, value_name = "KEY", num_args = 1..)]
    pin_key: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Pins that changed on a server since its catalog was built.
#[derive(Default)]
pub(super) struct ChangedPins {
    pub(super) upserted: Vec<UpsertedPin>,
    pub(super) deleted: Vec<PinId>,
}

pub(super) fn run(command: PinsCommand) -> anyhow::Result<()> {
    match command {
        PinsCommand::Upsert(args) => upsert(&args),
        PinsCommand::Delete(args) => delete(&args),
        PinsCommand::List(args) => list(&args),
    }
}

fn upsert(args: &UpsertArgs) -> anyhow::Result<()> {
    let progress = Progress::for_stderr();
    let attributes = block_on(fetch_attributes(&args.server))?;
    let pins = read_pins(&args.files, args.text_ids.text_ids(), &attributes, progress)?;
    let changed = block_on(upsert_all(&args.server, &pins, progress))?;
    let count = pins.len();
    output::print(&format!(
        "{count} pins upserted; {changed} pins differ from the catalog now"
    ))
}

/// Upserts `pins` part by part, and returns how many pins differ from the catalog then.
async fn upsert_all(
    server: &ServerArgs,
    pins: &[UpsertedPin],
    progress: Progress,
) -> anyhow::Result<u64> {
    let mut client = server.connect_for_pins().await?;
    let stage = progress.stage("upsert pins", pins.len() as u64);
    let (mut done, mut changed) = (0, 0);
    for part in pins.chunks(pins_per_request(pins)) {
        changed = upsert_part(&mut client, part).await.with_context(|| {
            format!(
                "{done} of {} pins are upserted, the rest is not",
                pins.len()
            )
        })?;
        done += part.len();
        stage.advance(part.len() as u64);
    }
    Ok(changed)
}

/// How many of `pins`, which all have vectors of one length, and all keys or none, go into
/// one request.
fn pins_per_request(pins: &[UpsertedPin]) -> usize {
    let attributes = pins.iter().map(|pin| pin.attributes.bytes()).max();
    let components = pins.first().map_or(0, |pin| {
        let key = pin.key.as_ref().map_or(0, |_| MAX_KEY);
        pin.vector.len() + (key + attributes.unwrap_or(0)) / size_of::<f32>()
    });
    (MAX_COMPONENTS / components.max(1)).clamp(1, MAX_PINS)
}

async fn upsert_part(client: &mut PinClient, pins: &[UpsertedPin]) -> anyhow::Result<u64> {
    let pins = pins.iter().map(|pin| v1::Pin {
        pin_id: pin.key.is_none().then_some(pin.id.0),
        embedding: pin.vector.clone(),
        title: pin.title.clone(),
        pin_key: pin.key.clone(),
        attributes: attributes::messages_of(&pin.attributes),
    });
    let request = v1::UpsertPinsRequest {
        pins: pins.collect(),
    };
    let answer = client.upsert_pins(request).await;
    let answer = answer.map_err(|status| status_error(&status))?;
    Ok(answer.into_inner().changed_pins)
}

fn delete(args: &DeleteArgs) -> anyhow::Result<()> {
    let mut pins = IdOrKey::all(&args.pins, &args.pin_key);
    pins.sort_unstable();
    pins.dedup();
    let (unknown, changed) = block_on(delete_all(&args.server, &pins))?;
    let deleted = pins.len() as u64 - unknown;
    output::print(&format!(
        "{deleted} pins deleted, {unknown} were not there; \
         {changed} pins differ from the catalog now"
    ))
}

/// Deletes `pins`, and returns how many were not there, and how many pins differ from the
/// catalog then.
async fn delete_all(server: &ServerArgs, pins: &[IdOrKey]) -> anyhow::Result<(u64, u64)> {
    let mut client = server.connect_for_pins().await?;
    let (mut unknown, mut changed) = (0, 0);
    for part in pins.chunks(MAX_PINS) {
        let answer = client.delete_pins(delete_request(part)).await;
        let answer = answer.map_err(|status| status_error(&status))?.into_inner();
        unknown += answer.unknown_pins;
        changed = answer.changed_pins;
    }
    Ok((unknown, changed))
}

fn delete_request(pins: &[IdOrKey]) -> v1::DeletePinsRequest {
    let mut request = v1::DeletePinsRequest::default();
    for pin in pins {
        match pin {
            IdOrKey::Id(id) => request.pin_ids.push(*id),
            IdOrKey::Key(key) => request.pin_keys.push(key.clone()),
        }
    }
    request
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let changes = block_on(fetch_changes(&args.server))?;
    let (upserted, deleted) = (changes.upserted.len(), changes.deleted.len());
    if upserted + deleted > 0 {
        output::print(&changes_table(&changes))?;
    }
    output::print(&format!("{upserted} pins upserted, {deleted} deleted"))
}

fn changes_table(changes: &ChangedPins) -> TextTable {
    let mut table = TextTable::new(&["pin", "change", "title"]);
    for pin in &changes.upserted {
        let title = display_title(&pin.title).into_owned();
        let key = pin.key.as_deref().unwrap_or_default();
        let called = display_id(pin.id.0, key).into_owned();
        table.push([called, "upserted".to_owned(), title]);
    }
    for pin in &changes.deleted {
        table.push([pin.to_string(), "deleted".to_owned()]);
    }
    table
}

/// Fetches the attributes that the pins of a server may have.
async fn fetch_attributes(server: &ServerArgs) -> anyhow::Result<Vec<AttributeDefinition>> {
    let mut client = server.connect().await?;
    let listed = client.list_attributes(v1::ListAttributesRequest {}).await;
    let listed = match listed {
        // A server of the release before has none.
        Err(status) if status.code() == Code::Unimplemented => return Ok(Vec::new()),
        listed => listed.map_err(|status| status_error(&status))?.into_inner(),
    };
    let definitions = listed.attributes.into_iter().map(|info| {
        let kind = attributes::kind_of(info.r#type()).with_context(|| {
            format!(
                "the attribute {} is of a type that is not known here",
                info.name
            )
        })?;
        Ok(AttributeDefinition {
            name: info.name,
            kind,
        })
    });
    definitions.collect()
}

/// Fetches the pins that differ from the catalog of a server.
pub(super) async fn fetch_changes(server: &ServerArgs) -> anyhow::Result<ChangedPins> {
    let mut client = server.connect_for_pins().await?;
    let responses = client.list_changes(v1::ListChangesRequest {}).await;
    let mut responses = responses
        .map_err(|status| status_error(&status))?
        .into_inner();
    let mut changes = ChangedPins::default();
    while let Some(part) = responses
        .message()
        .await
        .map_err(|status| status_error(&status))?
    {
        let upserted = part.upserted.into_iter().map(|pin| UpsertedPin {
            id: PinId(pin.pin_id.unwrap_or_default()),
            key: pin.pin_key.filter(|key| !key.is_empty()),
            vector: pin.embedding,
            title: pin.title,
            attributes: PinAttributes::new(pin.attributes.into_iter().filter_map(|one| {
                let value = attributes::value_of(one.value?);
                Some((one.name, value))
            })),
        });
        changes.upserted.extend(upserted);
        let deleted = part.deleted_pin_ids.into_iter().map(PinId);
        changes.deleted.extend(deleted);
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(dimension: usize) -> UpsertedPin {
        UpsertedPin {
            id: PinId(1),
            key: None,
            vector: vec![1.0; dimension],
            title: "tea".to_owned(),
            attributes: PinAttributes::default(),
        }
    }

    #[test]
    fn long_vectors_go_in_smaller_parts() {
        assert_eq!(pins_per_request(&[]), MAX_PINS);
        assert_eq!(pins_per_request(&[pin(64)]), MAX_PINS);
        assert_eq!(pins_per_request(&[pin(1_024)]), 256);
        assert_eq!(pins_per_request(&[pin(1 << 20)]), 1);
        let with_key = UpsertedPin {
            key: Some("tea".to_owned()),
            ..pin(448)
        };
        assert_eq!(pins_per_request(&[with_key]), 512);
    }

    #[test]
    fn changes_are_listed_with_their_kind() {
        let mut changes = ChangedPins {
            upserted: vec![pin(2)],
            deleted: vec![PinId(7)],
        };
        let expected = "pin  change    title\n1    upserted  tea\n7    deleted";
        assert_eq!(changes_table(&changes).to_string(), expected);
        changes.upserted[0].key = Some("t\n1".to_owned());
        let expected = "pin   change    title\nt\\n1  upserted  tea\n7     deleted";
        assert_eq!(changes_table(&changes).to_string(), expected);
    }

    #[test]
    fn pins_are_deleted_by_ids_and_by_keys() {
        let request = delete_request(&IdOrKey::all(&[3, 1], &["tea".to_owned()]));
        assert_eq!(request.pin_ids, [3, 1]);
        assert_eq!(request.pin_keys, ["tea"]);
    }
}
