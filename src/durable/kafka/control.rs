//! What of the control topic counts.
//!
//! Each record has a key of its own, so that compaction removes nothing but what a record
//! without a value, a tombstone, names by its key. Kafka cannot make a record depend on what
//! is there. So all readers judge claims on the archive alike: a claim names the one that it
//! follows, and counts if that is the last one that counts before it. Claims before the last
//! are removed, those that do not count first, so that the first one that is left always
//! counts.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::model::PinId;

const ID: u8 = b'i';
const PIN: u8 = b'p';
const ERASURE: u8 = b'e';
const CLAIM: u8 = b'c';

const FORMAT: u64 = 1;

/// The key of a new record, without the bytes that make it unique.
pub(super) fn id_key() -> Vec<u8> {
    vec![ID]
}

pub(super) fn pin_key(pin: PinId) -> Vec<u8> {
    [&[PIN][..], &pin.0.to_be_bytes()].concat()
}

pub(super) fn erasure_key() -> Vec<u8> {
    vec![ERASURE]
}

/// The key of a claim that follows the one of number `after`.
pub(super) fn claim_key(after: u64) -> Vec<u8> {
    [&[CLAIM][..], &after.to_be_bytes()].concat()
}

/// Whether a record with this key is one that a replica writes.
pub(super) fn is_of_log(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(ID | PIN | ERASURE | CLAIM)))
}

/// The pin of whose change this is the key.
pub(super) fn pin_of(key: &[u8]) -> Option<PinId> {
    number_after(PIN, key).map(PinId)
}

fn claim_follows(key: &[u8]) -> Option<u64> {
    number_after(CLAIM, key)
}

fn number_after(kind: u8, key: &[u8]) -> Option<u64> {
    let (&first, rest) = key.split_first()?;
    let number = rest.first_chunk::<8>().filter(|_| first == kind)?;
    Some(u64::from_be_bytes(*number))
}

/// What the record with the id of a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogRecord {
    pub(super) id: u64,
    pub(super) format: u64,
    pub(super) streams: u64,
}

impl LogRecord {
    pub(super) fn new(id: u64, streams: usize) -> Self {
        Self {
            id,
            format: FORMAT,
            streams: streams as u64,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let id = format!("{:016x}", self.id);
        json!({ "log": id, "format": self.format, "streams": self.streams })
            .to_string()
            .into_bytes()
    }

    /// None if it is malformed.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            id: u64::from_str_radix(value["log"].as_str()?, 16).ok()?,
            format: value["format"].as_u64()?,
            streams: value["streams"].as_u64()?,
        })
    }
}

/// A record of the control topic. The value of one that has a log's id is kept.
#[derive(Clone, Debug)]
pub(super) struct ControlRecord {
    pub(super) sequence: u64,
    pub(super) key: Vec<u8>,
    pub(super) is_tombstone: bool,
    pub(super) log: Option<LogRecord>,
}

impl ControlRecord {
    pub(super) fn new(sequence: u64, key: &[u8], payload: Option<&[u8]>) -> Self {
        let is_log = key.first() == Some(&ID);
        Self {
            sequence,
            key: key.to_vec(),
            is_tombstone: payload.is_none(),
            log: payload.filter(|_| is_log).and_then(LogRecord::from_bytes),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    sequence: u64,
    key: Vec<u8>,
    counts: bool,
}

/// What of the control topic counts, up to where it was read.
#[derive(Debug, Default)]
pub(super) struct Control {
    through: u64,
    /// Keys of records that were removed, and may be there until the topic is compacted.
    removed: HashSet<Vec<u8>>,
    claims: Vec<Claim>,
    /// The last claim that counts; 0 for none.
    last: u64,
    log: Option<LogRecord>,
}

impl Control {
    /// What counts of all that is there.
    pub(super) fn load(records: Vec<ControlRecord>) -> Self {
        let tombstones = records.iter().filter(|record| record.is_tombstone);
        let mut all = Self {
            removed: tombstones.map(|record| record.key.clone()).collect(),
            ..Self::default()
        };
        for record in records {
            all.through = record.sequence;
            if record.is_tombstone || all.removed.contains(&record.key) {
                continue;
            }
            // The first one that is left counts whatever it follows, since that is removed.
            let is_first = all.claims.is_empty();
            all.add_claim(&record, is_first);
            // Of several replicas that create a log, the first gives it its id.
            all.log = all.log.take().or(record.log);
        }
        all
    }

    /// Takes a record that follows; nothing where it was taken before.
    pub(super) fn take(&mut self, record: &ControlRecord) {
        if record.sequence <= self.through {
            return;
        }
        self.through = record.sequence;
        match record.is_tombstone {
            true => self.claims.retain(|claim| claim.key != record.key),
            false => self.add_claim(record, false),
        }
    }

    fn add_claim(&mut self, record: &ControlRecord, is_first: bool) {
        let Some(follows) = claim_follows(&record.key) else {
            return;
        };
        let counts = is_first || follows == self.last;
        if counts {
            self.last = record.sequence;
        }
        self.claims.push(Claim {
            sequence: record.sequence,
            key: record.key.clone(),
            counts,
        });
    }

    /// How far it was read.
    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// The record with the id of the log.
    pub(super) fn log(&self) -> Option<&LogRecord> {
        self.log.as_ref()
    }

    /// The number of the last claim that counts; 0 for none.
    pub(super) fn last_claim(&self) -> u64 {
        self.last
    }

    /// Whether a record that was taken says something to a replica.
    pub(super) fn counts(&self, sequence: u64, key: &[u8]) -> bool {
        match key.first() {
            Some(&ID) => false,
            Some(&CLAIM) => {
                let mut claims = self.claims.iter();
                claims.any(|claim| claim.sequence == sequence && claim.counts)
            }
            _ => !self.removed.contains(key),
        }
    }

    /// Keys of the claims before the one of number `sequence`: those that do not count, and
    /// then those that do.
    pub(super) fn claims_before(&self, sequence: u64) -> [Vec<Vec<u8>>; 2] {
        [false, true].map(|counts| {
            let before = |claim: &&Claim| claim.sequence < sequence && claim.counts == counts;
            let before = self.claims.iter().filter(before);
            before.map(|claim| claim.key.clone()).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(sequence: u64, key: &[u8], payload: Option<&[u8]>) -> ControlRecord {
        ControlRecord::new(sequence, key, payload)
    }

    fn key(after: u64, unique: u8) -> Vec<u8> {
        [claim_key(after), vec![unique]].concat()
    }

    #[test]
    fn the_first_id_counts_and_is_read_as_it_was_written() {
        let log = |id| LogRecord::new(id, 3);
        let records = [9, 7].map(|id| log(id).to_bytes());
        let records = (1..).zip(&records);
        let records = records.map(|(at, bytes)| record(at, &[ID, at as u8], Some(bytes)));
        let all = Control::load(records.collect());
        assert_eq!(all.log(), Some(&log(9)));
        assert!(!all.counts(1, &[ID, 1]));
        assert_eq!(LogRecord::from_bytes(b"{}"), None);
    }

    #[test]
    fn a_removed_pin_says_nothing_and_another_change_of_it_does() {
        let pin = |unique| [pin_key(PinId(7)), vec![unique]].concat();
        assert_eq!(pin_of(&pin(1)), Some(PinId(7)));
        let records = vec![
            record(1, &pin(1), Some(b"x")),
            record(2, &pin(2), Some(b"y")),
            record(3, &pin(1), None),
        ];
        let all = Control::load(records);
        assert!(!all.counts(1, &pin(1)) && all.counts(2, &pin(2)));
    }

    /// A log that replicas claim, clean up and compact.
    #[derive(Clone, Debug)]
    enum Step {
        /// A claim after one of the last claims, which may count or be late.
        Claim { back: usize },
        /// What counts goes on to remove, one tombstone at a time.
        Remove { most: usize },
        /// Compaction of a part, which takes what has a tombstone.
        Compact { part: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0usize..3).prop_map(|back| Step::Claim { back }),
            2 => (0usize..5).prop_map(|most| Step::Remove { most }),
            1 => (0u64..4).prop_map(|part| Step::Compact { part }),
        ]
    }

    proptest! {
        #[test]
        fn whoever_reads_from_the_start_judges_like_who_was_there_all_along(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut log: Vec<ControlRecord> = Vec::new();
            let mut live = Control::default();
            let mut counted = vec![0];
            let mut next = 1;
            let mut append = |log: &mut Vec<ControlRecord>, key: &[u8], payload| {
                let record = record(next, key, payload);
                next += 1;
                log.push(record.clone());
                record
            };
            for (unique, step) in (0..).zip(steps) {
                match step {
                    Step::Claim { back } => {
                        let after = counted[counted.len().saturating_sub(1 + back)];
                        let key = key(after, unique);
                        let record = append(&mut log, &key, Some(&b"claim"[..]));
                        live.take(&record);
                        prop_assert_eq!(live.counts(record.sequence, &key), back == 0 || counted.len() == 1);
                        if live.counts(record.sequence, &key) {
                            counted.push(record.sequence);
                        }
                    }
                    Step::Remove { most } => {
                        let keys = live.claims_before(live.last_claim()).concat();
                        for key in keys.into_iter().take(most) {
                            let record = append(&mut log, &key, None);
                            live.take(&record);
                        }
                    }
                    Step::Compact { part } => {
                        let dead: HashSet<Vec<u8>> = log
                            .iter()
                            .filter(|record| record.is_tombstone)
                            .map(|record| record.key.clone())
                            .collect();
                        // Not all of a topic is compacted at once.
                        log.retain(|record| {
                            record.is_tombstone
                                || record.sequence % 4 != part
                                || !dead.contains(&record.key)
                        });
                    }
                }
                let fresh = Control::load(log.clone());
                prop_assert_eq!(fresh.last_claim(), live.last_claim());
                let counting = |all: &Control| -> Vec<u64> {
                    let counting = all.claims.iter().filter(|claim| claim.counts);
                    counting.map(|claim| claim.sequence).collect()
                };
                prop_assert_eq!(counting(&fresh), counting(&live));
            }
        }
    }
}
