//! State of one user at request time.

use std::fmt;

use crate::model::{Medoid, PinId};

/// State of one user at request time.
#[derive(Clone, Copy)]
pub struct User<'a, B> {
    /// The medoids that can be sampled.
    pub sources: MedoidSources<'a>,
    /// Whether a pin must not be returned to this user: it is in the history, the user
    /// dislikes it, or it was shown a moment ago.
    pub is_blocked: B,
}

/// Medoids that can stand for a user.
#[derive(Clone, Copy, Debug)]
pub struct MedoidSources<'a> {
    /// The medoids of the user; none for an unknown user.
    pub user_medoids: Option<UserMedoids<'a>>,
    /// The most important medoids over all users, for those without any.
    pub popular_medoids: &'a [Medoid],
    /// By ascending pin: factors above 0 that scale the sampling weight of a medoid,
    /// which is its importance. The factor of all other medoids is 1.
    pub sampling_factors: &'a [(PinId, f64)],
    /// Whether the catalog is known to have every medoid above. If not, each is looked
    /// up, and left out when it is missing.
    pub all_in_catalog: bool,
}

/// The medoids of one user.
#[derive(Clone, Copy, Debug)]
pub struct UserMedoids<'a> {
    /// By descending importance.
    pub medoids: &'a [Medoid],
    /// Either [`Origin::Profile`] or [`Origin::Recent`].
    pub origin: Origin,
}

/// Where medoids come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user's profile, with recent actions folded in.
    Profile,
    /// The user's recent actions alone.
    Recent,
    /// The popular medoids over all users.
    Popular,
}

impl<B> fmt::Debug for User<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}
