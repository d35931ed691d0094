//! Which actions may be forgotten: all, or only those that are archived.

use super::positions::Positions;
use super::records::Place;

/// Which actions may be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Forgettable {
    /// All: nothing is archived.
    All,
    /// In an embedded log those up to this number.
    Through(u64),
    /// In a checkpoint those in messages up to these: their files are there for sure.
    Within(Positions),
}

impl Forgettable {
    /// Whether the action at `place` may be forgotten; none for one of the format before.
    pub(super) fn has(&self, place: Option<Place>) -> bool {
        match (self, place) {
            (Self::All, _) | (Self::Through(_), None) => true,
            (Self::Through(last), Some(place)) => place.sequence <= *last,
            (Self::Within(archived), Some(place)) => archived.have(place.message()),
            // A checkpoint has none without a place.
            (Self::Within(_), None) => false,
        }
    }
}
