//! Names of the files of profiles, and the record of a user.

use bytemuck::{Pod, Zeroable};

use crate::model::UserId;

pub(super) const USERS: &str = "users.bin";
pub(super) const MEDOIDS: &str = "medoids.bin";
pub(super) const HISTORY: &str = "history.bin";
pub(super) const POPULAR: &str = "popular.bin";
pub(super) const POPULARITY: &str = "popularity.bin";

/// One record of the file of users, which are in it by ascending id; medoids and
/// history filters lie in their files in the same order.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct UserRecord {
    pub(super) user: UserId,
    /// Number of medoids, at least 1.
    pub(super) medoids: u32,
    /// Length in bytes of the history filter; 0 for none.
    pub(super) history: u32,
}
