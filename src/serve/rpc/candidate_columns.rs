//! Candidates as parallel lists, in place of a message a candidate.

use crate::index::DeltaView;
use crate::model::Candidate;
use crate::wire::v1;

/// `candidates` as lists, with what `pins` say of each. Titles cost a lookup each, and are
/// there only when asked for.
pub(super) fn candidate_columns(
    candidates: &[Candidate],
    pins: DeltaView<'_>,
    include_titles: bool,
) -> v1::CandidateColumns {
    let each = candidates.iter();
    let key = |one: &Candidate| pins.key(one.pin).unwrap_or_default().to_owned();
    let title = |one: &Candidate| pins.title(one.pin).to_owned();
    let pin_keys = pins
        .pins
        .has_keys()
        .then(|| each.clone().map(key).collect());
    let titles = include_titles.then(|| each.clone().map(title).collect());
    v1::CandidateColumns {
        pin_ids: each.clone().map(|one| one.pin.0).collect(),
        scores: each.clone().map(|one| one.score).collect(),
        medoid_indices: each.map(|one| one.medoid_index as u32).collect(),
        pin_keys: pin_keys.unwrap_or_default(),
        titles: titles.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::model::PinId;
    use crate::serve::state::Serving;
    use crate::serve::state::test_world::{TestWorld, key_of, title_of};

    fn candidates(pin: impl Fn(u64) -> PinId) -> Vec<Candidate> {
        let pins = (0..15).rev();
        pins.map(|number| Candidate {
            pin: pin(number),
            score: 1.0 - number as f32 / 20.0,
            medoid_index: number as usize % 3,
        })
        .collect()
    }

    #[test]
    fn each_list_has_its_field_of_every_candidate_in_their_order() {
        let serving = Serving::unchanged(TestWorld::with_keys().load());
        let candidates = candidates(|number| PinId::of_key(&key_of(number)));
        let columns = candidate_columns(&candidates, serving.pins(), true);
        assert_eq!(columns.pin_ids.len(), candidates.len());
        for (at, candidate) in candidates.iter().enumerate() {
            let number = 14 - at as u64;
            assert_eq!(columns.pin_ids[at], candidate.pin.0);
            assert_eq!(columns.scores[at], candidate.score);
            assert_eq!(columns.medoid_indices[at] as usize, candidate.medoid_index);
            assert_eq!(columns.pin_keys[at], key_of(number));
            assert_eq!(columns.titles[at], title_of(number));
        }
    }

    #[test]
    fn pins_called_by_numbers_take_13_bytes_each() {
        let serving = Serving::unchanged(TestWorld::new().load());
        let columns = candidate_columns(&candidates(PinId), serving.pins(), false);
        assert!(columns.pin_keys.is_empty() && columns.titles.is_empty());
        // Three lists, each with its tag and its length.
        assert_eq!(columns.encoded_len(), 15 * (8 + 4 + 1) + 3 * 2);
        let none = candidate_columns(&[], serving.pins(), true);
        assert_eq!(none, v1::CandidateColumns::default());
    }
}
