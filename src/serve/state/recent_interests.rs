//! Interests of one user with the recorded actions folded in.

use std::sync::Arc;

use crate::actions::UserState;
use crate::cluster::{
    ClusterScratch, FoldInParams, FoldInResult, Params, RecentActions, StoredProfile, fold_in,
};
use crate::index::{Delta, DeltaView, PinTable};
use crate::model::{Medoid, PinId, RecordedAction};
use crate::serve::state::answer_params::AnswerParams;
use crate::store::{ProfileManifest, ProfileStore};

/// The profiles and the pins that actions are folded in with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoldInSource<'a> {
    pub(crate) profiles: &'a ProfileStore,
    /// Pins of the catalog.
    pub(crate) pins: &'a PinTable,
    /// Pins that changed since.
    pub(crate) delta: &'a Arc<Delta>,
}

/// A user's recorded actions, folded into the profile.
#[derive(Debug)]
pub(crate) struct RecentInterests {
    /// The actions that were folded in. A write copies the state because it is shared
    /// here, so this is the latest state as long as it is the same allocation.
    state: Arc<UserState>,
    /// The changed pins at that time.
    delta: Arc<Delta>,
    /// None when the user did nothing since the profile but see pins.
    folded: Option<FoldInResult>,
    /// Interests that can be sampled.
    active: Vec<Medoid>,
    /// Ascending: the user's medoids, active or not; and the pins of recent positive
    /// actions, where the profiles keep a history of the user.
    blocked_pins: Vec<PinId>,
}

impl FoldInSource<'_> {
    fn layered_pins(&self) -> DeltaView<'_> {
        DeltaView {
            pins: self.pins,
            delta: self.delta,
        }
    }

    fn facts(&self) -> &ProfileManifest {
        &self.profiles.manifest().facts
    }
}

impl RecentInterests {
    /// Folds the actions of `state` into the profile `batch_medoids`, which is empty for
    /// a user without one.
    pub(crate) fn fold(
        state: Arc<UserState>,
        batch_medoids: &[Medoid],
        source: FoldInSource<'_>,
        params: AnswerParams,
        scratch: &mut ClusterScratch,
    ) -> Self {
        let facts = source.facts();
        let positive = positive_since_profile(&state, facts);
        let folded = fold_actions(&state, batch_medoids, source, params, scratch);
        let interests = folded.iter().flat_map(|folded| &folded.interests);
        let active = interests.clone().filter(|interest| interest.is_active());
        let mut blocked_pins: Vec<PinId> = batch_medoids.iter().map(|medoid| medoid.pin).collect();
        if facts.history_false_positive_rate.is_some() {
            blocked_pins.extend(positive.iter().map(|held| held.pin));
        }
        blocked_pins.extend(interests.clone().map(|interest| interest.medoid.pin));
        blocked_pins.sort_unstable();
        Self {
            active: active.map(|interest| interest.medoid).collect(),
            folded,
            blocked_pins,
            delta: source.delta.clone(),
            state,
        }
    }

    /// Whether these were folded from the same actions and the same changed pins.
    pub(crate) fn is_made_from(&self, state: &Arc<UserState>, delta: &Arc<Delta>) -> bool {
        Arc::ptr_eq(&self.state, state) && Arc::ptr_eq(&self.delta, delta)
    }

    /// The recorded actions.
    pub(crate) fn state(&self) -> &UserState {
        &self.state
    }

    /// The profile with the actions in it; none when the user did nothing since the
    /// profile but see pins.
    pub(crate) fn folded(&self) -> Option<&FoldInResult> {
        self.folded.as_ref()
    }

    /// Interests that can be sampled.
    pub(crate) fn active(&self) -> &[Medoid] {
        &self.active
    }

    /// Whether `pin` is a medoid of the user, or one that the user acted on where a
    /// history is kept.
    pub(crate) fn has_blocked_pin(&self, pin: PinId) -> bool {
        self.blocked_pins.binary_search(&pin).is_ok()
    }
}

/// The positive actions that the batch did not have.
fn positive_since_profile<'s>(
    state: &'s UserState,
    facts: &ProfileManifest,
) -> &'s [RecordedAction] {
    let positive = state.positive();
    let begin = positive.partition_point(|held| held.time < facts.as_of);
    &positive[begin..]
}

/// The profile with the actions of `state` in it; none when no action is on a pin that
/// exists.
fn fold_actions(
    state: &UserState,
    batch_medoids: &[Medoid],
    source: FoldInSource<'_>,
    params: AnswerParams,
    scratch: &mut ClusterScratch,
) -> Option<FoldInResult> {
    let (pins, facts) = (source.layered_pins(), source.facts());
    let positive = positive_since_profile(state, facts);
    // The batch reads no negative actions, so all that are held count.
    let negative = state.negative();
    let exists = |held: &RecordedAction| pins.contains(held.pin);
    if !positive.iter().any(exists) && !negative.iter().any(exists) {
        return None;
    }
    let fold = FoldInParams {
        cluster: Params {
            alpha: facts.alpha,
            lambda_per_day: facts.lambda_per_day,
        },
        clustered: params.limits.clustered,
        silenced_by: params.limits.silenced_by,
    };
    let profile = StoredProfile {
        medoids: batch_medoids,
        as_of: facts.as_of,
    };
    let actions = RecentActions { positive, negative };
    let vector_of = |pin| pins.vector(pin);
    Some(fold_in(profile, actions, vector_of, &fold, scratch))
}
