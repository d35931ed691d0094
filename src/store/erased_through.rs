//! Up to when the input of profiles was free of erased users.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Up to when the input of profiles was free of erased users: of a user who was erased up to
/// then it had nothing of before the erasure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasedThrough {
    /// What the operator states, for the users of any server; none where nothing is stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated: Option<Timestamp>,
    /// What the archive states for the users of each server that has erased one, by the id
    /// of the server's log: 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_log: BTreeMap<String, Timestamp>,
}

impl ErasedThrough {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stated.is_none() && self.by_log.is_empty()
    }

    /// Whether the input had nothing any more of a user whom the server with the log
    /// `log_id` erased at `erased_at`.
    #[must_use]
    pub fn reflects(&self, log_id: u64, erased_at: Timestamp) -> bool {
        let of_archive = self.by_log.get(&format!("{log_id:016x}")).copied();
        let through = self.stated.max(of_archive);
        through.is_some_and(|through| through >= erased_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn an_erasure_is_reflected_by_what_the_archive_of_its_server_or_the_operator_states() {
        let nothing = ErasedThrough::default();
        assert!(nothing.is_empty() && !nothing.reflects(1, at(i64::MIN)));
        let by_log = ErasedThrough {
            by_log: [("0000000000000001".to_owned(), at(5))].into(),
            ..nothing
        };
        assert!(by_log.reflects(1, at(5)) && !by_log.reflects(1, at(6)));
        assert!(!by_log.reflects(2, at(5)));
        let both = ErasedThrough {
            stated: Some(at(3)),
            ..by_log
        };
        assert!(both.reflects(2, at(3)) && !both.reflects(2, at(4)) && both.reflects(1, at(5)));
    }

    #[test]
    fn what_is_written_is_read_and_nothing_is_written_of_nothing() {
        let stated = ErasedThrough {
            stated: Some(at(1)),
            by_log: [("ffffffffffffffff".to_owned(), at(2))].into(),
        };
        for erased in [ErasedThrough::default(), stated] {
            let text = serde_json::to_string(&erased).expect("JSON");
            assert_eq!(text == "{}", erased.is_empty());
            assert_eq!(
                serde_json::from_str::<ErasedThrough>(&text).expect("JSON"),
                erased
            );
        }
    }
}
