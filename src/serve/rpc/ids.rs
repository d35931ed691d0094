//! Ids in requests: a number, the key whose hash it is, or both.

use std::fmt::Display;

use crate::model::{MAX_KEY, PinId, UserId};
use crate::serve::request_limits::MaxCount;
use crate::serve::status::CallError;

/// Length of a key.
const KEY: MaxCount = MaxCount::new(MAX_KEY, "bytes");

/// Two fields of a message that list pins: one by ids, one by keys.
#[derive(Clone, Copy)]
pub(super) struct PinLists {
    pub(super) ids: &'static str,
    pub(super) keys: &'static str,
    /// Greatest number of pins in both.
    pub(super) max: MaxCount,
}

/// The user of a message, which must name one by id or key. `path` makes the path of a
/// field, which only an error needs.
pub(super) fn required_user(
    id: Option<u64>,
    key: Option<&str>,
    path: impl Fn(&str) -> String,
) -> Result<UserId, CallError> {
    let user = optional_user(id, key, || path("user_key"))?;
    user.ok_or_else(|| CallError::field(path("user_id"), "is required"))
}

/// The user of a message, which may name none. `key_path` makes the path of `key`.
pub(super) fn optional_user(
    id: Option<u64>,
    key: Option<&str>,
    key_path: impl Fn() -> String,
) -> Result<Option<UserId>, CallError> {
    resolve(id.map(UserId), key, UserId::of_key, key_path)
}

/// The pin of a message, which must name one by id or key.
pub(super) fn required_pin(
    id: Option<u64>,
    key: Option<&str>,
    path: impl Fn(&str) -> String,
) -> Result<PinId, CallError> {
    let pin = optional_pin(id, key, || path("pin_key"))?;
    pin.ok_or_else(|| CallError::field(path("pin_id"), "is required"))
}

/// The pin of a message, which may name none. `key_path` makes the path of `key`.
pub(super) fn optional_pin(
    id: Option<u64>,
    key: Option<&str>,
    key_path: impl Fn() -> String,
) -> Result<Option<PinId>, CallError> {
    resolve(id.map(PinId), key, PinId::of_key, key_path)
}

impl PinLists {
    /// The pins of both lists, those of `ids` first.
    pub(super) fn pins(self, ids: Vec<u64>, keys: &[String]) -> Result<Vec<PinId>, CallError> {
        self.max.check(self.ids, ids.len())?;
        let rest = self.max.max - ids.len();
        MaxCount::new(rest, "pins beside the ids").check(self.keys, keys.len())?;
        let mut pins: Vec<PinId> = ids.into_iter().map(PinId).collect();
        for (at, key) in keys.iter().enumerate() {
            let path = || format!("{}[{at}]", self.keys);
            pins.push(id_of_key(key, PinId::of_key, path)?);
        }
        Ok(pins)
    }
}

/// The id that a message gives as a number, as a key, or as both that agree.
fn resolve<I: Copy + PartialEq + Display>(
    number: Option<I>,
    key: Option<&str>,
    of_key: fn(&str) -> I,
    key_path: impl Fn() -> String,
) -> Result<Option<I>, CallError> {
    let Some(key) = key else {
        return Ok(number);
    };
    let id = id_of_key(key, of_key, &key_path)?;
    match number {
        Some(number) if number != id => {
            let reason = format!("has the id {id}, but the id beside it is {number}");
            Err(CallError::field(key_path(), reason))
        }
        _ => Ok(Some(id)),
    }
}

/// The id of `key`, which must not be empty or too long.
fn id_of_key<I>(
    key: &str,
    of_key: fn(&str) -> I,
    path: impl Fn() -> String,
) -> Result<I, CallError> {
    if (1..=KEY.max).contains(&key.len()) {
        return Ok(of_key(key));
    }
    // Its path is made only here: a request may have thousands of keys.
    KEY.check_not_empty(&path(), key.len())
        .map(|()| of_key(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(field: &str) -> String {
        format!("actions[3].{field}")
    }

    fn refusal<T: std::fmt::Debug>(resolved: Result<T, CallError>) -> String {
        match resolved {
            Err(CallError::Field { field, reason }) => format!("{field} {reason}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_number_a_key_and_both_call_the_same() {
        let tea = PinId::of_key("tea");
        assert_eq!(required_pin(Some(0), None, path), Ok(PinId(0)));
        assert_eq!(required_pin(None, Some("tea"), path), Ok(tea));
        assert_eq!(required_pin(Some(tea.0), Some("tea"), path), Ok(tea));
        let user = required_user(None, Some("茶"), path);
        assert_eq!(user, Ok(UserId::of_key("茶")));
        let none = optional_pin(None, None, || path("medoid_pin_key"));
        assert_eq!(none, Ok(None));
    }

    #[test]
    fn what_calls_nobody_is_refused_by_the_path_of_its_field() {
        let missing = refusal(required_user(None, None, path));
        assert_eq!(missing, "actions[3].user_id is required");
        let missing = refusal(required_pin(None, None, path));
        assert_eq!(missing, "actions[3].pin_id is required");
        let empty = refusal(required_user(Some(1), Some(""), path));
        let allowed = "has 0 bytes, from 1 to 256 may be";
        assert_eq!(empty, format!("actions[3].user_key {allowed}"));
        let longest = "x".repeat(MAX_KEY);
        assert!(required_pin(None, Some(&longest), path).is_ok());
        let long = refusal(required_pin(None, Some(&format!("{longest}x")), path));
        let allowed = "has 257 bytes, from 1 to 256 may be";
        assert_eq!(long, format!("actions[3].pin_key {allowed}"));
        let other = refusal(required_pin(Some(7), Some("tea"), path));
        assert_eq!(
            other,
            "actions[3].pin_key has the id 13401501658203149440, but the id beside it is 7"
        );
    }

    #[test]
    fn two_lists_of_pins_have_one_limit() {
        let lists = PinLists {
            ids: "pin_ids",
            keys: "pin_keys",
            max: MaxCount::new(2, "pins"),
        };
        let keys = ["tea", ""].map(str::to_owned);
        let pins = lists.pins(vec![7], &keys[..1]);
        assert_eq!(pins, Ok(vec![PinId(7), PinId::of_key("tea")]));
        assert_eq!(lists.pins(Vec::new(), &[]), Ok(Vec::new()));
        assert_eq!(
            refusal(lists.pins(vec![7; 3], &keys)),
            "pin_ids has 3 pins, at most 2 may be"
        );
        assert_eq!(
            refusal(lists.pins(vec![7], &keys)),
            "pin_keys has 2 pins beside the ids, at most 1 may be"
        );
        assert_eq!(
            refusal(lists.pins(Vec::new(), &keys)),
            "pin_keys[1] has 0 bytes, from 1 to 256 may be"
        );
    }
}
