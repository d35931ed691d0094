//! The offline shell: files in, versioned directories out.
//!
//! [`build_catalog`] turns files of pins into a catalog, [`build_profiles`]
//! files of actions into profiles, [`build_neighbors`] the medoids of profiles into
//! lists of neighbors, [`export_profiles`] profiles into a file that a warehouse
//! reads. [`UserActions`] are the actions by user, for who replays them.
//! [`check_catalog`] measures a catalog, [`write_changes`] keeps the pins that
//! changed on a server for the next one. [`write_world`] makes files of pins and
//! actions out of nothing.

mod actions;
mod catalog;
mod changes;
mod check;
mod columns;
mod error;
mod export;
mod neighbors;
mod partition;
mod pins;
mod profile_params;
mod profiles;
mod runs;
mod users;
pub(crate) mod whole;

pub use actions::ActionRecord;
pub use catalog::{CatalogParams, build_catalog};
pub use changes::{ChangeFiles, UpsertedPin, write_changes};
pub use check::{CheckParams, CurvePoint, check_catalog};
pub use error::{BadRow, BatchError};
pub use export::export_profiles;
pub use neighbors::{NeighborCounts, build_neighbors};
pub use profile_params::ProfileParams;
pub use profiles::{ProfileInput, build_profiles};
pub use users::{ActionsWanted, UserActions};
