//! What the batch keeps of a user.

use bytemuck::{Pod, Zeroable};

use super::{PinId, Timestamp};

/// One interest of a user: the pin that stands for a cluster of actions, and
/// how much the cluster weighs. A profile is a list of these by falling
/// importance, equal importances by pin id.
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
    /// The latest action of the cluster.
    pub last_action_time: Timestamp,
    /// Number of actions in the cluster.
    pub size: u32,
    /// Always 0; fills the record.
    pub reserved: u32,
}

impl Medoid {
    /// The order of a profile: by falling importance, then by pin id.
    pub fn by_descending_importance(a: &Self, b: &Self) -> std::cmp::Ordering {
        b.importance
            .total_cmp(&a.importance)
            .then(a.pin.cmp(&b.pin))
    }
}
