//! Encoding of records in the store: numbers in little endian, texts in UTF-8.

use crate::model::{Action, ActionId, PinId, Timestamp, UserId};

/// Bytes before the name in the record of an action.
const HEAD: usize = 33;

/// The last change of a pin since a catalog was built.
#[derive(Clone, Debug, PartialEq)]
pub enum PinRecord {
    /// It is new, or it changed.
    Upserted {
        /// Name of the model that made the vector.
        embedding_version: String,
        /// Of length one.
        vector: Vec<f32>,
        /// A title for people; may be empty.
        title: String,
    },
    /// It is gone.
    Deleted,
}

/// Bytes of the place of an action, behind the head.
const PLACE: usize = 16;

/// Bit of the byte behind the numbers of an action: it has a medoid.
const HAS_MEDOID: u8 = 1;
/// Bit of the same byte: the action is never forgotten.
const IS_KEPT: u8 = 2;
/// Bit of the same byte: the place follows. Records of the format before have none.
const HAS_PLACE: u8 = 4;

/// Where an action stands in the order in which the log took them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number: that of an action that was taken later is higher. Numbers may be
    /// left out.
    pub sequence: u64,
    /// The clock of the server when it was taken. It never falls as numbers rise.
    pub recorded_at: Timestamp,
}

impl Place {
    /// The encoded place: number and time in 8 bytes each.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..].copy_from_slice(&self.recorded_at.micros().to_le_bytes());
        bytes
    }

    /// Decodes a place; none if it is malformed.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let ([sequence, micros], []) = bytes.as_chunks::<8>() else {
            return None;
        };
        Some(Self {
            sequence: u64::from_le_bytes(*sequence),
            recorded_at: Timestamp::from_micros(i64::from_le_bytes(*micros)),
        })
    }
}

/// What the log knows of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ActionFacts {
    /// Whether it is never forgotten.
    pub(super) is_kept: bool,
    /// None in a record of the format before.
    pub(super) place: Option<Place>,
}

/// Encodes user, pin, time and medoid in 8 bytes each, then one byte of bits, then its
/// place, then the name.
pub(super) fn encode_action(action: &Action, facts: ActionFacts) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + PLACE + action.name.len());
    record.extend(action.user.0.to_le_bytes());
    record.extend(action.pin.0.to_le_bytes());
    record.extend(action.time.micros().to_le_bytes());
    record.extend(action.medoid.map_or(0, |medoid| medoid.0).to_le_bytes());
    let has_medoid = u8::from(action.medoid.is_some()) * HAS_MEDOID;
    let has_place = u8::from(facts.place.is_some()) * HAS_PLACE;
    record.push(has_medoid | has_place | (u8::from(facts.is_kept) * IS_KEPT));
    if let Some(place) = facts.place {
        record.extend(place.to_bytes());
    }
    record.extend(action.name.as_bytes());
    record
}

/// Decodes the action of a key and its record, and what the log knows of it; none if
/// they are malformed.
pub(super) fn decode_action(key: &[u8], value: &[u8]) -> Option<(Action, ActionFacts)> {
    let (head, rest) = value.split_at_checked(HEAD)?;
    let (numbers, bits) = head.as_chunks::<8>();
    let (place, name) = match bits[0] & HAS_PLACE {
        0 => (None, rest),
        _ => decode_place(rest)?,
    };
    let medoid = PinId(u64::from_le_bytes(numbers[3]));
    let action = Action {
        id: ActionId(key.try_into().ok()?),
        user: UserId(u64::from_le_bytes(numbers[0])),
        pin: PinId(u64::from_le_bytes(numbers[1])),
        time: Timestamp::from_micros(i64::from_le_bytes(numbers[2])),
        medoid: (bits[0] & HAS_MEDOID != 0).then_some(medoid),
        keys: None,
        name: String::from_utf8(name.to_vec()).ok()?,
    };
    let is_kept = bits[0] & IS_KEPT != 0;
    Some((action, ActionFacts { is_kept, place }))
}

/// Decodes the place at the beginning of `bytes`, and returns what follows.
fn decode_place(bytes: &[u8]) -> Option<(Option<Place>, &[u8])> {
    let (place, rest) = bytes.split_at_checked(PLACE)?;
    let place = Place::from_bytes(place)?;
    Some((Some(place), rest))
}

/// Encodes a deleted pin as nothing, and another one as the lengths of version and vector
/// in 4 bytes each, then both, then the title.
pub(super) fn encode_pin(record: &PinRecord) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let PinRecord::Upserted {
        embedding_version,
        vector,
        title,
    } = record
    {
        bytes.extend((embedding_version.len() as u32).to_le_bytes());
        bytes.extend((vector.len() as u32).to_le_bytes());
        bytes.extend(embedding_version.as_bytes());
        vector.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        bytes.extend(title.as_bytes());
    }
    bytes
}

/// Decodes the pin of a key and its record; none if they are malformed.
pub(super) fn decode_pin(key: &[u8], value: &[u8]) -> Option<(PinId, PinRecord)> {
    let pin = PinId(u64::from_be_bytes(key.try_into().ok()?));
    if value.is_empty() {
        return Some((pin, PinRecord::Deleted));
    }
    let (lengths, rest) = value.split_at_checked(8)?;
    let (lengths, _) = lengths.as_chunks::<4>();
    let [version, vector] = [0, 1].map(|at| u32::from_le_bytes(lengths[at]) as usize);
    let (version, rest) = rest.split_at_checked(version)?;
    let (vector, title) = rest.split_at_checked(vector.checked_mul(4)?)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let (components, _) = vector.as_chunks::<4>();
    Some((
        pin,
        PinRecord::Upserted {
            embedding_version: text(version)?,
            vector: components.iter().map(|x| f32::from_le_bytes(*x)).collect(),
            title: text(title)?,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written_and_nothing_else_is_read() {
        let action = Action {
            id: ActionId([7; 16]),
            user: UserId(u64::MAX),
            pin: PinId(3),
            name: "save".to_owned(),
            time: Timestamp::from_micros(-5),
            medoid: Some(PinId(0)),
            keys: None,
        };
        let place = Place {
            sequence: 1 << 40,
            recorded_at: Timestamp::from_micros(9),
        };
        for (is_kept, place) in [(true, None), (false, Some(place))] {
            let facts = ActionFacts { is_kept, place };
            let bytes = encode_action(&action, facts);
            let decoded = decode_action(&[7; 16], &bytes);
            assert_eq!(decoded, Some((action.clone(), facts)));
            assert_eq!(decode_action(&[7; 15], &bytes), None);
            let head = HEAD + place.map_or(0, |_| PLACE);
            assert_eq!(decode_action(&[7; 16], &bytes[..head - 1]), None);
        }
        let upserted = PinRecord::Upserted {
            embedding_version: "model-1".to_owned(),
            vector: vec![0.6, -0.8],
            title: "a pin".to_owned(),
        };
        let key = 9u64.to_be_bytes();
        for record in [upserted.clone(), PinRecord::Deleted] {
            let bytes = encode_pin(&record);
            assert_eq!(decode_pin(&key, &bytes), Some((PinId(9), record)));
        }
        let bytes = encode_pin(&upserted);
        for length in 1..bytes.len() - "a pin".len() {
            assert_eq!(decode_pin(&key, &bytes[..length]), None, "{length}");
        }
    }
}
