//! The cluster that an action belongs to.

use super::draft::Draft;
use crate::kernel;

/// The cluster that an action on the pin of `vector` belongs to: the one with the
/// nearest medoid, if Ward would merge the two.
pub(super) fn assign_cluster<'d, 'v>(
    drafts: &'d mut [Draft<'v>],
    vector: &[f32],
    alpha: f64,
) -> Option<&'d mut Draft<'v>> {
    let distance = |medoid: &[f32]| f64::from(kernel::squared_l2(vector, medoid));
    let distances = drafts
        .iter()
        .enumerate()
        .filter_map(|(index, draft)| Some((distance(draft.vector?), index)));
    let (distance, nearest) = distances.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let draft = &mut drafts[nearest];
    let size = f64::from(draft.interest.medoid.size);
    (2.0 * size / (size + 1.0) * distance <= alpha).then_some(draft)
}
