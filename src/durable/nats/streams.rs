//! Creates the streams of a log, or makes sure that those that are there belong to it.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::opening::{NotOpen, Opener, Refusal};
use super::api::{
    CallError, Done, NAME_IN_USE, REPLICAS_NOT_SUPPORTED, STREAM_NOT_FOUND, StreamInfo, call, info,
};
use super::shared::Shared;

const FORMAT: &str = "1";
pub(super) const LOG_ID: &str = "pinnersage_log_id";
const FORMAT_KEY: &str = "pinnersage_format";
const STREAMS_KEY: &str = "pinnersage_streams";
/// A message that is sent again within this time is stored once.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
const CALL_LIMIT: Duration = Duration::from_secs(2);

impl From<CallError> for NotOpen {
    fn from(error: CallError) -> Self {
        Self::Yet(error.to_string())
    }
}

/// Makes sure that all streams are there, and returns the id of their log. The control stream
/// is made first, and decides who has created the log. Nothing is appended before all streams
/// are there: so one that is missing beside one that has had messages was deleted.
pub(super) async fn ensure(shared: &Shared, opener: Opener) -> Result<u64, NotOpen> {
    let control = shared.names.control();
    let mut found = Vec::new();
    for stream in shared.names.all() {
        found.push(look(shared, stream).await?);
    }
    refuse_deleted(shared, opener, &found).await?;
    let of_control = found.pop().flatten();
    let of_control = found_or_created(shared, control, of_control, opener).await?;
    let id = log_id(shared, &of_control, opener)?;
    verify(shared, control, &of_control, id)?;
    warn_of_replicas(shared, control, &of_control);
    for (stream, found) in (0..).zip(found) {
        let opener = match opener {
            Opener::Creates(_) => Opener::Creates(id),
            Opener::Knows(_) => opener,
        };
        let found = found_or_created(shared, stream, found, opener).await?;
        verify(shared, stream, &found, id)?;
        adapt(shared, stream, &found).await?;
        // Who has read it all may not be ready by what another node has.
        if found.is_of_leader() {
            shared.state.told(stream, found.state.last_seq);
        }
    }
    Ok(id)
}

/// Refuses a log of which some streams have had messages, and others are missing.
async fn refuse_deleted(
    shared: &Shared,
    opener: Opener,
    found: &[Option<StreamInfo>],
) -> Result<(), NotOpen> {
    let in_turn = || shared.names.all().zip(found);
    let has_had = |info: &StreamInfo| info.state.last_seq > 0;
    let used = in_turn().find(|(_, info)| info.as_ref().is_some_and(has_had));
    let Some((used, _)) = used else {
        return Ok(());
    };
    for (stream, _) in in_turn().filter(|(_, info)| info.is_none()) {
        // It may have been made since, before the other one had its first message.
        if look(shared, stream).await?.is_none() {
            let missing = shared.names.stream(stream);
            let used = shared.names.stream(used);
            let reason = format!(
                "the stream {missing} is missing, while {used} has had messages: it was \
                 deleted, and what it had is lost; restore it from a backup of the nodes, or \
                 make the log anew from what a replica keeps"
            );
            return Err(match opener {
                Opener::Creates(_) => NotOpen::Refused(Refusal::Unusable(reason)),
                // It goes on with what it has read, until the stream is there again.
                Opener::Knows(_) => NotOpen::Yet(reason),
            });
        }
    }
    Ok(())
}

/// The id of the log, as `control` has it, or as `opener` knows it.
fn log_id(shared: &Shared, control: &StreamInfo, opener: Opener) -> Result<u64, NotOpen> {
    match opener {
        Opener::Knows(id) => Ok(id),
        Opener::Creates(_) => {
            let written = control.metadata(LOG_ID);
            let id = written.and_then(|id| u64::from_str_radix(id, 16).ok());
            let stream = shared.names.control();
            let expected = "a number in hexadecimal";
            let mismatch = || mismatch(shared, stream, LOG_ID, control, expected);
            id.ok_or_else(|| mismatch().into())
        }
    }
}

async fn look(shared: &Shared, stream: u8) -> Result<Option<StreamInfo>, NotOpen> {
    match info(&shared.links, &shared.names.stream(stream), CALL_LIMIT).await {
        Ok(found) => Ok(Some(found)),
        Err(CallError::Refused { code, .. }) if code == STREAM_NOT_FOUND => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn found_or_created(
    shared: &Shared,
    stream: u8,
    found: Option<StreamInfo>,
    opener: Opener,
) -> Result<StreamInfo, NotOpen> {
    match (found, opener) {
        (Some(found), _) => Ok(found),
        (None, Opener::Creates(id)) => create(shared, stream, id).await,
        // Streams that were made anew would count from 1, below what this replica has read.
        (None, Opener::Knows(id)) => Err(NotOpen::Yet(format!(
            "the stream {} of the log {id:016x} is not there",
            shared.names.stream(stream)
        ))),
    }
}

async fn create(shared: &Shared, stream: u8, id: u64) -> Result<StreamInfo, NotOpen> {
    let name = shared.names.stream(stream);
    let body = config(shared, stream, id);
    let method = format!("STREAM.CREATE.{name}");
    let created: Result<StreamInfo, _> = call(&shared.links, &method, &body, CALL_LIMIT).await;
    match created {
        Ok(created) => {
            tracing::info!(stream = %name, "created a stream of the action log");
            Ok(created)
        }
        // Another replica was faster.
        Err(CallError::Refused { code, .. }) if code == NAME_IN_USE => {
            let found = look(shared, stream).await?;
            found.ok_or_else(|| NotOpen::Yet(format!("the stream {name} has gone again")))
        }
        Err(CallError::Refused { code, description }) if code == REPLICAS_NOT_SUPPORTED => {
            let replicas = shared.params.replicas;
            Err(NotOpen::Refused(Refusal::Unusable(format!(
                "actions.log.replicas is {replicas}, but the node is alone: {description}"
            ))))
        }
        Err(error) => {
            let replicas = shared.params.replicas;
            Err(NotOpen::Yet(format!(
                "the stream {name} cannot be created with {replicas} replicas \
                 (actions.log.replicas): {error}"
            )))
        }
    }
}

fn config(shared: &Shared, stream: u8, id: u64) -> Value {
    let names = &shared.names;
    let is_control = stream == names.control();
    let max_age = match is_control {
        true => 0,
        false => nanos(shared.max_age),
    };
    json!({
        "name": names.stream(stream),
        "subjects": [names.subjects(stream)],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "num_replicas": shared.params.replicas,
        "max_age": max_age,
        "max_msgs_per_subject": if is_control { 1 } else { -1 },
        "duplicate_window": nanos(DUPLICATE_WINDOW),
        "allow_direct": true,
        "allow_msg_ttl": true,
        "republish": { "src": names.subjects(stream), "dest": names.repeated(stream) },
        "metadata": {
            LOG_ID: format!("{id:016x}"),
            FORMAT_KEY: FORMAT,
            STREAMS_KEY: shared.params.streams.to_string(),
        },
    })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

fn verify(shared: &Shared, stream: u8, found: &StreamInfo, id: u64) -> Result<(), NotOpen> {
    let expected = [
        (FORMAT_KEY, FORMAT.to_owned()),
        (STREAMS_KEY, shared.params.streams.to_string()),
        (LOG_ID, format!("{id:016x}")),
    ];
    for (key, expected) in expected {
        if found.metadata(key) != Some(&expected) {
            return Err(mismatch(shared, stream, key, found, &expected).into());
        }
    }
    Ok(())
}

/// That `found` has something else at `key` of its metadata.
pub(super) fn mismatch(
    shared: &Shared,
    stream: u8,
    key: &str,
    found: &StreamInfo,
    expected: &str,
) -> Refusal {
    Refusal::Mismatch {
        what: format!("{key} of the stream {}", shared.names.stream(stream)),
        found: found.metadata(key).unwrap_or("missing").to_owned(),
        expected: expected.to_owned(),
    }
}

fn warn_of_replicas(shared: &Shared, stream: u8, found: &StreamInfo) {
    let replicas = found.number("num_replicas");
    if replicas != Some(shared.params.replicas as u64) {
        tracing::warn!(
            stream = %shared.names.stream(stream),
            found = replicas,
            expected = shared.params.replicas,
            "a stream of the action log has other replicas than actions.log.replicas says"
        );
    }
}

/// Gives a stream of actions the retention of the settings, where that is longer.
async fn adapt(shared: &Shared, stream: u8, found: &StreamInfo) -> Result<(), NotOpen> {
    warn_of_replicas(shared, stream, found);
    let max_age = nanos(shared.max_age);
    let before = found.number("max_age");
    if before == Some(max_age) {
        return Ok(());
    }
    let name = shared.names.stream(stream);
    // 0 is for ever.
    if before.is_none_or(|before| before == 0 || before > max_age) {
        // A shorter one would delete at once what other replicas may still count on.
        tracing::warn!(
            stream = %name, before, expected = max_age,
            "a stream of the action log keeps actions longer than the settings ask for"
        );
        return Ok(());
    }
    let mut config = found.config.clone();
    config["max_age"] = json!(max_age);
    let method = format!("STREAM.UPDATE.{name}");
    let updated: Result<Done, _> = call(&shared.links, &method, &config, CALL_LIMIT).await;
    match updated {
        Ok(_) => tracing::warn!(
            stream = %name, before, after = max_age,
            "a stream of the action log had another retention, and was given that of the settings"
        ),
        Err(error) => tracing::warn!(
            stream = %name, before, expected = max_age, %error,
            "a stream of the action log has another retention than the settings, and keeps it"
        ),
    }
    Ok(())
}
