//! The offline shell: files in, versioned directories out.
//!
//! [`build_catalog`] turns files of pins into a catalog, [`build_profiles`] files of
//! actions into profiles, and [`build_neighbors`] the medoids of profiles into neighbor
//! lists. [`export_profiles`] writes profiles as a file that a warehouse reads.
//! [`check_catalog`] measures recall and speed of a catalog. [`write_changes`] stores the
//! pins that changed on a server, for the next catalog, and [`read_pins`] reads files of
//! pins for a server. [`UserActions`] groups actions by user, for a replay.
//! [`shift_actions`] moves the actions of a sample to the present.

mod action_columns;
mod action_reader;
pub(crate) mod atomic_parquet;
mod attribute_columns;
mod bad_rows;
mod build_catalog;
mod build_neighbors;
mod build_profiles;
mod cluster_users;
mod columns;
mod complete_through;
mod error;
mod export_profiles;
mod export_vectors;
mod external_sort;
mod ids;
mod input_files;
mod input_table;
mod known_actions;
mod pin_changes;
mod pin_reader;
mod process_memory;
mod profile_input;
mod profile_params;
mod raw_pins;
mod recall_curve;
mod shift_actions;
mod text_rows;
mod time_text;
mod user_actions;
mod user_histories;
mod user_keys;
mod user_partitions;
mod whole_actions;

pub use action_reader::{ActionRecord, InputFacts};
pub use attribute_columns::{AttributeColumns, AttributeLimits};
pub use bad_rows::BadRowParams;
pub use build_catalog::{CatalogParams, build_catalog};
pub use build_neighbors::{NeighborCounts, build_neighbors};
pub use build_profiles::build_profiles;
pub use error::{BadRow, BatchError};
pub use export_profiles::{CatalogColumns, ExportCounts, ExportedVectors, export_profiles};
pub use ids::TextIds;
pub use pin_changes::{ChangeFiles, UpsertedPin, read_pins, write_changes};
pub use profile_input::ProfileInput;
pub use profile_params::{NegativeLimits, ProfileParams};
pub use recall_curve::{CheckParams, CurvePoint, FilteredSearches, check_catalog};
pub use shift_actions::shift_actions;
pub use user_actions::{ActionSelection, UserActions};
pub use user_histories::Duplicates;
pub use whole_actions::WholeActions;
