//! Names of the files of profiles, and the record of a user.

use bytemuck::{Pod, Zeroable};

use crate::model::UserId;

pub(super) const USERS: &str = "users.bin";
pub(super) const MEDOIDS: &str = "medoids.bin";
pub(super) const HISTORY: &str = "history.bin";
pub(super) const IDENTITIES: &str = "identities.bin";
pub(super) const HIDDEN: &str = "hidden.bin";
pub(super) const POPULAR: &str = "popular.bin";
pub(super) const POPULARITY: &str = "popularity.bin";
pub(super) const USER_KEY_ENDS: &str = "user_key_ends.bin";
pub(super) const USER_KEYS: &str = "user_keys.bin";

/// One record of the file of users, which are in it by ascending id; what belongs to them
/// lies in the other files in the same order.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct UserRecord {
    pub(super) user: UserId,
    /// Number of medoids; 0 for a user of whom only negative actions are known.
    pub(super) medoids: u32,
    /// Length in bytes of the history filter; 0 for none.
    pub(super) history: u32,
    /// Number of identities of actions.
    pub(super) identities: u32,
    /// Number of hidden pins.
    pub(super) hidden: u32,
}
