//! Encoding of the messages of a shared log. Numbers are in little endian, texts in UTF-8.
//!
//! | bytes | what |
//! | --- | --- |
//! | 2 | `PF` |
//! | 1 | version, 1 |
//! | 1 | kind: 1 actions, 2 a pin, 3 an erasure, 4 a claim on a part of the archive |
//! | | what the kind has |
//! | 8 | XXH3-64 of all before |
//!
//! Actions: 16 bytes of the append, 8 of the clock of the server, 1 of bits (1 never
//! forgotten, 2 written anew after an erasure), 2 of their number. Written anew, the stream
//! (1) and the number (8) of the old message follow, and 2 for the place of each action in
//! it. Each action has 1 byte of bits, which say what is as in the action before or missing,
//! 16 of its id, then user, pin and time in 8 bytes each, the medoid in 8, the
//! length of the name in 1 and the name, and the lengths of three keys in 2 bytes each before
//! them. An impression on the same page as the one before takes 25 bytes.

use xxhash_rust::xxh3::xxh3_64;

use super::action_log::{ActionBatch, ActionFrame, FrameId, Message, Origin};
use super::erasures::UserDigest;
use super::positions::{MAX_STREAMS, Position};
use super::records::{PinChange, decode_keys, decode_pin, encode_keys, encode_pin};
use crate::model::{Action, ActionId, MAX_ACTION_NAME, MAX_KEY, PinId, Timestamp, UserId};

const MAGIC: [u8; 2] = *b"PF";
const VERSION: u8 = 1;
const ACTIONS: u8 = 1;
const PIN: u8 = 2;
const ERASURE: u8 = 3;
const CLAIM: u8 = 4;

/// Bits of a message of actions.
const IS_KEPT: u8 = 1;
const IS_WRITTEN_ANEW: u8 = 2;

/// Bits of an action: what it shares with the one before, or has.
const SAME_USER: u8 = 1;
const SAME_TIME: u8 = 2;
const SAME_NAME: u8 = 4;
const HAS_MEDOID: u8 = 8;
const SAME_MEDOID: u8 = 16;
const HAS_KEYS: u8 = 32;

/// Bytes of all that is not in the actions themselves, and most of one action.
const OVERHEAD: usize = 64;
const MAX_ACTION: usize = 1 + 5 * 8 + 8 + 1 + MAX_ACTION_NAME + 3 * (2 + MAX_KEY);
/// Actions in one message; the number of each fits into 2 bytes.
const MAX_ACTIONS: usize = 1 << 15;
/// The least limit of a message that leaves room for an action.
pub(super) const MIN_FRAME_BYTES: usize = OVERHEAD + MAX_ACTION;

/// An encoded message of actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EncodedFrame {
    pub(super) bytes: Vec<u8>,
    /// Whether its actions are never forgotten.
    pub(super) is_kept: bool,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is none of ours, or damaged.
    #[error("its bytes are damaged")]
    Damaged,
    /// A later version has written it.
    #[error("it is of version {0}, and this program knows version {VERSION}")]
    Version(u8),
}

/// Encodes `batch` as messages of at most `max_bytes` each: those that are never forgotten
/// apart from the others.
pub(super) fn encode_batch(batch: &ActionBatch<'_>, max_bytes: usize) -> Vec<EncodedFrame> {
    let (kept, others): (Vec<&Action>, Vec<&Action>) = batch
        .actions
        .iter()
        .partition(|&&action| (batch.is_kept)(action));
    let mut frames = Vec::new();
    for (is_kept, actions) in [(false, others), (true, kept)] {
        let mut left = &actions[..];
        while !left.is_empty() {
            let head = ActionFrame {
                frame: batch.frame,
                recorded_at: batch.recorded_at,
                is_kept,
                origin: None,
                actions: Vec::new(),
            };
            let (bytes, taken) = encode_actions(&head, left, max_bytes);
            left = &left[taken..];
            frames.push(EncodedFrame { bytes, is_kept });
        }
    }
    frames
}

/// Encodes `message`; none if it is one that is gone, which stands in no log.
#[must_use]
pub fn encode(message: &Message) -> Option<Vec<u8>> {
    Some(match message {
        Message::Actions(frame) => encode_frame(frame),
        Message::Pin(change) => encode_pin_change(change),
        Message::Erasure { user, erased_at } => encode_erasure(*user, *erased_at),
        Message::ArchiveClaim(claim) => encode_claim(claim),
        Message::Gone => return None,
    })
}

/// Encodes all of `frame`, which was once a message and has lost actions since.
pub(super) fn encode_frame(frame: &ActionFrame) -> Vec<u8> {
    let actions: Vec<&Action> = frame.actions.iter().collect();
    encode_actions(frame, &actions, usize::MAX).0
}

/// Encodes as many of `actions` as `max_bytes` hold, and returns their number; `head` has the
/// rest of the message.
fn encode_actions(head: &ActionFrame, actions: &[&Action], max_bytes: usize) -> (Vec<u8>, usize) {
    let mut bytes = begin(ACTIONS);
    bytes.extend(head.frame.0);
    bytes.extend(head.recorded_at.micros().to_le_bytes());
    let is_kept = u8::from(head.is_kept) * IS_KEPT;
    let is_written_anew = u8::from(head.origin.is_some()) * IS_WRITTEN_ANEW;
    bytes.push(is_kept | is_written_anew);
    let count_at = bytes.len();
    bytes.extend([0; 2]);
    if let Some(Origin { position, places }) = &head.origin {
        bytes.push(position.stream);
        bytes.extend(position.sequence.to_le_bytes());
        places
            .iter()
            .for_each(|place| bytes.extend(place.to_le_bytes()));
    }
    let mut before = None;
    let mut taken = 0;
    for &action in actions.iter().take(MAX_ACTIONS) {
        if taken > 0 && bytes.len() + MAX_ACTION + 8 > max_bytes {
            break;
        }
        encode_action(action, before, &mut bytes);
        before = Some(action);
        taken += 1;
    }
    bytes[count_at..count_at + 2].copy_from_slice(&(taken as u16).to_le_bytes());
    (end(bytes), taken)
}

fn encode_action(action: &Action, before: Option<&Action>, bytes: &mut Vec<u8>) {
    let is_same = |same: fn(&Action, &Action) -> bool| before.is_some_and(|b| same(b, action));
    let same_user = is_same(|a, b| a.user == b.user);
    let same_time = is_same(|a, b| a.time == b.time);
    let same_name = is_same(|a, b| a.name == b.name);
    let same_medoid = action.medoid.is_some() && is_same(|a, b| a.medoid == b.medoid);
    let bits = [
        (same_user, SAME_USER),
        (same_time, SAME_TIME),
        (same_name, SAME_NAME),
        (action.medoid.is_some(), HAS_MEDOID),
        (same_medoid, SAME_MEDOID),
        (action.keys.is_some(), HAS_KEYS),
    ];
    let set = bits.iter().filter(|(is_set, _)| *is_set);
    bytes.push(set.fold(0, |all, (_, bit)| all | bit));
    bytes.extend(action.id.0);
    if !same_user {
        bytes.extend(action.user.0.to_le_bytes());
    }
    bytes.extend(action.pin.0.to_le_bytes());
    if !same_time {
        bytes.extend(action.time.micros().to_le_bytes());
    }
    if let Some(medoid) = action.medoid.filter(|_| !same_medoid) {
        bytes.extend(medoid.0.to_le_bytes());
    }
    if !same_name {
        debug_assert!(
            action.name.len() <= MAX_ACTION_NAME,
            "checked where it comes in"
        );
        bytes.push(action.name.len() as u8);
        bytes.extend(action.name.as_bytes());
    }
    if let Some(keys) = &action.keys {
        encode_keys(keys, bytes);
    }
}

/// Encodes a change of a pin: 8 bytes of the pin in big endian, and the record as in the
/// embedded log.
pub(super) fn encode_pin_change((pin, record): &PinChange) -> Vec<u8> {
    let mut bytes = begin(PIN);
    bytes.extend(pin.0.to_be_bytes());
    bytes.extend(encode_pin(record));
    end(bytes)
}

/// Encodes an erasure: 16 bytes of the user's digest, 8 of the time.
pub(super) fn encode_erasure(user: UserDigest, erased_at: Timestamp) -> Vec<u8> {
    let mut bytes = begin(ERASURE);
    bytes.extend(user.0);
    bytes.extend(erased_at.micros().to_le_bytes());
    end(bytes)
}

/// Encodes a claim on a part of the archive.
pub(super) fn encode_claim(claim: &[u8]) -> Vec<u8> {
    let mut bytes = begin(CLAIM);
    bytes.extend(claim);
    end(bytes)
}

fn begin(kind: u8) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([VERSION, kind]);
    bytes
}

fn end(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

/// Decodes a message.
///
/// # Errors
///
/// Where its bytes are damaged, or of a later version.
pub fn decode(bytes: &[u8]) -> Result<Message, FrameError> {
    let (all, checksum) = bytes.split_last_chunk::<8>().ok_or(FrameError::Damaged)?;
    if xxh3_64(all).to_le_bytes() != *checksum {
        return Err(FrameError::Damaged);
    }
    match all {
        [b'P', b'F', VERSION, kind, rest @ ..] => {
            let message = match *kind {
                ACTIONS => decode_actions(rest).map(Message::Actions),
                PIN => decode_pin_change(rest).map(Message::Pin),
                ERASURE => decode_erasure(rest),
                CLAIM => Some(Message::ArchiveClaim(rest.to_vec())),
                _ => None,
            };
            message.ok_or(FrameError::Damaged)
        }
        [b'P', b'F', version, ..] => Err(FrameError::Version(*version)),
        _ => Err(FrameError::Damaged),
    }
}

fn decode_actions(bytes: &[u8]) -> Option<ActionFrame> {
    let mut reader = Reader(bytes);
    let mut frame = ActionFrame {
        frame: FrameId(reader.take()?),
        recorded_at: reader.time()?,
        is_kept: false,
        origin: None,
        actions: Vec::new(),
    };
    let [bits] = reader.take()?;
    let count = u16::from_le_bytes(reader.take()?);
    if usize::from(count) > MAX_ACTIONS {
        return None;
    }
    frame.is_kept = bits & IS_KEPT != 0;
    if bits & IS_WRITTEN_ANEW != 0 {
        let [stream] = reader.take()?;
        if usize::from(stream) >= MAX_STREAMS {
            return None;
        }
        let sequence = reader.number()?;
        let places = (0..count).map(|_| Some(u16::from_le_bytes(reader.take()?)));
        frame.origin = Some(Origin {
            position: Position { stream, sequence },
            places: places.collect::<Option<_>>()?,
        });
    }
    for _ in 0..count {
        let action = decode_action(&mut reader, frame.actions.last())?;
        frame.actions.push(action);
    }
    reader.0.is_empty().then_some(frame)
}

fn decode_action(reader: &mut Reader<'_>, before: Option<&Action>) -> Option<Action> {
    let [bits] = reader.take()?;
    let is_set = |bit: u8| bits & bit != 0;
    let id = ActionId(reader.take()?);
    let user = match is_set(SAME_USER) {
        true => before?.user,
        false => UserId(reader.number()?),
    };
    let pin = PinId(reader.number()?);
    let time = match is_set(SAME_TIME) {
        true => before?.time,
        false => reader.time()?,
    };
    let medoid = match (is_set(HAS_MEDOID), is_set(SAME_MEDOID)) {
        (false, _) => None,
        (true, true) => Some(before?.medoid?),
        (true, false) => Some(PinId(reader.number()?)),
    };
    let name = match is_set(SAME_NAME) {
        true => before?.name.clone(),
        false => {
            let [length] = reader.take()?;
            String::from_utf8(reader.bytes(usize::from(length))?.to_vec()).ok()?
        }
    };
    let keys = match is_set(HAS_KEYS) {
        true => reader.keys()?,
        false => None,
    };
    Some(Action {
        id,
        user,
        pin,
        name,
        time,
        medoid,
        keys,
    })
}

fn decode_pin_change(bytes: &[u8]) -> Option<PinChange> {
    let (pin, record) = bytes.split_at_checked(8)?;
    decode_pin(pin, record)
}

fn decode_erasure(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader(bytes);
    let user = UserDigest(reader.take()?);
    let erased_at = reader.time()?;
    let erasure = Message::Erasure { user, erased_at };
    reader.0.is_empty().then_some(erasure)
}

/// Reads from the beginning of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take()?))
    }

    fn time(&mut self) -> Option<Timestamp> {
        Some(Timestamp::from_micros(i64::from_le_bytes(self.take()?)))
    }

    fn keys(&mut self) -> Option<Option<Box<crate::model::ActionKeys>>> {
        let (keys, rest) = decode_keys(self.0)?;
        self.0 = rest;
        Some(keys)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::durable::PinRecord;
    use crate::model::{ActionKeys, PinAttributes};

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn keys() -> impl Strategy<Value = Option<Box<ActionKeys>>> {
        let key = || prop::option::of("[a-z茶]{1,9}");
        (key(), key(), key())
            .prop_map(|(user, pin, medoid)| ActionKeys { user, pin, medoid }.some())
    }

    fn action() -> impl Strategy<Value = Action> {
        let medoid = prop::option::of(0u64..3);
        (
            any::<u128>(),
            0u64..3,
            any::<u64>(),
            "save|hide|茶",
            0i64..3,
            medoid,
            keys(),
        )
            .prop_map(|(id, user, pin, name, time, medoid, keys)| Action {
                id: ActionId(id.to_be_bytes()),
                user: UserId(user),
                pin: PinId(pin),
                name,
                time: Timestamp::from_micros(time),
                medoid: medoid.map(PinId),
                keys,
            })
    }

    fn decoded(bytes: &[u8]) -> ActionFrame {
        match decode(bytes) {
            Ok(Message::Actions(frame)) => frame,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn actions_are_read_as_they_were_written_each_once_in_messages_of_the_limit(
            actions in prop::collection::vec(action(), 0..60),
            max_bytes in MIN_FRAME_BYTES..4_000,
        ) {
            let is_kept = |action: &Action| action.name == "hide";
            let batch = ActionBatch {
                frame: FrameId([7; 16]),
                actions: &actions.iter().collect::<Vec<_>>(),
                recorded_at: NOW,
                is_kept: &is_kept,
            };
            let mut read = [Vec::new(), Vec::new()];
            for encoded in encode_batch(&batch, max_bytes) {
                prop_assert!(encoded.bytes.len() <= max_bytes);
                let frame = decoded(&encoded.bytes);
                prop_assert_eq!((frame.frame, frame.recorded_at), (batch.frame, NOW));
                prop_assert_eq!((frame.is_kept, &frame.origin), (encoded.is_kept, &None));
                read[usize::from(frame.is_kept)].extend(frame.actions);
            }
            let (kept, others): (Vec<_>, Vec<_>) = actions.into_iter().partition(is_kept);
            prop_assert_eq!(read, [others, kept]);
        }

        #[test]
        fn a_message_written_anew_keeps_where_its_actions_stood(
            actions in prop::collection::vec(action(), 0..9),
            sequence: u64,
        ) {
            let places = (0..actions.len()).map(|at| 3 * at as u16).collect();
            let position = Position { stream: 2, sequence };
            let frame = ActionFrame {
                frame: FrameId([1; 16]),
                recorded_at: NOW,
                is_kept: true,
                origin: Some(Origin { position, places }),
                actions,
            };
            prop_assert_eq!(decoded(&encode_frame(&frame)), frame);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(decode(&bytes), Err(FrameError::Damaged));
            let _ = decode(&end(bytes.clone()));
            for kind in 0..6 {
                let mut message = begin(kind);
                message.append(&mut bytes.clone());
                let _ = decode(&end(message));
            }
            bytes.clear();
        }
    }

    fn sample() -> Vec<u8> {
        let mut actions = Vec::new();
        for at in 0..3 {
            actions.push(Action {
                id: ActionId([at; 16]),
                user: UserId(1),
                pin: PinId(u64::from(at)),
                name: "impression".to_owned(),
                time: NOW,
                medoid: Some(PinId(5)),
                keys: None,
            });
        }
        encode_frame(&ActionFrame {
            frame: FrameId([9; 16]),
            recorded_at: NOW,
            is_kept: false,
            origin: None,
            actions,
        })
    }

    #[test]
    fn an_impression_of_the_same_page_takes_25_bytes_and_the_format_stays() {
        let bytes = sample();
        let head = 4 + 16 + 8 + 1 + 2;
        let first = 1 + 16 + 8 + 8 + 8 + 8 + 1 + "impression".len();
        assert_eq!(bytes.len(), head + first + 2 * 25 + 8);
        assert_eq!(bytes[..4], *b"PF\x01\x01");
        // The released format: a change of these bytes needs a new version.
        assert_eq!(xxh3_64(&bytes), 6_304_252_879_143_307_551);
    }

    #[test]
    fn damaged_messages_and_those_of_later_versions_are_refused() {
        let bytes = sample();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), Err(FrameError::Damaged), "{at}");
            assert_eq!(decode(&bytes[..at]), Err(FrameError::Damaged), "{at}");
        }
        let mut later = bytes[..bytes.len() - 8].to_vec();
        later[2] = 2;
        assert_eq!(decode(&end(later)), Err(FrameError::Version(2)));
    }

    #[test]
    fn pins_erasures_and_claims_are_read_as_they_were_written() {
        let upserted = PinRecord::Upserted {
            embedding_version: "model-1".to_owned(),
            vector: vec![0.6, -0.8],
            title: "a pin".to_owned(),
            key: "tea".to_owned(),
            attributes: PinAttributes::default(),
        };
        for record in [PinRecord::Deleted, upserted] {
            let change = (PinId(9), record);
            let bytes = encode_pin_change(&change);
            assert_eq!(decode(&bytes), Ok(Message::Pin(change)));
        }
        let user = UserDigest([3; 16]);
        let erasure = Message::Erasure {
            user,
            erased_at: NOW,
        };
        assert_eq!(decode(&encode_erasure(user, NOW)), Ok(erasure));
        let claim = decode(&encode_claim(b"claim"));
        assert_eq!(claim, Ok(Message::ArchiveClaim(b"claim".to_vec())));
    }
}
