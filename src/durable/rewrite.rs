//! Messages of a shared log without the actions of erased users.

use super::action_log::{ActionFrame, Message, Origin};
use super::frames::{decode, encode_frame};
use super::positions::Position;
use crate::model::{Action, Timestamp};

/// What is left of a message.
pub(super) struct Rewritten {
    /// Without the erased actions, and with its origin.
    pub(super) left: ActionFrame,
    /// Number of those that go.
    pub(super) erased: u64,
}

/// Looks for actions of erased users in the message at `position`; none if it has none.
///
/// # Errors
///
/// Why it cannot be read.
pub(super) fn examine(
    payload: &[u8],
    position: Position,
    is_erased: &(dyn Fn(&Action, Timestamp) -> bool + Sync),
) -> Result<Option<Rewritten>, String> {
    let frame = match decode(payload).map_err(|error| error.to_string())? {
        Message::Actions(frame) => frame,
        Message::Pin(_) | Message::Erasure { .. } | Message::ArchiveClaim(_) | Message::Gone => {
            return Err("it has no actions".to_owned());
        }
    };
    let count = frame.actions.len();
    let left = without(frame, position, is_erased);
    let erased = (count - left.actions.len()) as u64;
    Ok((erased > 0).then_some(Rewritten { left, erased }))
}

/// `frame`, which stands at `position`, without the erased actions.
fn without(
    frame: ActionFrame,
    position: Position,
    is_erased: &(dyn Fn(&Action, Timestamp) -> bool + Sync),
) -> ActionFrame {
    let recorded_at = frame.recorded_at;
    let origin = frame.origin.unwrap_or_else(|| Origin {
        position,
        places: (0..).take(frame.actions.len()).collect(),
    });
    let placed = frame.actions.into_iter().zip(origin.places);
    let (actions, places) = placed
        .filter(|(action, _)| !is_erased(action, recorded_at))
        .unzip();
    ActionFrame {
        actions,
        origin: Some(Origin {
            position: origin.position,
            places,
        }),
        ..frame
    }
}

/// Encodes a frame, in parts where it has become longer than `max_bytes` by its places.
pub(super) fn encode_in_parts(mut frame: ActionFrame, max_bytes: usize) -> Vec<Vec<u8>> {
    if frame.actions.is_empty() {
        return Vec::new();
    }
    let bytes = encode_frame(&frame);
    if bytes.len() <= max_bytes || frame.actions.len() == 1 {
        return vec![bytes];
    }
    let half = frame.actions.len() / 2;
    let mut rest = frame.clone();
    rest.actions = frame.actions.split_off(half);
    if let (Some(origin), Some(rest)) = (&mut frame.origin, &mut rest.origin) {
        rest.places = origin.places.split_off(half);
    }
    let mut parts = encode_in_parts(frame, max_bytes);
    parts.extend(encode_in_parts(rest, max_bytes));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::FrameId;
    use crate::model::{ActionId, PinId, UserId};

    fn frame(count: u16) -> ActionFrame {
        let action = |at: u16| Action {
            id: ActionId([at as u8; 16]),
            user: UserId(u64::from(at % 3)),
            pin: PinId(u64::from(at)),
            name: "save".to_owned(),
            time: Timestamp::from_micros(1),
            medoid: None,
            keys: None,
        };
        ActionFrame {
            frame: FrameId([1; 16]),
            recorded_at: Timestamp::from_micros(9),
            is_kept: true,
            origin: None,
            actions: (0..count).map(action).collect(),
        }
    }

    fn at(stream: u8, sequence: u64) -> Position {
        Position { stream, sequence }
    }

    #[test]
    fn what_is_left_keeps_where_it_stood_first() {
        let once = without(frame(7), at(1, 5), &|action, _| action.user.0 == 0);
        let origin = once.origin.clone().expect("an origin");
        assert_eq!(
            (origin.position, &origin.places[..]),
            (at(1, 5), &[1, 2, 4, 5][..])
        );
        let twice = without(once, at(0, 9), &|action, _| action.user.0 == 1);
        let origin = twice.origin.expect("an origin");
        assert_eq!(
            (origin.position, &origin.places[..]),
            (at(1, 5), &[2, 5][..])
        );
        assert_eq!(twice.actions.len(), 2);
    }

    #[test]
    fn a_frame_that_has_become_too_long_is_split_with_its_places() {
        let left = without(frame(40), at(2, 3), &|action, _| action.pin.0 == 0);
        let whole = encode_frame(&left).len();
        let parts = encode_in_parts(left.clone(), whole - 1);
        assert!(parts.len() == 2 && parts.iter().all(|part| part.len() < whole));
        let (mut actions, mut places) = (Vec::new(), Vec::new());
        for part in parts {
            match decode(&part) {
                Ok(Message::Actions(part)) => {
                    actions.extend(part.actions);
                    places.extend(part.origin.expect("an origin").places);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(actions, left.actions);
        assert_eq!(Some(places), left.origin.map(|origin| origin.places));
        assert!(encode_in_parts(without(frame(4), at(0, 1), &|_, _| true), 1).is_empty());
    }
}
