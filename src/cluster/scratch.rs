//! Memory that clustering uses again for the next user.

use super::ward::WardScratch;

/// Memory that clustering uses again for the next user: O(m^2 + m d) for m
/// actions of d dimensions.
#[derive(Debug, Default)]
pub struct ClusterScratch {
    /// Vectors of the points, one after another.
    pub(super) rows: Vec<f32>,
    /// By row: number of actions that it stands for.
    pub(super) sizes: Vec<u32>,
    pub(super) ward: WardScratch,
}
