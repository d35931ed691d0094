//! One interest of a user after fold-in.

use crate::model::Medoid;

/// One interest of a user, and how it came to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interest {
    /// The medoid that represents the interest. Its importance is 0 when negative actions
    /// took all of it.
    pub medoid: Medoid,
    /// Number of clusters of the profile in it.
    pub profile_clusters: u32,
    /// Number of recent positive actions in it.
    pub recent_actions: u32,
    /// Number of negative actions that lowered its importance.
    pub negative_actions: u32,
    /// Whether negative actions forbid that it is sampled.
    pub silenced: bool,
}

impl Interest {
    /// Whether it can be sampled.
    pub fn is_active(&self) -> bool {
        !self.silenced && self.medoid.importance > 0.0
    }
}
