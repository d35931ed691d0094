//! What a batch of profiles reads.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::bad_rows::BadRowParams;
use super::ids::TextIds;
use super::profile_params::NegativeLimits;
use super::user_histories::Duplicates;
use crate::model::{Timestamp, UserId};
use crate::store::ErasedThrough;

/// Input of a batch of profiles, and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct ProfileInput<'a> {
    /// Files of actions, directories or globs of them, in any order.
    pub actions: &'a [PathBuf],
    /// Directory of the catalog whose vectors are clustered.
    pub catalog: &'a Path,
    /// How ids of users are spelled in files without types.
    pub text_ids: TextIds,
    /// End of the window, and the moment at which importances hold.
    pub as_of: Timestamp,
    /// The moment before which `actions` has all actions, at most `as_of`; none for the
    /// time of the newest one.
    pub complete_through: Option<Timestamp>,
    /// Users whose actions are left out, because a server has erased them; none where there
    /// is no list.
    pub erased_users: Option<&'a HashSet<UserId>>,
    /// Up to when `actions` is known to be free of erased users.
    pub erased_through: &'a ErasedThrough,
    /// What becomes of actions that the input has more than once.
    pub duplicates: Duplicates,
    /// How many bad rows are left out.
    pub bad_rows: &'a BadRowParams,
    /// What negative actions do.
    pub negative: NegativeLimits,
}
