//! How often keywords of candidates come again within a few places. Pure.

/// Marks in `crowded` the places that hold more than `max` of their value together with the
/// `places` - 1 before them. `values` are by place; none is no value.
pub(crate) fn mark_crowded(
    values: &[Option<u64>],
    max: usize,
    places: usize,
    crowded: &mut [bool],
) {
    for (at, (value, crowded)) in values.iter().zip(crowded).enumerate() {
        let first = (at + 1).saturating_sub(places);
        let same = values[first..=at].iter().filter(|&other| other == value);
        *crowded |= value.is_some() && same.count() > max;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_list_is_crowded_somewhere_if_any_window_is(
            values in prop::collection::vec(prop::option::of(0u64..3), 0..30),
            max in 1usize..4,
            more in 1usize..5,
        ) {
            let places = max + more;
            let mut crowded = vec![false; values.len()];
            mark_crowded(&values, max, places, &mut crowded);
            let too_many = |window: &[Option<u64>]| {
                (0..3).any(|word| window.iter().filter(|&&value| value == Some(word)).count() > max)
            };
            let any = values.windows(places.min(values.len()).max(1)).any(too_many);
            prop_assert_eq!(crowded.contains(&true), any);
        }
    }

    #[test]
    fn the_last_of_too_many_is_marked_and_marks_add_up() {
        let values = [
            Some(1),
            Some(2),
            Some(1),
            None,
            None,
            None,
            Some(1),
            Some(1),
        ];
        let mut crowded = [false, true, false, false, false, false, false, false];
        mark_crowded(&values, 1, 3, &mut crowded);
        let expected = [false, true, true, false, false, false, false, true];
        assert_eq!(crowded, expected);
    }
}
