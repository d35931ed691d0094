//! Creates the topics of a log, or makes sure that those that are there belong to it.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::super::error::LogError;
use super::super::opening::{NotOpen, Opener, Refusal};
use super::client::describe;
use super::control::{Control, LogRecord, id_key};
use super::names::Topic;
use super::publish::{Outgoing, publish};
use super::read::read;
use super::shared::Shared;

const CALL_LIMIT: Duration = Duration::from_secs(2);
/// A topic that may have been made just now is looked for again after this.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Segments are closed, and removed messages taken out of them, that often.
const SEGMENT: &str = "86400000";

impl From<LogError> for NotOpen {
    fn from(error: LogError) -> Self {
        Self::Yet(error.to_string())
    }
}

/// Makes sure that all topics are there, reads what of the control topic counts, and returns
/// the id of the log. It is written when all topics are there, and nothing is appended before:
/// so a topic that is missing beside it was deleted.
pub(super) fn ensure(shared: &Shared, opener: Opener) -> Result<u64, NotOpen> {
    let mut missing = Vec::new();
    for topic in Topic::ALL {
        if !is_there(shared, topic)? {
            missing.push(topic);
        }
    }
    refuse_deleted(shared, opener, &missing)?;
    if let Some(&topic) = missing.first() {
        create(shared, topic, opener)?;
        // What was made is verified the next time.
        let name = shared.names.topic(topic);
        return Err(NotOpen::Yet(format!("the topic {name} was just created")));
    }
    let id = ensure_id(shared, opener)?;
    for stream in shared.names.all() {
        if let Ok((_, newest)) = shared.ends(stream, CALL_LIMIT) {
            shared.state.told(stream, newest);
        }
    }
    Ok(id)
}

/// Refuses a log that has its id, and some topics are missing.
fn refuse_deleted(shared: &Shared, opener: Opener, missing: &[Topic]) -> Result<(), NotOpen> {
    if missing.is_empty() || missing.contains(&Topic::Control) {
        return Ok(());
    }
    let (control, _) = read_control(shared)?;
    let Some(log) = control.log() else {
        return Ok(());
    };
    // One that was made just now is not known to all brokers at once.
    let deadline = Instant::now() + CALL_LIMIT;
    for &topic in missing {
        while !is_there(shared, topic)? {
            if Instant::now() >= deadline {
                let missing = shared.names.topic(topic);
                let control = shared.names.topic(Topic::Control);
                let id = log.id;
                let reason = format!(
                    "the topic {missing} is missing, while {control} has the id {id:016x} of a \
                     log: it was deleted, and what it had is lost; make the log anew from what a \
                     replica keeps"
                );
                return Err(match opener {
                    Opener::Creates(_) => NotOpen::Refused(Refusal::Unusable(reason)),
                    // It goes on with what it has read.
                    Opener::Knows(_) => NotOpen::Yet(reason),
                });
            }
            sleep(LOOK_PAUSE);
        }
    }
    Ok(())
}

/// Whether a topic is there, with its partitions.
fn is_there(shared: &Shared, topic: Topic) -> Result<bool, NotOpen> {
    let name = shared.names.topic(topic);
    let yet = |error: KafkaError| NotOpen::Yet(format!("{name}: {}", describe(&error)));
    let metadata = shared.asker.fetch_metadata(Some(&name), CALL_LIMIT);
    let metadata = metadata.map_err(yet)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == name) else {
        return Err(NotOpen::Yet(format!("{name}: no broker tells of it")));
    };
    match found.error().map(RDKafkaErrorCode::from) {
        None => verify(shared, topic, found).map(|()| true),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            Ok(false)
        }
        Some(code) => Err(NotOpen::Yet(format!("{name}: {code}"))),
    }
}

fn verify(shared: &Shared, topic: Topic, found: &MetadataTopic) -> Result<(), NotOpen> {
    let expected = usize::from(shared.names.partitions(topic));
    let partitions = found.partitions();
    if partitions.len() != expected {
        return Err(NotOpen::Refused(Refusal::Mismatch {
            what: format!("the number of partitions of the topic {}", found.name()),
            found: partitions.len().to_string(),
            expected: expected.to_string(),
        }));
    }
    Ok(())
}

/// The settings of a topic.
fn settings(shared: &Shared, topic: Topic) -> BTreeMap<&'static str, String> {
    let majority = shared.params.replicas / 2 + 1;
    let (policy, retention) = match topic {
        Topic::Actions => ("compact,delete", shared.max_age.as_millis().to_string()),
        Topic::Kept | Topic::Control => ("compact", "-1".to_owned()),
    };
    BTreeMap::from([
        ("cleanup.policy", policy.to_owned()),
        ("retention.ms", retention),
        ("retention.bytes", "-1".to_owned()),
        ("segment.ms", SEGMENT.to_owned()),
        ("max.compaction.lag.ms", SEGMENT.to_owned()),
        ("message.timestamp.type", "CreateTime".to_owned()),
        ("min.insync.replicas", majority.to_string()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ])
}

fn create(shared: &Shared, topic: Topic, opener: Opener) -> Result<(), NotOpen> {
    let name = shared.names.topic(topic);
    if let Opener::Knows(id) = opener {
        // Topics that were made anew would count from 1, below what this replica has read.
        return Err(NotOpen::Yet(format!(
            "the topic {name} of the log {id:016x} is not there"
        )));
    }
    let partitions = shared.names.partitions(topic);
    let replicas = shared.params.replicas;
    let settings = settings(shared, topic);
    let replication = TopicReplication::Fixed(replicas as i32);
    let mut new = NewTopic::new(&name, i32::from(partitions), replication);
    for (key, value) in &settings {
        new = new.set(key, value);
    }
    let not_created = |reason: String| {
        NotOpen::Yet(format!(
            "the topic {name} with {partitions} partitions is not there, and cannot be created \
             with {replicas} replicas (actions.log.replicas): {reason}"
        ))
    };
    let admin = shared.client.admin();
    let admin = admin.map_err(|error| not_created(describe(&error)))?;
    let created = wait_for(admin.create_topics([&new], &options()));
    let created = created.map_err(not_created)?;
    let created = created.map_err(|error| not_created(describe(&error)))?;
    for result in created {
        match result {
            Ok(_) => tracing::info!(topic = %name, "created a topic of the action log"),
            // Another replica was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(not_created(code.to_string())),
        }
    }
    Ok(())
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(CALL_LIMIT))
        .operation_timeout(Some(CALL_LIMIT))
}

/// Waits for what librdkafka works on in threads of its own.
fn wait_for<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    Ok(runtime.block_on(work))
}

/// Warns where a topic that somebody else has made may lose messages, or keep what was erased.
pub(super) fn warn_of_settings(shared: &Shared) {
    for topic in Topic::ALL {
        let name = shared.names.topic(topic);
        let found = match describe_topic(shared, &name) {
            Ok(found) => found,
            Err(reason) => {
                tracing::warn!(topic = %name, reason, "the settings of a topic of the action log cannot be read: they are not checked");
                continue;
            }
        };
        for (key, expected) in settings(shared, topic) {
            let entry = found.get(key).and_then(|entry| entry.value.as_deref());
            if !is_enough(key, entry, &expected) {
                tracing::warn!(
                    topic = %name, setting = key, found = entry, expected,
                    "a topic of the action log has another setting than it was made with: it may lose \
                     actions, or keep what was erased"
                );
            }
        }
    }
}

fn describe_topic(shared: &Shared, name: &str) -> Result<ConfigResource, String> {
    let admin = shared.client.admin().map_err(|error| describe(&error))?;
    let asked = [ResourceSpecifier::Topic(name)];
    let described = wait_for(admin.describe_configs(&asked, &options()))?;
    let described = described.map_err(|error| describe(&error))?;
    let first = described.into_iter().next();
    first
        .ok_or_else(|| "no broker tells".to_owned())?
        .map_err(|code| code.to_string())
}

/// Whether the value of a setting is the expected one, or does as well.
fn is_enough(key: &str, found: Option<&str>, expected: &str) -> bool {
    let Some(found) = found else {
        // Brokers of other versions may not have it.
        return true;
    };
    let number = |text: &str| text.parse::<i64>().ok();
    match key {
        "cleanup.policy" => {
            let parts = |text: &str| {
                let mut parts: Vec<String> = text.split(',').map(str::to_owned).collect();
                parts.sort();
                parts
            };
            parts(found) == parts(expected)
        }
        // Longer is fine, and -1 is for ever.
        "retention.ms" | "retention.bytes" | "min.insync.replicas" => {
            let (found, expected) = (number(found), number(expected));
            found == Some(-1) || (expected != Some(-1) && found >= expected)
        }
        "segment.ms" | "max.compaction.lag.ms" => number(found) <= number(expected),
        _ => found == expected,
    }
}

/// What of the control topic counts, and how far it reaches.
fn read_control(shared: &Shared) -> Result<(Control, u64), NotOpen> {
    let stream = shared.names.control();
    let (_, newest) = shared.ends(stream, CALL_LIMIT).map_err(NotOpen::Yet)?;
    let mut records = Vec::new();
    read(shared, stream, (0, newest), &mut |raw| {
        records.push(raw.control_record());
        Ok(())
    })?;
    Ok((Control::load(records), newest))
}

/// Reads the control topic, and makes the record with the id of the log where there is none.
fn ensure_id(shared: &Shared, opener: Opener) -> Result<u64, NotOpen> {
    let (control, newest) = read_control(shared)?;
    let Some(found) = control.log().cloned() else {
        if let (Opener::Creates(_), 0) = (opener, newest) {
            refuse_used(shared)?;
        }
        return Err(create_id(shared, opener, newest));
    };
    let (Opener::Knows(id) | Opener::Creates(id)) = opener;
    let expected = LogRecord {
        id: if let Opener::Knows(_) = opener {
            id
        } else {
            found.id
        },
        ..LogRecord::new(id, shared.params.streams)
    };
    if found != expected {
        return Err(NotOpen::Refused(Refusal::Mismatch {
            what: format!(
                "the log of the topic {}",
                shared.names.topic(Topic::Control)
            ),
            found: shown(&found),
            expected: shown(&expected),
        }));
    }
    *shared.control() = control;
    Ok(found.id)
}

/// Refuses topics of actions that have had messages while the control topic has none: erasures
/// and pins of their log are lost.
fn refuse_used(shared: &Shared) -> Result<(), NotOpen> {
    let reaches = |stream| {
        let ends = shared.ends(stream, CALL_LIMIT).map_err(NotOpen::Yet);
        ends.map(|(_, newest)| newest)
    };
    for stream in 0..shared.names.actions() {
        if reaches(stream)? == 0 {
            continue;
        }
        let topic = shared.names.topic(Topic::Control);
        if reaches(shared.names.control())? > 0 {
            return Err(NotOpen::Yet(format!(
                "another replica has just written to the topic {topic}"
            )));
        }
        let used = shared.names.stream(stream);
        return Err(NotOpen::Refused(Refusal::Unusable(format!(
            "the topic {topic} is empty, while {used} has had messages: it was deleted, and \
             pins and erasures are lost; make the log anew from what a replica keeps"
        ))));
    }
    Ok(())
}

fn create_id(shared: &Shared, opener: Opener, newest: u64) -> NotOpen {
    let topic = shared.names.topic(Topic::Control);
    match opener {
        Opener::Knows(id) => {
            NotOpen::Yet(format!("the topic {topic} of the log {id:016x} is empty"))
        }
        Opener::Creates(_) if newest > 0 => NotOpen::Refused(Refusal::Mismatch {
            what: format!("the id of the log in the topic {topic}"),
            found: "missing".to_owned(),
            expected: "its first record".to_owned(),
        }),
        Opener::Creates(id) => {
            let record = LogRecord::new(id, shared.params.streams).to_bytes();
            let record = Outgoing::control(shared, id_key(), record);
            match publish(shared, &[record]) {
                // Another replica may have been faster: the next look tells.
                Ok(_) => NotOpen::Yet(format!("the topic {topic} just got the id of a log")),
                Err(error) => error.into(),
            }
        }
    }
}

fn shown(log: &LogRecord) -> String {
    let LogRecord {
        id,
        format,
        streams,
    } = log;
    format!("{id:016x} (format {format}, {streams} streams)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_do_as_well_are_taken() {
        for (key, found, expected, is_fine) in [
            ("cleanup.policy", "delete,compact", "compact,delete", true),
            ("cleanup.policy", "delete", "compact", false),
            ("retention.ms", "-1", "100", true),
            ("retention.ms", "200", "100", true),
            ("retention.ms", "99", "100", false),
            ("retention.ms", "604800000", "-1", false),
            ("min.insync.replicas", "1", "2", false),
            (
                "max.compaction.lag.ms",
                "9223372036854775807",
                SEGMENT,
                false,
            ),
            (
                "message.timestamp.type",
                "LogAppendTime",
                "CreateTime",
                false,
            ),
        ] {
            assert_eq!(
                is_enough(key, Some(found), expected),
                is_fine,
                "{key} {found}"
            );
        }
        assert!(is_enough("max.compaction.lag.ms", None, SEGMENT));
    }
}
