//! Profiles by user: in memory, and in their files.

mod erased_through;
mod files;
mod format_2;
mod history;
mod popularity;
mod profile_manifest;
mod profile_spans;
mod profiles;
mod write;

pub use erased_through::ErasedThrough;
pub use history::{FALSE_POSITIVE_RATE, HistoryFilter, InvalidFilter};
pub use popularity::{PinActions, Popularity, popularity};
pub use profile_manifest::{ActionCounts, ProfileManifest};
pub use profiles::{Profile, ProfileStore, ProfilesReader};
pub use write::{ProfileRecord, ProfilesWriter};
