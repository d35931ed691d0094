//! Where the profile of a user lies in the files.

use std::ops::Range;

use super::files::UserRecord;

/// Where the profile of a user lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProfileSpan {
    pub(super) medoids: Span,
    /// In bytes.
    pub(super) history: Span,
    pub(super) identities: Span,
    pub(super) hidden: Span,
}

/// A range that can be copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    begin: usize,
    end: usize,
}

/// Lengths of the files that profiles point into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileLengths {
    /// Number of medoids.
    pub(super) medoids: usize,
    /// Bytes of history filters.
    pub(super) history: usize,
    /// Number of identities of actions.
    pub(super) identities: usize,
    /// Number of hidden pins.
    pub(super) hidden: usize,
}

impl Span {
    pub(super) fn range(self) -> Range<usize> {
        self.begin..self.end
    }

    /// The next `length` after `end`, which moves behind them.
    fn take(end: &mut usize, length: u32) -> Self {
        let begin = *end;
        *end += length as usize;
        Self { begin, end: *end }
    }
}

impl ProfileSpan {
    /// The end of each range.
    pub(super) fn ends(&self) -> FileLengths {
        FileLengths {
            medoids: self.medoids.end,
            history: self.history.end,
            identities: self.identities.end,
            hidden: self.hidden.end,
        }
    }
}

/// Where the profile of each user lies: one behind the other, in the order of `users`.
pub(super) fn profile_spans(users: &[UserRecord]) -> Vec<ProfileSpan> {
    let mut ends = FileLengths::default();
    let span = |user: &UserRecord| ProfileSpan {
        medoids: Span::take(&mut ends.medoids, user.medoids),
        history: Span::take(&mut ends.history, user.history),
        identities: Span::take(&mut ends.identities, user.identities),
        hidden: Span::take(&mut ends.hidden, user.hidden),
    };
    users.iter().map(span).collect()
}
