//! Creates the streams of a log, or makes sure that those that are there belong to it.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{
    CallError, Done, NAME_IN_USE, REPLICAS_NOT_SUPPORTED, STREAM_NOT_FOUND, StreamInfo, call, info,
};
use super::shared::{Refusal, Shared};

const FORMAT: &str = "1";
pub(super) const LOG_ID: &str = "pinnersage_log_id";
const FORMAT_KEY: &str = "pinnersage_format";
const STREAMS_KEY: &str = "pinnersage_streams";
/// A message that is sent again within this time is stored once.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
const CALL_LIMIT: Duration = Duration::from_secs(2);

/// Why the streams are not there yet, or not taken.
pub(super) enum NotOpen {
    /// It may be better in a moment.
    Yet(String),
    Refused(Refusal),
}

impl From<Refusal> for NotOpen {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<CallError> for NotOpen {
    fn from(error: CallError) -> Self {
        Self::Yet(error.to_string())
    }
}

/// Who opens a log: one that knows its id, or one that would create it with this one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Opener {
    Knows(u64),
    Creates(u64),
}

/// Makes sure that all streams are there, and returns the id of their log. The control stream
/// decides who has created it.
pub(super) async fn ensure(shared: &Shared, opener: Opener) -> Result<u64, NotOpen> {
    let id = ensure_control(shared, opener).await?;
    for stream in 0..shared.names.actions {
        let found = look(shared, stream).await?;
        let found = match found {
            Some(found) => found,
            None => create(shared, stream, opener, id).await?,
        };
        verify(shared, stream, &found, id)?;
        adapt(shared, stream, &found).await?;
        shared.told(stream, found.state.last_seq);
    }
    Ok(id)
}

async fn ensure_control(shared: &Shared, opener: Opener) -> Result<u64, NotOpen> {
    let control = shared.names.control();
    let (Opener::Knows(id) | Opener::Creates(id)) = opener;
    let found = match look(shared, control).await? {
        Some(found) => found,
        None => create(shared, control, opener, id).await?,
    };
    let id = match opener {
        Opener::Knows(id) => id,
        Opener::Creates(_) => {
            let written = found.metadata(LOG_ID);
            let id = written.and_then(|id| u64::from_str_radix(id, 16).ok());
            let expected = "a number in hexadecimal";
            id.ok_or_else(|| mismatch(shared, control, LOG_ID, &found, expected))?
        }
    };
    verify(shared, control, &found, id)?;
    warn_of_replicas(shared, control, &found);
    Ok(id)
}

async fn look(shared: &Shared, stream: u8) -> Result<Option<StreamInfo>, NotOpen> {
    match info(&shared.links, &shared.names.stream(stream), CALL_LIMIT).await {
        Ok(found) => Ok(Some(found)),
        Err(CallError::Refused { code, .. }) if code == STREAM_NOT_FOUND => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn create(
    shared: &Shared,
    stream: u8,
    opener: Opener,
    id: u64,
) -> Result<StreamInfo, NotOpen> {
    let name = shared.names.stream(stream);
    if let Opener::Knows(id) = opener {
        // Streams that were made anew would count from 1, below what this replica has read.
        return Err(NotOpen::Yet(format!(
            "the stream {name} of the log {id:016x} is not there"
        )));
    }
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
            Err(NotOpen::Refused(Refusal::Impossible(format!(
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
