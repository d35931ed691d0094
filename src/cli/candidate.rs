//! Candidates as a server answers them, and their printed forms.

use std::fmt;

use serde::Serialize;

use super::client::display_title;
use super::id_or_key::display_id;
use crate::wire::v1;

/// A candidate; its fields are those of the JSON.
#[derive(Debug, Serialize)]
pub(super) struct Candidate {
    pub(super) pin_id: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pin_key: String,
    title: String,
    score: f32,
    medoid_index: u32,
}

impl From<v1::Candidate> for Candidate {
    fn from(candidate: v1::Candidate) -> Self {
        let v1::Candidate {
            pin_id,
            score,
            medoid_index,
            title,
            pin_key,
        } = candidate;
        Self {
            pin_id,
            pin_key,
            title,
            score,
            medoid_index,
        }
    }
}

/// Writes a table of `candidates`, without an end of line.
pub(super) fn write_candidates(
    f: &mut fmt::Formatter<'_>,
    candidates: &[Candidate],
) -> fmt::Result {
    write!(f, "  {:>5}  {:>6}  from  pin", "place", "score")?;
    for (rank, candidate) in (1..).zip(candidates) {
        let score = candidate.score;
        let letter = letter(candidate.medoid_index as usize);
        let pin = display_id(candidate.pin_id, &candidate.pin_key);
        let title = display_title(&candidate.title);
        write!(f, "\n  {rank:>5}  {score:>6.3}  [{letter}]   {pin} {title}")?;
    }
    Ok(())
}

/// Why an answer has no more candidates, in words; none where it has all that were asked for.
pub(super) fn exhausted_remark(reason: &str) -> Option<&'static str> {
    use v1::ExhaustedReason as Reason;
    match Reason::from_str_name(reason)? {
        Reason::Unspecified => None,
        Reason::Filter => Some("the filter selects no other pin that this user may see"),
        Reason::MinScore => Some("all others have scores below min_score"),
        Reason::Spacing => Some("no other may stand at the next place, by the rules of spacing"),
    }
}

/// A letter for what found a candidate: there are 40 at most, of which the last have
/// capital letters.
pub(super) fn letter(index: usize) -> char {
    ('a'..='z').chain('A'..='Z').nth(index).unwrap_or('?')
}
