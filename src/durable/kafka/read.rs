//! Reads a part of one stream.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::super::error::LogError;
use super::super::positions::Position;
use super::client::{Consumer, describe};
use super::control::ControlRecord;
use super::names::{Names, offset_after, position};
use super::shared::Shared;
use crate::model::Timestamp;

const POLL: Duration = Duration::from_millis(50);

/// A message as it was read.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) position: Position,
    /// Milliseconds since 1970; none where the brokers do not tell.
    pub(super) millis: Option<i64>,
    pub(super) key: Vec<u8>,
    /// None for one that removes another.
    pub(super) payload: Option<Vec<u8>>,
}

impl Raw {
    /// None for a message of a partition that is none of the log.
    pub(super) fn new(names: &Names, message: &BorrowedMessage<'_>) -> Option<Self> {
        let stream = names.number(message.topic(), message.partition())?;
        Some(Self {
            position: position(stream, message.offset()),
            millis: message.timestamp().to_millis(),
            key: message.key().unwrap_or_default().to_vec(),
            payload: message.payload().map(<[u8]>::to_vec),
        })
    }

    pub(super) fn stored_at(&self) -> Timestamp {
        Timestamp::from_micros(self.millis.unwrap_or(0).saturating_mul(1_000))
    }

    pub(super) fn control_record(&self) -> ControlRecord {
        ControlRecord::new(self.position.sequence, &self.key, self.payload.as_deref())
    }
}

/// Calls `take` with the messages of `stream` after number `after` and up to `through`, which
/// the leader has told. Some may be gone.
///
/// # Errors
///
/// Where the leader cannot be read for as long as an append may take, or tells less than
/// `through` by now, where `take` fails, or where the log is closed.
pub(super) fn read(
    shared: &Shared,
    stream: u8,
    (after, through): (u64, u64),
    take: &mut dyn FnMut(Raw) -> Result<(), LogError>,
) -> Result<(), LogError> {
    read_unless(&shared.is_over, shared, stream, (after, through), take)
}

/// As [`read`], and ends with an error soon after `is_over` comes true.
pub(super) fn read_unless(
    is_over: &AtomicBool,
    shared: &Shared,
    stream: u8,
    (after, through): (u64, u64),
    take: &mut dyn FnMut(Raw) -> Result<(), LogError>,
) -> Result<(), LogError> {
    if after >= through {
        return Ok(());
    }
    let limit = shared.params.append_timeout;
    let failed = |reason: String| {
        let name = shared.names.stream(stream);
        shared.unreachable(format!("{name} cannot be read after {after}: {reason}"))
    };
    let ends = || shared.ends_unless(is_over, stream, limit).map_err(failed);
    let (first, newest) = ends()?;
    if newest < through {
        return Err(failed(format!("it ends at {newest}, before {through}")));
    }
    if first >= through {
        return Ok(());
    }
    let consumer = consumer_after(shared, stream, after.max(first));
    let consumer = consumer.map_err(|error| failed(describe(&error)))?;
    let mut deadline = Instant::now() + limit;
    let mut last_failure = "nothing came".to_owned();
    loop {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                let Some(raw) = Raw::new(&shared.names, &message) else {
                    continue;
                };
                let Position { sequence, .. } = raw.position;
                if sequence <= through {
                    take(raw)?;
                }
                if sequence >= through {
                    return Ok(());
                }
                deadline = Instant::now() + limit;
            }
            // A leader that does not have all yet, or not any more, tells an end as well. Nothing
            // is missing only where all up to `through` was deleted meanwhile.
            Some(Err(KafkaError::PartitionEOF(_))) => {
                if ends()?.0 >= through {
                    return Ok(());
                }
                last_failure = format!("a broker tells an end before {through}");
            }
            Some(Err(error)) => last_failure = describe(&error),
            None => {}
        }
        if is_over.load(Ordering::Acquire) || Instant::now() >= deadline {
            return Err(failed(last_failure));
        }
    }
}

/// A consumer of what follows number `after` of a stream.
fn consumer_after(shared: &Shared, stream: u8, after: u64) -> Result<Consumer, KafkaError> {
    let consumer = shared.client.consumer(true)?;
    let (topic, partition) = shared.names.place(stream);
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset(&topic, partition, Offset::Offset(offset_after(after)))?;
    consumer.assign(&assigned)?;
    Ok(consumer)
}
