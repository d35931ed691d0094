//! The profile of a user: a list of medoids.

use bytemuck::{Pod, Zeroable};

use super::{PinId, Timestamp};

/// One interest of a user: the pin that represents a cluster of actions, and the
/// importance of the cluster. A profile is a list of these by descending importance,
/// equal importances by pin id.
///
/// The layout is that of a record in the profile files: 32 bytes, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Medoid {
    /// The member of the cluster with the least sum of squared distances.
    pub pin: PinId,
    /// Sum over the members of weight * exp(-lambda * age in days), at the
    /// `as_of` of the profile.
    pub importance: f64,
    /// Time of the latest action of the cluster.
    pub last_action_time: Timestamp,
    /// Number of actions in the cluster.
    pub size: u32,
    /// Number of negative actions since the last positive one.
    pub dislikes: u32,
}

impl Medoid {
    /// Least importance in a file. Far below any that a lambda of practice leaves, and far
    /// enough above the least f64 to be divided by.
    pub const MIN_IMPORTANCE: f64 = 1e-150;

    /// Whether negative actions took all of the importance.
    pub fn is_used_up(&self) -> bool {
        self.dislikes > 0 && self.importance <= Self::MIN_IMPORTANCE
    }

    /// Whether so many negative actions since the last positive one silence the interest;
    /// 0 never does.
    pub fn is_silenced(&self, silenced_by: usize) -> bool {
        silenced_by > 0 && self.dislikes as usize >= silenced_by
    }

    /// Whether the interest may be sampled where `silenced_by` negative actions silence it.
    pub fn is_active(&self, silenced_by: usize) -> bool {
        !self.is_silenced(silenced_by) && !self.is_used_up()
    }

    /// The order of a profile: by descending importance, then by pin id.
    pub fn by_descending_importance(a: &Self, b: &Self) -> std::cmp::Ordering {
        b.importance
            .total_cmp(&a.importance)
            .then(a.pin.cmp(&b.pin))
    }
}
