//! The offline shell: files in, versioned directories out.
//!
//! [`build_catalog`] turns files of pins into a catalogue, [`build_profiles`]
//! files of actions into profiles, [`export_profiles`] profiles into a file that
//! a warehouse reads.

mod actions;
mod catalog;
mod check;
mod columns;
mod error;
mod export;
mod partition;
mod pins;
mod profiles;
mod runs;

pub use catalog::{CatalogParams, build_catalog};
pub use check::{CheckParams, CurvePoint, check_catalog};
pub use error::{BadRow, BatchError};
pub use export::export_profiles;
pub use profiles::{ProfileParams, build_profiles};
