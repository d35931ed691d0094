//! What a server answers from, and how it is replaced while calls are answered.
//!
//! Files in reading order, each using only those before it: `snapshot_source` (where
//! versions lie), `answer_params`, `recent_interests` (recorded actions folded into a
//! profile), `seen_and_hidden_filter`, `user_context` (one user at request time),
//! `loaded` (a catalog and profiles), `fold_in_cache`, `serving` (what one call sees),
//! `changed_pins`, `pinned_versions`, `version_history` and `durable_state` (what is kept
//! under `--data`), `live` (the handle that is swapped), `version_details` and `reload`
//! (changes of versions), and `recall_probe` (recall measured on live answers).

mod answer_params;
mod changed_pins;
mod durable_state;
mod fold_in_cache;
mod live;
mod loaded;
mod pinned_versions;
mod recall_probe;
mod recent_interests;
mod reload;
mod seen_and_hidden_filter;
mod serving;
mod snapshot_source;
#[cfg(test)]
pub(crate) mod test_world;
mod user_context;
mod version_details;
mod version_history;

pub use answer_params::AnswerParams;
pub(crate) use changed_pins::{ChangePinsError, ChangedPins};
pub use durable_state::{DataParams, InitialState};
pub(crate) use live::{Live, PinChangeCounts};
pub(crate) use loaded::{LayeredIndex, RandomStream};
pub use loaded::{LoadError, Loaded};
pub(crate) use pinned_versions::Persistence;
pub use pinned_versions::pinned_profiles;
pub(crate) use recall_probe::Probe;
pub(crate) use reload::{ChangeError, ServedVersions, VersionChange, VersionManager};
pub(crate) use serving::Serving;
pub use snapshot_source::ServingSource;
pub(crate) use snapshot_source::VersionPair;
pub(crate) use user_context::{RecordedActions, UserContext};
pub(crate) use version_details::{AvailableVersions, VersionDetails};
pub(crate) use version_history::VersionReport;
