//! Encoding of records in the store: numbers in little endian, texts in UTF-8.

use crate::model::{
    Action, ActionId, ActionKeys, MAX_KEY, PinAttributes, PinId, Timestamp, UserId,
};

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
        /// What the caller calls it; empty where that is the id.
        key: String,
        /// What filters go by.
        attributes: PinAttributes,
    },
    /// It is gone.
    Deleted,
}

/// A change of a pin.
pub type PinChange = (PinId, PinRecord);

/// Bytes of the place of an action, behind the head.
const PLACE: usize = 16;

/// Bit of the byte behind the numbers of an action: it has a medoid.
const HAS_MEDOID: u8 = 1;
/// Bit of the same byte: the action is never forgotten.
const IS_KEPT: u8 = 2;
/// Bit of the same byte: the place follows. Records of the format before have none.
const HAS_PLACE: u8 = 4;
/// Bit of the same byte: keys stand before the name. Only records of actions that have some
/// are so.
const HAS_KEYS: u8 = 8;

/// Bit of the first length of a pin: its key stands before the title.
const HAS_KEY: u32 = 1 << 31;
/// Bit of the same length: its attributes stand before the title, behind the key. Only
/// records of pins that have some are so.
const HAS_ATTRIBUTES: u32 = 1 << 30;

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
/// place, then the keys of user, pin and medoid where there are any, then the name.
pub(super) fn encode_action(action: &Action, facts: ActionFacts) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + PLACE + action.name.len());
    append_action(action, facts, &mut record);
    record
}

/// Appends the same to `record`.
pub(super) fn append_action(action: &Action, facts: ActionFacts, record: &mut Vec<u8>) {
    record.extend(action.user.0.to_le_bytes());
    record.extend(action.pin.0.to_le_bytes());
    record.extend(action.time.micros().to_le_bytes());
    record.extend(action.medoid.map_or(0, |medoid| medoid.0).to_le_bytes());
    let has_medoid = u8::from(action.medoid.is_some()) * HAS_MEDOID;
    let has_place = u8::from(facts.place.is_some()) * HAS_PLACE;
    let has_keys = u8::from(action.keys.is_some()) * HAS_KEYS;
    let is_kept = u8::from(facts.is_kept) * IS_KEPT;
    record.push(has_medoid | has_place | has_keys | is_kept);
    if let Some(place) = facts.place {
        record.extend(place.to_bytes());
    }
    if let Some(keys) = &action.keys {
        encode_keys(keys, record);
    }
    record.extend(action.name.as_bytes());
}

/// Decodes the action of a key and its record, and what the log knows of it; none if
/// they are malformed.
pub(super) fn decode_action(key: &[u8], value: &[u8]) -> Option<(Action, ActionFacts)> {
    let (head, rest) = value.split_at_checked(HEAD)?;
    let (numbers, bits) = head.as_chunks::<8>();
    let (place, rest) = match bits[0] & HAS_PLACE {
        0 => (None, rest),
        _ => decode_place(rest)?,
    };
    let (keys, name) = match bits[0] & HAS_KEYS {
        0 => (None, rest),
        _ => decode_keys(rest)?,
    };
    let medoid = PinId(u64::from_le_bytes(numbers[3]));
    let action = Action {
        id: ActionId(key.try_into().ok()?),
        user: UserId(u64::from_le_bytes(numbers[0])),
        pin: PinId(u64::from_le_bytes(numbers[1])),
        time: Timestamp::from_micros(i64::from_le_bytes(numbers[2])),
        medoid: (bits[0] & HAS_MEDOID != 0).then_some(medoid),
        keys,
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

/// Appends the keys of user, pin and medoid.
pub(super) fn encode_keys(keys: &ActionKeys, out: &mut Vec<u8>) {
    for key in [&keys.user, &keys.pin, &keys.medoid] {
        encode_key(key.as_deref().unwrap_or_default(), out);
    }
}

/// Decodes the keys at the beginning of `bytes`, and returns what follows.
pub(super) fn decode_keys(bytes: &[u8]) -> Option<(Option<Box<ActionKeys>>, &[u8])> {
    let (user, rest) = decode_key(bytes)?;
    let (pin, rest) = decode_key(rest)?;
    let (medoid, rest) = decode_key(rest)?;
    let [user, pin, medoid] =
        [user, pin, medoid].map(|key| Some(key).filter(|key| !key.is_empty()));
    let keys = ActionKeys { user, pin, medoid };
    Some((keys.some(), rest))
}

/// Appends the length of `key` in 2 bytes, and the key; an empty one stands for none.
fn encode_key(key: &str, out: &mut Vec<u8>) {
    debug_assert!(key.len() <= MAX_KEY, "keys are checked where they come in");
    out.extend((key.len() as u16).to_le_bytes());
    out.extend(key.as_bytes());
}

/// Decodes the key at the beginning of `bytes`, and returns what follows.
fn decode_key(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_le_bytes(*length));
    let (key, rest) = rest
        .split_at_checked(length)
        .filter(|_| length <= MAX_KEY)?;
    Some((String::from_utf8(key.to_vec()).ok()?, rest))
}

/// Encodes a deleted pin as nothing, and another one as the lengths of version and vector
/// in 4 bytes each, then both, then the key where there is one, then the attributes where
/// there are some, as their length in 4 bytes and JSON, then the title.
pub(super) fn encode_pin(record: &PinRecord) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let PinRecord::Upserted {
        embedding_version,
        vector,
        title,
        key,
        attributes,
    } = record
    {
        let has_key = u32::from(!key.is_empty()) * HAS_KEY;
        let has_attributes = u32::from(!attributes.is_empty()) * HAS_ATTRIBUTES;
        let version_length = embedding_version.len() as u32;
        bytes.extend((version_length | has_key | has_attributes).to_le_bytes());
        bytes.extend((vector.len() as u32).to_le_bytes());
        bytes.extend(embedding_version.as_bytes());
        vector.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        if !key.is_empty() {
            encode_key(key, &mut bytes);
        }
        if !attributes.is_empty() {
            // Names, words, bools and finite numbers always have a spelling.
            let attributes = serde_json::to_vec(attributes).unwrap_or_default();
            bytes.extend((attributes.len() as u32).to_le_bytes());
            bytes.extend(attributes);
        }
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
    let [version, vector] = [0, 1].map(|at| u32::from_le_bytes(lengths[at]));
    let (has_key, has_attributes) = (version & HAS_KEY != 0, version & HAS_ATTRIBUTES != 0);
    let version_length = version & !(HAS_KEY | HAS_ATTRIBUTES);
    let (version, rest) = rest.split_at_checked(version_length as usize)?;
    let (vector, rest) = rest.split_at_checked((vector as usize).checked_mul(4)?)?;
    let (key, rest) = match has_key {
        true => decode_key(rest)?,
        false => (String::new(), rest),
    };
    let (attributes, title) = match has_attributes {
        true => decode_attributes(rest)?,
        false => (PinAttributes::default(), rest),
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let (components, _) = vector.as_chunks::<4>();
    Some((
        pin,
        PinRecord::Upserted {
            embedding_version: text(version)?,
            vector: components.iter().map(|x| f32::from_le_bytes(*x)).collect(),
            title: text(title)?,
            key,
            attributes,
        },
    ))
}

/// Decodes the attributes at the beginning of `bytes`, and returns what follows.
fn decode_attributes(bytes: &[u8]) -> Option<(PinAttributes, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    let (attributes, rest) = rest.split_at_checked(length)?;
    Some((serde_json::from_slice(attributes).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AttributeValue;

    fn action(keys: Option<Box<ActionKeys>>) -> Action {
        Action {
            id: ActionId([7; 16]),
            user: UserId(u64::MAX),
            pin: PinId(3),
            name: "save".to_owned(),
            time: Timestamp::from_micros(-5),
            medoid: Some(PinId(0)),
            keys,
        }
    }

    fn pin(key: &str) -> PinRecord {
        PinRecord::Upserted {
            embedding_version: "model-1".to_owned(),
            vector: vec![0.6, -0.8],
            title: "a pin".to_owned(),
            key: key.to_owned(),
            attributes: PinAttributes::default(),
        }
    }

    fn pin_with_attributes(key: &str) -> PinRecord {
        let PinRecord::Upserted {
            embedding_version,
            vector,
            title,
            key,
            ..
        } = pin(key)
        else {
            unreachable!("the pin is upserted");
        };
        PinRecord::Upserted {
            embedding_version,
            vector,
            title,
            key,
            attributes: PinAttributes::new([
                ("price".to_owned(), AttributeValue::Number(0.1)),
                ("safe".to_owned(), AttributeValue::Bool(true)),
                (
                    "brand".to_owned(),
                    AttributeValue::words(vec!["a".to_owned()]),
                ),
            ]),
        }
    }

    #[test]
    fn actions_are_read_as_they_were_written_and_nothing_else_is_read() {
        let keys = ActionKeys {
            user: Some("u".repeat(MAX_KEY)),
            pin: None,
            medoid: Some("茶".to_owned()),
        };
        let place = Place {
            sequence: 1 << 40,
            recorded_at: Timestamp::from_micros(9),
        };
        for keys in [None, keys.some()] {
            for (is_kept, place) in [(true, None), (false, Some(place))] {
                let (action, facts) = (action(keys.clone()), ActionFacts { is_kept, place });
                let bytes = encode_action(&action, facts);
                let decoded = decode_action(&[7; 16], &bytes);
                assert_eq!(decoded, Some((action, facts)));
                assert_eq!(decode_action(&[7; 15], &bytes), None);
                for length in 0..bytes.len() - "save".len() {
                    assert_eq!(decode_action(&[7; 16], &bytes[..length]), None, "{length}");
                }
            }
        }
    }

    #[test]
    fn pins_are_read_as_they_were_written_and_nothing_else_is_read() {
        let key = 9u64.to_be_bytes();
        let deleted = encode_pin(&PinRecord::Deleted);
        assert_eq!(
            decode_pin(&key, &deleted),
            Some((PinId(9), PinRecord::Deleted))
        );
        let records = [
            pin(""),
            pin("tea"),
            pin(&"x".repeat(MAX_KEY)),
            pin_with_attributes(""),
            pin_with_attributes("tea"),
        ];
        for record in records {
            let bytes = encode_pin(&record);
            for length in 1..bytes.len() - "a pin".len() {
                assert_eq!(decode_pin(&key, &bytes[..length]), None, "{length}");
            }
            assert_eq!(decode_pin(&key, &bytes), Some((PinId(9), record)));
        }
    }

    #[test]
    fn records_without_keys_are_what_they_were_before_there_were_any() {
        let facts = ActionFacts {
            is_kept: false,
            place: None,
        };
        let mut expected = Vec::new();
        expected.extend([0xff; 8]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend((-5i64).to_le_bytes());
        expected.extend([0; 8]);
        expected.push(HAS_MEDOID);
        expected.extend(b"save");
        assert_eq!(encode_action(&action(None), facts), expected);
        let mut expected = vec![7, 0, 0, 0, 2, 0, 0, 0];
        expected.extend(b"model-1");
        expected.extend(0.6f32.to_le_bytes());
        expected.extend((-0.8f32).to_le_bytes());
        expected.extend(b"a pin");
        assert_eq!(encode_pin(&pin("")), expected);
    }

    #[test]
    fn what_is_read_of_damaged_records_can_be_written_again() {
        let keys = ActionKeys {
            user: Some("u".to_owned()),
            pin: Some("茶".to_owned()),
            medoid: None,
        };
        let place = Some(Place {
            sequence: 1,
            recorded_at: Timestamp::from_micros(9),
        });
        let is_kept = false;
        let bytes = encode_action(&action(keys.some()), ActionFacts { is_kept, place });
        let pin_bytes = encode_pin(&pin("tea"));
        for (at, value) in (0..bytes.len()).flat_map(|at| (0..=255).map(move |x| (at, x))) {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            if let Some((action, facts)) = decode_action(&[7; 16], &damaged) {
                let again = encode_action(&action, facts);
                assert_eq!(decode_action(&[7; 16], &again), Some((action, facts)));
            }
            let mut damaged = pin_bytes.clone();
            if let Some(byte) = damaged.get_mut(at) {
                *byte = value;
            }
            if let Some((pin, record)) = decode_pin(&[7; 8], &damaged) {
                let bits = encode_pin(&record);
                let (read, again) = decode_pin(&[7; 8], &bits).expect("what was written");
                // Components may be no numbers, which equal nothing.
                assert_eq!((read, encode_pin(&again)), (pin, bits));
            }
        }
    }

    #[test]
    fn keys_of_no_text_or_too_long_are_refused_and_no_keys_are_none() {
        let keys = ActionKeys {
            user: Some("tea".to_owned()),
            ..ActionKeys::default()
        };
        let facts = ActionFacts {
            is_kept: false,
            place: None,
        };
        let mut bytes = encode_action(&action(keys.some()), facts);
        bytes[HEAD + 2] = 0xff;
        assert_eq!(decode_action(&[7; 16], &bytes), None);
        // A key of 257 bytes before two that are none.
        bytes.truncate(HEAD);
        bytes.extend([1, 1]);
        bytes.extend([b'x'; 257]);
        bytes.extend([0; 4]);
        assert_eq!(decode_action(&[7; 16], &bytes), None);
        let bytes = encode_action(&action(Some(Box::default())), facts);
        assert_eq!(decode_action(&[7; 16], &bytes), Some((action(None), facts)));
    }
}
