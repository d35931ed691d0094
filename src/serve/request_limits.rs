//! Limits of requests, with their defaults. Each is checked before any work is done.

use super::status::CallError;
use crate::model::MAX_TITLE;

/// Number of candidates of a request that does not say how many.
pub(crate) const DEFAULT_LIMIT: usize = 400;
/// Number of sampled medoids of a request that does not say how many.
pub(crate) const DEFAULT_MEDOIDS: usize = 3;

/// Greatest number of candidates.
pub(crate) const MAX_LIMIT: u32 = 2_000;
/// Greatest number of sampled medoids.
pub(crate) const MAX_MEDOIDS: u32 = 20;
/// Pins that a request excludes.
pub(crate) const EXCLUDED_PINS: MaxCount = MaxCount::new(10_000, "pins");
/// Pins and vectors that a request asks for pins near to, in place of medoids or beside them.
pub(crate) const SEEDS: MaxCount = MaxCount::new(20, "pins");
/// Length of a freshness token.
pub(crate) const FRESHNESS_TOKEN: MaxCount = MaxCount::new(256, "bytes");
/// Length of a page token. The greatest that is given out is a little shorter.
pub(crate) const PAGE_TOKEN: MaxCount = MaxCount::new(64 << 10, "bytes");
/// Greatest number of candidates that the pages of a session have together, the last not
/// counted.
pub(crate) const SESSION_PINS: usize = 5_000;
/// Conditions of one filter.
pub(crate) const CONDITIONS: MaxCount = MaxCount::new(32, "conditions");
/// Words of one condition.
pub(crate) const CONDITION_WORDS: MaxCount = MaxCount::new(1_000, "words");
/// Requests of one batch.
pub(crate) const BATCH_REQUESTS: MaxCount = MaxCount::new(100, "requests");

/// Actions of one call.
pub(crate) const ACTIONS: MaxCount = MaxCount::new(1_000, "actions");
/// Size of the largest call that records actions, in bytes: a thousand of the longest
/// actions by numbers or UUIDs have less. Small actions take many times their size once
/// they are decoded.
pub(crate) const MAX_ACTIONS_SIZE: usize = 256 << 10;
/// Greatest number of pins that a user may hide. Calls that come at the same moment may
/// exceed it a little.
pub(crate) const MAX_HIDDEN_PINS: usize = 10_000;

/// Pins of one call that changes pins.
pub(crate) const CHANGED_PINS: MaxCount = MaxCount::new(1_000, "pins");
/// Length of the title of a pin.
pub(crate) const TITLE: MaxCount = MaxCount::new(MAX_TITLE, "bytes");

/// The greatest count of something in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxCount {
    pub(crate) max: usize,
    unit: &'static str,
}

impl MaxCount {
    pub(crate) const fn new(max: usize, unit: &'static str) -> Self {
        Self { max, unit }
    }

    /// Refuses `field` when it has more.
    pub(crate) fn check(self, field: &str, found: usize) -> Result<(), CallError> {
        let Self { max, unit } = self;
        if found <= max {
            return Ok(());
        }
        let reason = format!("has {found} {unit}, at most {max} may be");
        Err(CallError::field(field, reason))
    }

    /// Refuses `field` when it has none, or more.
    pub(crate) fn check_not_empty(self, field: &str, found: usize) -> Result<(), CallError> {
        let Self { max, unit } = self;
        if (1..=max).contains(&found) {
            return Ok(());
        }
        let reason = format!("has {found} {unit}, from 1 to {max} may be");
        Err(CallError::field(field, reason))
    }
}

/// The number in `field`, where 0 stands for `default`.
pub(crate) fn number_or_default(
    field: &str,
    value: u32,
    max: u32,
    default: usize,
) -> Result<usize, CallError> {
    match value {
        0 => Ok(default),
        value if value <= max => Ok(value as usize),
        value => Err(CallError::field(
            field,
            format!("is {value}, at most {max} may be"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(checked: Result<(), CallError>) -> String {
        match checked {
            Err(CallError::Field { field, reason }) => format!("{field} {reason}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn counts_are_allowed_up_to_the_maximum_and_refused_above() {
        let two = MaxCount::new(2, "pins");
        assert_eq!(two.check("a", 0), Ok(()));
        assert_eq!(two.check("a", 2), Ok(()));
        assert_eq!(reason(two.check("a", 3)), "a has 3 pins, at most 2 may be");
        assert_eq!(two.check_not_empty("a", 1), Ok(()));
        assert_eq!(two.check_not_empty("a", 2), Ok(()));
        for found in [0, 3] {
            assert_eq!(
                reason(two.check_not_empty("a", found)),
                format!("a has {found} pins, from 1 to 2 may be")
            );
        }
    }

    #[test]
    fn zero_stands_for_the_default() {
        assert_eq!(number_or_default("a", 0, 5, 3), Ok(3));
        assert_eq!(number_or_default("a", 5, 5, 3), Ok(5));
        let refused = number_or_default("a", 6, 5, 3).map(|_| ());
        assert_eq!(reason(refused), "a is 6, at most 5 may be");
    }
}
