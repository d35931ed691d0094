//! Profiles by user: in memory, and in their files.

mod history;
mod popularity;
mod profile_manifest;
mod profiles;
mod write;

pub use history::{FALSE_POSITIVE_RATE, HistoryFilter, InvalidFilter};
pub use popularity::{PinActions, Popularity, popularity};
pub use profile_manifest::{ActionCounts, ProfileManifest};
pub use profiles::{Profile, ProfileStore, ProfilesReader};
pub use write::{ProfileRecord, ProfilesWriter};

use bytemuck::{Pod, Zeroable};

use crate::model::UserId;

const USERS: &str = "users.bin";
const MEDOIDS: &str = "medoids.bin";
const HISTORY: &str = "history.bin";
const POPULAR: &str = "popular.bin";
const POPULARITY: &str = "popularity.bin";

/// One record of the file of users, which are in it by ascending id; medoids and
/// history filters lie in their files in the same order.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct UserRecord {
    user: UserId,
    /// Number of medoids, at least 1.
    medoids: u32,
    /// Length in bytes of the history filter; 0 for none.
    history: u32,
}
