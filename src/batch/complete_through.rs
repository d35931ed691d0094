//! Up to when profiles have all actions, and since when they know which ones they have.

use super::action_reader::InputFacts;
use super::error::BatchError;
use super::profile_input::ProfileInput;
use super::profile_params::ProfileParams;
use crate::model::Timestamp;
use crate::setting_rules::in_days;

/// What profiles state of the actions in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Completeness {
    /// All actions before it are in the profiles.
    pub(super) complete_through: Timestamp,
    /// From then on the profiles know the identities of the actions in them.
    pub(super) identified_from: Timestamp,
    /// Time of the oldest action of the input; none without any.
    pub(super) oldest_action: Option<Timestamp>,
    /// Time of the newest action of the input; none without any.
    pub(super) newest_action: Option<Timestamp>,
}

impl Completeness {
    /// What profiles of `input`, about which `facts` are known, can state.
    pub(super) fn new(
        input: &ProfileInput<'_>,
        params: &ProfileParams,
        facts: InputFacts,
    ) -> Result<Self, BatchError> {
        let as_of = input.as_of;
        let complete_through = match input.complete_through {
            Some(given) if given > as_of => {
                return Err(BatchError::CompleteThrough { given, as_of });
            }
            Some(given) => given,
            None => facts.newest.map_or(as_of, |newest| newest.min(as_of)),
        };
        // Two actions of one content may be told apart by their ids only, so without ids
        // nothing is looked up that the input is known to have.
        let identified_from = if facts.all_have_ids {
            // What is before the window was refused, so it is not for the server either.
            let days = in_days(params.late_actions).min(params.window_days);
            as_of.minus_days(days).min(complete_through)
        } else {
            complete_through
        };
        Ok(Self {
            complete_through,
            identified_from,
            oldest_action: facts.oldest,
            newest_action: facts.newest,
        })
    }
}
