//! An interest while recent actions are folded in.

use super::decay::Decay;
use super::interest::Interest;
use super::point::Point;
use crate::model::{Medoid, RecordedAction, Timestamp};

/// A recorded action, and the unit vector of its pin.
#[derive(Clone, Copy, Debug)]
pub(super) struct EmbeddedAction<'v> {
    pub(super) action: RecordedAction,
    pub(super) vector: &'v [f32],
}

/// An interest while recent actions are folded in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft<'v> {
    pub(super) interest: Interest,
    /// The unit vector of the medoid; none when the catalog no longer has it.
    pub(super) vector: Option<&'v [f32]>,
    /// The latest positive action, as far as it is known.
    last_like: Option<Like>,
}

/// A positive action.
#[derive(Clone, Copy, Debug)]
struct Like {
    time: Timestamp,
    /// What is left of its weight.
    importance: f64,
}

impl<'v> Draft<'v> {
    /// A cluster of the profile. `decay_factor` is the decay since the profile was made.
    pub(super) fn from_profile(
        medoid: Medoid,
        decay_factor: f64,
        vector: Option<&'v [f32]>,
    ) -> Self {
        let importance = if medoid.is_used_up() {
            0.0
        } else {
            (medoid.importance * decay_factor).max(Medoid::MIN_IMPORTANCE)
        };
        let interest = Interest {
            profile_clusters: 1,
            ..interest(Medoid {
                importance,
                ..medoid
            })
        };
        Self::new(interest, vector, None)
    }

    /// A cluster that the batch has just made, whose latest action is `last`.
    pub(super) fn from_cluster(
        medoid: Medoid,
        last: &Point,
        vector: &'v [f32],
        decay: Decay,
    ) -> Self {
        let like = Like {
            time: last.time,
            importance: decay.apply(last.weight, last.time),
        };
        Self::new(interest(medoid), Some(vector), Some(like))
    }

    /// One recent positive action.
    pub(super) fn from_action(
        EmbeddedAction { action, vector }: EmbeddedAction<'v>,
        decay: Decay,
    ) -> Self {
        let importance = decay.apply(action.weight, action.time);
        let medoid = Medoid {
            pin: action.pin,
            importance: importance.max(Medoid::MIN_IMPORTANCE),
            last_action_time: action.time,
            size: 1,
            dislikes: 0,
        };
        let interest = Interest {
            recent_actions: 1,
            ..interest(medoid)
        };
        let like = Like {
            time: action.time,
            importance,
        };
        Self::new(interest, Some(vector), Some(like))
    }

    /// The union of `members`, in their order; `medoid`, one of them, represents it.
    pub(super) fn union<'a>(medoid: &Self, members: impl Iterator<Item = &'a Self>) -> Self
    where
        'v: 'a,
    {
        let empty = Medoid {
            importance: 0.0,
            size: 0,
            dislikes: 0,
            ..medoid.interest.medoid
        };
        let mut union = Self::new(interest(empty), medoid.vector, None);
        members.for_each(|member| union.absorb(member));
        union
    }

    fn absorb(&mut self, other: &Self) {
        let time = |like: Option<Like>| like.map(|like| like.time);
        if time(other.last_like) >= time(self.last_like) {
            self.last_like = other.last_like;
        }
        let (whole, part) = (&mut self.interest, &other.interest);
        whole.medoid.dislikes = dislikes_of_union(&whole.medoid, &part.medoid);
        whole.medoid.importance += part.medoid.importance;
        whole.medoid.size = whole.medoid.size.saturating_add(part.medoid.size);
        let last = &mut whole.medoid.last_action_time;
        *last = (*last).max(part.medoid.last_action_time);
        whole.profile_clusters += part.profile_clusters;
        whole.recent_actions += part.recent_actions;
    }

    fn new(interest: Interest, vector: Option<&'v [f32]>, last_like: Option<Like>) -> Self {
        Self {
            interest,
            vector,
            last_like,
        }
    }

    /// Adds a positive action that does not move the medoid.
    pub(super) fn add_positive(&mut self, action: &RecordedAction, decay: Decay) {
        let medoid = &mut self.interest.medoid;
        medoid.importance += decay.apply(action.weight, action.time);
        medoid.size = medoid.size.saturating_add(1);
        if action.time > medoid.last_action_time {
            medoid.dislikes = 0;
        }
        medoid.last_action_time = medoid.last_action_time.max(action.time);
        self.interest.recent_actions += 1;
    }

    /// Lowers the importance by a negative action.
    pub(super) fn add_negative(&mut self, action: &RecordedAction, decay: Decay) {
        // A negative action takes nothing from a positive one that came later.
        let min_importance = match self.last_like {
            Some(like) if like.time > action.time => like.importance,
            _ => 0.0,
        };
        let medoid = &mut self.interest.medoid;
        let left = medoid.importance - decay.apply(action.weight, action.time);
        medoid.importance = left.max(min_importance);
        medoid.dislikes += u32::from(action.time > medoid.last_action_time);
        self.interest.negative_actions += 1;
    }

    /// The interest, silenced by `silenced_by` negative actions since its last positive
    /// one; 0 never silences.
    pub(super) fn into_interest(self, silenced_by: usize) -> Interest {
        Interest {
            silenced: self.interest.medoid.is_silenced(silenced_by),
            ..self.interest
        }
    }

    /// The interest as a profile keeps it: with an importance above 0, and never without a
    /// trace of what took all of it.
    pub(super) fn into_medoid(self) -> Medoid {
        let medoid = self.interest.medoid;
        let is_used_up = medoid.importance <= 0.0;
        Medoid {
            importance: medoid.importance.max(Medoid::MIN_IMPORTANCE),
            dislikes: medoid.dislikes.max(u32::from(is_used_up)),
            ..medoid
        }
    }
}

/// Negative actions since the last positive one of two clusters in one. Of those of a
/// cluster in a profile only the number is known: a positive action after the last one of
/// the cluster ends them.
fn dislikes_of_union(a: &Medoid, b: &Medoid) -> u32 {
    let latest = |medoid: &Medoid| (medoid.last_action_time, medoid.dislikes);
    latest(a).max(latest(b)).1
}

/// An interest with nothing counted yet.
fn interest(medoid: Medoid) -> Interest {
    Interest {
        medoid,
        profile_clusters: 0,
        recent_actions: 0,
        negative_actions: 0,
        silenced: false,
    }
}
