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
    /// Always 0; pads the record to 32 bytes.
    pub reserved: u32,
}

impl Medoid {
    /// The order of a profile: by descending importance, then by pin id.
    pub fn by_descending_importance(a: &Self, b: &Self) -> std::cmp::Ordering {
        b.importance
            .total_cmp(&a.importance)
            .then(a.pin.cmp(&b.pin))
    }
}
