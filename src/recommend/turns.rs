//! Whose turn it is in an interleaved merge: smooth weighted round-robin.

/// Bits of a credit that name its list.
const LIST_BITS: u32 = 16;
const LIST_MASK: i64 = (1 << LIST_BITS) - 1;
/// Number of lists of a usual request. Up to this many, the credits stay in
/// registers, which is four times as fast.
const FEW: usize = 4;

/// Makes `order` the lists by whose turn it is, for `turns` turns. A list with a quota of
/// 0 has no turn; if all have, `order` is empty.
///
/// At each turn every list gains its quota as credit. The richest list, of equally rich
/// ones the first, moves and pays the sum of the quotas. Over a round of that many turns
/// each list moves as often as its quota says.
pub(super) fn assign_turns(
    quotas: impl ExactSizeIterator<Item = usize> + Clone,
    turns: usize,
    order: &mut Vec<u16>,
) {
    debug_assert!(quotas.len() as i64 <= LIST_MASK);
    order.clear();
    if quotas.clone().all(|quota| quota == 0) {
        return;
    }
    order.resize(turns, 0);
    let count = quotas.len();
    let weights = quotas.map(|quota| (quota as i64) << LIST_BITS);
    if count <= FEW {
        let mut few = [0; FEW];
        few.iter_mut()
            .zip(weights)
            .for_each(|(few, weight)| *few = weight);
        fill_order(few, [0; FEW], order);
    } else {
        fill_order(weights.collect::<Vec<_>>(), vec![0; count], order);
    }
}

/// Fills `order`. Weights are above the bits of [`LIST_BITS`].
fn fill_order(weights: impl AsRef<[i64]>, mut credits: impl AsMut<[i64]>, order: &mut [u16]) {
    let (weights, credits) = (weights.as_ref(), credits.as_mut());
    // The lowest bits of a credit are the complement of its list's index, so that
    // the greatest credit is that of the first of the richest, and names it. Finding
    // it takes no branch that the processor could mispredict.
    for (at, (weight, credit)) in (0..).zip(weights.iter().zip(&mut *credits)) {
        // Never the richest, and no difference to it overflows.
        let poor = i64::MIN / 2;
        *credit = if *weight > 0 { LIST_MASK - at } else { poor };
    }
    let total: i64 = weights.iter().sum();
    for turn in order {
        let mut richest = i64::MIN;
        for (credit, weight) in credits.iter_mut().zip(weights) {
            *credit += *weight;
            richest = richest.max(*credit);
        }
        for credit in &mut *credits {
            // All ones but for the richest; a comparison would become a branch.
            let poorer = (*credit - richest) >> (i64::BITS - 1);
            *credit -= total & !poorer;
        }
        *turn = (LIST_MASK - (richest & LIST_MASK)) as u16;
    }
}
