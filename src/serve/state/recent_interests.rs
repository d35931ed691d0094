//! Interests of one user with the recorded actions folded in.

use std::sync::Arc;

use crate::actions::{HeldAction, UserState};
use crate::cluster::{
    ClusterScratch, FoldInParams, FoldInResult, Params, RecentActions, StoredProfile, fold_in,
};
use crate::index::{Delta, DeltaView, PinTable};
use crate::model::{Medoid, PinId, RecordedAction};
use crate::serve::state::answer_params::AnswerParams;
use crate::store::{Profile, ProfileManifest, ProfileStore};

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
    /// Folds the actions of `state` that the batch did not have into `profile`, none for a
    /// user without one.
    pub(crate) fn fold(
        state: Arc<UserState>,
        profile: Option<Profile<'_>>,
        source: FoldInSource<'_>,
        params: AnswerParams,
        scratch: &mut ClusterScratch,
    ) -> Self {
        let facts = source.facts();
        let news = ActionsSinceBatch::new(&state, profile, facts);
        let batch_medoids = profile.map_or(&[][..], |profile| profile.medoids);
        let folded = fold_actions(&news, batch_medoids, source, params, scratch);
        let interests = folded.iter().flat_map(|folded| &folded.interests);
        let active = interests.clone().filter(|interest| interest.is_active());
        let mut blocked_pins: Vec<PinId> = batch_medoids.iter().map(|medoid| medoid.pin).collect();
        if facts.history_false_positive_rate.is_some() {
            blocked_pins.extend(news.positive.iter().map(|held| held.pin));
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

/// Recorded actions that the batch did not have, each list by time.
struct ActionsSinceBatch {
    positive: Vec<RecordedAction>,
    negative: Vec<RecordedAction>,
}

impl ActionsSinceBatch {
    fn new(state: &UserState, profile: Option<Profile<'_>>, facts: &ProfileManifest) -> Self {
        let is_new = |held: &&HeldAction| {
            let in_batch = |profile: Profile<'_>| {
                profile.has_action(held.by_id) || profile.has_action(held.by_content)
            };
            !profile.is_some_and(in_batch)
        };
        // The batch has all positive actions before, but does not know which they are.
        let positive = state.positive();
        let begin = positive.partition_point(|held| held.action.time < facts.identified_from);
        let positive = positive[begin..].iter().filter(is_new);
        // It knows all negative ones that it has, however old they are. One of before that
        // it has with another time, as a warehouse of whole seconds does, hides the same pin.
        let is_hidden = |pin| profile.is_some_and(|profile| profile.hides(pin));
        let is_old = |held: &HeldAction| held.action.time < facts.identified_from;
        let negative = state.negative().iter().filter(is_new);
        let negative = negative.filter(|held| !is_old(held) || !is_hidden(held.action.pin));
        Self {
            positive: positive.map(|held| held.action).collect(),
            negative: negative.map(|held| held.action).collect(),
        }
    }
}

/// The profile with the actions `news` in it; none when no action is on a pin that exists.
fn fold_actions(
    news: &ActionsSinceBatch,
    batch_medoids: &[Medoid],
    source: FoldInSource<'_>,
    params: AnswerParams,
    scratch: &mut ClusterScratch,
) -> Option<FoldInResult> {
    let (pins, facts) = (source.layered_pins(), source.facts());
    let ActionsSinceBatch { positive, negative } = news;
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
