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

/// Bit of the byte behind the numbers of an action: it has a medoid.
const HAS_MEDOID: u8 = 1;
/// Bit of the same byte: the action is never forgotten.
const IS_KEPT: u8 = 2;

/// Encodes user, pin, time and medoid in 8 bytes each, then one byte of bits, then the
/// name.
pub(super) fn encode_action(action: &Action, is_kept: bool) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + action.name.len());
    record.extend(action.user.0.to_le_bytes());
    record.extend(action.pin.0.to_le_bytes());
    record.extend(action.time.micros().to_le_bytes());
    record.extend(action.medoid.map_or(0, |medoid| medoid.0).to_le_bytes());
    let has_medoid = u8::from(action.medoid.is_some()) * HAS_MEDOID;
    record.push(has_medoid | (u8::from(is_kept) * IS_KEPT));
    record.extend(action.name.as_bytes());
    record
}

/// Decodes the action of a key and its record, and whether it is never forgotten; none
/// if they are malformed.
pub(super) fn decode_action(key: &[u8], value: &[u8]) -> Option<(Action, bool)> {
    let (head, name) = value.split_at_checked(HEAD)?;
    let (numbers, bits) = head.as_chunks::<8>();
    let medoid = PinId(u64::from_le_bytes(numbers[3]));
    let action = Action {
        id: ActionId(key.try_into().ok()?),
        user: UserId(u64::from_le_bytes(numbers[0])),
        pin: PinId(u64::from_le_bytes(numbers[1])),
        time: Timestamp::from_micros(i64::from_le_bytes(numbers[2])),
        medoid: (bits[0] & HAS_MEDOID != 0).then_some(medoid),
        name: String::from_utf8(name.to_vec()).ok()?,
    };
    Some((action, bits[0] & IS_KEPT != 0))
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
        };
        let bytes = encode_action(&action, true);
        assert_eq!(decode_action(&[7; 16], &bytes), Some((action, true)));
        assert_eq!(decode_action(&[7; 15], &bytes), None);
        assert_eq!(decode_action(&[7; 16], &bytes[..HEAD - 1]), None);
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
