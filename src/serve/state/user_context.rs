//! What is known of the user who asks: the profile, with what the user did since
//! folded in.
//!
//! Folding in happens at the first read after a write, and is kept for the next:
//! who writes much and reads little pays nothing, and who reads twice pays once.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::actions::{ActionLimits, Engagement, FeedbackParams, UserState};
use crate::cluster::{self, FoldParams, Folded, Params, fold_in};
use crate::index::Delta;
use crate::model::{Held, Medoid, PinId, Timestamp, UserId};
use crate::pool::Pool;
use crate::recommend::Origin;
use crate::serve::state::changed_pins::Serving;
use crate::store::{HistoryFilter, ProfileStore};

/// Users whose folded profiles are kept: about 10 kB for one of 100 interests, and what
/// is known of the user at that time.
const KEPT: usize = 4_096;

/// What shapes an answer beside the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerParams {
    /// Which recorded actions count, and how.
    pub limits: ActionLimits,
    /// Whether medoids are drawn by engagement as well as by importance.
    pub feedback: FeedbackParams,
}

/// Folds recent actions into the profiles of one version.
#[derive(Debug)]
pub(crate) struct FoldInCache {
    folded: Cache<UserId, Arc<Recent>>,
    scratches: Pool<cluster::Scratch>,
}

/// A user's recent actions, folded in.
#[derive(Debug)]
pub(crate) struct Recent {
    /// What was folded in. That it is held here makes a write copy it, so it is the
    /// latest as long as it is the same one.
    state: Arc<UserState>,
    /// The changed pins at that time.
    delta: Arc<Delta>,
    /// None when there is nothing since the profile but what was shown.
    folded: Option<Folded>,
    /// Interests that can be sampled.
    active: Vec<Medoid>,
    /// Ascending: medoids of the user, whether they can be sampled or not; and pins of
    /// recent positive actions, where the user's history is left out of the answers.
    own: Vec<PinId>,
}

/// The user who asks, at one moment.
#[derive(Debug)]
pub(crate) struct UserContext<'a> {
    stored: Option<&'a [Medoid]>,
    history: Option<HistoryFilter<'a>>,
    as_of: Timestamp,
    recent: Option<Arc<Recent>>,
    now: Timestamp,
    /// How many days a pin that was shown is out of sight.
    seen_days: f64,
    /// By medoid: how the user engages with what it finds, relative to the average.
    /// None where only importance counts.
    factors: Option<Vec<(PinId, f64)>>,
}

impl FoldInCache {
    pub(crate) fn new() -> Self {
        Self {
            folded: Cache::new(KEPT),
            scratches: Pool::default(),
        }
    }

    /// What is known of `user` at `now`, whose single actions are in `state`, beside
    /// the engagement of all users.
    pub(crate) fn resolve<'a>(
        &self,
        user: UserId,
        (state, average): (Option<Arc<UserState>>, Engagement),
        serving: &'a Serving,
        params: AnswerParams,
        now: Timestamp,
    ) -> UserContext<'a> {
        let known = UserContext::of_profile(serving.loaded.profiles(), user, now);
        let factors = params.feedback.enabled_prior().map(|prior| {
            let engagement = state.iter().flat_map(|state| state.engagement());
            let factor = |of: Engagement| of.relative_to(average, prior);
            engagement
                .map(|(medoid, of)| (medoid, factor(of)))
                .collect()
        });
        let recent = state.map(|state| {
            if let Some(kept) = self.folded.get(&user)
                && Arc::ptr_eq(&kept.state, &state)
                && Arc::ptr_eq(&kept.delta, &serving.delta)
            {
                return kept;
            }
            let stored = known.stored.unwrap_or_default();
            let fold = |scratch: &mut _| Recent::of(state, stored, serving, params, scratch);
            let recent = self.scratches.with(fold);
            let recent = Arc::new(recent);
            self.folded.insert(user, recent.clone());
            recent
        });
        UserContext {
            recent,
            seen_days: params.limits.seen_days(),
            factors,
            ..known
        }
    }
}

impl Recent {
    fn of(
        state: Arc<UserState>,
        stored: &[Medoid],
        serving: &Serving,
        params: AnswerParams,
        scratch: &mut cluster::Scratch,
    ) -> Self {
        let (pins, facts) = (serving.pins(), &serving.loaded.profiles().manifest().facts);
        // What came before is in the profile.
        let begin = state
            .positive()
            .partition_point(|held| held.time < facts.as_of);
        let positive = &state.positive()[begin..];
        // A batch knows nothing of these, so all that are held count.
        let negative = state.negative();
        let fold = FoldParams {
            cluster: Params {
                alpha: facts.alpha,
                lambda_per_day: facts.lambda_per_day,
            },
            clustered: params.limits.clustered,
            silenced_by: params.limits.silenced_by,
        };
        let mut own: Vec<PinId> = stored.iter().map(|medoid| medoid.pin).collect();
        if facts.history_false_positive_rate.is_some() {
            own.extend(positive.iter().map(|held| held.pin));
        }
        let there = |held: &Held| pins.contains(held.pin);
        let folded = (positive.iter().any(there) || negative.iter().any(there)).then(|| {
            let stored = (stored, facts.as_of);
            let vector_of = |pin| pins.vector(pin);
            fold_in(stored, (positive, negative), vector_of, &fold, scratch)
        });
        let interests = folded.iter().flat_map(|folded: &Folded| &folded.interests);
        own.extend(interests.map(|interest| interest.medoid.pin));
        own.sort_unstable();
        let active = folded.iter().flat_map(|folded| &folded.interests);
        let active = active.filter(|interest| interest.is_active());
        Self {
            active: active.map(|interest| interest.medoid).collect(),
            folded,
            own,
            delta: serving.delta.clone(),
            state,
        }
    }
}

impl<'a> UserContext<'a> {
    /// What the profile alone knows of `user` at `now`.
    pub(crate) fn of_profile(profiles: &'a ProfileStore, user: UserId, now: Timestamp) -> Self {
        let profile = profiles.get(user);
        Self {
            stored: profile.map(|profile| profile.medoids),
            history: profile.and_then(|profile| profile.history()),
            as_of: profiles.manifest().facts.as_of,
            recent: None,
            now,
            seen_days: 0.0,
            factors: None,
        }
    }

    /// The medoids to sample from, and the step of the ladder that they are; none for
    /// a user of whom nothing is known.
    pub(crate) fn medoids(&self) -> Option<(&[Medoid], Origin)> {
        let step = match self.stored {
            Some(_) => Origin::Profile,
            None => Origin::Recent,
        };
        match (self.recent(), self.stored) {
            (Some((recent, folded)), _) if !folded.interests.is_empty() => {
                Some((&recent.active, step))
            }
            (_, stored) => stored.map(|stored| (stored, step)),
        }
    }

    /// By ascending medoid: how much more often than in proportion to importance it is
    /// drawn.
    pub(crate) fn factors(&self) -> &[(PinId, f64)] {
        self.factors.as_deref().unwrap_or_default()
    }

    /// Whether engagement counts beside importance.
    pub(crate) fn counts_engagement(&self) -> bool {
        self.factors.is_some()
    }

    /// The profile with recent actions in it, where there are any.
    pub(crate) fn folded(&self) -> Option<&Folded> {
        self.recent().map(|(_, folded)| folded)
    }

    fn recent(&self) -> Option<(&Recent, &Folded)> {
        let recent = self.recent.as_deref()?;
        Some((recent, recent.folded.as_ref()?))
    }

    /// The profile as the batch left it.
    pub(crate) fn stored(&self) -> Option<&[Medoid]> {
        self.stored
    }

    /// The moment of the newest thing that is known, where importances hold.
    pub(crate) fn as_of(&self) -> Timestamp {
        self.folded().map_or(self.as_of, |folded| folded.at)
    }

    /// Whether `pin` must not be recommended to this user.
    pub(crate) fn bars(&self, pin: PinId) -> bool {
        let recently = |recent: &Recent| {
            recent.own.binary_search(&pin).is_ok()
                || recent.state.bars(pin, self.now, self.seen_days)
        };
        self.history
            .as_ref()
            .is_some_and(|history| history.contains(pin))
            || self.recent.as_deref().is_some_and(recently)
    }
}
