//! Budget of the searches of one call.

use crate::recommend::Deadline;

/// Budget of the searches of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SearchBudget<'a> {
    /// Share of the usual effort of a search, above 0 and at most 1.
    pub(crate) effort: f32,
    /// Passes when the client has left, or when the answer would come too late.
    pub(crate) deadline: Deadline<'a>,
}

impl SearchBudget<'_> {
    /// The usual effort, and no deadline.
    pub(super) fn unlimited() -> Self {
        Self {
            effort: 1.0,
            deadline: Deadline::never(),
        }
    }
}
