//! One loop over rows of a matrix that lie apart.

/// Makes `out` the `value` of each row that `positions` names, in their order. `rows`
/// holds rows of `width` elements.
#[inline(always)]
pub(super) fn map_rows<T>(
    rows: &[T],
    width: usize,
    positions: &[u32],
    out: &mut Vec<i32>,
    value: impl Fn(&[T]) -> i32,
) {
    out.clear();
    for &position in positions {
        out.push(value(&rows[position as usize * width..][..width]));
    }
}
